"""Windows of one model version's stream: panes by time or by count, and the window that the newest panes make together.

Counts add up, so a sliding window costs no more than its panes. Judging is left to others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from exporters.drift.rows import PackedRows, SavedRows, Schema, Tally
from midwatch.client.events import Prediction
from midwatch.spec import drift as spec
from monitors.drift.counts import Counts, Floats, Integers
from monitors.drift.sample import Sample

GRACE = 1.0
"""Seconds after its end that a pane waits for events on their way."""

BATCH = 500
"""Rows of a pane that are counted together: as many take the memory of half of the cells that they are counted in."""

NARROW = 2**31 - 1
"""Rows of a pane whose cells have room in 32 bits, which take half of the memory."""


@dataclass(kw_only=True)
class Pane:
    """A part of a window, from `start` (seconds since the epoch) on: rows that are packed, counts of the others.

    `newest` is the latest time of its rows, `rows` a sample of them.
    """

    start: float
    packed: PackedRows
    tally: Tally
    samples: int = 0
    newest: float = 0.0
    rows: Sample | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How rows of a version fall into its open panes, wherever they are counted: by time, or `rows` to a pane.

    No pane begins before `after`; `held` rows are in the pane of a count that is not full.
    """

    seconds: float
    after: float = 0.0
    rows: int | None = None
    held: int = 0

    def panes(self, times: Floats, ranks: Integers) -> Floats:
        """Pane of each row of these times and ranks (from 0, in the order of arrival): its start, or its number."""
        if self.rows is not None:
            return np.asarray((self.held + ranks) // self.rows, np.float64)
        return np.asarray(np.maximum(times // self.seconds * self.seconds, self.after), np.float64)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one pane, counted apart by a version's rule: parts add up in any order.

    `pane` is what the rule says, `rank` that of the first of the rows, and `first` its time.
    """

    pane: float
    rank: int
    first: float
    newest: float
    samples: int
    tally: Tally
    rows: Sample | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is to be judged: counts by feature and some rows, from `start` to `end`; `seconds` since the window before.

    Where windows slide, the one before ended later than this one starts.
    """

    start: float
    end: float
    seconds: float
    samples: int
    counts: Mapping[str, Counts]
    rows: Sample | None


class SavedPane(msgspec.Struct):
    """A pane as it is stored: bytes of its cells (none: all rows are packed), and of its sample keys and rows."""

    start: float
    samples: int
    newest: float
    cells: bytes
    missing: list[int]
    wrong: list[int]
    packed: SavedRows
    rows: tuple[bytes, bytes] | None = None


class SavedStream(msgspec.Struct):
    """Everything a stream needs to go on after a restart; `reference` is the digest of what its cells are those of."""

    reference: str
    after: float
    open: list[SavedPane] = []
    closed: list[SavedPane] = []


class Stream:
    """Windows of one version, as the platform file asks for them; where the schema embeds rows they hold a sample."""

    def __init__(self, drift: spec.Drift, schema: Schema, reference: str = "") -> None:
        self._schema, self._reference = schema, reference
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

    @property
    def due(self) -> float:
        """When the next of its windows can be judged; infinite while nothing is counted."""
        return min(map(self._due, self._open), default=float("inf"))

    def _due(self, pane: Pane) -> float:
        end = pane.start + self._pane_seconds + GRACE
        return min(end, pane.newest) if self._is_full(pane) else end

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

    @property
    def rule(self) -> Rule:
        """How rows that come next fall into panes."""
        if self._pane_rows is None:
            return Rule(seconds=self._pane_seconds, after=self._after)
        held = self._open[-1].samples if self._open and not self._is_full(self._open[-1]) else 0
        return Rule(seconds=self._pane_seconds, rows=self._pane_rows, held=held)

    def merge(self, parts: Iterable[Part]) -> None:
        """Take in rows that were counted by the rule that held before: the same as to `take` them in their order."""
        for part in sorted(parts, key=lambda part: (part.pane, part.rank)):
            pane = self._pane(part.pane) if self._pane_rows is None else self._room(part.first)
            pane.samples += part.samples
            pane.newest = max(pane.newest, part.newest)
            pane.tally.add(part.tally)
            if part.rows is not None:
                pane.rows = part.rows if pane.rows is None else pane.rows + part.rows

    def _pane(self, start: float) -> Pane:
        for pane in self._open:
            if pane.start == start:
                return pane
        return self._begin(start)

    def _room(self, now: float) -> Pane:
        """The pane of a count that is not full yet."""
        if not self._open or self._is_full(self._open[-1]):
            return self._begin(now)
        return self._open[-1]

    def _begin(self, start: float) -> Pane:
        self._open.append(Pane(start=start, packed=self._schema.packed(), tally=self._schema.tally()))
        return self._open[-1]

    def _is_full(self, pane: Pane) -> bool:
        return self._pane_rows is not None and pane.samples >= self._pane_rows

    def _count(self, pane: Pane, events: Sequence[Prediction]) -> None:
        pane.samples += len(events)
        pane.newest = max(pane.newest, *(event.ts for event in events))  # type: ignore[assignment]
        self._schema.pack(events, pane.packed)
        if pane.packed.rows >= BATCH:
            self._unpack(pane)

    def _unpack(self, pane: Pane) -> None:
        """Count what is packed."""
        if not pane.packed.rows:
            return
        if pane.samples > NARROW and pane.tally.cells is not None:
            pane.tally.cells = pane.tally.cells.astype(np.int64)
        pane.rows = self._schema.sampled(pane.packed, pane.rows)
        self._schema.count(pane.packed, pane.tally, np.int32)
        pane.packed = self._schema.packed()

    def close(self, now: float) -> Iterator[Window]:
        """Windows that ended by `now`, in order: a pane ends when its time is over or its rows are full."""
        ended = [pane for pane in self._open if self._is_full(pane) or pane.start + self._pane_seconds + GRACE <= now]
        for pane in sorted(ended, key=lambda pane: pane.start):
            self._open.remove(pane)
            yield self._window(pane, now)

    def _window(self, pane: Pane, now: float) -> Window:
        if self._schema.embedding is not None:
            self._unpack(pane)
        end = min(now, pane.start + self._pane_seconds)
        whole, samples, rows = self._schema.tally(), 0, None
        start = pane.start
        for part in (*self._closed, pane):
            if part.start > end - self._window_seconds - self._pane_seconds / 2:
                whole.add(part.tally)
                self._schema.count(part.packed, whole)
                samples += part.samples
                start = min(start, part.start)
                if part.rows is not None:
                    rows = part.rows if rows is None else rows + part.rows
        self._closed.append(pane)
        self._after = max(self._after, pane.start + self._pane_seconds) if self._pane_rows is None else 0.0
        counts = self._schema.by_feature(whole)
        return Window(start=start, end=end, seconds=end - pane.start, samples=samples, counts=counts, rows=rows)

    def saved(self) -> SavedStream:
        """Everything to keep."""
        return SavedStream(
            self._reference, self._after, [_saved(pane) for pane in self._open], [_saved(pane) for pane in self._closed]
        )

    def restore(self, saved: SavedStream) -> None:
        """Go on where a process before has stopped; what was counted on another reference's cells is left."""
        if saved.reference != self._reference:
            return
        self._after = saved.after
        self._open = [_restored(pane, self._schema.cells) for pane in saved.open]
        self._closed.extend(_restored(pane, self._schema.cells) for pane in saved.closed)


def _saved(pane: Pane) -> SavedPane:
    return SavedPane(
        start=pane.start,
        samples=pane.samples,
        newest=pane.newest,
        cells=b"" if pane.tally.cells is None else pane.tally.cells.tobytes(),
        missing=pane.tally.missing,
        wrong=pane.tally.wrong,
        packed=pane.packed.saved(),
        rows=None if pane.rows is None else (pane.rows.keys.tobytes(), pane.rows.rows.tobytes()),
    )


def _restored(saved: SavedPane, cells: int) -> Pane:
    tally = Tally(len(saved.missing))
    tally.missing, tally.wrong = saved.missing, saved.wrong
    if saved.cells:
        is_narrow = len(saved.cells) == 4 * cells
        tally.cells = np.array(np.frombuffer(saved.cells, np.int32 if is_narrow else np.int64))
    rows = None
    if saved.rows is not None:
        keys = np.frombuffer(saved.rows[0], np.uint64)
        rows = Sample(keys, np.frombuffer(saved.rows[1], np.float32).reshape(len(keys), -1))
    return Pane(
        start=saved.start,
        samples=saved.samples,
        newest=saved.newest,
        packed=PackedRows.restored(saved.packed),
        tally=tally,
        rows=rows,
    )
