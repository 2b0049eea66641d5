"""The exporter's append-only journal: frames with checksums in numbered segments, written durably, read back by anyone.

What the frames mean is the state's job. A frame is a header (length, CRC-32, kind, time) and a body; a segment starts
with a magic line. Whoever appends holds the directory's lock; readers (the drift judge) only follow.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from midwatch.errors import MidwatchError

MAGIC = b"midwatch-journal 1\n"
HEADER = struct.Struct("<IIBd")
MAX_FRAME = 256 * 2**20
"""Bytes. A length beyond this is damage, not a frame: a group is bounded by the size of the bodies in it."""

EVENTS = 1
DAMAGE = 2
LOADED = 3
"""Kinds of frames: events as they happened, a damage that was found, and events of a file that was loaded."""

_log = logging.getLogger(__name__)


class JournalError(MidwatchError):
    """The journal cannot be opened or trusted."""


class FrameSizeError(ValueError):
    """A frame would be larger than what a reader takes."""


class GapError(MidwatchError):
    """A reader's position is in a segment that is gone; `resume` is where reading can go on."""

    def __init__(self, resume: Position) -> None:
        self.resume = resume
        super().__init__(f"the journal before segment {resume.segment} is gone")


class Position(NamedTuple):
    """A place between two frames, ordered as they were written."""

    segment: int
    offset: int


_BEGIN = Position(0, 0)


class Frame(NamedTuple):
    """One frame: its kind, when it was written (seconds since the epoch), its body, and where it ends."""

    kind: int
    time: float
    body: bytes
    end: Position


def encode(kind: int, time: float, body: bytes) -> bytes:
    """Bytes of a frame; FrameSizeError beyond `MAX_FRAME`, so that nothing is written that cannot be read."""
    if len(body) > MAX_FRAME:
        raise FrameSizeError(f"a frame of {len(body)} bytes; at most {MAX_FRAME} are written")
    stamp = struct.pack("<Bd", kind, time)
    return HEADER.pack(len(body), zlib.crc32(body, zlib.crc32(stamp)), kind, time) + body


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment lies."""
    return directory / f"journal-{number:010d}.log"


def segments(directory: Path) -> list[int]:
    """Numbers of the segments in a directory, ascending."""
    return sorted(int(path.stem.removeprefix("journal-")) for path in directory.glob("journal-*.log"))


def read(directory: Path, start: Position) -> Iterator[Frame]:
    """Frames of one segment from a place on, up to the first that is not whole."""
    return read_file(segment_path(directory, start.segment), start)


def read_file(path: Path, start: Position = _BEGIN) -> Iterator[Frame]:
    """Frames of a file from a place on, up to the first that is not whole."""
    with path.open("rb") as file:
        offset = max(start.offset, len(MAGIC))
        if start.offset < len(MAGIC) and file.read(len(MAGIC)) != MAGIC:
            return
        file.seek(offset)
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, checksum, kind, time = HEADER.unpack(header)
            body = file.read(length) if length <= MAX_FRAME else b""
            if len(body) < length or zlib.crc32(body, zlib.crc32(header[8:])) != checksum:
                return
            offset += HEADER.size + length
            yield Frame(kind, time, body, Position(start.segment, offset))


def follow(directory: Path, position: Position) -> Iterator[Frame]:
    """Frames that are there now from a position on, over segments; call again later with the last frame's `end`.

    A segment whose successor exists is complete. Raises GapError when the position's segment is gone.
    """
    while True:
        present = segments(directory)
        later = [number for number in present if number > position.segment]
        if position.segment not in present:
            if not later:
                return
            if position.segment:
                raise GapError(Position(later[0], 0))
            position = Position(later[0], 0)
            continue
        for frame in read(directory, position):
            position = frame.end
            yield frame
        if not later:
            return
        position = Position(later[0], 0)


class Journal:
    """The one writer of a directory's journal."""

    def __init__(self, directory: Path) -> None:
        """Lock the directory, creating it if need be; JournalError if that cannot be done."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{directory}: {error.strerror}; the exporter needs a folder it may write to") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise JournalError(f"{directory} is in use by another exporter; give each its own --state") from error
        self._file = -1
        self.end = Position(0, 0)

    def recover(self, first: int) -> Iterator[Frame]:
        """Frames from segment `first` on; a damaged tail of the last segment is set aside and said.

        JournalError when a segment before the last is damaged: what was acknowledged after it would be lost silently.
        """
        present = [number for number in segments(self.directory) if number >= first]
        if present and ((present[0] != first and first) or present != list(range(present[0], present[-1] + 1))):
            raise JournalError(
                f"{self.directory}: a journal segment is missing among {present}; restore it from a backup"
            )
        for number in present:
            end = Position(number, 0)
            for frame in read(self.directory, end):
                end = frame.end
                yield frame
            size = segment_path(self.directory, number).stat().st_size
            whole = max(end.offset, len(MAGIC))
            if size not in (0, whole) and number != present[-1]:
                raise JournalError(
                    f"{segment_path(self.directory, number)}: damaged at byte {end.offset}, and later segments exist; "
                    "restore the file from a backup, or move the state folder away to start anew"
                )
            if size > whole or (size < len(MAGIC) and size > 0):
                yield self._set_aside(number, end.offset, size)

    def _set_aside(self, number: int, offset: int, size: int) -> Frame:
        path = segment_path(self.directory, number)
        damaged = path.with_suffix(".damaged")
        damaged.write_bytes(path.read_bytes()[offset:])
        os.truncate(path, offset)
        _log.error(
            "the journal's tail is damaged: recovered up to it",
            extra={
                "file": str(path),
                "offset": offset,
                "bytes_lost": size - offset,
                "set_aside": str(damaged),
            },
        )
        return Frame(DAMAGE, 0.0, b"", Position(number, offset))

    def start_segment(self) -> int:
        """Begin a new segment after the newest one, durably; returns its number."""
        number = max(segments(self.directory), default=0) + 1
        file = os.open(segment_path(self.directory, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            _write(file, MAGIC)
            os.fdatasync(file)
            sync_directory(self.directory)
        except OSError:
            os.close(file)
            segment_path(self.directory, number).unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self.end = file, Position(number, len(MAGIC))
        return number

    def append(self, frame: bytes) -> None:
        """Write a frame and wait until it is durable; on OSError nothing of it stays."""
        try:
            _write(self._file, frame)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.end.offset)
            raise
        self.end = Position(self.end.segment, self.end.offset + len(frame))

    def drop_before(self, number: int) -> None:
        """Delete the segments before `number`."""
        for old in segments(self.directory):
            if old < number:
                segment_path(self.directory, old).unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes on disk, snapshot included."""
        return sum(path.stat().st_size for path in self.directory.iterdir() if path.is_file())

    def close(self) -> None:
        """Give the directory up."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        os.close(self._lock)


def sync_directory(directory: Path) -> None:
    """Make a directory's entries durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
