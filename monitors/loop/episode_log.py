"""Episodes of the loop as an evidence log keeps them: each record is on the disk before anything follows from it.

The log is the whole state: what a process that was killed had written is all that happened.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from midwatch import evidence
from midwatch.errors import MidwatchError
from monitors.loop.episode import Asked, Asking, Began, Ended, Episode, Outcome, Record, Seen, applied

LOG = "audit.jsonl"
"""Name of the log in the folder of the loop's state."""

_KINDS = {kind.__struct_config__.tag for kind in (Began, Asking, Asked, Seen, Ended)}


def load(path: Path) -> dict[str, Episode]:
    """Episodes of a log by id, the earliest first; none where there is no log. MidwatchError when it is no such log."""
    episodes: dict[str, Episode] = {}
    for record in evidence.read(path):
        if record.kind in _KINDS:  # a log may also say that its key was exchanged
            try:
                applied(episodes, record_of(record.kind, record.data))
            except (msgspec.MsgspecError, KeyError) as error:
                raise MidwatchError(f"{path}: record {record.seq} is of no episode that began: {error}") from error
    return episodes


def ensure_of(platform: str, episodes: Iterable[Episode], folder: Path) -> None:
    """MidwatchError when episodes are of another platform, whose models may have the same names."""
    others = sorted({one.platform for one in episodes} - {"", platform})
    if others:
        advice = "give the folder of this one with --state"
        raise MidwatchError(f"{folder}: its episodes are of the platform {', '.join(others)}, not {platform}; {advice}")


def _ensure_whole(path: Path) -> None:
    """MidwatchError when the log is not what was written: a request that was cut out of it would be made once more.

    What a crash left of the last line is no such damage: the next record tells of it.
    """
    whole_lines = path.read_bytes().count(b"\n")
    problem = next((one for one in evidence.verify(path).problems if (one.line or 0) <= whole_lines), None)
    if problem is not None:
        advice = "nothing is asked for or followed until it is put back, or moved away"
        raise MidwatchError(f"{path}: it is not what was written ({problem}); {advice}")


def record_of(kind: str, data: dict[str, Any]) -> Record:
    """The record of a line of the log; msgspec.ValidationError for what is none."""
    record: Record = msgspec.convert({**data, "type": kind}, Record)
    return record


class EpisodeLog:
    """The episodes, and the log that they are kept in. One process writes; its threads may.

    MidwatchError when what is on record is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOG
        self._log = evidence.Log(path)
        self._log.ensure_appendable()
        _ensure_whole(path)
        self._episodes = load(path)
        self.head = evidence.head(path)
        self._lock = threading.Lock()

    def append(self, record: Record) -> Episode:
        """Keep a record; the episode that it is of, as it is then. EvidenceError when it cannot be kept."""
        with self._lock:
            written = self._log.append_event(record)
            self.head = evidence.Head(seq=written.seq, hash=written.hash)
            return applied(self._episodes, record)

    def episodes(self) -> list[Episode]:
        """All of them, the earliest first."""
        with self._lock:
            return list(self._episodes.values())

    def of(self, model: str) -> list[Episode]:
        """Those of a model, the earliest first."""
        return [one for one in self.episodes() if one.model == model]


def open_one(episodes: Iterable[Episode]) -> Episode | None:
    """The episode that is open; a model has one at a time."""
    return next((one for one in episodes if one.outcome is Outcome.OPEN), None)
