"""A system of the platform: the strict form of its folder's `system.yaml`, and of `systems` in the platform file.

Reading the folders and making rules of them is `system_rules`' job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from midwatch.metrics import Kind
from midwatch.spec.base import HostPort, LabelName, Name, Place, Strict
from midwatch.spec.observed import AnyObserved
from midwatch.spec.rules import AlertName, AlertTuning, RecordRule, RuleFile, ShippedProof
from midwatch.spec.slo import BurnRate, Period, Sli
from midwatch.spec.system_settings import Setting, Text
from midwatch.spec.values import (
    Objective,
)

Metric = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
SettingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


# Versions ----------------------------------------------------------------------------------------------------------


_VERSION = r"v?\d+(\.\d+){0,3}"


def parse_version(text: object) -> tuple[int, ...]:
    """Numbers of a version such as `3.1`; ValueError when it is none.

    >>> parse_version("3.5.1") >= parse_version("3.5")
    True
    """
    if isinstance(text, tuple):
        return text
    if not isinstance(text, str) or not re.fullmatch(_VERSION, text):
        raise ValueError(f"{text!r} is not a version; write one in quotes, such as '3.1'")
    return tuple(int(part) for part in text.removeprefix("v").split("."))


_VersionText = Annotated[str, Field(pattern=f"^{_VERSION}$")]
Version = Annotated[tuple[int, ...], BeforeValidator(parse_version, json_schema_input_type=_VersionText)]


class Versioned(Strict):
    """Something that a system has `since` a version and `until` another, the first without it."""

    since: Version | None = None
    until: Version | None = None

    def is_in(self, version: tuple[int, ...]) -> bool:
        """Whether a version has it."""
        return (self.since is None or version >= self.since) and (self.until is None or version < self.until)

    def meets(self, other: Versioned) -> bool:
        """Whether some version has both."""
        starts = [one.since for one in (self, other) if one.since is not None]
        ends = [one.until for one in (self, other) if one.until is not None]
        return not starts or not ends or max(starts) < min(ends)


class Versions(Strict):
    """The oldest version that a folder describes, and the one whose metrics were read last."""

    oldest: Version
    read: Version


# What it publishes -------------------------------------------------------------------------------------------------


class FormerName(Strict):
    """A name that a metric had until a version, the first that calls it otherwise.

    Where the version has both names, `gone` is the first that lacks this one.
    """

    name: Metric
    until: Version
    gone: Version | None = None


class FormerLabel(Strict):
    """A name that a label had until a version, the first that calls it otherwise."""

    name: LabelName
    until: Version


class FormerBuckets(Strict):
    """Bounds that a histogram had until a version, the first that has others."""

    buckets: Annotated[list[Annotated[float, Field(strict=False)]], Field(min_length=1)]
    until: Version


class SystemMetric(Versioned):
    """A metric as the system really publishes it, by its newest name.

    `labels_since` are labels that came with a version, `labels_until` went with one, `labels_was` had other names.
    `spellings` are other names of the same versions, by how the system is configured. `born_at_one` is a counter whose
    series appears with its first event. `states` are labels whose value changes with the state of what is counted. An
    `is_age` gauge stands still when its publisher does. A timestamp whose `zero_is_never` is 0 until it first happens.
    A gauge that `vanishes` has no series at its worst. `off_by_default` is published only where it was switched on.
    """

    kind: Annotated[Kind, Field(strict=False)]
    help: Text
    labels: list[LabelName] = []
    labels_since: dict[LabelName, Version] = {}
    labels_until: dict[LabelName, Version] = {}
    labels_was: dict[LabelName, list[FormerLabel]] = {}
    buckets: list[Annotated[float, Field(strict=False)]] = []
    buckets_was: list[FormerBuckets] = []
    was: list[FormerName] = []
    spellings: list[Metric] = []
    born_at_one: bool = False
    states: list[LabelName] = []
    is_age: bool = False
    zero_is_never: bool = False
    vanishes: bool = False
    off_by_default: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> SystemMetric:
        if (self.kind is Kind.HISTOGRAM) != bool(self.buckets):
            raise ValueError("a histogram has buckets, and nothing else has")
        for bounds in (self.buckets, *(former.buckets for former in self.buckets_was)):
            if bounds != sorted(set(bounds)):
                raise ValueError("buckets are in ascending order, each once")
        for name in ("labels_since", "labels_until", "labels_was", "states"):
            if unknown := set(getattr(self, name)) - set(self.labels):
                raise ValueError(f"{name} has {', '.join(sorted(unknown))}, which is not among labels")
        return self

    def name_in(self, newest: str, version: tuple[int, ...]) -> str:
        """What a version calls it."""
        former = sorted(self.was, key=lambda one: one.until)
        return next((one.name for one in former if version < one.until), newest)

    def names_in(self, newest: str, version: tuple[int, ...]) -> list[str]:
        """What a version may call it, depending on its configuration."""
        name = self.name_in(newest, version)
        return [name, *self.spellings] if name == newest else [name]

    def names_exposed(self, newest: str, version: tuple[int, ...]) -> set[str]:
        """Every name that a version publishes it under, those included that nobody should read any more."""
        if not self.is_in(version):
            return set()
        beside = {one.name for one in self.was if one.gone and version < one.gone}
        first = min((one.until for one in self.was), default=(0,))
        newer = {newest} if version >= first else set()
        return {*self.names_in(newest, version), *beside, *newer}

    def every_name(self, newest: str) -> set[str]:
        """Every name that it has in any version."""
        return {newest, *self.spellings, *(former.name for former in self.was)}

    def label_in(self, newest: str, version: tuple[int, ...]) -> str:
        """What a version calls a label of it."""
        former = sorted(self.labels_was.get(newest, ()), key=lambda one: one.until)
        return next((one.name for one in former if version < one.until), newest)

    def labels_in(self, version: tuple[int, ...]) -> set[str]:
        """Labels it has in a version, as the version calls them."""
        return {
            self.label_in(label, version)
            for label in self.labels
            if version >= self.labels_since.get(label, (0,))
            and (label not in self.labels_until or version < self.labels_until[label])
        }

    def buckets_in(self, version: tuple[int, ...]) -> list[float]:
        """Bounds it has in a version."""
        former = sorted(self.buckets_was, key=lambda one: one.until)
        return next((one.buckets for one in former if version < one.until), self.buckets)

    def changes(self) -> set[Version]:
        """Versions in which something about it changes."""
        labels = {former.until for each in self.labels_was.values() for former in each}
        renamed = {former.until for former in self.was} | {former.until for former in self.buckets_was} | labels
        ranged = {version for version in (self.since, self.until) if version is not None}
        gone = {former.gone for former in self.was if former.gone}
        return {*renamed, *ranged, *gone, *self.labels_since.values(), *self.labels_until.values()}


class Scrape(Strict):
    """How the system is asked for its metrics."""

    path: Annotated[str, Field(pattern=r"^/[^?#\s]*$")] = "/metrics"
    params: dict[str, list[str]] = {}
    https: bool = False
    honor_labels: bool = False


# What is made of it ------------------------------------------------------------------------------------------------


class SystemSlo(Versioned):
    """An objective that the platform file can choose by its name, and the promise unless it says another."""

    name: Name
    description: Text
    sli: Sli
    objective: Objective
    window: Period = 30 * 86400.0


class SystemAlert(Versioned):
    """An alert; `per` is `targets` or a setting of names, and `<each>` stands for each of them."""

    alert: AlertName
    per: str | None = None
    expr: Text
    for_: str = Field(default="0s", alias="for")
    keep_firing_for: str | None = None
    severity: Text
    labels: dict[LabelName, str] = {}
    summary: Text
    description: Text
    proof: ShippedProof


class SystemAlerts(Strict):
    """Alerts and records that are shipped for every system."""

    records: list[RecordRule]
    alerts: list[SystemAlert]


class PanelQuery(Strict):
    """A query of a panel, and the name of its series or of its column."""

    expr: Text
    legend: str = ""


class _Panel(Versioned):
    section: Text
    title: Text
    unit: Text
    shows: Text
    act: Text
    runbook: AlertName
    queries: Annotated[list[PanelQuery], Field(min_length=1, max_length=26)]


class LinesPanel(_Panel):
    """Values over time."""

    kind: Literal["lines"]
    stacked: bool = False


class StatPanel(_Panel):
    """The newest value; from `bad_from` on it is coloured as bad."""

    kind: Literal["stat"]
    bad_from: Annotated[float, Field(strict=False)] | None = None


class TablePanel(_Panel):
    """A row for each set of labels, a column for each query; the worst by the first column stand first."""

    kind: Literal["table"]

    @model_validator(mode="after")
    def _named_columns(self) -> TablePanel:
        if not all(query.legend for query in self.queries):
            raise ValueError("a table's queries have a legend each, the title of the column")
        return self


Panel = Annotated[LinesPanel | StatPanel | TablePanel, Field(discriminator="kind")]


class SystemAnnotation(Versioned):
    """What happened, on every panel's time axis while `expr` has series; `text` names labels as `{{label}}`."""

    name: Text
    expr: Text
    text: Text
    tags: list[LabelName] = []
    color: Literal["good", "watch", "bad"] = "watch"


