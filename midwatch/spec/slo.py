"""Objectives: what is counted as good, over which period, and when falling short becomes an alert.

Expressions are made of them by `alerts`; this module only says what may be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from midwatch.spec.base import LabelName, Name, Strict
from midwatch.spec.values import Duration, Objective, Ratio

DAY = 86400.0
SHORTEST_PERIOD, LONGEST_PERIOD = DAY, 90 * DAY

WINDOW_PLACEHOLDER = "{window}"


class Severity(StrEnum):
    """Who acts, and when: a page wakes somebody, a ticket waits for office hours."""

    PAGE = "page"
    TICKET = "ticket"


# What is good ------------------------------------------------------------------------------------------------------


class LatencySli(Strict):
    """Share of requests answered within the threshold."""

    threshold: Duration
    """The longest time that is good."""


class FreshnessSli(Strict):
    """Share of minutes in which something was fresh: exactly one of the time it was made, and its age.

    `timestamp` and `age` are PromQL; `timestamp` in seconds since 1970, `age` in seconds.
    """

    timestamp: str | None = None
    """PromQL of the time it was made, in seconds since 1970."""
    age: str | None = None
    """PromQL of its age in seconds."""
    limit: Duration
    """The greatest age that is fresh."""

    @model_validator(mode="after")
    def _one_source(self) -> FreshnessSli:
        if (self.timestamp is None) == (self.age is None):
            raise ValueError("needs exactly one of timestamp and age")
        return self


class GaugeSli(Strict):
    """Share of minutes in which a value, any PromQL, is within its limit: exactly one of `at_most` and `at_least`."""

    value: str
    """PromQL of the value."""
    at_most: Annotated[float, Field(strict=False)] | None = None
    """The greatest value that is good."""
    at_least: Annotated[float, Field(strict=False)] | None = None
    """The least value that is good."""

    @model_validator(mode="after")
    def _one_limit(self) -> GaugeSli:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("needs exactly one of at_most and at_least")
        return self


class FairnessSli(Strict):
    """Share of minutes in which the groups of an attribute differ by no more than the limit, over the last `over`.

    A group with fewer than `min_events` labelled predictions is left out; with less than two groups nothing is said.
    Definitions: Hardt, Price, Srebro 2016 (equal opportunity), Dwork et al. 2012 (demographic parity).
    """

    attribute: LabelName
    """The attribute whose groups are compared."""
    metric: Literal["accuracy_difference", "demographic_parity_difference", "equal_opportunity_difference"]
    """What is compared between groups."""
    limit: Ratio
    """The greatest difference that is good."""
    over: Duration = DAY
    """The time whose predictions are compared."""
    min_events: Annotated[int, Field(ge=1)] = 100
    """Fewest labelled predictions of a group that is compared."""


def _with_window(text: str) -> str:
    if WINDOW_PLACEHOLDER not in text:
        raise ValueError(
            f"has no {WINDOW_PLACEHOLDER}: write it as the range, as in sum(rate(x_total[{WINDOW_PLACEHOLDER}]))"
        )
    return text


EventsExpression = Annotated[str, AfterValidator(_with_window)]


class EventsSli(Strict):
    """Any events: PromQL of all of them, and of the good or the bad ones, with `{window}` where the range stands.

    `increase` counts and `rate` per second are both right, but one of them in all expressions.
    """

    total: EventsExpression
    """PromQL of all events."""
    good: EventsExpression | None = None
    """PromQL of the good events."""
    bad: EventsExpression | None = None
    """PromQL of the bad events."""

    @model_validator(mode="after")
    def _one_side(self) -> EventsSli:
        if (self.good is None) == (self.bad is None):
            raise ValueError("needs exactly one of good and bad beside total")
        if len({bool(_RATE.search(text)) for text in (self.total, self.good or self.bad or "")}) > 1:
            raise ValueError("mixes counts and rates: write increase in all its expressions, or rate in all")
        return self

    @property
    def is_rate(self) -> bool:
        """Whether the expressions say events per second rather than events."""
        return bool(_RATE.search(self.total))


_RATE = re.compile(r"\bi?rate\s*\(")


class RatioSli(Strict):
    """Share of errors over a window, any PromQL from 0 to 1 with `{window}` where the range stands.

    It has no events, so that every minute weighs the same; where there are counters, `events` is exact.
    """

    errors: EventsExpression
    """PromQL of the share that is bad."""


class ClassSli(Strict):
    """One of a model's classes, by its name in events."""

    class_: Annotated[str, Field(min_length=1, max_length=100)] | bool | int = Field(alias="class")
    """The class."""

    @property
    def label(self) -> str:
        """The class as a label's value."""
        return str(self.class_).lower() if isinstance(self.class_, bool) else str(self.class_)


