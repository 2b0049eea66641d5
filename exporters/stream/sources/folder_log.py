"""Which files of a folder have been given to the stream, in order: an entry a file, or a file that has changed since.

Spark's own source of files knows a file by its path alone, so what is appended to one, or written again, is lost
without a word. Here a file is taken once nobody has written to it for a while, and again when it has changed: events
that came with it before are retries, which are dropped by their ids.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from pyarrow import fs

from exporters.events import private_files
from midwatch.errors import MidwatchError

_log = logging.getLogger(__name__)


class Listed(msgspec.Struct, frozen=True):
    """A file as it is in its folder: its path there, bytes, and when it was written to last (nanoseconds)."""

    path: str
    size: int
    written: int


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A file that was given to the stream; `arrived` (milliseconds since the epoch) is when its events came."""

    file: Listed
    arrived: int


class FolderLogError(MidwatchError):
    """A log that does not belong to the checkpoint, or cannot be read or written."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def opened(folder: str) -> tuple[fs.FileSystem, str]:
    """The file system of a folder, given as a path or a URI such as `s3://bucket/events`, and its path there."""
    if "://" in folder:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(folder)
        return found
    return fs.LocalFileSystem(), str(Path(folder).absolute())


def listing(system: fs.FileSystem, base: str) -> list[Listed]:
    """Files below a folder, also in folders of its own; not what a name that begins with `.` or `_` hides, nor empty
    ones: writers hide a file by such a name until it is whole."""
    found = []
    for one in system.get_file_info(fs.FileSelector(base, recursive=True)):
        path = _path(one)[len(base) :].lstrip("/")
        if one.type is fs.FileType.File and one.size and not any(part[:1] in "._" for part in path.split("/")):
            found.append(Listed(path, one.size, one.mtime_ns or 0))
    return sorted(found, key=lambda file: (file.written, file.path))


def _path(file: fs.FileInfo) -> str:
    """A file's path; of one that is not UTF-8, which no reader can open, a path that stands for it."""
    try:
        return str(file.path)
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")


class Log:
    """Entries of one folder, in a file: numbers of entries are the stream's offsets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: list[Entry] = list(_read(path))
        self._known = {entry.file.path: entry.file for entry in self.entries}
        self._seen: dict[Listed, float] = {}

    def take(self, files: Sequence[Listed], now: float, settle: float) -> None:
        """Enter files that are new or have changed, and to which nobody has written for `settle` seconds."""
        new = [file for file in files if self._known.get(file.path) != file]
        self._seen = {file: self._seen.get(file, now) for file in new}
        settled = [file for file in new if now - file.written / 1e9 >= settle or now - self._seen[file] >= settle]
        # The clock of who writes may be ahead; what is in the log is the same when a batch is run again.
        entered = [Entry(file, min(file.written // 10**6, int(now * 1000))) for file in settled]
        if not entered:
            return
        again = [file.path for file in settled if file.path in self._known]
        if again:
            _log.warning("%d files have changed since they were read, and are read again: %s", len(again), again[0])
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(_encode(entry) + b"\n" for entry in entered))
                private_files.sync(file)
        except OSError as error:
            raise FolderLogError(f"{self._path}: cannot be written: {error.strerror or error}") from error
        self.entries += entered
        self._known.update((file.path, file) for file in settled)

    def between(self, start: int, end: int) -> list[tuple[int, Entry]]:
        """Entries with their numbers; FolderLogError where the log does not have them."""
        if end > len(self.entries):
            raise FolderLogError(
                f"{self._path} has {len(self.entries)} entries, and the checkpoint has read {end}: it belongs to "
                "another checkpoint; begin with a new one, or bring the log back"
            )
        return list(enumerate(self.entries))[start:end]


def _read(path: Path) -> Iterator[Entry]:
    try:
        with private_files.reading(path) as file:
            held = file.read()
    except FileNotFoundError:
        private_files.creating(path).close()
        return
    whole = held[: held.rfind(b"\n") + 1]
    if len(whole) < len(held):  # the driver was killed while it wrote: no batch has seen that entry
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        yield from map(_decode, whole.splitlines())
    except msgspec.MsgspecError as error:
        raise FolderLogError(f"{path}: it is damaged: {error}") from error
