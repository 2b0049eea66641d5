"""What is asked of models' metrics: expressions that several dashboards show, over a selection of versions.

A selection is a set of label matchers; results keep the labels in `by`. RATE is the window that Grafana fits to its
own steps, WINDOW the one the viewer chooses, for figures that need many events.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from midwatch import metrics, promql, upstream
from midwatch.metrics import Metric
from midwatch.promql import Expr, Matcher

RATE = "$__rate_interval"
WINDOW = "$window"
STEP = "$__interval"

Selection = Mapping[str, str | Matcher]

THIS_MODEL: Selection = {"model": "$model"}
THESE_VERSIONS: Selection = {"model": "$model", "version": promql.matches("$version")}
MANY_MODELS: Selection = {"model": promql.matches("$models")}

BY_VERSION = ("model", "version")

WILSON_Z = 1.959963984540054
"""97.5% point of the normal distribution: intervals of 95%."""


def series(metric: Metric, where: Selection, suffix: str = "") -> Expr:
    """The series of a metric in a selection; `suffix` is that of a histogram's."""
    return promql.select(metric, suffix, **where)


def rate(metric: Metric, where: Selection, *by: str, window: promql.Range = RATE) -> Expr:
    """Events of a counter per second."""
    return promql.sum_by(promql.rate(series(metric, where), window), *by)


def increase(metric: Metric, where: Selection, *by: str) -> Expr:
    """Events of a counter in the chosen window."""
    return promql.sum_by(promql.increase(series(metric, where), WINDOW), *by)


def total(metric: Metric, where: Selection, *by: str) -> Expr:
    """Sum of a gauge's values."""
    return promql.sum_by(series(metric, where), *by)


def gauge(metric: Metric, where: Selection, *by: str) -> Expr:
    """A gauge's largest value for each set of labels: replicas publish the same, or nothing."""
    return promql.max_by(series(metric, where), *by)


def firing(where: Selection) -> Expr:
    """Alerts that fire, a series for each."""
    return series(upstream.ALERTS, {**where, "alertstate": "firing"})


def requests(where: Selection, *by: str, window: promql.Range = RATE) -> Expr:
    """Requests per second."""
    return rate(metrics.REQUESTS, where, *by, window=window)


def errors(where: Selection, *by: str, window: promql.Range = RATE) -> Expr:
    """Share of requests that failed; 0 where none did."""
    total = requests(where, *by, window=window)
    failed = requests({**where, "outcome": "error"}, *by, window=window)
    return _share(failed.or_(total * 0), total, by)


def quantile(metric: Metric, share: float, where: Selection, *by: str, window: promql.Range = RATE) -> Expr:
    """Quantile of a histogram, interpolated within its bucket."""
    buckets = promql.rate(series(metric, where, "_bucket"), window)
    return promql.histogram_quantile(share, promql.sum_by(buckets, *by, "le"))


def buckets(metric: Metric, where: Selection, window: promql.Range = RATE) -> Expr:
    """Events per second by bucket, for a heatmap."""
    return promql.sum_by(promql.rate(series(metric, where, "_bucket"), window), "le")


def labelled(
    where: Selection, *by: str, metric: Metric = metrics.SETTLED_OUTCOMES, window: promql.Range = WINDOW
) -> Expr:
    """Predictions whose label came in time, as they were settled over the chosen window."""
    return promql.sum_by(promql.increase(series(metric, where), window), *by)


def right(
    where: Selection,
    *by: str,
    metric: Metric = metrics.SETTLED_OUTCOMES,
    window: promql.Range = WINDOW,
    apart: tuple[str, ...] = BY_VERSION,
) -> Expr:
    """Those of them that were right: the actual class is the predicted one.

    PromQL compares two labels by copying one onto the other, within each value of the labels `by` and `apart`.
    """
    kept = tuple(dict.fromkeys((*by, *apart, "predicted", "actual")))
    each = promql.increase(series(metric, where), window)
    pairs = promql.sum_by(each, *kept)
    diagonal = promql.same_label(
        promql.sum_by(each, *(name for name in kept if name != "actual")), "predicted", "actual"
    )
    return promql.sum_by(pairs.and_(diagonal, on=kept), *by)