class AbsoluteErrorSli(Strict):
    """Share of labelled predictions of a regression that are off by no more than a bound."""

    within: Annotated[float, Field(gt=0, strict=False, allow_inf_nan=False)]
    """The greatest error that is good, in the unit of what is predicted."""

    @property
    def bound(self) -> str:
        """The bound as a label's value."""
        return f"{self.within:.12g}"


class MeanErrorSli(Strict):
    """Share of minutes in which the mean absolute error of a regression, over the last `over`, is within its limit."""

    at_most: Annotated[float, Field(gt=0, strict=False, allow_inf_nan=False)]
    """The greatest mean that is good, in the unit of what is predicted."""
    over: Duration = DAY
    """The time whose predictions count."""
    min_events: Annotated[int, Field(ge=1)] = 100
    """Fewest labelled predictions that are judged."""


class CalibrationSli(Strict):
    """Share of minutes in which scores are off from what comes true, over the last `over`, by no more than a limit.

    The expected calibration error of ten bins (Guo et al. 2017).
    """

    at_most: Ratio
    """The greatest mean distance of score and truth that is good."""
    over: Duration = DAY
    """The time whose predictions count."""
    min_events: Annotated[int, Field(ge=1)] = 500
    """Fewest labelled predictions with a score that are judged."""


class Sli(Strict):
    """What is counted as good: exactly one kind."""

    latency: LatencySli | None = None
    outcome: Literal["correct"] | None = None
    """Share of labelled predictions that are correct."""
    precision: ClassSli | None = None
    """Share of the predictions of a class that are right."""
    recall: ClassSli | None = None
    """Share of what is of a class that was predicted so."""
    f1: ClassSli | None = None
    """Harmonic mean of precision and recall of a class."""
    false_positive_rate: ClassSli | None = None
    """Of what is not of a class, the share that was not predicted so: at most 1% is an objective of 99%."""
    absolute_error: AbsoluteErrorSli | None = None
    mean_absolute_error: MeanErrorSli | None = None
    calibration: CalibrationSli | None = None
    labels: Literal["arrived"] | None = None
    """Share of predictions whose label came before it was waited for no more."""
    freshness: FreshnessSli | None = None
    gauge: GaugeSli | None = None
    fairness: FairnessSli | None = None
    events: EventsSli | None = None
    ratio: RatioSli | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Sli:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).model_fields)}")
        return self


# Over which period -------------------------------------------------------------------------------------------------


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/Oslo or UTC") from error
    return name


TimeZone = Annotated[str, AfterValidator(_time_zone)]

CALENDAR_DAYS = {"week": 7, "month": 30, "quarter": 90}
"""Nominal days of a calendar period, from which burn rates are derived; its budget is of its real days."""


class CalendarPeriod(Strict):
    """From the first instant of the week (Monday), month or quarter, in a time zone, until now."""

    calendar: Literal["week", "month", "quarter"]
    """The unit of the calendar."""
    time_zone: TimeZone = "UTC"
    """The time zone in which it begins."""


def _period(seconds: float) -> float:
    if not SHORTEST_PERIOD <= seconds <= LONGEST_PERIOD:
        raise ValueError(f"{seconds / DAY:g} days; a period has from 1d to 90d")
    if seconds % 60:
        raise ValueError("a period is of whole minutes")
    return seconds


