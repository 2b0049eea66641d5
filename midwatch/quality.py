"""What an objective of a model's quality counts or measures, from labelled predictions: precision, errors, calibration.

Which counters that is, is said here and nowhere else. Expressions keep the labels in `by`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midwatch import metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.promql import Expr, Matcher, Range
from midwatch.spec.model import Model
from midwatch.spec.slo import ClassSli, Sli

Over = Callable[[Range], Expr]
"""An expression over a window."""

Labels = dict[str, str]
Series = tuple[Metric, Labels]

OTHER_CLASS = "another"
"""A class that is none of a model's, for examples."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Events and the good ones among them, an example of a good one, and of what counts as much and is bad.

    `good_weight` is how often a good event counts, on both sides.
    """

    total: Over
    good: Over
    good_example: Series
    bad_examples: tuple[Series, ...]
    good_weight: int = 1

    def share(self, window: Range) -> Expr:
        """Share of good events; 0 where there are none."""
        return self._good(window) / Expr(f"({self.total(window)})")

    def bound(self, window: Range, *, upper: bool) -> Expr:
        """Bound of the share's 95% interval.

        Where good events count twice (F1) the share is 2p / (1 + p) of the share p of hits among hits and misses, which
        is one of events; so are its bounds.
        """
        if self.good_weight == 1:
            return signals.wilson_bound(self.share(window), Expr(f"({self.total(window)})"), upper=upper)
        hits = Expr(f"({self._good(window) / self.good_weight})")
        number = Expr(f"({Expr(f'({self.total(window)})') - hits})")
        bound = Expr(f"({signals.wilson_bound(Expr(f'({hits / number})'), number, upper=upper)})")
        return bound * 2 / (bound + 1)

    def _good(self, window: Range) -> Expr:
        return Expr(f"({self.good(window).or_(Expr(f'({self.total(window)})') * 0)})")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value that shall not be above a limit, over a window of its own, and counters' growth that makes it so or so.

    `spread` is the standard error of the value, where one is known.
    """

    value: Over
    limit: float
    window: float
    above: dict[str, float]
    below: dict[str, float]
    spread: Over | None = None


# Where the counts come from ----------------------------------------------------------------------------------------

_OUTCOMES = metrics.SETTLED_OUTCOMES
_SCORED, _POSITIVES = metrics.SETTLED_SCORED, metrics.SETTLED_POSITIVES
_SCORE_SUM = metrics.SETTLED_SCORE_SUM
"""Predictions count when they are as old as their labels need, so that labels which come sooner are not favoured."""


def _pairs(model: str, by: Sequence[str], **classes: str | Matcher) -> Over:
    """Labelled predictions by predicted and actual class."""
    return _increase(_OUTCOMES, model, by, **classes)


def _pair(model: str, predicted: str, actual: str) -> Series:
    return _OUTCOMES, {"model": model, "predicted": predicted, "actual": actual}


def _increase(metric: Metric, model: str, by: Sequence[str], **labels: str | Matcher) -> Over:
    series = promql.select(metric, "", model=model, **labels)
    return lambda window: promql.sum_by(promql.increase(series, window), *by)


def _plus(left: Over, right: Over) -> Over:
    """Sum of two, one of which may be missing."""

    def both(window: Range) -> Expr:
        one, other = left(window), right(window)
        zero_one, zero_other = Expr(f"({one.or_(other * 0)})"), Expr(f"({other.or_(one * 0)})")
        return Expr(f"({zero_one + zero_other})")

    return both


# Shares of events --------------------------------------------------------------------------------------------------


def _precision(model: str, sli: ClassSli, by: Sequence[str]) -> Counted:
    name = sli.label
    return Counted(
        total=_pairs(model, by, predicted=name),
        good=_pairs(model, by, predicted=name, actual=name),
        good_example=_pair(model, name, name),
        bad_examples=(_pair(model, name, OTHER_CLASS),),
    )


def _recall(model: str, sli: ClassSli, by: Sequence[str]) -> Counted:
    name = sli.label
    return Counted(
        total=_pairs(model, by, actual=name),
        good=_pairs(model, by, predicted=name, actual=name),
        good_example=_pair(model, name, name),
        bad_examples=(_pair(model, OTHER_CLASS, name),),
    )


def _f1(model: str, sli: ClassSli, by: Sequence[str]) -> Counted:
    """F1 is a ratio of counts: twice the hits by what was predicted of the class plus what is of it."""
    name = sli.label
    hits = _pairs(model, by, predicted=name, actual=name)
    return Counted(
        total=_plus(_pairs(model, by, predicted=name), _pairs(model, by, actual=name)),
        good=lambda window: hits(window) * 2,
        good_example=_pair(model, name, name),
        bad_examples=(_pair(model, OTHER_CLASS, name), _pair(model, name, OTHER_CLASS)),
        good_weight=2,
    )


def _true_negatives(model: str, sli: ClassSli, by: Sequence[str]) -> Counted:
    """A false-positive rate of at most 1% is a promise of 99% of what is not of the class, not predicted so."""
    name = sli.label
    other = promql.not_equal(name)
    return Counted(
        total=_pairs(model, by, actual=other),
        good=_pairs(model, by, predicted=other, actual=other),
        good_example=_pair(model, OTHER_CLASS, OTHER_CLASS),
        bad_examples=(_pair(model, name, OTHER_CLASS),),
    )


