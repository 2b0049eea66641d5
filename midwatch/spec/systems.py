"""A system of the platform: the strict form of its folder's `system.yaml`, and of `systems` in the platform file.

Reading the folders and making rules of them is `system_rules`' job.
"""

from __future__ import annotations

import json
import re
import sys
from abc import abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import promql_parser
import re2
from pydantic import BeforeValidator, Field, model_validator

from midwatch.metrics import Kind
from midwatch.spec.base import LabelName, Name, Place, Strict
from midwatch.spec.placeholders import Value
from midwatch.spec.rules import AlertName, AlertTuning, RuleFile, ShippedProof
from midwatch.spec.slo import BurnRate, Period, Severity, Sli
from midwatch.spec.values import (
    Duration,
    Objective,
    Ratio,
    format_duration,
    format_percentage,
    parse_duration,
    parse_percentage,
)

Text = Annotated[str, Field(min_length=1)]
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


class Versions(Strict):
    """The oldest version that a folder describes, and the one whose metrics were read last."""

    oldest: Version
    read: Version


# What it publishes -------------------------------------------------------------------------------------------------


class FormerName(Strict):
    """A name that a metric had until a version, the first that calls it otherwise."""

    name: Metric
    until: Version


class SystemMetric(Versioned):
    """A metric as the system really publishes it, by its newest name.

    `labels_since` are labels that came with a version. `born_at_one` is a counter whose series appears with its first
    event. `states` are labels whose value changes with the state of what is counted. An `is_age` gauge stands still
    when its publisher does.
    """

    kind: Annotated[Kind, Field(strict=False)]
    help: Text
    labels: list[LabelName] = []
    labels_since: dict[LabelName, Version] = {}
    buckets: list[Annotated[float, Field(strict=False)]] = []
    was: list[FormerName] = []
    born_at_one: bool = False
    states: list[LabelName] = []
    is_age: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> SystemMetric:
        if (self.kind is Kind.HISTOGRAM) != bool(self.buckets):
            raise ValueError("a histogram has buckets, and nothing else has")
        if self.buckets != sorted(set(self.buckets)):
            raise ValueError("buckets are in ascending order, each once")
        for name, labels in (("labels_since", self.labels_since), ("states", self.states)):
            if unknown := set(labels) - set(self.labels):
                raise ValueError(f"{name} has {', '.join(sorted(unknown))}, which is not among labels")
        return self

    def name_in(self, newest: str, version: tuple[int, ...]) -> str:
        """What a version calls it."""
        former = sorted(self.was, key=lambda one: one.until)
        return next((one.name for one in former if version < one.until), newest)

    def labels_in(self, version: tuple[int, ...]) -> set[str]:
        """Labels it has in a version."""
        return {label for label in self.labels if version >= self.labels_since.get(label, (0,))}


class Scrape(Strict):
    """How the system is asked for its metrics."""

    path: Annotated[str, Field(pattern=r"^/[^?#\s]*$")] = "/metrics"
    params: dict[str, list[str]] = {}
    https: bool = False
    honor_labels: bool = False


# Settings ----------------------------------------------------------------------------------------------------------


class SettingError(ValueError):
    """A value that a setting cannot have; `remedy` says what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(message)


Quantity = TypeVar("Quantity", float, Decimal)


class Bound(Strict, Generic[Quantity]):
    """The least or the greatest value of a setting, and why an alert is of no use beyond it."""

    value: Quantity
    reason: Text


class _Setting(Strict):
    reason: Text


class BoundedSetting(_Setting, Generic[Quantity]):
    """A setting whose value is at least and at most something."""

    default: Quantity
    at_least: Bound[Quantity] | None = None
    at_most: Bound[Quantity] | None = None

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        self._ensure_inside(self.default)
        return self

    def _ensure_inside(self, value: Quantity) -> None:
        """Raise SettingError for what is beyond a bound."""
        if self.at_least is not None and value < self.at_least.value:
            least = self.shown(self.at_least.value)
            raise SettingError(f"{self.shown(value)} is too little: {self.at_least.reason}", f"write at least {least}")
        if self.at_most is not None and value > self.at_most.value:
            most = self.shown(self.at_most.value)
            raise SettingError(f"{self.shown(value)} is too much: {self.at_most.reason}", f"write at most {most}")

    def default_text(self) -> str:
        """The default as the platform file has it."""
        return self.shown(self.default)

    def bound_texts(self) -> tuple[str, str]:
        """The least and the greatest value, each with its reason; empty without one."""
        least, most = (f"{self.shown(one.value)}: {one.reason}" if one else "" for one in (self.at_least, self.at_most))
        return least, most

    @abstractmethod
    def shown(self, value: Quantity) -> str:
        """A value as the platform file has it."""


_SHORTEST, _LONGEST = 1.0, 365 * 86400.0
"""Seconds of every duration, whatever its own bounds are."""


class DurationSetting(BoundedSetting[Duration]):
    """A duration, such as 15m."""

    type: Literal["duration"]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no duration, or beyond a bound."""
        seconds = parse_duration(given)
        self._ensure_inside(seconds)
        return timedelta(seconds=seconds)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return timedelta(seconds=self.default)

    def _ensure_inside(self, value: float) -> None:
        super()._ensure_inside(value)
        if value < _SHORTEST:
            raise SettingError(f"{self.shown(value)} is no time to wait or to look back", "write at least 1s")
        if value > _LONGEST:
            raise SettingError(f"{value / 86400:.0f}d is longer than metrics are kept", "write at most 365d")

    def shown(self, value: float) -> str:
        """A duration as the platform file has it."""
        return format_duration(value)


