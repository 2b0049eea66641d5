"""From answers of Prometheus to charts and tables of numbers; the query goes with each, to take away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from midwatch.app.console.page import Context
from midwatch.app.console.queries import Answer, Instant, Question, Range
from midwatch.html.charts import Band, Chart, Line, Mark, Rule
from midwatch.promql import Expr

MOST_LINES = 8
"""Lines of a chart: more can be told apart by nobody. The table beside has every version."""
LEAST_POINTS = 12
"""A chart that begins with nothing begins where there is something, but shows so many points."""
WILSON_Z2 = 1.959963984540054**2
"""Square of the 97.5% point of the normal distribution."""

Name = Callable[[Mapping[str, str]], str]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart, and why its figures are not of now."""

    chart: Chart
    why: str = ""


def over_time(context: Context, expr: Expr | str) -> Range:
    """A query over the time that the page shows."""
    return Range(expr=str(expr), span=context.span, step=context.step)


def now(expr: Expr | str) -> Instant:
    """A query of this moment."""
    return Instant(expr=str(expr))


def by_label(label: str, otherwise: str = "all") -> Name:
    """Name of a line by one of its labels."""
    return lambda labels: labels.get(label) or otherwise


def chart(
    context: Context,
    title: str,
    answer: Answer,
    *,
    unit: str = "",
    name: Name = lambda _: "value",
    kind: Callable[[Mapping[str, str]], str] = lambda _: "",
    rules: Sequence[Rule] = (),
    marks: Sequence[Mark] = (),
    note: str = "",
    from_zero: bool = True,
) -> Figure:
    """Lines of an answer over time, those with the largest newest values first."""
    x = times(context, [answer])
    lines = [
        Line(name=name(line.labels), values=column(line.points, x, context.step), kind=kind(line.labels))
        for line in answer.lines
    ]
    lines.sort(key=lambda line: (-_newest(line), line.name))
    more = len(lines) - MOST_LINES
    notes = [note, f"and {more} more with less" if more > 0 else ""]
    made = Chart(
        title=title,
        x=x,
        lines=lines[:MOST_LINES],
        rules=rules,
        marks=[mark for mark in marks if x and x[0] <= mark.at <= x[-1]],
        unit=unit,
        note="; ".join(filter(None, notes)),
        queries=[answer.question.expr],
        from_zero=from_zero,
    )
    return Figure(chart=made, why=answer.why)


def share_with_interval(
    context: Context,
    title: str,
    right: Answer,
    total: Answer,
    *,
    name: Name,
    rules: Sequence[Rule] = (),
    note: str = "",
    most_bands: int = 2,
) -> Figure:
    """A share of events over time with its 95% interval (Wilson 1927); bands for the lines with the most events."""
    x = times(context, [total])
    rights = {name(line.labels): column(line.points, x, context.step) for line in right.lines}
    totals = {name(line.labels): column(line.points, x, context.step) for line in total.lines}
    ordered = sorted(totals, key=lambda key: (-(_last(totals[key]) or 0.0), key))[:MOST_LINES]
    lines, bands = [], []
    palette = ("now", "canary", "third", "fourth", "fifth", "sixth", "before", "unsure")
    for place, key in enumerate(ordered):
        shares = [_share(one, of) for one, of in zip(rights.get(key, [0.0] * len(x)), totals[key], strict=True)]
        lines.append(Line(name=key, values=[share[1] if share else None for share in shares], kind=palette[place]))
        if place < most_bands:
            low, high = ([share[side] if share else None for share in shares] for side in (0, 2))
            bands.append(Band(name=f"{key}, 95% interval", low=low, high=high, kind=palette[place]))
    made = Chart(
        title=title,
        x=x,
        lines=lines,
        bands=bands,
        rules=rules,
        unit="ratio",
        note=note,
        queries=[f"{right.question.expr}", f"{total.question.expr}"],
        from_zero=False,
    )
    return Figure(chart=made, why=total.why or right.why)


def wilson(right: float, total: float) -> tuple[float, float, float]:
    """Lower bound, share and upper bound of a share of so many events, at 95% (Wilson 1927).

    >>> [round(one, 3) for one in wilson(3, 4)]
    [0.301, 0.75, 0.954]
    """
    share = min(1.0, max(0.0, right / total))
    middle = share + WILSON_Z2 / (2 * total)
    spread = math.sqrt(WILSON_Z2 * (share * (1 - share) + WILSON_Z2 / (4 * total)) / total)
    scale = 1 + WILSON_Z2 / total
    return ((middle - spread) / scale, share, (middle + spread) / scale)


def _share(right: float | None, total: float | None) -> tuple[float, float, float] | None:
    return wilson(right or 0.0, total) if total else None


def times(context: Context, answers: Sequence[Answer]) -> list[float]:
    """Moments of the points of a chart: the span, or what of it has values."""
    end = context.now - context.now % context.step
    count = round(context.span / context.step)
    every = [end - context.step * (count - index) for index in range(count + 1)]
    told = [line.points[0][0] for answer in answers for line in answer.lines if len(line.points)]
    first = min(told, default=every[0])
    begin = next((index for index, at in enumerate(every) if at >= first - context.step / 2), 0)
    return every[min(begin, max(0, len(every) - LEAST_POINTS)) :]


def column(points: Sequence[tuple[float, float]], x: Sequence[float], step: float) -> list[float | None]:
    """Values of a line at the moments of a chart; None where there is none."""
    at = {round(moment / step): value for moment, value in points}
    told = [at.get(round(moment / step)) for moment in x]
    return [one if one is not None and math.isfinite(one) else None for one in told]


def value(answer: Answer) -> float | None:
    """The one value of a moment; the mean of several, None without any."""
    told = [sample.value for sample in answer.samples if math.isfinite(sample.value)]
    return fmean(told) if told else None


def values(answer: Answer, *labels: str) -> dict[tuple[str, ...], float]:
    """Values of a moment by some of their labels."""
    return {
        tuple(sample.labels.get(label, "") for label in labels): sample.value
        for sample in answer.samples
        if math.isfinite(sample.value)
    }


def why(*answers: Answer) -> str:
    """The first reason why an answer is missing or old."""
    return next((answer.why for answer in answers if answer.why), "")


def questions(answers: Sequence[Answer]) -> list[Question]:
    """What was asked."""
    return [answer.question for answer in answers]


def _newest(line: Line) -> float:
    last = _last(line.values)
    return -math.inf if last is None else last


def _last(told: Sequence[float | None]) -> float | None:
    return next((one for one in reversed(told) if one is not None), None)
