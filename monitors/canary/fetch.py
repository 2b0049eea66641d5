"""Counts of both arms from Prometheus: what is asked, and what is odd about the answers.

Raw samples are asked for, not rates: a rate is extrapolated, and a count must be a count.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from midwatch import metrics, promql
from midwatch.prometheus import Line, Sample
from midwatch.spec import canary as spec
from midwatch.spec.values import format_duration
from monitors.canary import increments, native
from monitors.canary.counts import Counted, Counts, Doubt, Samples, moment
from monitors.canary.increments import Axis, Increments, Labels
from monitors.canary.question import Question
from monitors.canary.ratio import Ints

CHUNK_SECONDS = 21600.0
LONGEST_SECONDS = 31 * 86400.0
"""A longer analysis would ask Prometheus for more than anybody waits for."""
AT_ONCE = 4
"""Questions to Prometheus that are open together."""
MAX_LOOKS = 5000
"""Intervals of a long analysis are made longer until there are at most so many."""
SETTLE_SECONDS = 10.0
"""A scrape may take so long, or an interval, before its samples are there."""
KNOWN_SECONDS = 86400.0
"""How far back a series is known from."""
GONE_INTERVALS = 3
SPLIT = frozenset({"le", "outcome", "predicted", "actual"})
REPLICA_LABELS = frozenset({"job", "replica", "prometheus", "prometheus_replica", "__replica__"})
"""Labels by which the same target, scraped twice, differs."""


class Source(Protocol):
    """What is asked of a Prometheus."""

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        """Instant query."""

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        """Range query."""

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Samples as they were scraped."""


def fetch(source: Source, question: Question, settings: spec.Canary, *, interval: float) -> Counts:
    """Counts of a comparison; QueryError when Prometheus cannot answer it whole."""
    fetcher = Fetcher(source, question, settings)
    now = source.query("time()")[0].value
    newest = now - min(interval, SETTLE_SECONDS)
    end = newest if question.end is None else min(question.end, newest)
    start = question.start if question.start is not None else fetcher.first_traffic(now, interval)
    if start is None:
        return fetcher.nothing(end, interval, f"{question.canary} has not received traffic")
    if start >= now:
        return fetcher.nothing(start, interval, f"the analysis begins at {moment(start)}, which is not yet")
    if end - start > LONGEST_SECONDS:
        return fetcher.nothing(start, interval, f"more than {format_duration(LONGEST_SECONDS)} are not analysed")
    step = interval * max(1, math.ceil((end - start) / interval / MAX_LOOKS))
    axis = Axis(start=start, step=step, size=max(0, math.floor((end - start) / step + 1e-9)))
    return fetcher.counts(axis) if axis.size else fetcher.nothing(start, interval, "the first interval is not over")


@dataclass
class _Asked:
    """Lines of one selector for both arms."""

    baseline: list[Line]
    canary: list[Line]
    known: dict[Labels, float] = field(default_factory=dict)

    def sides(self) -> tuple[list[Line], list[Line]]:
        return self.baseline, self.canary


