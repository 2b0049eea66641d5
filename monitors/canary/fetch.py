"""Counts of both arms from Prometheus, for one question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from midwatch import metrics, promql
from midwatch.prometheus import Line
from midwatch.serving import Profile
from midwatch.spec import canary as spec
from midwatch.spec.values import format_duration
from monitors.canary import increments, native, settled, strata
from monitors.canary.arms import Ints
from monitors.canary.counts import Counted, Counts, Doubt, Samples
from monitors.canary.expressions import Expressions
from monitors.canary.increments import Axis, Increments, Lives
from monitors.canary.oddities import Oddities
from monitors.canary.question import Question
from monitors.canary.series import Querier, Series
from monitors.canary.tally import SETTLED, TALLIES, Sides, Tally, counts_labels, of_known_classes
from monitors.canary.times import moment

LONGEST_SECONDS = 31 * 86400.0
"""A longer analysis would ask Prometheus for more than anybody waits for."""
MAX_LOOKS = 5000
"""Intervals of a long analysis are made longer until there are at most so many."""
SETTLE_SECONDS = 10.0
"""A scrape may take so long, or an interval, before its samples are there."""
TWICE = 2
"""Intervals between scrapes that are made one; a target that is seen less often has gaps, which are a doubt."""
MANY_SCRAPES = 8
"""Samples of a series from which they tell how often it is scraped."""
BEHIND_SECONDS = 60.0
"""A Prometheus whose clock is so far behind answers with what is old: a cache, or a copy that has stopped."""
SPLIT = frozenset({"le", "outcome", "predicted", "actual", "result", "attribute", "group"})
"""Labels that tell apart the counters of one target."""


def fetch(
    querier: Querier, question: Question, settings: spec.Canary, *, interval: float, clock: float | None = None
) -> Counts:
    """Counts of a comparison; QueryError when Prometheus cannot answer it whole.

    `clock` is our own time (seconds since the epoch), which Prometheus's is compared with when it is given.
    """
    expressions = Expressions(question, settings)
    now = querier.query("time()")[0].value
    newest = now - min(interval, SETTLE_SECONDS)
    end = newest if question.end is None else min(question.end, newest)
    queries: list[str] = []
    why = _is_old(now, clock)
    start, why = (end, why) if why else _beginning(querier, expressions, now, end, interval, queries)
    if why:
        return _nothing(question, start, interval, why, queries)
    step = interval * max(1, math.ceil((end - start) / interval / MAX_LOOKS))
    axis = Axis(start=start, step=step, size=max(0, math.floor((end - start) / step + 1e-9)))
    if not axis.size:
        return _nothing(question, start, interval, "the first interval is not over", queries)
    return _Analysis(querier, expressions, axis, queries).counts()


def _is_old(now: float, clock: float | None) -> str:
    """Why what Prometheus answers now says nothing; empty if it may."""
    if clock is None or clock - now <= BEHIND_SECONDS:
        return ""
    return f"Prometheus tells {moment(now)} as the time, {clock - now:,.0f} s behind ours: its answers are old"


def _beginning(
    querier: Querier, expressions: Expressions, now: float, end: float, interval: float, queries: list[str]
) -> tuple[float, str]:
    """Where an analysis begins, and why it cannot; empty if it can."""
    question, idle = expressions.question, expressions.settings.idle
    start = question.start
    if start is None:
        traffic = _latest_traffic(querier, expressions, now, interval, queries)
        if traffic is None:
            return end, f"{question.canary} has not received traffic"
        start, last = traffic
        if question.end is None and now - last > idle:
            return end, (
                f"{question.canary} has received no traffic since {moment(last)}, for longer than idle "
                f"({format_duration(idle)}): that was an earlier try; to judge it, say its start"
            )
    if start >= now:
        return start, f"the analysis begins at {moment(start)}, which is not yet"
    if end - start > LONGEST_SECONDS:
        return start, f"more than {format_duration(LONGEST_SECONDS)} are not analysed"
    return start, ""


def _latest_traffic(
    querier: Querier, expressions: Expressions, now: float, interval: float, queries: list[str]
) -> tuple[float, float] | None:
    """Start and end of the canary's traffic that goes on still, or went on last; None without any."""
    settings = expressions.settings
    step = max(interval, math.ceil(settings.lookback / 10_000))
    last = math.floor(now / step) * step
    begin = last - math.floor(settings.lookback / step) * step
    busy: set[float] = set()
    for counter in expressions.traffic():
        selector = promql.sum_by(promql.narrowed(counter, expressions.matchers()[1]))
        queries.append(f"{selector} every {step:g} s since {moment(begin)}")
        lines = querier.query_range(selector, start=begin, end=last, step=step)
        busy |= _growth(lines[0].points if lines else (), begin)
    moments = sorted(busy)
    if not moments:
        return None
    pairs = zip(moments, [-math.inf, *moments], strict=False)
    return max(at for at, previous in pairs if at - previous > settings.idle) - step, moments[-1]


