"""From a counter's samples to what was counted in each interval: resets, births and gaps, each request once.

A counter that falls was reset, and what it shows then was counted since. Counters of one target are reset together, so
one that falls tells it of those that do not. A series that appears while Prometheus was scraping already began at 0;
one that appears together with Prometheus' first samples has an unknown past, and is counted from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midwatch.prometheus import Line
from monitors.canary.arms import Floats, Ints

Labels = tuple[tuple[str, str], ...]
Lives = dict[Labels, tuple[float, float]]
"""When the pod with these labels was seen first and last, in seconds since the epoch."""
POD = ("job", "instance", "pod", "pod_name")
"""Labels that tell which process a series is of, whatever it counts."""
PODS = frozenset({"pod", "pod_name"})
"""Labels with the name of a pod, which it keeps at another address."""
ADDRESS = frozenset({"instance"})
"""The label with the address that a target was scraped at."""
WHOLE = 1e-6
"""How far from a whole number a count may be."""


MANY_FALLS = 3
FALLING = 0.04
"""Share of scrapes at which a counter falls from which it is not restarted, but answered for by several processes."""
SOON = 6
"""Scrapes within which such a counter is back where it fell from."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Intervals (start + i step, start + (i + 1) step], i below `size`; seconds since the epoch."""

    start: float
    step: float
    size: int

    @property
    def end(self) -> float:
        """End of the last interval."""
        return self.start + self.step * self.size

    def index(self, times: Floats) -> Ints:
        """Interval of each time."""
        intervals: Ints = (np.ceil((times - self.start) / self.step - 1e-9) - 1).astype(np.int64)
        return intervals


@dataclass(kw_only=True)
class Increments:
    """Counts by series and interval of one arm, and what was odd on the way.

    `by_series` has rows of shape (intervals); `seen` says in which intervals there was a sample at all, `last` when the
    newest was. `bouncing` are targets whose counters fall and are back at once; `lives` says when each pod was seen.
    """

    axis: Axis
    by_series: dict[Labels, Any] = field(default_factory=dict)
    seen: NDArray[np.bool_] = field(init=False)
    last: float = -math.inf
    resets: list[float] = field(default_factory=list)
    bouncing: list[str] = field(default_factory=list)
    lives: Lives = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = np.zeros(self.axis.size, dtype=np.bool_)

    def total(self, keep: Callable[[Mapping[str, str]], bool] = lambda _: True) -> Ints:
        """Sum of the series whose labels are kept."""
        rows = [row for labels, row in self.by_series.items() if keep(dict(labels))]
        total: Ints = np.sum(rows, axis=0, dtype=np.int64) if rows else np.zeros(self.axis.size, dtype=np.int64)
        return total


def count(
    lines: Sequence[Line],
    before: Mapping[Labels, float],
    axis: Axis,
    *,
    split: frozenset[str],
    was_scraping: Callable[[float], bool],
    whole: bool = True,
) -> Increments:
    """Count an arm's series by interval; sums of amounts, which are not `whole` numbers, as they are.

    `before` has values at the axis' start of series known then, `split` the labels that tell apart the counters of one
    target. `was_scraping` says whether Prometheus had samples well before a time.
    """
    arm = Increments(axis=axis)
    targets: dict[Labels, list[Line]] = {}
    lines = joined(lines)
    for line in lines:
        own = _labels(line.labels, without=split)
        targets.setdefault(own, []).append(line)
    for _, members in sorted(targets.items()):
        _count_target(arm, members, before, was_scraping, whole=whole)
    arm.lives = lives(lines)
    return arm


def joined(lines: Sequence[Line]) -> Sequence[Line]:
    """Series of one pod that was scraped at one address after another as one, by the labels that it had first.

    A pod of a StatefulSet that is moved has another address and goes on counting from where it stood: at its new
    address it was not born. Those that were scraped at the same times are several.
    """
    by_pod: dict[Labels, list[Line]] = {}
    for line in lines:
        has_name = not PODS.isdisjoint(line.labels)
        by_pod.setdefault(_labels(line.labels, without=ADDRESS if has_name else ()), []).append(line)
    return [line for own in by_pod.values() for line in (own if len(own) == 1 else _one_after_another(own))]


def _one_after_another(lines: Sequence[Line]) -> list[Line]:
    """Series as one where none begins before another has ended."""
    seen = sorted((line for line in lines if len(line.points)), key=lambda line: float(line.points[0][0]))
    at_once = any(one.points[-1][0] >= other.points[0][0] for one, other in pairwise(seen))
    if len(seen) < len(lines) or at_once:  # native histograms have no points
        return list(lines)
    points: Any = np.concatenate([np.array(line.points, dtype=float).reshape(-1, 2) for line in seen])
    return [Line(labels=seen[0].labels, points=points)]


def lives(lines: Iterable[Line]) -> Lives:
    """When each pod was seen first and last."""
    seen: Lives = {}
    for line in lines:
        pod = _labels({name: line.labels[name] for name in POD if name in line.labels} or line.labels)
        times = [*_edges(line.points), *_edges(line.histograms), *seen.get(pod, ())]
        if times:
            seen[pod] = (min(times), max(times))
    return seen


