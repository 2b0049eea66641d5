"""What the judge tells the exporter: what is published of a model or a version, when it has changed, in short lines.

No line grows with the number of models, versions and features: what is said of one version is said in as many parts as
it takes, and takes effect when the last has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from midwatch import metrics
from midwatch.exposition import Sample

Group = tuple[dict[str, str], dict[str, float]]
"""Labels, and the values of the metrics that have those."""

Subject = tuple[str, str, str]
"""What something is said about: its kind; the model; the version or nothing.

Kinds are `verdict`, `shares` (by bin, of what a verdict rests on), `record`, `model` and `retraining`.
"""

SHARES = "shares"
OF_A_WINDOW = ("verdict", SHARES)
"""Kinds of what a window says, and is nothing once the window is old."""

MAX_PART = 64 * 1024
"""Bytes of a line, but for a group that is larger by itself: reading as many takes the exporter about a millisecond."""

MAX_LINE = 16 * 2**20
"""Bytes that a reader takes as one line: a group has the names of one model, version and feature."""

VERDICT = frozenset(
    metric.name
    for metric in (
        metrics.DRIFT_DETECTED,
        metrics.DRIFT_VOTES,
        metrics.DRIFT_VOTE,
        metrics.DRIFT_STATISTIC,
        metrics.DRIFT_P_VALUE,
        metrics.DRIFT_EFFECT,
        metrics.DRIFT_SHARE,
        metrics.DRIFT_JUDGED,
        metrics.DRIFT_SMALLEST_SEEN,
        metrics.DRIFT_ROWS_NEEDED,
    )
)
"""Names of what is said of a window, and is nothing once the window is old."""

_encode = msgspec.json.Encoder().encode


class Part(msgspec.Struct, tag="part"):
    """A part of what is published of a subject, in place of what was; `more` follows in the next line."""

    subject: Subject
    groups: list[Group]
    more: bool = False


class Status(msgspec.Struct, tag="status", kw_only=True):
    """How far the judge is: its place in the journal, and the seconds since no ended window waited to be judged.

    When a process says it first, it has said everything before. `is_failing`: something could not be done lately.
    `left_out` samples are beyond the cap of series; `lost_rows` of inference logs had no room to wait for their
    other half.
    """

    segment: int
    offset: int
    waiting_seconds: float
    is_failing: bool
    left_out: int
    lost_rows: int


Line = Part | Status


def line(said: Status) -> bytes:
    """A line that says how far the judge is."""
    return _encode(said) + b"\n"


class Entry(msgspec.Struct):
    """What is published of a subject. `details`, which come after all verdicts, are groups encoded as JSON."""

    subject: Subject
    head: list[Group]
    details: list[bytes] = []
    size: int = 0
    detail_size: int = 0

    @classmethod
    def of(cls, subject: Subject, head: Sequence[Group], details: Sequence[Group] = ()) -> Entry:
        """From groups; sizes are numbers of samples."""
        return cls(subject, list(head), [_encode(group) for group in details], _samples(head), _samples(details))

    def lines(self) -> Iterator[bytes]:
        """Everything there is to say."""
        part: list[bytes] = []
        size = 0
        for group in (*map(_encode, self.head), *self.details):
            if part and size + len(group) > MAX_PART:
                yield self._line(part, more=True)
                part, size = [], 0
            part.append(group)
            size += len(group)
        yield self._line(part, more=False)

    def _line(self, groups: list[bytes], *, more: bool) -> bytes:
        raw: Any = list(map(msgspec.Raw, groups))
        return _encode(Part(self.subject, raw, more)) + b"\n"


def _samples(groups: Sequence[Group]) -> int:
    return sum(len(values) for _, values in groups)


class Told:
    """What was said of each subject, by parts as they come."""

    def __init__(self) -> None:
        self.samples: dict[Subject, list[Sample]] = {}
        self._coming: list[Sample] = []

    def take(self, part: Part) -> Subject | None:
        """Take a part; the subject when it was the last of it, None else. KeyError for a metric that there is not."""
        for labels, values in part.groups:
            self._coming += [(metrics.CATALOGUE[name], labels, value) for name, value in values.items()]
        if part.more:
            return None
        self.samples[part.subject], self._coming = self._coming, []
        if not self.samples[part.subject]:
            del self.samples[part.subject]
        return part.subject

    def forget_coming(self) -> None:
        """Drop the parts of a subject that will not be completed."""
        self._coming = []


class Board:
    """What is published, at most `most` samples: of more, shares by bin go, then the details that were put there first.

    `left_out` counts the samples without room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[Subject, Entry] = {}
        self._detailed: dict[Subject, None] = {}
        self._drawn: dict[Subject, None] = {}
        self._left_out: dict[Subject, int] = {}
        self._changed: dict[Subject, None] = {}
        self._size = 0

    def __contains__(self, subject: Subject) -> bool:
        return subject in self._entries

    @property
    def left_out(self) -> int:
        """Samples that have no room."""
        return sum(self._left_out.values())

    def put(self, entry: Entry) -> None:
        """Publish something in place of what was said of its subject."""
        known = self._entries.get(entry.subject)
        if known is not None and (known.head, known.details) == (entry.head, entry.details):
            return
        self.remove(entry.subject)
        self._changed[entry.subject] = None
        self._make_room(entry.size, self._drawn, self._detailed)
        if self._size + entry.size > self._most:
            self._left_out[entry.subject] = entry.size + entry.detail_size
            return
        self._entries[entry.subject] = entry
        self._size += entry.size
        places = self._drawn if entry.subject[0] == SHARES else self._detailed
        if places is self._detailed:
            self._make_room(entry.detail_size, self._drawn)
        if self._size + entry.detail_size > self._most:
            self._left_out[entry.subject] = entry.detail_size
            entry.details, entry.detail_size = [], 0
        elif entry.details:
            self._size += entry.detail_size
            places[entry.subject] = None

    def _make_room(self, size: int, *places: dict[Subject, None]) -> None:
        """Drop details for so many samples, of the first place first, as long as there are any."""
        for subjects in places:
            while self._size + size > self._most and subjects:
                subject = next(iter(subjects))
                del subjects[subject]
                self._drop_details(subject)

    def _drop_details(self, subject: Subject) -> None:
        entry = self._entries[subject]
        self._left_out[subject] = entry.detail_size
        self._size -= entry.detail_size
        entry.details, entry.detail_size = [], 0
        self._changed[subject] = None

    def remove(self, subject: Subject) -> None:
        """Publish nothing of a subject any more."""
        self._left_out.pop(subject, None)
        entry = self._entries.pop(subject, None)
        if entry is not None:
            self._size -= entry.size + entry.detail_size
            self._detailed.pop(subject, None)
            self._drawn.pop(subject, None)
            self._changed[subject] = None

    def changes(self) -> Iterator[bytes]:
        """Lines that say what has changed since they were asked for last."""
        changed, self._changed = self._changed, {}
        for subject in changed:
            yield from self._entries.get(subject, Entry(subject, [])).lines()

    def entries(self) -> Iterator[Entry]:
        """Everything to keep, and to put back in this order."""
        return iter(self._entries.values())

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Name of the metric, labels and value of everything that is published."""
        for entry in self._entries.values():
            details = [msgspec.json.decode(group, type=Group) for group in entry.details]
            for labels, values in (*entry.head, *details):
                for name, value in values.items():
                    yield name, labels, value
