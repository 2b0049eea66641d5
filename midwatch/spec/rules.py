"""Rule files: alerts and objectives that teams write beside the platform file, as many files as they like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from midwatch.spec.base import LabelName, Name, Strict
from midwatch.spec.slo import ServiceSlo
from midwatch.spec.values import Duration

AlertName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""A symptom, best in CamelCase."""

Series = Annotated[dict[str, str], Field(min_length=1)]
"""Values in promtool's notation by series, one every 15 s: `0+10x20` is 0, 10, ... 200."""


class Proof(Strict):
    """Series that fire an alert by `within`, and series under which it stays silent; for expressions that are hard."""

    fires: Series
    silent: Series
    within: Duration
    interval: Duration = 15.0


class AlertRule(Strict):
    """An alert: what must hold for how long, who is called, and what is done about it.

    `{{ $labels.x }}` and `{{ $value }}` work in summary and description, as in Prometheus.
    """

    alert: AlertName
    expr: Annotated[str, Field(min_length=1)]
    for_: Duration = Field(default=0.0, alias="for")
    keep_firing_for: Duration | None = None
    severity: Literal["page", "ticket", "none"]
    owner: Name | None = None
    summary: Annotated[str, Field(min_length=1)]
    description: str = ""
    runbook: str | None = None
    labels: dict[LabelName, str] = {}
    annotations: dict[LabelName, str] = {}
    proof: Proof | None = None

    @model_validator(mode="after")
    def _own_labels(self) -> AlertRule:
        taken = {"alertname", "severity", "owner"} & set(self.labels)
        if taken:
            raise ValueError(f"labels may not set {', '.join(sorted(taken))}: that has a key of its own")
        return self


class RecordRule(Strict):
    """A recording rule."""

    record: Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    expr: Annotated[str, Field(min_length=1)]
    labels: dict[LabelName, str] = {}


class RuleFile(Strict):
    """A rule file; its owner and labels are those of every alert and objective in it that has none.

    Records are evaluated before its alerts.
    """

    name: Name
    owner: Name | None = None
    labels: dict[LabelName, str] = {}
    records: list[RecordRule] = []
    alerts: list[AlertRule] = []
    objectives: list[ServiceSlo] = []


class ShippedProof(Strict):
    """As Proof, with texts that are filled in; `interval` is the time between samples and between evaluations."""

    fires: Series
    silent: Series
    within: str
    interval: str = "15s"


class ShippedRule(Strict):
    """An alert that is shipped. `<model>` and the like in its texts are filled in for each of what it is `per`.

    `when` is what a model must have.
    """

    alert: AlertName
    per: Literal["platform", "model"]
    when: list[Literal["midwatch", "drift", "retrain", "scores"]] = []
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