Period = Annotated[Duration, AfterValidator(_period)] | CalendarPeriod


# When that is an alert ---------------------------------------------------------------------------------------------


class Alerting(Strict):
    """Alert while the SLI over `over` is short of the objective, for `for`: quick, and without a budget."""

    over: Duration = 300.0
    """The time that the indicator is computed over."""
    for_: Duration = Field(default=120.0, alias="for")
    """How long it must be below the objective."""
    severity: Severity = Field(default=Severity.PAGE, strict=False)
    """Who is called."""
    min_events: Annotated[int, Field(ge=1)] = 50
    """Fewest events before anything is said."""


class Tier(Strict):
    """A burn rate that alerts: this share of the period's budget, spent within `over`, and still in a twelfth of it."""

    budget: Ratio
    """Share of the period's budget that is spent."""
    over: Duration
    """The time in which it is spent."""


class BurnRate(Strict):
    """Multi-window multi-burn-rate alerts, each of which can be turned `off` or given its own numbers.

    `min_events` and `min_bad_events` are the least a tier's long window must have seen; by default 10 and 3, and 1 for
    windows of drift. `for` is how long it must go on; the long window is wait enough.
    """

    page_quick: Tier | bool = True
    page_slow: Tier | bool = True
    ticket_quick: Tier | bool = True
    ticket_slow: Tier | bool = True
    min_events: Annotated[int, Field(ge=1)] | None = None
    """Fewest events in a tier's long window."""
    min_bad_events: Annotated[int, Field(ge=1)] | None = None
    """Fewest bad events in a tier's long window."""
    for_: Duration = Field(default=0.0, alias="for")
    """How long the burn rate must go on."""


class AlertAdditions(Strict):
    """What a page or a ticket of an objective carries beside what is generated, and how long it must go on."""

    labels: dict[LabelName, str] = {}
    """Labels that are added."""
    annotations: dict[LabelName, str] = {}
    """Annotations that are added."""
    for_: Duration | None = Field(default=None, alias="for")
    """How long the burn rate must go on; that of `burn_rate` without it."""


class Slo(Strict):
    """One objective. With `by` it is kept for each value of those labels by itself.

    `alert_name` is what its alerts on the burn rate are called, `annotations` what they carry; one that is generated
    too is replaced.
    """

    name: Name
    """Its name."""
    sli: Literal["availability", "drift_free"] | Sli
    """What is counted as good."""
    objective: Objective
    """The share of good events that is promised."""
    window: Period = 30 * DAY
    """The time that the promise is for."""
    by: list[LabelName] = []
    """Labels for each of whose values it is kept by itself."""
    burn_rate: BurnRate = BurnRate()
    """Alerts on how quickly the error budget is spent."""
    alert: Alerting | None = None
    """An alert on the indicator itself."""
    compatibility: Literal["sloth"] | None = None
    """`sloth` writes rules in the form of Sloth instead."""
    runbook: str | None = None
    """Address of the page that says what to do."""
    description: str = ""
    """What is promised, in words."""
    alert_name: Annotated[str, Field(min_length=1)] | None = None
    """Name of its alerts on the burn rate; `ErrorBudgetBurn` without it."""
    annotations: dict[LabelName, str] = {}
    """Annotations that its alerts carry."""
    page_alert: AlertAdditions = AlertAdditions()
    """What its pages carry besides."""
    ticket_alert: AlertAdditions = AlertAdditions()
    """What its tickets carry besides."""

    @property
    def budget(self) -> Decimal:
        """Share of events that may be bad."""
        return 1 - self.objective

    @property
    def period_seconds(self) -> float:
        """Length of the period; of a calendar one its nominal length."""
        return self.window if isinstance(self.window, float) else CALENDAR_DAYS[self.window.calendar] * DAY

    @property
    def kind(self) -> str:
        """Name of the kind of its SLI."""
        if isinstance(self.sli, str):
            return self.sli
        return next(name for name in type(self.sli).model_fields if getattr(self.sli, name) is not None)


