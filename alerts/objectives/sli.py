"""What an objective counts: its total events over a window, and the bad or the good ones among them.

An SLI of events counts what counters count. One of time slices (freshness, fairness) records a value and counts
minutes: with a value, and with one beyond its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midwatch import metrics, promql, quality, serving, signals
from midwatch.promql import Expr
from midwatch.spec import slo as spec
from midwatch.spec.model import Model
from midwatch.spec.slo import WINDOW_PLACEHOLDER, EventsSli, FairnessSli, FreshnessSli, RatioSli, Slo
from midwatch.spec.values import format_duration

SLICE_SECONDS = 60.0

Over = Callable[[float], Expr]
"""An expression over a window of so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Sli:
    """Expressions with the labels in `by`; exactly one of `bad` and `good` is there, and `value` with time slices.

    `least_events` is how many a long window must have seen before it says anything; `least_window` the shortest
    window, in seconds, that can have seen one.
    """

    total: Over
    bad: Over | None = None
    good: Over | None = None
    value: Expr | None = None
    least_events: int = 10
    least_bad: int = 3
    least_window: float = 0.0


def sli_of(slo: Slo, model: Model | None, value_of: Expr) -> Sli:
    """Build an objective's SLI; `value_of` selects the recorded value of one of time slices."""
    if not isinstance(slo.sli, str) and slo.sli.events:
        return _events(slo.sli.events)
    if not isinstance(slo.sli, str) and slo.sli.ratio:
        return _ratio(slo.sli.ratio)
    if not isinstance(slo.sli, str) and slo.sli.freshness:
        return _slices(_age(slo.sli.freshness), value_of > slo.sli.freshness.limit, value_of)
    if not isinstance(slo.sli, str) and slo.sli.gauge:
        gauge, value = slo.sli.gauge, Expr(f"({slo.sli.gauge.value})")
        bad = value_of > gauge.at_most if gauge.at_most is not None else value_of < (gauge.at_least or 0.0)
        return _slices(value, bad, value_of)
    if model is None:
        raise AssertionError("the spec gives a service events or freshness only")
    return _of_model(slo, model, value_of)


def _of_model(slo: Slo, model: Model, value_of: Expr) -> Sli:
    if isinstance(slo.sli, str):
        if slo.sli == "availability":
            return _availability(model, slo.by)
        return _drift_free(model, slo.by)
    if slo.sli.latency:
        return _latency(model, slo.sli.latency.threshold, slo.by)
    if slo.sli.fairness:
        beyond = value_of > slo.sli.fairness.limit
        return _slices(_difference(model, slo.sli.fairness, slo.by), beyond, value_of)
    return _outcomes(model, slo.by) if slo.sli.outcome else _quality(model, slo.sli, slo.by, value_of)


def _quality(model: Model, sli: spec.Sli, by: Sequence[str], value_of: Expr) -> Sli:
    if (counted := quality.counted(model, sli, by)) is not None:
        return Sli(total=counted.total, good=counted.good)
    if (measured := quality.measured(model, sli, by)) is not None:
        return _slices(measured.value(measured.window), value_of > measured.limit, value_of)
    raise AssertionError("the spec gives an SLI exactly one kind")


def _increase(selectors: Sequence[str], by: Sequence[str]) -> Over:
    """Increase of counters, summed. Several of them are read as one, so that a missing one is 0."""

    def over(window: float) -> Expr:
        parts = [promql.increase(Expr(text), window) for text in selectors]
        if len(parts) == 1:
            return promql.sum_by(parts[0], *by)
        # Metrics of several names become label sets of one: a label tells them apart until they are summed.
        named = [Expr(f'label_replace({part}, "counter", "{number}", "", "")') for number, part in enumerate(parts)]
        joined = named[0]
        for part in named[1:]:
            joined = joined.or_(part)
        return promql.sum_by(joined, *by)

    return over


def _availability(model: Model, by: Sequence[str]) -> Sli:
    profile = serving.profile_of(model)
    return Sli(total=_increase(profile.requests, by), bad=_increase(profile.failures, by))