class RatioSetting(BoundedSetting[Ratio]):
    """A share, such as 5%."""

    type: Literal["ratio"]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no percentage, or beyond a bound."""
        ratio = parse_percentage(given)
        self._ensure_inside(ratio)
        return float(ratio)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return float(self.default)

    def shown(self, value: Decimal) -> str:
        """A share as the platform file has it."""
        return format_percentage(value)


class NumberSetting(BoundedSetting[Annotated[float, Field(strict=False, allow_inf_nan=False)]]):
    """A number."""

    type: Literal["number"]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no finite number, or beyond a bound."""
        if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= sys.float_info.max:
            raise SettingError(f"{given!r} is not a number", f"write one, such as {self.default:g}")
        self._ensure_inside(given)
        return float(given)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return self.default

    def shown(self, value: float) -> str:
        """A number as the platform file has it."""
        return f"{value:g}"


_QUIET = re2.Options()
_QUIET.log_errors = False


class PatternSetting(_Setting):
    """A regular expression (RE2) for the values of a label, anchored."""

    type: Literal["pattern"]
    default: str

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no pattern."""
        if not isinstance(given, str):
            raise SettingError(f"{given!r} is not text", "put it in quotes")
        if not given:
            raise SettingError("an empty pattern finds nothing", f"write {self.default}, or remove the key")
        _ensure_no_template(given)
        try:
            re2.compile(given, _QUIET)
            promql_parser.parse(f"up{{job=~{json.dumps(given)}}}")
        except re2.error as error:
            raise SettingError(f"{given!r} is not a regular expression: {_words(error)}", _ESCAPE) from error
        except ValueError as error:
            raise SettingError(f"{given!r} is not a regular expression of PromQL", _ESCAPE) from error
        return given

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return self.default


_ESCAPE = "correct it; put \\ before a character that stands for itself"


def _words(error: re2.error) -> str:
    said = error.args[0] if error.args else ""
    return said.decode() if isinstance(said, bytes) else str(said)


def _ensure_no_template(text: str) -> None:
    """Raise SettingError for what Prometheus would fill in: settings stand in texts of alerts, which are templates."""
    if "{{" in text:
        raise SettingError(f"{text!r} has {{{{, which begins a template in an alert's text", "write the value itself")


class SeveritySetting(_Setting):
    """Who is called: page or ticket."""

    type: Literal["severity"]
    default: Annotated[Severity, Field(strict=False)]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no severity."""
        if given not in list(Severity):
            raise SettingError(f"{given!r} is not one of page, ticket", "write page or ticket")
        return str(given)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return str(self.default)


class NamesSetting(_Setting):
    """Names of things that have to be there; an alert is made `per` each."""

    type: Literal["names"]
    default: list[Text]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no list of names."""
        if not isinstance(given, list) or not all(isinstance(one, str) and one.strip() for one in given):
            raise SettingError(f"{given!r} is not a list of names", "write one such as [first, second]")
        for one in given:
            _ensure_no_template(one)
            if given.count(one) > 1:
                raise SettingError(f"{one} twice", "write each once")
        return "|".join(re2.escape(one) for one in given)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return self.value(self.default)


Setting = Annotated[
    DurationSetting | RatioSetting | NumberSetting | PatternSetting | SeveritySetting | NamesSetting,
    Field(discriminator="type"),
]


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
    """A folder's `system.yaml`: everything that is known of a system."""

    title: Text
    question: Annotated[str, Field(pattern=r"\?$")]
    versions: Versions
    scrape: Scrape = Scrape()
    metrics: Annotated[dict[Metric, SystemMetric], Field(min_length=1)]
    settings: dict[SettingName, Setting] = {}
    slos: list[SystemSlo] = []
    alerts: Annotated[list[SystemAlert], Field(min_length=1)]
    panels: Annotated[list[Panel], Field(min_length=1)]
    annotations: list[SystemAnnotation] = []

    @model_validator(mode="after")
    def _names_once(self) -> SystemFile:
        for what, names in (
            ("alert", [one.alert for one in self.alerts]),
            ("objective", [one.name for one in self.slos]),
            ("panel", [f"{one.section}: {one.title}" for one in self.panels]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"a second {what} {min(twice)!r}")
        return self


# In the platform file ----------------------------------------------------------------------------------------------


_TARGET = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})"


def _target(text: Any) -> Any:
    match = re.fullmatch(_TARGET, text, re.ASCII) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT; write an address without scheme and path, such as vault-0:8200")
    if not 1 <= int(match[2]) <= 65535:
        raise ValueError(f"{text!r} has no port from 1 to 65535; write the one that serves the metrics")
    return text


def _file(text: Any) -> Any:
    if isinstance(text, str) and not text.strip():
        raise ValueError("names no file; write its path, or remove the key")
    return text


Target = Annotated[str, BeforeValidator(_target, json_schema_input_type=Annotated[str, Field(pattern=f"^{_TARGET}$")])]
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
    targets: Annotated[list[Target], Field(min_length=1)]
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


class SystemRules(RuleFile):
    """The rule file that a system expands to; `system` is its key in the platform file."""

    system: str


def place_of(rules: RuleFile, index: int) -> Place:
    """Where the platform file says a rule file: a system's stands under `systems`."""
    return ("systems", rules.system) if isinstance(rules, SystemRules) else ("rules", index)


def job_name(system: str) -> str:
    """Name of a system as a DNS label: of its scrape job, its rule file, its service."""
    return system.replace("_", "-")


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
