"""Rule files: alerts and objectives that teams write beside the platform file, as many files as they like."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from midwatch.spec.base import LabelName, Name, Strict
from midwatch.spec.slo import ServiceSlo, Severity
from midwatch.spec.values import Duration

AlertName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""A symptom, best in CamelCase."""

Series = Annotated[dict[str, str], Field(min_length=1)]
"""Values in promtool's notation by series, one every 15 s: `0+10x20` is 0, 10, ... 200."""


class Proof(Strict):
    """Series that fire an alert by `within`, and series under which it stays silent; for expressions that are hard."""

    fires: Series
    """Series under which the alert fires."""
    silent: Series
    """Series under which it stays silent."""
    within: Duration
    """How soon it fires."""
    interval: Duration = 15.0
    """Time between two samples, and between two evaluations."""


class AlertRule(Strict):
    """An alert: what must hold for how long, who is called, and what is done about it.

    `{{ $labels.x }}` and `{{ $value }}` work in summary and description, as in Prometheus.
    """

    alert: AlertName
    """Its name, a symptom in CamelCase."""
    expr: Annotated[str, Field(min_length=1)]
    """PromQL that has series while something is wrong."""
    for_: Duration = Field(default=0.0, alias="for")
    """How long it must hold before the alert fires."""
    keep_firing_for: Duration | None = None
    """How long the alert stays after it last held."""
    severity: Literal["page", "ticket", "none"]
    """Who acts: `page` wakes somebody, `ticket` waits, `none` tells nobody."""
    owner: Name | None = None
    """Who is called; the file's owner without it."""
    summary: Annotated[str, Field(min_length=1)]
    """One line that says what is wrong."""
    description: str = ""
    """What it means, and for whom."""
    runbook: str | None = None
    """Address of the page that says what to do."""
    labels: dict[LabelName, str] = {}
    """Labels that are added to the alert."""
    annotations: dict[LabelName, str] = {}
    """Annotations that are added to the alert."""
    proof: Proof | None = None
    """Series that show when it fires and when not."""

    @model_validator(mode="after")
    def _own_labels(self) -> AlertRule:
        taken = {"alertname", "severity", "owner"} & set(self.labels)
        if taken:
            raise ValueError(f"labels may not set {', '.join(sorted(taken))}: that has a key of its own")
        return self


class AlertTuning(Strict):
    """What differs from a shipped alert: how long it waits, who is called, or that it is off, and why."""

    for_: Duration | None = Field(default=None, alias="for")
    """How long it must hold before the alert fires."""
    keep_firing_for: Duration | None = None
    """How long the alert stays after it last held."""
    severity: Severity | None = Field(default=None, strict=False)
    """Who acts: `page` wakes somebody, `ticket` waits."""
    off_because: Annotated[str, Field(min_length=1)] | None = None
    """Why there is no such alert; it is left out, and reports show the reason."""

    @model_validator(mode="before")
    @classmethod
    def _needs_a_reason(cls, written: object) -> object:
        if written is False or written == "off":
            raise ValueError("is off without a reason; write {off_because: WHY}")
        return written

    @model_validator(mode="after")
    def _says_something(self) -> AlertTuning:
        if not self.model_fields_set:
            raise ValueError("says nothing; write for, keep_firing_for, severity or off_because")
        if self.off_because is not None and len(self.model_fields_set) > 1:
            raise ValueError("is off: remove what else is written, or off_because")
        return self

    def wait(self, shipped: float) -> float:
        """Seconds that the alert waits, where the shipped one waits so many."""
        return shipped if self.for_ is None else self.for_

    def proof(self, shipped: Proof, wait: float) -> Proof:
        """The proof of a shipped alert that waits so many seconds, for the alert as it waits now."""
        longer = self.wait(wait) - wait
        if not longer:
            return shipped
        within = shipped.within + longer
        steps = math.ceil(within / shipped.interval) + 2
        fires, silent = (
            {series: _of_steps(values, steps) for series, values in group.items()}
            for group in (shipped.fires, shipped.silent)
        )
        return shipped.model_copy(update={"within": within, "fires": fires, "silent": silent})


def _of_steps(values: str, steps: int) -> str:
    """Values in promtool's notation that go on for at least so many steps, the last ones as before."""
    *before, last = values.split()
    start, times, count = last.partition("x")
    return " ".join([*before, f"{start}x{max(int(count), steps)}" if times else f"{last}x{steps}"])


class RecordRule(Strict):
    """A recording rule."""

    record: Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    """Name of the series that is recorded."""
    expr: Annotated[str, Field(min_length=1)]
    """PromQL of its value."""
    labels: dict[LabelName, str] = {}
    """Labels that are added to the series."""


class RuleFile(Strict):
    """A rule file; its owner and labels are those of every alert and objective in it that has none.

    Records are evaluated before its alerts.
    """

    name: Name
    """Its name, part of the rendered file's."""
    owner: Name | None = None
    """Who is called for whatever in it names no owner."""
    labels: dict[LabelName, str] = {}
    """Labels of every alert and objective in it."""
    records: list[RecordRule] = []
    """Series that are recorded for the alerts."""
    alerts: list[AlertRule] = []
    """Alerts on expressions of one's own."""
    objectives: list[ServiceSlo] = []
    """Objectives on expressions of one's own."""


class ShippedProof(Strict):
    """As Proof, with texts that are filled in; `interval` is the time between samples and between evaluations."""

    fires: Series
    silent: Series
    within: str
    interval: str = "15s"


class ShippedRule(Strict):
    """An alert that is shipped. `<model>` and the like in its texts are filled in for each of what it is `per`.

    `when` is what a model must have; `alerts.rules.shipped` says what each word means.
    """

    alert: AlertName
    per: Literal["platform", "model"]
    when: list[
        Literal[
            "serving",
            "canaries",
            "incidents_watched",
            "evaluated",
            "exporters",
            "kafka",
            "streamed",
            "midwatch",
            "servers",
            "continuous",
            "servers_or_schedule",
            "job_known",
            "job_unknown",
            "failures_counted",
            "no_availability",
            "time_counted",
            "no_latency",
            "drift",
            "retrain",
            "scores",
        ]
    ] = []
    expr: str
    for_: str = Field(default="0s", alias="for")
    keep_firing_for: str | None = None
    severity: str
    labels: dict[LabelName, str] = {}
    summary: str
    description: str
    proof: ShippedProof | None = None


class ShippedFile(Strict):
    """A file of shipped alerts."""

    alerts: Annotated[list[ShippedRule], Field(min_length=1)]