def _within(model: str, bound: str, by: Sequence[str]) -> Counted:
    def of(answer: str) -> Series:
        return metrics.ERRORS_BOUNDED, {"model": model, "bound": bound, "within": answer}

    return Counted(
        total=_increase(metrics.ERRORS_BOUNDED, model, by, bound=bound),
        good=_increase(metrics.ERRORS_BOUNDED, model, by, bound=bound, within="yes"),
        good_example=of("yes"),
        bad_examples=(of("no"),),
    )


def _arrived(model: Model, by: Sequence[str]) -> Counted:
    """Classes are settled with a label or without; a number's label is waited for until its retention ends."""
    if model.task != "regression":
        arrived = _increase(metrics.SETTLED, model.name, by, result=promql.matches("right|wrong"))
        return Counted(
            total=_increase(metrics.SETTLED, model.name, by),
            good=arrived,
            good_example=(metrics.SETTLED, {"model": model.name, "result": "right"}),
            bad_examples=((metrics.SETTLED, {"model": model.name, "result": "unlabelled"}),),
        )
    labelled = _increase(metrics.ERRORS_OBSERVED, model.name, by)
    return Counted(
        total=_plus(labelled, _increase(metrics.EXPORTER_PREDICTIONS_EXPIRED, model.name, by)),
        good=labelled,
        good_example=(metrics.ERRORS_OBSERVED, {"model": model.name}),
        bad_examples=((metrics.EXPORTER_PREDICTIONS_EXPIRED, {"model": model.name}),),
    )


def counted(model: Model, sli: Sli, by: Sequence[str] = (), *, name: str | None = None) -> Counted | None:
    """What an SLI counts; None for one that is not of a model's quality. `name` stands for the model's own."""
    of = name or model.name
    for part, make in (
        (sli.precision, _precision),
        (sli.recall, _recall),
        (sli.f1, _f1),
        (sli.false_positive_rate, _true_negatives),
    ):
        if part is not None:
            return make(of, part, by)
    if sli.absolute_error is not None:
        return _within(of, sli.absolute_error.bound, by)
    return _arrived(model.model_copy(update={"name": of}), by) if sli.labels is not None else None


# Values ------------------------------------------------------------------------------------------------------------


def _mean_error(model: str, by: Sequence[str], least: int) -> Over:
    absolute, observed = (_increase(metric, model, by) for metric in (metrics.ABSOLUTE_ERROR, metrics.ERRORS_OBSERVED))
    return lambda window: absolute(window).over(Expr(f"({observed(window) >= least})"), on=by)


def _mean_error_spread(model: str, by: Sequence[str], least: int) -> Over:
    """Standard error of a mean: the root of the variance by the number."""
    mean = _mean_error(model, by, least)
    squared, observed = (_increase(metric, model, by) for metric in (metrics.SQUARED_ERROR, metrics.ERRORS_OBSERVED))

    def spread(window: Range) -> Expr:
        number = Expr(f"({observed(window) >= least})")
        average = Expr(f"({mean(window)})")
        variance = squared(window).over(number, on=by).minus(average * average, on=by)
        return promql.sqrt(promql.call("clamp_min", variance, 0).over(number, on=by))

    return spread


def _calibration_error(model: str, by: Sequence[str], least: int) -> Over:
    """Expected calibration error (Guo et al. 2017, eq. 3): mean distance of score and truth, by bin of the score."""
    keep = tuple(dict.fromkeys((*by, "bin")))
    scores, positives = (_increase(metric, model, keep) for metric in (_SCORE_SUM, _POSITIVES))
    outcomes = _increase(_SCORED, model, by)

    def error(window: Range) -> Expr:
        distance = promql.call("abs", scores(window).minus(positives(window), on=keep))
        return promql.sum_by(distance, *by).over(Expr(f"({outcomes(window) >= least})"), on=by)

    return error


def measured(model: Model, sli: Sli, by: Sequence[str] = (), *, name: str | None = None) -> Measured | None:
    """What an SLI measures; None for one that is not of a model's quality. `name` stands for the model's own."""
    of = name or model.name

    def text(metric: Metric, **labels: str) -> str:
        return str(promql.select(metric, **{"model": of, **dict.fromkeys(by, "g"), **labels}))

    if sli.mean_absolute_error is not None:
        wanted = sli.mean_absolute_error
        grown = {text(metrics.ERRORS_OBSERVED): 100.0}
        return Measured(
            value=_mean_error(of, by, wanted.min_events),
            spread=_mean_error_spread(of, by, wanted.min_events),
            limit=wanted.at_most,
            window=wanted.over,
            above={**grown, text(metrics.ABSOLUTE_ERROR): 200 * wanted.at_most + 100},
            below={**grown, text(metrics.ABSOLUTE_ERROR): 0.0},
        )
    if sli.calibration is not None:
        limit = sli.calibration
        scored = {text(_SCORED, bin="1.0"): 100.0, text(_SCORE_SUM, bin="1.0"): 100.0}
        return Measured(
            value=_calibration_error(of, by, limit.min_events),
            limit=float(limit.at_most),
            window=limit.over,
            above={**scored, text(_POSITIVES, bin="1.0"): 0.0},
            below={**scored, text(_POSITIVES, bin="1.0"): 100.0},
        )
    return None