def _growth(points: Sequence[tuple[float, float]], begin: float) -> set[float]:
    """When a counter was found to have grown."""
    return {
        at
        for index, (at, value) in enumerate(points)
        if (index and value > points[index - 1][1]) or (not index and value > 0 and at > begin)
    }


def _nothing(question: Question, start: float, interval: float, why: str, queries: Sequence[str]) -> Counts:
    """Counts without an interval."""
    empty: Ints = np.zeros(0, dtype=np.int64)
    return Counts(
        model=question.model,
        baseline=question.baseline,
        canary=question.canary,
        start=start,
        interval=interval,
        baseline_requests=empty,
        canary_requests=empty,
        doubts=(Doubt(text=why, fatal=True),),
        queries=tuple(queries),
    )


class _Analysis:
    """One comparison along its axis."""

    def __init__(self, querier: Querier, expressions: Expressions, axis: Axis, queries: Sequence[str]) -> None:
        self._querier, self._expressions, self._axis = querier, expressions, axis
        self._series = Series(querier, expressions, axis)
        self._series.queries += queries
        self._oddities = Oddities()
        self._lives: list[Lives] = []
        of_labels = any(map(counts_labels, expressions.settings.criteria))
        self._ages = settled.ask(querier, expressions, axis.end, self._series.queries) if of_labels else None

    def counts(self) -> Counts:
        """Counts along the axis."""
        question, expressions = self._expressions.question, self._expressions
        counted = [one for one in expressions.settings.criteria if not isinstance(one, spec.Gauge)]
        of_traffic = expressions.traffic()
        build_info = expressions.own(metrics.BUILD_INFO)
        self._ask([*of_traffic, *(one for each in counted for one in self._selectors(each))])
        self._series.ask_start()
        pods = increments.lives(self._series.ask([build_info])[build_info].canary)
        self._axis = _as_scraped(self._axis, [side for one in of_traffic for side in self._series[one].sides()])
        sides = [self._sides(one) for one in of_traffic]
        traffic = Sides(
            " and ".join(of_traffic),
            increments.together([one.baseline for one in sides]),
            increments.together([one.canary for one in sides]),
        )
        for name, side in zip((question.baseline, question.canary), traffic, strict=True):
            self._oddities.check_presence(name, side, self._axis, traffic.selector)
        by_criterion = {spec.name_of(criterion): self._counted(criterion) for criterion in counted}
        self._oddities.check_pods([pods, *self._lives], self._axis, _per_pod(traffic.canary))
        gauges = {one.name: self._gauge(one) for one in expressions.settings.criteria if isinstance(one, spec.Gauge)}
        return Counts(
            model=question.model,
            baseline=question.baseline,
            canary=question.canary,
            start=self._axis.start,
            interval=self._axis.step,
            baseline_requests=traffic.baseline.total(),
            canary_requests=traffic.canary.total(),
            counted={name: data for name, data in by_criterion.items() if data is not None},
            gauges=gauges,
            doubts=tuple(dict.fromkeys(self._oddities.doubts)),
            notes=tuple(dict.fromkeys(self._oddities.notes)),
            queries=tuple(self._series.queries),
        )

    def _selectors(self, criterion: spec.FromCounts) -> list[str]:
        return self._tally(criterion).selectors(criterion, self._expressions)

    def _tally(self, criterion: spec.FromCounts) -> Tally:
        return (SETTLED if self._is_settled(criterion) else TALLIES)[type(criterion)]

    def _is_settled(self, criterion: spec.FromCounts) -> bool:
        """Whether a criterion counts labels of predictions that the exporter settles."""
        return self._ages is not None and counts_labels(criterion)

    def _ask(self, selectors: Sequence[str]) -> None:
        for selector, lines in self._series.ask(selectors).items():
            self._oddities.check_lines(selector, lines.baseline, lines.canary)

    def _sides(self, selector: str) -> Sides:
        """Increments of both arms; native histograms are counted like classic ones."""
        self._ask([selector])
        lines = self._series[selector]
        if any(line.histograms for side in lines.sides() for line in side):
            lines.baseline, lines.canary = native.to_classic(lines.baseline), native.to_classic(lines.canary)
        baseline, canary = (
            increments.count(side, lines.known, self._axis, split=SPLIT, was_scraping=self._series.was_scraping)
            for side in lines.sides()
        )
        self._oddities.check_counters(baseline, canary)
        self._lives.append(canary.lives)
        return Sides(selector, baseline, canary)

    def _counted(self, criterion: spec.FromCounts) -> Counted | None:
        served = self._expressions.question.served
        if served is not None and (missing := _not_published(served, criterion)):
            self._oddities.doubt(f"{spec.name_of(criterion)}: the model's server {missing}", fatal=True)
            return None
        tally, selectors = self._tally(criterion), self._selectors(criterion)
        first = self._sides(selectors[0])
        instead = tally.instead(criterion, self._expressions)
        if first.is_empty and instead is not None:
            first = replace(self._sides(instead), selector=selectors[0])
        if first.is_empty and not self._is_settled(criterion):
            self._oddities.doubt(f"{spec.name_of(criterion)}: no series match {selectors[0]}")
            return None
        sides, settings = [first, *map(self._sides, selectors[1:])], self._expressions.settings
        counted = tally.counted(criterion, sides, self._oddities)
        if counted is not None and metrics.OTHER in counted.groups:
            counted = replace(counted, doubts=(*counted.doubts, *self._folded()))
        if counted is not None:
            counted = of_known_classes(criterion, sides, counted)
            counted = strata.compared(counted, sides, partial(tally.counted, criterion), settings, self._oddities.notes)
        if counted is not None and self._ages is not None and counts_labels(criterion):
            return settled.counted(counted, self._ages, self._axis, self._expressions.question.canary)
        if counted is None or served is None or not isinstance(criterion, spec.Latency) or criterion.histogram:
            return counted
        return replace(counted, channels=tuple(_in_seconds(channel, served.unit) for channel in counted.channels))

    def _folded(self) -> list[Doubt]:
        """A doubt if exporters count groups together as `other`; a group may be called so by itself."""
        folded = promql.select(metrics.EXPORTER_FOLDED, label="group")
        self._series.queries.append(f"{folded} @ {self._axis.end:.3f}")
        if not any(sample.value > 0 for sample in self._querier.query(folded, at=self._axis.end)):
            return []
        text = "groups beyond the exporter's cap are counted as one, `other`: raise exporter.caps.groups"
        return [Doubt(text=text)]

    def _gauge(self, criterion: spec.Gauge) -> Samples:
        """Mean over an arm's series at each interval's end, from the start for the length of the window."""
        start, step = self._axis.start, self._axis.step
        size = max(1, round(criterion.window / step))
        end = start + size * step
        if end > self._axis.end + 1e-9:
            return Samples(baseline=(), canary=(), complete=False)
        sides = []
        for matchers in self._expressions.matchers():
            expr = f"avg({promql.narrowed(criterion.series, matchers)})"
            self._series.queries.append(f"{expr} every {step:g} s until {moment(end)}")
            lines = self._querier.query_range(expr, start=start + step, end=end, step=step)
            by_step = {round((at - start) / step): value for at, value in (lines[0].points if lines else ())}
            sides.append(tuple(by_step.get(index + 1, math.nan) for index in range(size)))
        return Samples(baseline=sides[0], canary=sides[1])