class Fetcher:
    """One comparison: asks each selector once."""

    def __init__(self, source: Source, question: Question, settings: spec.Canary) -> None:
        self._source, self._question, self._settings = source, question, settings
        self._asked: dict[str, _Asked] = {}
        self._times: list[float] = []
        self._queries: list[str] = []
        self._doubts: list[Doubt] = []
        self._notes: list[str] = []
        self._axis = Axis(start=0.0, step=1.0, size=0)

    # What is asked ---------------------------------------------------------------------------------------------------

    def _matcher(self, arm: str) -> str:
        names = {"baseline": self._question.baseline, "canary": self._question.canary}
        if self._settings.selectors is None:
            return promql.matcher(self._settings.label, names[arm])
        text: str = getattr(self._settings.selectors, arm)
        for name, value in names.items():
            quoted = promql.matcher("x", value).removeprefix('x="').removesuffix('"')
            text = text.replace("{" + name + "}", quoted)
        return text

    def _own(self, metric: metrics.Metric, suffix: str = "") -> str:
        return str(promql.select(metric, suffix, model=self._question.model))

    def _ask(self, selectors: Sequence[str]) -> None:
        """Ask all that was not asked yet, some at once: Prometheus computes while we read."""
        new = [selector for selector in dict.fromkeys(selectors) if selector not in self._asked]
        narrowed = [promql.narrowed(one, self._matcher(arm)) for one in new for arm in ("baseline", "canary")]
        for asked in narrowed:
            self._queries += [f"{asked}{_range(begin, until)} @ {until:.3f}" for begin, until in self._chunks()]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = iter(list(pool.map(self._samples, narrowed)))
        for selector in new:
            self._asked[selector] = _Asked(baseline=next(answers), canary=next(answers))
            self._check_arms(selector, self._asked[selector])

    def _chunks(self) -> list[tuple[float, float]]:
        """Stretches of time that are asked for one by one, beginning a little before the start."""
        begin, found = self._axis.start - 3 * self._axis.step, []
        while begin < self._axis.end:
            found.append((begin, min(self._axis.end, begin + CHUNK_SECONDS)))
            begin = found[-1][1]
        return found

    def _samples(self, selector: object) -> list[Line]:
        pieces: dict[Labels, list[Line]] = {}
        for begin, until in self._chunks():
            for line in self._source.samples(selector, start=begin, end=until):
                pieces.setdefault(increments.labels_of(line), []).append(line)
        return [_joined(lines) for lines in pieces.values()]

    def _known(self, asked: _Asked) -> None:
        """Values at the start of series without a sample shortly before it."""
        for arm, lines in zip(("baseline", "canary"), asked.sides(), strict=True):
            late = [line for line in lines if line.points and line.points[0][0] > self._axis.start]
            if late:
                name = late[0].labels["__name__"]
                selector = promql.narrowed(name, *self._fixed(late), self._matcher(arm))
                expr = f"last_over_time({selector}[{format_duration(KNOWN_SECONDS)}])"
                for sample in self._source.query(expr, at=self._axis.start):
                    labels = {**sample.labels, "__name__": name}
                    asked.known[tuple(sorted(labels.items()))] = sample.value

    def _fixed(self, lines: Sequence[Line]) -> list[str]:
        models = {line.labels.get("model") for line in lines}
        return [promql.matcher("model", self._question.model)] if models == {self._question.model} else []

    # Since when ------------------------------------------------------------------------------------------------------

    def first_traffic(self, now: float, interval: float) -> float | None:
        """Start of the canary's traffic that goes on still, or went on last; None without any."""
        step = max(interval, math.ceil(self._settings.lookback / 10_000))
        last = math.floor(now / step) * step
        selector = promql.sum_by(promql.narrowed(self.traffic_selector(), self._matcher("canary")))
        begin = last - math.floor(self._settings.lookback / step) * step
        self._queries.append(f"{selector} every {step:g} s since {moment(begin)}")
        lines = self._source.query_range(selector, start=begin, end=last, step=step)
        points = lines[0].points if lines else ()
        busy = [
            at
            for index, (at, value) in enumerate(points)
            if (index and value > points[index - 1][1]) or (not index and value > 0 and at > begin)
        ]
        first: float | None = None
        for at, previous in zip(busy, [-math.inf, *busy], strict=False):
            if at - previous > self._settings.idle:
                first = at
        return None if first is None else first - step

    def traffic_selector(self) -> str:
        """Counter of the arms' requests: Midwatch's own, unless every criterion has counters of its own."""
        first = self._settings.criteria[0]
        if all(isinstance(one, spec.Counters) for one in self._settings.criteria) and isinstance(first, spec.Counters):
            return first.total
        return self._own(self._requests_metric)

    @property
    def _requests_metric(self) -> metrics.Metric:
        return metrics.SERVER_REQUESTS if self._settings.source == "servers" else metrics.REQUESTS

    @property
    def _duration_metric(self) -> metrics.Metric:
        return metrics.SERVER_REQUEST_DURATION if self._settings.source == "servers" else metrics.REQUEST_DURATION

    # What comes of it ------------------------------------------------------------------------------------------------

    def nothing(self, start: float, interval: float, why: str) -> Counts:
        """Counts without an interval."""
        empty: Ints = np.zeros(0, dtype=np.int64)
        return Counts(
            model=self._question.model,
            baseline=self._question.baseline,
            canary=self._question.canary,
            start=start,
            interval=interval,
            baseline_requests=empty,
            canary_requests=empty,
            doubts=(Doubt(text=why, fatal=True),),
            queries=tuple(self._queries),
        )

    def counts(self, axis: Axis) -> Counts:
        """Counts along the axis."""
        self._axis = axis
        selectors = [self.traffic_selector()]
        for criterion in self._settings.criteria:
            if not isinstance(criterion, spec.Gauge):
                selectors += self._selectors(criterion)
        self._ask(selectors)
        self._times = sorted({at for one in self._asked.values() for side in one.sides() for at in _times(side)})
        for one in self._asked.values():
            self._known(one)
        traffic = self._counted(selectors[0])
        self._check_presence(traffic)
        counted = {
            spec.name_of(criterion): self._criterion(criterion)
            for criterion in self._settings.criteria
            if not isinstance(criterion, spec.Gauge)
        }
        gauges = {one.name: self._gauge(one) for one in self._settings.criteria if isinstance(one, spec.Gauge)}
        return Counts(
            model=self._question.model,
            baseline=self._question.baseline,
            canary=self._question.canary,
            start=axis.start,
            interval=axis.step,
            baseline_requests=traffic[0].total(),
            canary_requests=traffic[1].total(),
            counted={name: one for name, one in counted.items() if one is not None},
            gauges=gauges,
            doubts=tuple(dict.fromkeys(self._doubts)),
            notes=tuple(dict.fromkeys(self._notes)),
            queries=tuple(self._queries),
        )

    def _selectors(self, criterion: spec.Counted) -> list[str]:
        if isinstance(criterion, spec.Errors):
            return [self._own(self._requests_metric)]
        if isinstance(criterion, spec.Latency):
            if criterion.histogram is None:
                return [self._own(self._duration_metric, "_bucket")]
            name, brace, rest = criterion.histogram.partition("{")
            return [f"{name}_bucket{brace}{rest}"]
        if isinstance(criterion, spec.Predictions):
            return [self._own(metrics.PREDICTIONS)]
        if isinstance(criterion, spec.Counters):
            return [criterion.total, criterion.events or criterion.good or ""]
        return [self._own(metrics.OUTCOMES)]

    def _counted(self, selector: str) -> tuple[Increments, Increments]:
        self._ask([selector])
        asked = self._asked[selector]
        if any(line.histograms for side in asked.sides() for line in side):
            asked.baseline, asked.canary = native.to_classic(asked.baseline), native.to_classic(asked.canary)
        sides = [
            increments.count(lines, asked.known, self._axis, split=SPLIT, was_scraping=self._was_scraping)
            for lines in asked.sides()
        ]
        for side in sides:
            self._doubts += [Doubt(text=text) for text in side.broken[:1]]
        self._check_resets(*sides)
        return sides[0], sides[1]

    def _was_scraping(self, at: float) -> bool:
        """Whether there are samples more than one interval, and less than three, before a time."""
        index = bisect_left(self._times, at - 3 * self._axis.step)
        return index < len(self._times) and self._times[index] <= at - self._axis.step

    def _criterion(self, criterion: spec.Counted) -> Counted | None:
        selectors = self._selectors(criterion)
        sides = self._counted(selectors[0])
        if isinstance(criterion, spec.Latency):
            return self._latency(criterion, selectors[0], sides)
        if not any(side.by_series for side in sides):
            self._doubts.append(Doubt(text=f"{spec.name_of(criterion)}: no series match {selectors[0]}"))
            return None
        if isinstance(criterion, spec.Counters):
            return self._counters(criterion, selectors[1], sides)
        if isinstance(criterion, spec.Predictions):
            return _predictions(sides)
        return _counted(spec.name_of(criterion), sides, _is_event(criterion), _is_request(criterion))

    def _latency(self, criterion: spec.Latency, selector: str, sides: tuple[Increments, Increments]) -> Counted | None:
        if not any(side.by_series for side in sides):
            whole = selector.replace("_bucket", "", 1)
            sides = self._counted(whole)
        if not any(side.by_series for side in sides):
            self._doubts.append(Doubt(text=f"{spec.name_of(criterion)}: no series match {selector}"))
            return None
        bounds = [_bounds(side) for side in sides]
        if not all(bounds):
            self._doubts.append(Doubt(text=f"{spec.name_of(criterion)}: {selector} has series of one arm only"))
            return None
        common = sorted(set.intersection(*(set.intersection(*one) for one in bounds)) - {math.inf})
        union = [sorted(set.union(*one) - {math.inf}) for one in bounds]
        lists = f"baseline {_listed(union[0])}; canary {_listed(union[1])}"
        if not common:
            text = f"{spec.name_of(criterion)}: the histograms have no boundary in common: {lists}"
            self._doubts.append(Doubt(text=text, fatal=True))
            return None
        if [common, common] != union:
            self._notes.append(f"{spec.name_of(criterion)}: compared at the common boundaries of {lists}")
        requests = [side.total(lambda labels: float(labels["le"]) == math.inf) for side in sides]
        events = [
            np.array([all_ - _up_to(side, bound) for bound in common])
            for side, all_ in zip(sides, requests, strict=True)
        ]
        return Counted(
            channels=tuple(f"> {bound:g} s" for bound in common),
            baseline_events=events[0],
            canary_events=events[1],
            baseline_requests=requests[0],
            canary_requests=requests[1],
        )

    def _counters(self, criterion: spec.Counters, selector: str, sides: tuple[Increments, Increments]) -> Counted:
        totals = [side.total() for side in sides]
        told = [side.total() for side in self._counted(selector)]
        events = told if criterion.good is None else [all_ - good for all_, good in zip(totals, told, strict=True)]
        doubts: tuple[Doubt, ...] = ()
        if any((one < 0).any() or one.sum() > all_.sum() for one, all_ in zip(events, totals, strict=True)):
            doubts = (Doubt(text=f"{selector} counts more than {criterion.total}", fatal=True),)
            events = [np.clip(one, 0, all_) for one, all_ in zip(events, totals, strict=True)]
        return Counted(
            channels=(criterion.name,),
            baseline_events=events[0][None],
            canary_events=events[1][None],
            baseline_requests=totals[0],
            canary_requests=totals[1],
            doubts=doubts,
        )

    def _gauge(self, criterion: spec.Gauge) -> Samples:
        """Mean over an arm's series at each interval's end, from the start for the length of the window."""
        step = self._axis.step
        size = max(1, round(criterion.window / step))
        end = self._axis.start + size * step
        if end > self._axis.end + 1e-9:
            return Samples(baseline=(), canary=(), complete=False)
        sides = []
        for arm in ("baseline", "canary"):
            expr = f"avg({promql.narrowed(criterion.series, self._matcher(arm))})"
            self._queries.append(f"{expr} every {step:g} s until {moment(end)}")
            lines = self._source.query_range(expr, start=self._axis.start + step, end=end, step=step)
            points = dict(lines[0].points) if lines else {}
            moments = [self._axis.start + step * (index + 1) for index in range(size)]
            by_step = {round((at - self._axis.start) / step): value for at, value in points.items()}
            sides.append(tuple(by_step.get(index + 1, math.nan) for index in range(len(moments))))
        return Samples(baseline=sides[0], canary=sides[1])

    # What is odd -----------------------------------------------------------------------------------------------------

    def _check_arms(self, selector: str, asked: _Asked) -> None:
        baseline, canary = ({increments.labels_of(line) for line in side} for side in asked.sides())
        if both := baseline & canary:
            shown = dict(sorted(both)[0])
            self._doubts.append(
                Doubt(text=f"a series belongs to both arms: {shown}; tell the arms apart by other labels", fatal=True)
            )
        for arm, side in zip(("baseline", "canary"), asked.sides(), strict=True):
            if twice := _duplicates(side):
                text = f"{selector}: the {arm}'s {twice} is scraped twice, so its requests would count twice"
                self._doubts.append(Doubt(text=text, fatal=True))

    def _check_presence(self, traffic: tuple[Increments, Increments]) -> None:
        names = (self._question.baseline, self._question.canary)
        for name, side in zip(names, traffic, strict=True):
            if not side.by_series:
                self._doubts.append(Doubt(text=f"no series match {name}: {self.traffic_selector()}", fatal=True))
                continue
            seen = np.flatnonzero(side.seen)
            since = self._axis.end - side.last
            if since > GONE_INTERVALS * self._axis.step:
                self._doubts.append(Doubt(text=f"{name} has vanished: its last sample is of {moment(side.last)}"))
            elif seen.size and seen.size < 0.5 * (self._axis.size - seen[0]):
                text = f"{name} has samples in only {seen.size} of {self._axis.size - seen[0]} intervals"
                self._doubts.append(Doubt(text=text))

    def _check_resets(self, baseline: Increments, canary: Increments) -> None:
        if canary.resets:
            when = moment(canary.resets[0])
            text = f"the canary was restarted at {when}, and what it did just before is not known; begin a new analysis"
            self._doubts.append(Doubt(text=text))
        if baseline.resets:
            self._notes.append(f"{len(baseline.resets)} counter resets on the baseline, each counted on from 0")


