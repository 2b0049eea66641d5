"""Samples that the gate has asked for before: a look at an analysis asks for what is new since the last look.

What is older than MARGIN_SECONDS does not change any more. A sample takes 16 bytes; the analyses that were not asked
about for longest are forgotten first, and asked for whole when they come back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midwatch.prometheus import Line, Sample
from monitors.canary.arms import Floats
from monitors.canary.increments import Labels, labels_of
from monitors.canary.series import Querier

MARGIN_SECONDS = 60.0
"""The newest samples are asked for again: a scrape's may come late, by as much as its timeout."""
MAX_SAMPLES = 10_000_000
"""Samples that are remembered: of 50 analyses over a day of 32 series, or of 1,300 over an hour."""

Key = tuple[str, float]
"""Selector, and the time from which its samples are asked for."""


@dataclass
class _Stretch:
    """Samples of a selector's series until a time."""

    until: float
    points: dict[Labels, Floats]

    @property
    def size(self) -> int:
        """Number of samples."""
        return sum(map(len, self.points.values()))


class Remembered:
    """What was asked for; several threads may ask."""

    def __init__(self, max_samples: int = MAX_SAMPLES) -> None:
        self._max, self._size = max_samples, 0
        self._stretches: OrderedDict[Key, _Stretch] = OrderedDict()
        self._lock = threading.Lock()

    def before(self, querier: Querier) -> Querier:
        """The Prometheus, asked for what is not remembered."""
        return _Remembering(querier, self)

    def take(self, key: Key) -> _Stretch | None:
        """What is known of a selector from a time on."""
        with self._lock:
            if key in self._stretches:
                self._stretches.move_to_end(key)
            return self._stretches.get(key)

    def keep(self, key: Key, stretch: _Stretch) -> None:
        """Remember it instead of what was known."""
        with self._lock:
            self._size += stretch.size - (self._stretches[key].size if key in self._stretches else 0)
            self._stretches[key] = stretch
            self._stretches.move_to_end(key)
            while self._size > self._max and self._stretches:
                _, oldest = self._stretches.popitem(last=False)
                self._size -= oldest.size


class _Remembering:
    """A Prometheus whose samples are remembered; native histograms are not, and are asked for whole."""

    def __init__(self, querier: Querier, remembered: Remembered) -> None:
        self._querier, self._remembered = querier, remembered

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        """Instant query."""
        return self._querier.query(expr, at=at)

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        """Range query."""
        return self._querier.query_range(expr, start=start, end=end, step=step)

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Samples as they were scraped: those that are remembered, and those since."""
        key = str(selector), start
        known = self._remembered.take(key)
        if known is not None and known.until >= end:
            return [_line(labels, points[points[:, 0] <= end]) for labels, points in known.points.items()]
        since = start if known is None else max(start, known.until - MARGIN_SECONDS)
        new = self._querier.samples(selector, start=since, end=end)
        if any(line.histograms for line in new):
            return new if since == start else self._querier.samples(selector, start=start, end=end)
        points = {labels_of(line): np.array(line.points, dtype=float).reshape(-1, 2) for line in new}
        if known is not None:
            # Prometheus 3 leaves the sample at `since` out, and Prometheus 2 does not: it is taken from what is known.
            points = {labels: found[found[:, 0] > since] for labels, found in points.items()}
            for labels, earlier in known.points.items():
                old = earlier[earlier[:, 0] <= since]
                points[labels] = np.concatenate([old, points[labels]]) if labels in points else old
        points = {labels: found for labels, found in points.items() if len(found)}
        self._remembered.keep(key, _Stretch(end, points))
        return [_line(labels, found) for labels, found in points.items()]


def _line(labels: Labels, points: Floats) -> Line:
    found: Sequence[tuple[float, float]] = points  # type: ignore[assignment]  # rows of two are read alike
    return Line(labels=dict(labels), points=found)
