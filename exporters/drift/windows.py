"""Windows of one model version's stream: panes by time or by count, and the window that the newest panes make together.

Counts add up, so a sliding window costs no more than its panes. Judging is left to others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import numpy as np

from midwatch.client.events import Prediction, Value
from midwatch.spec import drift as spec
from monitors.drift.counts import Counts, numbers
from monitors.drift.embedding import Embedding
from monitors.drift.reference import FeatureReference
from monitors.drift.sample import Sample

GRACE = 1.0
"""Seconds after its end that a pane waits for events on their way."""


@dataclass(kw_only=True)
class Pane:
    """Counts of a part of a window, from `start` (seconds since the epoch) on, and some of its rows."""

    start: float
    samples: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)
    rows: Sample | None = None

    def add(self, other: Pane) -> None:
        """Take another pane's counts and rows in."""
        self.samples += other.samples
        if other.rows is not None:
            self.rows = other.rows if self.rows is None else self.rows + other.rows
        for name, counts in other.counts.items():
            self.counts[name] = self.counts[name] + counts if name in self.counts else counts


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is to be judged: counts by feature and some rows, when it ended, and the seconds since the window before."""

    end: float
    seconds: float
    samples: int
    counts: Mapping[str, Counts]
    rows: Sample | None


class SavedPane(msgspec.Struct):
    """A pane as it is stored: by feature the cells, how many were missing, how many of another type; keys and rows."""

    start: float
    samples: int
    counts: dict[str, tuple[list[int], int, int]]
    rows: tuple[bytes, bytes] | None = None


class SavedStream(msgspec.Struct):
    """Everything a stream needs to go on after a restart."""

    after: float
    open: list[SavedPane]
    closed: list[SavedPane]


class Stream:
    """Windows of one version, as the platform file asks for them; with an embedding they hold a sample of rows."""

    def __init__(
        self, drift: spec.Drift, features: Mapping[str, FeatureReference], embedding: Embedding | None = None
    ) -> None:
        self._embedding = embedding
        self._features = {name: features[name].coarse for name in drift.features}
        self._pane_seconds = drift.window / drift.panes
        self._pane_rows = None if drift.rows is None else max(1, drift.rows // drift.panes)
        self._window_seconds = drift.window
        self._open: list[Pane] = []
        self._closed: deque[Pane] = deque(maxlen=drift.panes - 1)
        self._after = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a window of it has not ended."""
        return bool(self._open)

    def take(self, events: Sequence[Prediction]) -> None:
        """Count predictions into the pane of their time; late ones into the oldest that is still open."""
        if self._pane_rows is None:
            groups: dict[float, list[Prediction]] = {}
            for event in events:
                start = event.ts // self._pane_seconds * self._pane_seconds  # type: ignore[operator]
                groups.setdefault(max(start, self._after), []).append(event)
            for start, members in groups.items():
                self._count(self._pane(start), members)
            return
        rest = list(events)
        while rest:
            pane = self._room(rest[0].ts)  # type: ignore[arg-type]
            room = self._pane_rows - pane.samples
            self._count(pane, rest[:room])
            rest = rest[room:]

    def _pane(self, start: float) -> Pane:
        for pane in self._open:
            if pane.start == start:
                return pane
        self._open.append(Pane(start=start))
        return self._open[-1]

    def _room(self, now: float) -> Pane:
        """The pane of a count that is not full yet."""
        if not self._open or self._is_full(self._open[-1]):
            self._open.append(Pane(start=now))
        return self._open[-1]

    def _is_full(self, pane: Pane) -> bool:
        return self._pane_rows is not None and pane.samples >= self._pane_rows

    def _count(self, pane: Pane, events: Sequence[Prediction]) -> None:
        counts = {
            name: feature.count([_value(event, name) for event in events]) for name, feature in self._features.items()
        }
        pane.add(Pane(start=pane.start, samples=len(events), counts=counts))
        if self._embedding:
            held = pane.rows or Sample.empty(self._embedding.width)
            pane.rows = held.taking([event.id for event in events], self._embedding, partial(self._columns, events))

    def _columns(self, events: Sequence[Prediction], places: Sequence[int]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for name, feature in self._features.items():
            values = [_value(events[place], name) for place in places]
            columns[name] = numbers(values)[0] if feature.kind is spec.Feature.NUMERIC else values
        return columns

    def close(self, now: float) -> Iterator[Window]:
        """Windows that ended by `now`, in order: a pane ends when its time is over or its rows are full."""
        ended = [pane for pane in self._open if self._is_full(pane) or pane.start + self._pane_seconds + GRACE <= now]
        for pane in sorted(ended, key=lambda pane: pane.start):
            self._open.remove(pane)
            yield self._window(pane, now)

    def _window(self, pane: Pane, now: float) -> Window:
        end = min(now, pane.start + self._pane_seconds)
        whole = Pane(start=pane.start)
        for part in (*self._closed, pane):
            if part.start > end - self._window_seconds - self._pane_seconds / 2:
                whole.add(part)
        self._closed.append(pane)
        self._after = max(self._after, pane.start + self._pane_seconds) if self._pane_rows is None else 0.0
        return Window(end=end, seconds=end - pane.start, samples=whole.samples, counts=whole.counts, rows=whole.rows)

    def saved(self) -> SavedStream:
        """Everything to keep."""
        return SavedStream(
            after=self._after,
            open=[_saved(pane) for pane in self._open],
            closed=[_saved(pane) for pane in self._closed],
        )

    def restore(self, saved: SavedStream) -> None:
        """Go on where another process stopped; panes on other cells (the reference was fitted anew) are left behind."""
        self._after = saved.after
        self._open = [pane for pane in map(_restored, saved.open) if self._fits(pane)]
        self._closed.extend(pane for pane in map(_restored, saved.closed) if self._fits(pane))

    def _fits(self, pane: Pane) -> bool:
        sizes = {name: len(feature.counts.cells) for name, feature in self._features.items()}
        width = self._embedding.width if self._embedding else None
        same_rows = (None if pane.rows is None else pane.rows.rows.shape[1]) == width
        return same_rows and {name: len(counts.cells) for name, counts in pane.counts.items()} == sizes


def _value(event: Prediction, name: str) -> Value | None:
    """A feature; or the prediction, or its score, by those names where no feature has them."""
    if name in event.features:
        return event.features[name]
    if name == "prediction":
        return event.prediction
    return event.score if name == "score" else None


def _saved(pane: Pane) -> SavedPane:
    counts = {name: (part.cells.tolist(), part.missing, part.wrong_type) for name, part in pane.counts.items()}
    rows = None if pane.rows is None else (pane.rows.keys.tobytes(), pane.rows.rows.tobytes())
    return SavedPane(start=pane.start, samples=pane.samples, counts=counts, rows=rows)


def _restored(saved: SavedPane) -> Pane:
    counts = {
        name: Counts(cells=np.array(cells, dtype=np.int64), missing=missing, wrong_type=wrong)
        for name, (cells, missing, wrong) in saved.counts.items()
    }
    rows = None
    if saved.rows is not None:
        keys = np.frombuffer(saved.rows[0], np.uint64)
        rows = Sample(keys, np.frombuffer(saved.rows[1], np.float32).reshape(len(keys), -1))
    return Pane(start=saved.start, samples=saved.samples, counts=counts, rows=rows)