# Helpers of the arms' series ----------------------------------------------------------------------------------------


def _range(begin: float, until: float) -> str:
    return f"[{format_duration(until - begin)}]"


def _joined(lines: Sequence[Line]) -> Line:
    """One series from the answers of several stretches of time."""
    if len(lines) == 1:
        return lines[0]
    points = {at: value for line in lines for at, value in line.points}
    histograms = {at: value for line in lines for at, value in line.histograms}
    return Line(
        labels=lines[0].labels, points=tuple(sorted(points.items())), histograms=tuple(sorted(histograms.items()))
    )


def _times(lines: Sequence[Line]) -> set[float]:
    return {at for line in lines for at, _ in (*line.points, *line.histograms)}


def _duplicates(lines: Sequence[Line]) -> str:
    seen: dict[Labels, Line] = {}
    for line in lines:
        key = tuple(sorted((name, value) for name, value in line.labels.items() if name not in REPLICA_LABELS))
        other = seen.setdefault(key, line)
        if other is not line and "instance" in line.labels:
            return f"instance {line.labels['instance']}"
    return ""


def _is_event(criterion: spec.Counted) -> Callable[[Mapping[str, str]], bool]:
    if isinstance(criterion, spec.Errors):
        return lambda labels: labels.get("outcome") == "error"
    if isinstance(criterion, spec.Outcomes):
        return lambda labels: (labels["predicted"], labels["actual"]) == (criterion.predicted, criterion.actual)
    return lambda labels: labels["predicted"] != labels["actual"]


