"""The archive of WAL: which segments a restore needs, which are missing or damaged, and whether a replay saw them all.

A replay that finds no segment takes that for the end of the archive, so that a hole in the middle ends it early and
without an error ("Continuous Archiving", "Timelines" in PostgreSQL's manual). The names tell: they hold timeline and
number, and the history files say where each timeline left the one before.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

from dr.postgres import session
from dr.stores.local_postgresql.instance import Instance
from dr.stores.local_postgresql.programs import PostgresError

SEGMENT_BYTES = 16 * 2**20
"""Our servers are made with segments of the usual size."""
HEADER = struct.Struct("=HHIQ")
"""Begin of a page of WAL: magic, flags, timeline, and the position at which the page stands."""
END = 2**64
MANIFEST = "backup_manifest"


@dataclass(frozen=True, order=True)
class Segment:
    """A segment by its name: its number counts segments from the beginning of the WAL, over all timelines."""

    number: int
    timeline: int

    @property
    def name(self) -> str:
        """Its file.

        >>> Segment(number=258, timeline=2).name
        '000000020000000100000002'
        """
        high, low = divmod(self.number, 2**32 // SEGMENT_BYTES)
        return f"{self.timeline:08X}{high:08X}{low:08X}"

    @property
    def begin(self) -> int:
        """Position of its first byte."""
        return self.number * SEGMENT_BYTES


def parse(name: str) -> Segment | None:
    """The segment that a file name stands for; None for all other names.

    >>> parse("000000020000000100000002")
    Segment(number=258, timeline=2)
    """
    if len(name) != 24:
        return None
    try:
        timeline, high, low = (int(name[at : at + 8], 16) for at in (0, 8, 16))
    except ValueError:
        return None
    return Segment(number=high * (2**32 // SEGMENT_BYTES) + low, timeline=timeline)


@dataclass(frozen=True)
class Branch:
    """A timeline, and the position at which the next one of the history left it."""

    timeline: int
    until: int = END


def position(lsn: str) -> int:
    """A position in the WAL in bytes.

    >>> position("1/10")
    4294967312
    """
    high, low = (int(half, 16) for half in lsn.split("/"))
    return high << 32 | low


def written(at: int) -> str:
    """A position as PostgreSQL writes it.

    >>> written(4294967312)
    '1/10'
    """
    return f"{at >> 32:X}/{at & 0xFFFFFFFF:X}"


def parents(history: str) -> list[Branch]:
    """The timelines that a history file names, the oldest first."""
    rows = [line.split() for line in history.splitlines() if line.strip() and not line.startswith("#")]
    return [Branch(int(row[0]), position(row[1])) for row in rows]


@dataclass
class Archive:
    """The archive in a folder. What was found good is not read again until its file changes."""

    folder: Path
    _good: dict[str, tuple[int, int]] = field(default_factory=dict)

    def timelines(self, *, below: int = 2**32) -> list[Branch]:
        """The newest timeline with those it came from, the oldest first; timelines from `below` on are left out."""
        known = [segment.timeline for segment in self._all() if segment.timeline < below]
        histories = (int(path.stem, 16) for path in self.folder.glob("*.history"))
        known += [number for number in histories if number < below]
        if not known:
            return []
        newest = max(known)
        return [*self._parents(newest), Branch(newest)]

    def _parents(self, timeline: int) -> list[Branch]:
        try:
            return parents((self.folder / f"{timeline:08X}.history").read_text())
        except OSError:
            return []

    def _all(self) -> list[Segment]:
        return [segment for path in self.folder.glob("0*") if (segment := parse(path.name))]

    def segments(self, branches: list[Branch], *, since: int = 0) -> list[Segment]:
        """Those of a history from a position on, in order, without what a timeline went on with once it was left."""
        until = {branch.timeline: branch.until for branch in branches}
        there = [segment for segment in self._all() if segment.number >= since // SEGMENT_BYTES]
        return sorted(segment for segment in there if segment.begin < until.get(segment.timeline, 0))

    def flaws(self, since: int) -> list[str]:
        """What a restore from that position on would stumble over; seen without one, by names, sizes and headers."""
        branches = self.timelines()
        there = self.segments(branches, since=since)
        if not there:
            return []
        first, numbers = since // SEGMENT_BYTES, {segment.number for segment in there}
        missing = [number for number in range(first, max(numbers)) if number not in numbers]
        found = [f"{Segment(number, _timeline_at(branches, number)).name} is missing" for number in missing]
        newest = branches[-1].timeline
        if newest > 1 and len(branches) == 1:
            found.append(f"{newest:08X}.history is missing")
        return [*found, *(wrong for segment in there if (wrong := self._flaw(segment)))]

    def _flaw(self, segment: Segment) -> str | None:
        path = self.folder / segment.name
        try:
            status = path.stat()
            seen = (status.st_size, status.st_mtime_ns)
            if self._good.get(segment.name) == seen:
                return None
            if status.st_size != SEGMENT_BYTES:
                return f"{segment.name} has {status.st_size} bytes instead of {SEGMENT_BYTES}"
            with path.open("rb") as file:
                magic, _, _, at = HEADER.unpack(file.read(HEADER.size))
        except OSError as error:
            return f"{segment.name} cannot be read: {error.strerror}"
        if magic == 0 or at != segment.begin:
            return f"{segment.name} holds something else"
        self._good[segment.name] = seen
        return None

    def newest(self, *, below: int = 2**32) -> Segment | None:
        """The last segment of the newest history; None in an empty archive."""
        return next(reversed(self.segments(self.timelines(below=below))), None)

    def unseen(self, end: Branch, below: int, newest: Segment | None = None) -> str | None:
        """What a replay that ended at `end` did not come to; None when it saw everything.

        `below` is the timeline that the restored server began, whose own segments may be archived by now. `newest` is
        the segment that it had to come to: beside a primary that runs, the newest of before the replay.
        """
        newest = newest or self.newest(below=below)
        if newest is None or end.until > newest.begin:
            return None
        why = "; ".join(self.flaws(end.until)[:3]) or "the WAL there is not valid"
        return (
            f"the archive has a hole: the replay ended at {written(end.until)}, and the newest archived segment is "
            f"{newest.name} ({why})"
        )


def _timeline_at(branches: list[Branch], number: int) -> int:
    """The timeline that a segment should be of."""
    return next(branch.timeline for branch in branches if number * SEGMENT_BYTES < branch.until)


def begin_of(backup: Path) -> int:
    """Position from which a base backup needs the WAL; PostgresError without a manifest that says so."""
    try:
        ranges = json.loads((backup / MANIFEST).read_text())["WAL-Ranges"]
        return position(ranges[0]["Start-LSN"])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise PostgresError(f"{backup.name} has no manifest that says where it begins") from error


def replayed(server: Instance) -> tuple[Branch, int]:
    """Where a restored server left the archive's timeline, and the timeline that it began there.

    PostgresError when it is none.
    """
    ((name,),) = session.ask(server.conninfo(), "SELECT pg_walfile_name(pg_current_wal_lsn())", timeout=10.0)
    timeline = int(str(name)[:8], 16)
    try:
        left = parents((server.data / "pg_wal" / f"{timeline:08X}.history").read_text())
        return left[-1], timeline
    except (OSError, IndexError) as error:
        raise PostgresError(f"{server.name} does not say where its replay ended") from error