def _edges(samples: Sequence[tuple[float, object]]) -> list[float]:
    """Times of the first and the last sample: samples are in order."""
    return [float(samples[place][0]) for place in (0, -1)] if len(samples) else []


def together(arms: Sequence[Increments]) -> Increments:
    """Several counters of one arm as one, such as those of success and of failure."""
    whole = Increments(axis=arms[0].axis)
    for arm in arms:
        whole.by_series |= arm.by_series
        whole.seen |= arm.seen
        whole.last = max(whole.last, arm.last)
        for pod, life in arm.lives.items():
            times = (*life, *whole.lives.get(pod, ()))
            whole.lives[pod] = (min(times), max(times))
    return whole


def labels_of(line: Line) -> Labels:
    """Labels of a series, in order."""
    return _labels(line.labels)


def _labels(labels: Mapping[str, str], *, without: Iterable[str] = ()) -> Labels:
    return tuple(sorted((name, value) for name, value in labels.items() if name not in without))


def _count_target(
    arm: Increments,
    lines: Sequence[Line],
    before: Mapping[Labels, float],
    was_scraping: Callable[[float], bool],
    *,
    whole: bool,
) -> None:
    scraped = [np.array(line.points, dtype=float).reshape(-1, 2) for line in lines]
    times = np.unique(np.concatenate([points[:, 0] for points in scraped]))
    if not times.size:
        return
    values = np.full((len(lines), times.size), math.nan)
    for row, points in enumerate(scraped):
        values[row, np.searchsorted(times, points[:, 0])] = points[:, 1]
        _note_broken(arm, lines[row], points[:, 1], whole=whole)
    values[~np.isfinite(values) | (values < 0)] = math.nan
    previous = _previous(lines, values, times, before, arm.axis.start, was_scraping)
    fell = values < previous
    was_reset: NDArray[np.bool_] = np.asarray(fell.any(axis=0))
    gained = np.where(was_reset, values, values - previous)
    gained[np.isnan(gained)] = 0.0
    inside = (times > arm.axis.start) & (times <= arm.axis.end + 1e-9)
    intervals = arm.axis.index(times[inside])
    arm.resets += [float(time) for time in times[inside & was_reset]]
    arm.last = max(arm.last, float(times[-1]))
    if inside.any() and (text := _bounced(values[:, inside], was_reset[inside])):
        arm.bouncing.append(f"{_shown(lines[0])} {text}")
    arm.seen[intervals] = True
    for row, line in enumerate(lines):
        counts = np.bincount(intervals, weights=gained[row, inside], minlength=arm.axis.size)
        arm.by_series[labels_of(line)] = np.rint(counts).astype(np.int64) if whole else counts


def _bounced(values: Floats, was_reset: NDArray[np.bool_]) -> str:
    """What is said of counters that fall often and soon stand above where they fell from, which no restart does."""
    falls = [int(at) for at in np.flatnonzero(was_reset) if at]
    if len(falls) < MANY_FALLS or len(falls) < FALLING * was_reset.size:
        return ""
    total = np.nan_to_num(values).sum(axis=0)
    back = sum(bool((total[at : at + SOON] >= total[at - 1]).any()) for at in falls)
    return f"falls {len(falls)} times in {was_reset.size} scrapes" if 2 * back >= len(falls) else ""


def _previous(
    lines: Sequence[Line],
    values: Floats,
    times: Floats,
    before: Mapping[Labels, float],
    start: float,
    was_scraping: Callable[[float], bool],
) -> Floats:
    """The value that each sample is compared with: the last one before it, 0 for a series that was born then."""
    is_there = ~np.isnan(values)
    previous = np.full(values.shape, math.nan)
    for row, line in enumerate(lines):
        if is_there[row].all():
            previous[row, 1:], first = values[row, :-1], 0
        else:
            present = np.flatnonzero(is_there[row])
            if not present.size:
                continue
            previous[row, present[1:]], first = values[row, present[:-1]], present[0]
        known = before.get(labels_of(line))
        if known is not None and times[first] > start:
            previous[row, first] = known
        elif times[first] > start and was_scraping(float(times[first])):
            previous[row, first] = 0.0
    return previous


def _note_broken(arm: Increments, line: Line, values: Floats, *, whole: bool) -> None:
    told = values[np.isfinite(values) & (values >= 0)]
    if told.size < values.size:
        arm.broken.append(f"{_shown(line)} has values that are no counts, such as NaN")
    elif whole and (np.abs(told - np.rint(told)) > WHOLE).any():
        arm.broken.append(f"{_shown(line)} does not count whole events")


def _shown(line: Line) -> str:
    inside = ", ".join(f'{name}="{value}"' for name, value in sorted(line.labels.items()) if name != "__name__")
    return f"{line.labels.get('__name__', '')}{{{inside}}}"