def _is_request(criterion: spec.Counted) -> Callable[[Mapping[str, str]], bool]:
    if isinstance(criterion, spec.Outcomes) and criterion.of != "all":
        wanted = getattr(criterion, criterion.of)
        return lambda labels: labels[criterion.of] == wanted
    return lambda _: True


def _counted(
    name: str,
    sides: tuple[Increments, Increments],
    is_event: Callable[[Mapping[str, str]], bool],
    is_request: Callable[[Mapping[str, str]], bool],
) -> Counted:
    return Counted(
        channels=(name,),
        baseline_events=sides[0].total(is_event)[None],
        canary_events=sides[1].total(is_event)[None],
        baseline_requests=sides[0].total(is_request),
        canary_requests=sides[1].total(is_request),
    )


def _predicts(name: str, labels: Mapping[str, str]) -> bool:
    return labels["predicted"] == name


def _predictions(sides: tuple[Increments, Increments]) -> Counted:
    classes = sorted({dict(labels)["predicted"] for side in sides for labels in side.by_series})
    events = [np.array([side.total(partial(_predicts, name)) for name in classes]) for side in sides]
    return Counted(
        channels=tuple(classes),
        baseline_events=events[0],
        canary_events=events[1],
        baseline_requests=sides[0].total(),
        canary_requests=sides[1].total(),
    )


def _bounds(side: Increments) -> list[set[float]]:
    """Boundaries of each of an arm's histograms."""
    found: dict[Labels, set[float]] = {}
    for labels in side.by_series:
        own = tuple(pair for pair in labels if pair[0] != "le")
        found.setdefault(own, set()).add(float(dict(labels)["le"]))
    return list(found.values())


def _up_to(side: Increments, bound: float) -> Ints:
    return side.total(lambda labels: float(labels["le"]) == bound)


def _listed(bounds: Sequence[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds) or "none"
