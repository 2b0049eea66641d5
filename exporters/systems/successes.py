"""A file of last successes: of what was seen to succeed once, though nothing may be left of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from midwatch import files
from midwatch.errors import MidwatchError


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Since when something is watched, and when it last succeeded, in seconds since 1970."""

    watched_since: float
    last: float | None = None


_DECODER = msgspec.json.Decoder(dict[str, Seen])


class File:
    """Last successes by name. One thread reads and writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def updated(self, found: Mapping[str, float], names: Iterable[str], now: float) -> dict[str, Seen]:
        """What is known of each name with what was `found` now, written where it is new.

        MidwatchError when the file cannot be read or written: a success that is forgotten would be an alert.
        """
        before = self._read()
        after = {name: _later(before.get(name) or Seen(watched_since=now), found.get(name)) for name in names}
        if after != before:
            self._write(after)
        return after

    def _read(self) -> dict[str, Seen]:
        try:
            return _DECODER.decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise MidwatchError(
                f"{self._path}: cannot be read: {error}; without the file successes of pruned runs are forgotten"
            ) from error

    def _write(self, seen: Mapping[str, Seen]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MidwatchError(f"{self._path}: cannot be written: {error.strerror or error}") from error
        files.replace(self._path, msgspec.json.encode(dict(sorted(seen.items()))))


def _later(seen: Seen, last: float | None) -> Seen:
    if last is None or (seen.last is not None and seen.last >= last):
        return seen
    return Seen(watched_since=seen.watched_since, last=last)