def accuracy(
    where: Selection, *by: str, metric: Metric = metrics.SETTLED_OUTCOMES, window: promql.Range = WINDOW
) -> Expr:
    """Share of labelled predictions that were right, all of them at an equal age."""
    total = labelled(where, *by, metric=metric, window=window)
    return _share(right(where, *by, metric=metric, window=window).or_(total * 0), total, by)


def accuracy_bound(where: Selection, *by: str, upper: bool) -> Expr:
    """Bound of the 95% interval of accuracy."""
    return wilson_bound(accuracy(where, *by), labelled(where, *by), upper=upper)


def wilson_bound(share: Expr, total: Expr, *, upper: bool) -> Expr:
    """Bound of the 95% interval of a share of so many events (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212)."""
    z2 = WILSON_Z**2
    middle = share + _constant(z2 / 2, total)
    spread = promql.sqrt((share * (promql.number(1) - share) + _constant(z2 / 4, total)) / total) * WILSON_Z
    outer = middle + spread if upper else middle - spread
    return outer / (_constant(z2, total) + 1)


def _constant(value: float, total: Expr) -> Expr:
    return promql.number(value) / total


def precision(where: Selection, *by: str) -> Expr:
    """Share of the predictions of a class that were right; keeps the label `class`."""
    return _of_class(where, "predicted", *by)


def recall(where: Selection, *by: str) -> Expr:
    """Share of what is of a class that was predicted so; keeps the label `class`."""
    return _of_class(where, "actual", *by)


def _of_class(where: Selection, side: str, *by: str) -> Expr:
    total = labelled(where, *by, side)
    return _share(right(where, *by, side).or_(total * 0), total, (*by, side))


def label_coverage(where: Selection, *by: str) -> Expr:
    """Labels that came over predictions made, in the chosen window: below 1 for labels that are late or never come."""
    return _share(labelled(where, *by, metric=metrics.OUTCOMES), increase(metrics.PREDICTIONS, where, *by), by)


def settled(where: Selection, *by: str) -> Expr:
    """Share of right, wrong and unlabelled ones among the predictions that were settled in the chosen window."""
    each = increase(metrics.SETTLED, where, *by, "result")
    return each.over(increase(metrics.SETTLED, where, *by), on=by, group_left=True)


def predictions(where: Selection, *by: str) -> Expr:
    """Share of each predicted class."""
    each = rate(metrics.PREDICTIONS, where, *by, "predicted")
    return each.over(promql.sum_by(each, *by), on=by, group_left=True)


def ratio(part: Metric, whole: Metric, where: Selection, *by: str) -> Expr:
    """Increase of one counter over that of another, in the chosen window."""
    return _share(increase(part, where, *by), increase(whole, where, *by), by)


def _share(part: Expr, whole: Expr, by: tuple[str, ...]) -> Expr:
    return part.over(whole, on=by) if by else part / whole


def verdict(metric: Metric, codes: Mapping[str, float], where: Selection, *by: str) -> Expr:
    """One number for the verdict that is 1 now, out of a metric with one series for each."""
    return state(metric, "verdict", codes, where, *by)


def state(metric: Metric, label: str, codes: Mapping[str, float], where: Selection, *by: str) -> Expr:
    """One number for the value of a label whose series is 1 now, out of a metric with one series for each."""
    numbers = [
        promql.max_by(series(metric, {**where, label: name}).equals(1), *by) * code for name, code in codes.items()
    ]
    if not numbers:
        raise promql.ExpressionError(f"{metric.name}: no {label} is named")
    return functools.reduce(Expr.or_, numbers)


def age(metric: Metric, where: Selection, *by: str) -> Expr:
    """Seconds since a moment that a gauge holds."""
    return promql.timestamp_now() - gauge(metric, where, *by)