def _not_published(served: Profile, criterion: spec.FromCounts) -> str:
    """What a criterion needs and a model's server does not publish; empty if nothing."""
    if isinstance(criterion, spec.Errors) and not served.failures:
        return "does not count failures"
    if isinstance(criterion, spec.Latency) and criterion.histogram is None and served.duration is None:
        return "publishes no histogram of its latency"
    return ""


def _per_pod(arm: Increments) -> float:
    """Requests that a pod of an arm answers in an interval."""
    lived = sum(max(1.0, (last - first) / arm.axis.step) for first, last in arm.lives.values())
    return float(arm.total().sum()) / lived if lived else 0.0


def _as_scraped(axis: Axis, sides: Sequence[Sequence[Line]]) -> Axis:
    """The axis with intervals as long as those between the scrapes of the target that is scraped least often."""
    between = [
        float(np.median(np.diff(np.array(line.points, dtype=float)[:, 0])))
        for side in sides
        for line in side
        if len(line.points) > MANY_SCRAPES
    ]
    times = round(max(between, default=axis.step) / axis.step)
    return axis if times != TWICE else Axis(start=axis.start, step=axis.step * times, size=axis.size // times)


def _in_seconds(channel: str, unit: float) -> str:
    """Boundary of a server's histogram, whose unit is its own."""
    bound = float(channel.removeprefix("> ").removesuffix(" s"))
    return f"> {bound * unit:g} s"
