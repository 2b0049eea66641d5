"""The exporter's append-only journal: frames with checksums in numbered segments, written durably, read back by anyone.

What the frames mean is the state's job. A frame is a header (length, CRC-32, kind, time) and a body; a segment starts
with a magic line and a link, which names the segment before it and how that ended. The file `head` has the number of
the newest segment. So a segment that is removed, cut or exchanged is missed, also the last one. Whoever appends holds
the folder's lock; readers (the drift judge) only follow.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain as chained
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import msgspec

from exporters.events import private_files
from midwatch.errors import MidwatchError

MAGIC = b"midwatch-journal 1\n"
HEADER = struct.Struct("<IIBd")
MAX_FRAME = 256 * 2**20
"""Bytes. A length beyond this is damage, not a frame: a group is bounded by the size of the bodies in it."""

EVENTS = 1
DAMAGE = 2
LOADED = 3
CLOCK = 4
LINK = 5
PREPARED = 6
TAKEN = 7
LEFT = 8
PARTITION = 9
"""Kinds of frames: events as they happened, a damage that was found, events of a file that was loaded, how the
journal's time stands to the clocks, and what a segment follows. Of a member of a Kafka group: records that count once
the group has agreed, that it has, that it has not, and a part of what waits in a partition."""

_log = logging.getLogger(__name__)


class JournalError(MidwatchError):
    """The journal cannot be opened or trusted."""


class GoneError(OSError):
    """The file that is appended to is no longer the one in the folder."""


class FrameSizeError(ValueError):
    """A frame would be larger than what a reader takes."""


class GapError(MidwatchError):
    """A reader's position is in a segment that is gone; `resume` is where reading can go on."""

    def __init__(self, resume: Position) -> None:
        self.resume = resume
        super().__init__(f"the journal's segment that was read last is gone; segment {resume.segment} is there")


class Position(NamedTuple):
    """A place between two frames, ordered as they were written."""

    segment: int
    offset: int


_BEGIN = Position(0, 0)


class Frame(NamedTuple):
    """One frame: its kind, when it was written (seconds since the epoch), its body, where it ends, and its header."""

    kind: int
    time: float
    body: bytes
    end: Position
    header: bytes = b""


def encode(kind: int, time: float, body: bytes) -> bytes:
    """Bytes of a frame; FrameSizeError beyond `MAX_FRAME`, so that nothing is written that cannot be read."""
    if len(body) > MAX_FRAME:
        raise FrameSizeError(f"a frame of {len(body)} bytes; at most {MAX_FRAME} are written")
    stamp = struct.pack("<Bd", kind, time)
    return HEADER.pack(len(body), zlib.crc32(body, zlib.crc32(stamp)), kind, time) + body


class Link(msgspec.Struct, array_like=True, frozen=True):
    """What a segment follows: the number of the one before (0: none), its end, and a checksum of its headers."""

    previous: int = 0
    end: int = 0
    checksum: int = 0