class SystemFile(Strict):
    """A folder's `system.yaml`: everything that is known of a system.

    `switch_on` says how its metrics are switched on, where some are off by default. A guard that lets everything pass
    while it is down is `counted_by` metrics of those who ask it.
    """

    title: Text
    question: Annotated[str, Field(pattern=r"\?$")]
    versions: Versions
    switch_on: Text | None = None
    counted_by: list[Metric] = []
    scrape: Scrape = Scrape()
    metrics: Annotated[dict[Metric, SystemMetric], Field(min_length=1)]
    settings: dict[SettingName, Setting] = {}
    slos: list[SystemSlo] = []
    alerts: Annotated[list[SystemAlert], Field(min_length=1)]
    panels: Annotated[list[Panel], Field(min_length=1)]
    annotations: list[SystemAnnotation] = []

    @model_validator(mode="after")
    def _names_once(self) -> SystemFile:
        """What is there in one version has a name of its own; ranges that do not meet may share one."""
        every: dict[str, Sequence[tuple[str, Versioned]]] = {
            "alert": [(one.alert, one) for one in self.alerts],
            "objective": [(one.name, one) for one in self.slos],
            "panel": [(f"{one.section}: {one.title}", one) for one in self.panels],
        }
        for what, named in every.items():
            for (name, one), (other_name, other) in combinations(named, 2):
                if name == other_name and one.meets(other):
                    raise ValueError(f"a second {what} {name!r}")
        return self

    @model_validator(mode="after")
    def _says_how_it_is_switched_on(self) -> SystemFile:
        off = sorted(name for name, metric in self.metrics.items() if metric.off_by_default)
        if off and self.switch_on is None:
            raise ValueError(f"{off[0]} is off by default: say in switch_on how it is switched on")
        return self