class ServiceSlo(Slo):
    """An objective of a rule file: of whatever `service` names, by expressions of its own."""

    service: Name
    """Name of the service that it is of."""
    owner: Name | None = None
    """Who is called; the file's owner without it."""
    labels: dict[LabelName, str] = {}
    """Labels of its rules."""


class ServingMetrics(Strict):
    """A model server's own metrics, where no profile knows them: PromQL selectors of counters and of histograms.

    `duration` is the histogram without its `_bucket`; `duration_unit` how long one unit of its bounds is. What follows
    `version_label` is of language models; their histograms are in seconds.
    """

    requests: str
    """Selector of the counter of requests."""
    failures: str | None = None
    """Selector of the counter of failures."""
    duration: str | None = None
    """Selector of the histogram of durations, without `_bucket`."""
    duration_unit: Literal["s", "ms", "us"] = "s"
    """How long one unit of the histogram's bounds is."""
    version_label: LabelName | None = None
    """Label that tells the model's versions apart."""
    first_token: str | None = None
    """Selector of the histogram of the time to the first token, without `_bucket`."""
    per_token: str | None = None
    """Selector of the histogram of the time per token, without `_bucket`."""
    waiting: str | None = None
    """Selector of the gauge of requests that wait."""
    running: str | None = None
    """Selector of the gauge of requests that are worked on."""
    cache: str | None = None
    """Selector of the gauge of the cache in use, from 0 to 1."""
    cache_queries: str | None = None
    """Selector of the counter of look-ups in the prefix cache."""
    cache_hits: str | None = None
    """Selector of the counter of what was found there."""
    input_tokens: str | None = None
    """Selector of the counter of tokens of prompts."""
    output_tokens: str | None = None
    """Selector of the counter of tokens of answers."""


def problems_of(slo: Slo, scrape_interval: float) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """What is wrong with an objective in itself, as place below it, message and remedy."""
    period = slo.period_seconds
    if slo.alert and slo.alert.over > period:
        yield ("alert", "over"), "longer than the objective's period", "write a shorter one"
    if len(set(slo.by)) != len(slo.by):
        yield ("by",), "a label twice", "write each once"
    taken = {"model", "slo", "owner", "severity", "alertname"} & set(slo.by)
    if taken:
        yield ("by",), f"every record carries {', '.join(sorted(taken))} already", "group by labels of the events"
    if slo.by and slo.kind == "freshness":
        yield ("by",), "a freshness is not grouped", "aggregate in its expression, or use gauge"
    for name in ("page_quick", "page_slow", "ticket_quick", "ticket_slow"):
        tier = getattr(slo.burn_rate, name)
        if not isinstance(tier, Tier):
            continue
        place = ("burn_rate", name, "over")
        if tier.over > period:
            yield place, "the period is shorter than this window", f"write at most {period / 3600:g}h"
        elif tier.over < 720:
            yield place, "its short window, a twelfth, is under one minute", "write at least 12m"
        elif tier.over % 12:
            yield place, "its short window, a twelfth, is not of whole seconds", "write a multiple of 12s"
        elif tier.over / 12 < 4 * scrape_interval:
            yield place, "its short window, a twelfth, has less than four scrapes", "write a longer one"
        if not 0 < tier.budget < 1:
            yield ("burn_rate", name, "budget"), "not between 0% and 100% (exclusive)", "write a share, such as 2%"
    if slo.compatibility == "sloth":
        yield from _sloth_problems(slo)


def _sloth_problems(slo: Slo) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if not isinstance(slo.window, float) or slo.window not in (28 * DAY, 30 * DAY):
        yield ("window",), "Sloth has periods of 28d and 30d", "write one of them, or leave compatibility out"
    if slo.kind not in ("availability", "latency", "events", "ratio"):
        yield ("sli",), f"Sloth's form has no {slo.kind}", "leave compatibility out"
    if slo.by:
        yield ("by",), "Sloth's form has no grouping", "leave compatibility out"