_LINK = msgspec.msgpack.Decoder(Link)
_FIRST = Link()


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment lies."""
    return directory / f"journal-{number:010d}.log"


def segments(directory: Path) -> list[int]:
    """Numbers of the segments in a directory, ascending."""
    return _numbers(directory, "journal")


def snapshots(directory: Path) -> list[int]:
    """Numbers of the snapshots in a directory, ascending: each has what stands before the segment of its number."""
    return _numbers(directory, "snapshot")


def _numbers(directory: Path, kind: str) -> list[int]:
    names = [path.stem.removeprefix(f"{kind}-") for path in directory.glob(f"{kind}-*.log")]
    return sorted(int(name) for name in names if name.isdecimal())


def read(directory: Path, start: Position, stop: int | None = None) -> Iterator[Frame]:
    """Frames of one segment from a place on, up to the first that is not whole, or to the byte `stop`."""
    return read_file(segment_path(directory, start.segment), start, stop)


def read_file(path: Path, start: Position = _BEGIN, stop: int | None = None, magic: bytes = MAGIC) -> Iterator[Frame]:
    """Frames of a file from a place on, up to the first that is not whole, or to the byte `stop`."""
    with private_files.reading(path) as file:
        offset = max(start.offset, len(magic))
        if start.offset < len(magic) and file.read(len(magic)) != magic:
            return
        file.seek(offset)
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, checksum, kind, time = HEADER.unpack(header)
            end = offset + HEADER.size + length
            if stop is not None and end > stop:
                return
            body = file.read(length) if length <= MAX_FRAME else b""
            if len(body) < length or zlib.crc32(body, zlib.crc32(header[8:])) != checksum:
                return
            offset = end
            yield Frame(kind, time, body, Position(start.segment, offset), header)


def link(directory: Path, number: int) -> Link | None:
    """What a segment follows; None where there is no such segment, and where an earlier release wrote it."""
    try:
        first = next(islice(read(directory, Position(number, 0)), 1), None)
        return _LINK.decode(first.body) if first is not None and first.kind == LINK else None
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _stop(directory: Path, number: int, later: int) -> int | None:
    """Where a segment ends by what a later one says: what is behind was never acknowledged."""
    following = link(directory, later)
    return None if following is None or following.previous != number else following.end


def follow(directory: Path, position: Position) -> Iterator[Frame]:
    """Frames that are there now from a position on, over segments, but links; call again with the last one's `end`.

    A segment whose successor exists is complete. Raises GapError when the position's segment is gone, or is one of
    another journal, whose numbers went further.
    """
    while True:
        present = segments(directory)
        later = [number for number in present if number > position.segment]
        if position.segment not in present:
            if not present:
                return
            if position.segment:
                raise GapError(Position((later or present)[0], 0))
            position = Position(later[0], 0)
            continue
        for frame in read(directory, position, _stop(directory, position.segment, later[0]) if later else None):
            position = frame.end
            if frame.kind != LINK:
                yield frame
        if not later:
            return
        position = Position(later[0], 0)


def next_time(directory: Path, position: Position) -> float | None:
    """When the first group of events after a position was written; None when there is none.

    Only headers are read, as far as they go.
    """
    for number in segments(directory):
        if number >= position.segment:
            offset = position.offset if number == position.segment else 0
            for kind, time in _headers(segment_path(directory, number), max(offset, len(MAGIC))):
                if kind in (EVENTS, LOADED, PREPARED):
                    return time
    return None


def _headers(path: Path, offset: int) -> Iterator[tuple[int, float]]:
    """Kind and time of each frame of a file from a place on."""
    try:
        with private_files.reading(path) as file:
            file.seek(offset)
            while len(header := file.read(HEADER.size)) == HEADER.size:
                length, _, kind, time = HEADER.unpack(header)
                yield kind, time
                file.seek(length, os.SEEK_CUR)
    except FileNotFoundError:
        return


def lock(directory: Path) -> tuple[int, int]:
    """Take a folder for this process alone; JournalError when another has it, OSError when it cannot be locked.

    The folder itself is locked, since a file in it can be removed; and a file, which earlier releases lock.
    """
    handles = (
        os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        private_files.open_file(directory / "lock", os.O_RDWR | os.O_CREAT),
    )
    try:
        for handle in handles:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        unlock(handles)
        raise JournalError(f"{directory} is in use by another exporter; give each its own --state") from error
    except OSError:
        unlock(handles)
        raise
    return handles


def unlock(handles: tuple[int, int]) -> None:
    """Give a folder up."""
    for handle in handles:
        os.close(handle)


def read_head(directory: Path) -> int | None:
    """The number in the file `head`: of the newest segment; None without the file, JournalError when it is damaged."""
    try:
        with private_files.reading(directory / "head") as file:
            return int(file.read(20))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _missing(directory, "the file head is damaged") from error


def chain(directory: Path, first: int, head: int | None) -> list[int]:
    """Segments from `first` to the newest, by what each says it follows; one that was never used is left out.

    JournalError when one is missing.
    """
    present = [number for number in segments(directory) if number >= first]
    newest = max(present, default=0)
    if first and first not in present:
        raise _missing(directory, f"segment {first}, which follows the snapshot, is missing")
    if head is not None and head > newest:
        raise _missing(directory, f"segment {head} was written, and the last that is there is {newest or 'none'}")
    found = [newest] if newest else []
    while found and found[-1] != first and (before := _before(directory, found[-1])):
        if before not in present:
            raise _missing(directory, f"what segment {found[-1]} follows is missing: segment {before}, or a snapshot")
        found.append(before)
    return found[::-1]


def _before(directory: Path, number: int) -> int:
    """The segment that one follows; an earlier release numbered them without a gap."""
    follows = link(directory, number)
    return number - 1 if follows is None else follows.previous


def _missing(directory: Path, what: str) -> JournalError:
    return JournalError(f"{directory}: {what}; restore it from a backup, or move the state folder away to start anew")


class Journal:
    """The one writer of a directory's journal."""

    def __init__(self, directory: Path) -> None:
        """Lock the directory, creating it if need be; JournalError if that cannot be done."""
        self.directory = directory
        try:
            private_files.make_folder(directory)
            self._lock = lock(directory)
            for path in chained(directory.glob("*.log"), directory.glob("*.damaged")):
                private_files.close_to_others(path)
        except OSError as error:
            raise JournalError(f"{directory}: {error.strerror}; the exporter needs a folder it may write to") from error
        self._file = -1
        self._checksum = 0
        self._is_torn = False
        self._is_head_old = False
        self.is_gone = False
        self.end = Position(0, 0)
        self.link = _FIRST

    # Starting ----------------------------------------------------------------------------------------------------

    def recover(self, first: int, follows: Link | None = None) -> Iterator[Frame]:
        """Frames from segment `first` on; a damaged tail of the last segment is set aside and said.

        `first` is 0 without a snapshot; `follows` is the link of segment `first` as the snapshot knows it. JournalError
        when something that was acknowledged is missing: it would be lost silently.
        """
        head = read_head(self.directory)
        present = chain(self.directory, first, head)
        if follows is not None and link(self.directory, first) != follows:
            raise _missing(self.directory, f"segment {first} is not the one that the snapshot was followed by")
        has_links = False
        for number, later in zip_longest(present, present[1:]):
            following = None if later is None else link(self.directory, later)
            has_links = has_links or following is not None or link(self.directory, number) is not None
            yield from self._recover_segment(number, following, is_last=later is None)
        if has_links and head is None:
            _log.error("the file head is missing: whether a last segment is too cannot be told", extra=self._where())
            yield Frame(DAMAGE, 0.0, b"", self.end)

    def _where(self) -> dict[str, str]:
        return {"folder": str(self.directory)}

    def _recover_segment(self, number: int, following: Link | None, *, is_last: bool) -> Iterator[Frame]:
        path = segment_path(self.directory, number)
        self.end, self._checksum = Position(number, 0), 0
        for frame in read(self.directory, self.end, None if following is None else following.end):
            self.end = frame.end
            self._checksum = _extended(self._checksum, frame.header)
            yield frame
        size = path.stat().st_size
        if following is not None:
            end = max(self.end.offset, min(size, len(MAGIC)))
            if end < following.end:
                raise self._damaged(path, f"damaged at byte {end}, and later segments exist")
            if following != Link(number, end, self._checksum):
                raise self._damaged(path, "another file than the one that the next segment follows")
            return
        whole = max(self.end.offset, len(MAGIC))
        if size not in (0, whole) and not is_last:
            raise self._damaged(path, f"damaged at byte {self.end.offset}, and later segments exist")
        if size > whole or 0 < size < len(MAGIC):
            yield self._set_aside(path, size)
        elif size:
            self.end = Position(number, whole)
        if size <= whole and read_head(self.directory) == number and link(self.directory, number) is None:
            _log.error("the journal's last segment was emptied", extra={"file": str(path)})
            yield Frame(DAMAGE, 0.0, b"", self.end)

    def _damaged(self, path: Path, what: str) -> JournalError:
        return JournalError(
            f"{path}: {what}; restore the file from a backup, or move the state folder away to start anew"
        )

    def _set_aside(self, path: Path, size: int) -> Frame:
        """Move what is behind the last whole frame to a file beside; a frame that says so."""
        offset = self.end.offset
        handle = private_files.open_file(path, os.O_RDWR)
        try:
            damaged = _written_beside(path, os.pread(handle, size - offset, offset))
            os.ftruncate(handle, offset)
            os.fsync(handle)
        finally:
            os.close(handle)
        _log.error(
            "the journal's tail is damaged: recovered up to it",
            extra={"file": str(path), "offset": offset, "bytes_lost": size - offset, "set_aside": str(damaged)},
        )
        return Frame(DAMAGE, 0.0, b"", self.end)

    # Running -----------------------------------------------------------------------------------------------------

    def start_segment(self) -> int:
        """Begin a new segment after the newest of all there ever were, durably; returns its number."""
        self._ensure_locked()
        numbers = (
            *segments(self.directory),
            *snapshots(self.directory),
            read_head(self.directory) or 0,
            self.end.segment,
        )
        number = max(numbers) + 1
        follows = Link(self.end.segment, self.end.offset, self._checksum)
        first = encode(LINK, 0.0, msgspec.msgpack.encode(follows))
        path = segment_path(self.directory, number)
        file = private_files.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            _write(file, MAGIC + first)
            os.fdatasync(file)
            private_files.sync_folder(self.directory)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self.end, self.link = file, Position(number, len(MAGIC) + len(first)), follows
        self._checksum = _extended(0, first)
        self._is_torn = self.is_gone = False
        self._is_head_old = True
        with suppress(OSError):  # before anything is acknowledged it is tried again
            self._write_head()
        return number

    def _write_head(self) -> None:
        private_files.replace(self.directory / "head", b"%d\n" % self.end.segment)
        self._is_head_old = False

    def _ensure_locked(self) -> None:
        """Have the folder that is there: it is made and locked anew when somebody took it away. OSError if not."""
        with suppress(FileNotFoundError):
            if os.path.samestat(self.directory.stat(), os.fstat(self._lock[0])):
                return
        private_files.make_folder(self.directory)
        try:
            taken = lock(self.directory)
        except JournalError as error:
            raise OSError(str(error)) from error
        unlock(self._lock)
        self._lock = taken

    def append(self, frame: bytes) -> None:
        """Write a frame and wait until it is durable; on OSError nothing of it stays.

        After a write that failed, the next frame begins a segment, whose link leaves out whatever is behind the end.
        """
        self._ensure_present()
        if self._is_torn:
            self.start_segment()
        if self._is_head_old:
            self._write_head()
        try:
            _write(self._file, frame)
            os.fdatasync(self._file)
        except OSError:
            self._is_torn = True
            with suppress(OSError):
                os.ftruncate(self._file, self.end.offset)
            raise
        self.end = Position(self.end.segment, self.end.offset + len(frame))
        self._checksum = _extended(self._checksum, frame)

    def _ensure_present(self) -> None:
        """GoneError unless the file in the folder is the one that is written, as long as it was left."""
        written = os.fstat(self._file)
        try:
            found = segment_path(self.directory, self.end.segment).lstat()
            is_there = os.path.samestat(found, written)
        except OSError:
            is_there = False
        if not is_there or (written.st_size != self.end.offset and not self._is_torn):
            self.is_gone = True
            raise GoneError("the journal's file was removed or changed")

    def drop_before(self, number: int) -> None:
        """Delete the segments before `number`."""
        for old in segments(self.directory):
            if old < number:
                segment_path(self.directory, old).unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes on disk, snapshot included."""
        total = 0
        for path in self.directory.glob("*"):
            with suppress(OSError):
                total += path.lstat().st_size
        return total

    def close(self) -> None:
        """Give the directory up."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        unlock(self._lock)


def _extended(checksum: int, frame: bytes) -> int:
    """Checksum of the headers of a segment's frames, with one more; a header has the checksum of its body."""
    return zlib.crc32(frame[: HEADER.size], checksum)


def _written_beside(path: Path, content: bytes) -> Path:
    """A new file with what is set aside; an earlier one stays."""
    for number in count():
        beside = path.with_name(f"{path.stem}{f'-{number}' if number else ''}.damaged")
        with suppress(FileExistsError), private_files.creating(beside) as file:
            file.write(content)
            return beside
    raise AssertionError("count() does not end")


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
