"""Predictions of equal age: what a version's labels say once its predictions are as old as their labels need.

The exporter settles a prediction when it is as old as the model's `label_maturity`, as right, wrong or unlabelled, so
counts of an interval speak of the predictions one maturity before it, on both arms. What is settled before the
analysis is that old speaks of predictions from before its start, and is not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from midwatch import metrics, promql
from midwatch.spec.values import describe_duration
from monitors.canary.counts import Counted
from monitors.canary.expressions import Expressions
from monitors.canary.increments import Axis
from monitors.canary.series import Querier
from monitors.canary.times import moment


@dataclass(frozen=True, kw_only=True)
class Ages:
    """At which age, in seconds, a model's predictions are settled (None: not known yet), and how many of the canary's
    wait for it."""

    maturity: float | None
    waiting: int


def ask(querier: Querier, expressions: Expressions, at: float, queries: list[str]) -> Ages | None:
    """The ages at a time; None where nobody settles the model's predictions."""
    waiting = expressions.own(metrics.UNSETTLED)
    maturity = expressions.own(metrics.LABEL_MATURITY)
    asked = [
        promql.count(promql.Expr(waiting)),
        promql.sum_by(promql.narrowed(waiting, expressions.matchers()[1])),
        promql.max_by(promql.Expr(maturity)),
    ]
    queries += [f"{expr} @ {at:.3f}" for expr in asked]
    known, young, seconds = (querier.query(expr, at=at) for expr in asked)
    if not known:
        return None
    return Ages(maturity=seconds[0].value if seconds else None, waiting=round(young[0].value) if young else 0)


def counted(counts: Counted, ages: Ages, axis: Axis, canary: str) -> Counted:
    """Counts of settled predictions without those from before the axis' start, and what is said of those that wait."""
    lag = axis.size if ages.maturity is None else min(axis.size, math.ceil(ages.maturity / axis.step))
    said = f"{ages.waiting:,} predictions of {canary} wait"
    if ages.maturity is None:
        said += " for their age: when labels have come is not measured yet, and no label_maturity is written"
    else:
        first, last = (moment(edge + ages.maturity) for edge in (axis.start, axis.end))
        said += f" until they are {describe_duration(ages.maturity)} old: the first are from {first} on, all by {last}"
    return replace(counts, lag=lag, waiting=said if ages.waiting else "").since(0)