class ObservedFile(Strict):
    """A folder's `observed.yaml`: what is made of what `midwatch systems export` asks the system for.

    Placeholders are those of the section `observe`. Metrics are Midwatch's own.
    """

    alerts: list[SystemAlert]
    panels: list[Panel] = []
    annotations: list[SystemAnnotation] = []


# In the platform file ----------------------------------------------------------------------------------------------


def _file(text: Any) -> Any:
    if isinstance(text, str) and not text.strip():
        raise ValueError("names no file; write its path, or remove the key")
    return text


File = Annotated[Path, Field(strict=False), BeforeValidator(_file)]


class ChosenSlo(Strict):
    """An objective of the system that is promised, with what differs from the shipped promise."""

    name: str
    """Name of one of the system's objectives."""
    objective: Objective | None = None
    """The share that is promised; the shipped one without it."""
    window: Period | None = None
    """The time that the promise is for; the shipped one without it."""
    burn_rate: BurnRate = BurnRate()


class SystemUse(Strict):
    """A system that the platform has: whose it is, where it is scraped, and what differs from what is shipped."""

    owner: Name
    """Who is called: one of `owners`."""
    targets: Annotated[list[HostPort], Field(min_length=1)]
    """HOST:PORT of everything that is scraped."""
    version: Version | None = None
    """The version that is installed; the newest that was read without it."""
    https: bool | None = None
    """Whether the targets are asked over HTTPS; as the system usually is without it."""
    ca_file: File | None = None
    """File of the certificates that the targets' own are signed with."""
    token_file: File | None = None
    """File of the bearer token that the targets want."""
    settings: dict[str, Any] = {}
    """What differs from the system's defaults; the guide on systems lists them."""
    slos: list[ChosenSlo] = []
    """Objectives of the system that are promised."""
    alerts: dict[AlertName, AlertTuning] = {}
    """What differs from the system's alerts of these names."""
    exported_labels: list[LabelName] = []
    """Labels of the system's own that Prometheus keeps as `exported_…`, since the target has labels of these names."""
    observe: AnyObserved | None = None
    """What `midwatch systems export` asks it for; it is not asked without the section."""


class SystemRules(RuleFile):
    """The rule file that a system expands to; `system` is its key in the platform file."""

    system: str


def place_of(rules: RuleFile, index: int) -> Place:
    """Where the platform file says a rule file: a system's stands under `systems`."""
    return ("systems", rules.system) if isinstance(rules, SystemRules) else ("rules", index)


_WATCHED_ANYWAY = frozenset({"prometheus", "alertmanager"})
"""Systems whose names are those of jobs of the plane's own: of the Prometheus and Alertmanager it works with."""


def job_name(system: str) -> str:
    """Name of a system as a DNS label: of its scrape job, its rule file, its service.

    >>> job_name("cert_manager"), job_name("prometheus")
    ('cert-manager', 'prometheus-servers')
    """
    return f"{system}-servers" if system in _WATCHED_ANYWAY else system.replace("_", "-")


def texts(value: Any) -> Iterator[str]:
    """Every text inside a model, a mapping or a list."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Strict):
        for name in type(value).model_fields:
            yield from texts(getattr(value, name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*texts(key), *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