def _latency(model: Model, threshold: float, by: Sequence[str]) -> Sli:
    profile = serving.profile_of(model)
    if profile.duration is None:
        raise AssertionError("the spec lets no latency pass where there is no histogram")
    count = str(serving.selector(profile.duration, "_count"))
    return Sli(total=_increase((count,), by), good=_increase((str(serving.bucket(profile, threshold)),), by))


def _outcomes(model: Model, by: Sequence[str]) -> Sli:
    where = {"model": model.name}
    return Sli(
        total=lambda window: signals.labelled(where, *by, window=window),
        good=lambda window: signals.right(where, *by, window=window, apart=("version",)),
    )


def _drift_free(model: Model, by: Sequence[str]) -> Sli:
    """Windows of drift are the events; those that were undecided say nothing."""
    if model.drift is None:
        raise AssertionError("the spec lets no drift_free pass without drift")
    total = promql.select(metrics.DRIFT_WINDOWS, model=model.name, verdict=promql.matches("stable|drift"))
    bad = promql.select(metrics.DRIFT_WINDOWS, model=model.name, verdict="drift")
    return Sli(
        total=_increase((str(total),), by),
        bad=_increase((str(bad),), by),
        least_events=1,
        least_bad=1,
        least_window=model.drift.window,
    )


def _events(events: EventsSli) -> Sli:
    def over(text: str) -> Over:
        def filled(window: float) -> Expr:
            expr = promql.raw(text.replace(WINDOW_PLACEHOLDER, format_duration(window)))
            return expr * window if events.is_rate else Expr(f"({expr})")

        return filled

    return Sli(
        total=over(events.total),
        bad=over(events.bad) if events.bad else None,
        good=over(events.good) if events.good else None,
    )


def _ratio(ratio: RatioSli) -> Sli:
    """Minutes of the window, of which the share of errors is bad. Without a ratio there are none."""

    def errors(window: float) -> Expr:
        return promql.raw(ratio.errors.replace(WINDOW_PLACEHOLDER, format_duration(window)))

    return Sli(
        total=lambda window: errors(window) * 0 + window / SLICE_SECONDS,
        bad=lambda window: errors(window) * (window / SLICE_SECONDS),
    )


# Time slices -------------------------------------------------------------------------------------------------------


def _slices(value: Expr, beyond: Expr, recorded: Expr) -> Sli:
    """Minutes with a value, and those with one beyond its limit."""
    return Sli(
        total=lambda window: promql.over_time("count_over_time", recorded, window, step=SLICE_SECONDS),
        bad=lambda window: promql.over_time("count_over_time", beyond, window, step=SLICE_SECONDS),
        value=value,
    )


def _age(freshness: FreshnessSli) -> Expr:
    if freshness.age is not None:
        return promql.max_by(promql.raw(freshness.age))
    return promql.timestamp_now() - promql.max_by(promql.raw(freshness.timestamp or ""))


def _difference(model: Model, fairness: FairnessSli, by: Sequence[str]) -> Expr:
    """Largest minus smallest share among the groups that have enough predictions."""
    keep = tuple(dict.fromkeys((*by, "group")))

    def count(**more: str) -> Expr:
        series = promql.select(metrics.SETTLED_GROUP_OUTCOMES, model=model.name, attribute=fairness.attribute, **more)
        return promql.increase(series, fairness.over)

    positive = model.positive or ""
    if fairness.metric == "accuracy_difference":
        where = {"model": model.name, "attribute": fairness.attribute}
        some = signals.right(where, *keep, metric=metrics.SETTLED_GROUP_OUTCOMES, window=fairness.over, apart=())
        whole = promql.sum_by(count(), *keep)
    elif fairness.metric == "demographic_parity_difference":
        some = promql.sum_by(count(predicted=positive), *keep)
        whole = promql.sum_by(count(), *keep)
    else:
        some = promql.sum_by(count(predicted=positive, actual=positive), *keep)
        whole = promql.sum_by(count(actual=positive), *keep)
    enough = whole >= fairness.min_events
    share = some.or_(whole * 0).over(Expr(f"({enough})"), on=keep)
    several = Expr(f"(count{' by (' + ', '.join(by) + ')' if by else ''} ({share}) >= 2)", 3)
    return Expr(f"({promql.max_by(share, *by)} - {promql.min_by(share, *by)})").and_(several, on=tuple(by))
