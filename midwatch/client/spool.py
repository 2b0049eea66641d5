"""Events that wait on disk, so that the end of the process loses none of them: any number of processes, one folder.

A process writes segments of its own, and holds a lock on each while it lives. A segment without a lock is that of a
process that is gone: the next one adopts it. The first line of a segment says how far its events are decided on; each
other line is an event. Its room is reserved when it is begun. What has no end of line was being written when the
process died, and `send` had not returned yet.

An event is in the kernel's hands when `put` returns, which survives `kill -9`; `sync` makes what waits survive the
machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections import deque
from pathlib import Path

from midwatch.client.encoding import MAX_EVENT_BYTES
from midwatch.client.memory import BATCH, BATCH_BYTES
from midwatch.errors import MidwatchError

SEGMENT_BYTES = 4 << 20
"""A segment goes from the disk when all its events are decided on."""
LEAST_BYTES = 2 * (MAX_EVENT_BYTES + 64)
_SUFFIX, _NEW = ".events", ".new"
_HEADER = 20
_ABANDONED_SECONDS = 60.0
"""A segment that was never begun for longer is one whose process died over it."""
_FULL_SECONDS = 0.5
"""After the folder was found full, `put` looks again so often."""


class _Segment:
    """A file of events, locked for as long as it is open; `left` were not decided on when it was adopted."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor, self.path = descriptor, path
        self.written = self.read = self.decided = _HEADER
        self.size = self.left = 0

    @classmethod
    def begin(cls, folder: Path, size: int) -> _Segment:
        """A new one with its room reserved; OSError when the disk has none."""
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex}{_SUFFIX}"
        new = path.with_suffix(_NEW)
        segment = cls(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), path)
        try:
            fcntl.flock(segment.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment.size = size
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(segment.descriptor, 0, size)
            segment.mark()
            new.rename(path)
        except OSError:
            os.close(segment.descriptor)
            new.unlink(missing_ok=True)
            raise
        return segment

    @classmethod
    def adopt(cls, path: Path) -> _Segment | None:
        """One that a process has left, or None: its process lives, or another one was quicker."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino != path.stat().st_ino:
                raise FileNotFoundError(path)
        except OSError:
            os.close(descriptor)
            return None
        segment = cls(descriptor, path)
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        segment.written = max(_HEADER, content.rfind(b"\n") + 1)
        with contextlib.suppress(ValueError):
            segment.read = segment.decided = min(max(_HEADER, int(content[:_HEADER])), segment.written)
        segment.left = content.count(b"\n", segment.decided, segment.written)
        return segment

    def append(self, data: bytes) -> bool:
        """Write at the end; False when the segment is full. OSError when nothing could be kept."""
        if self.written + len(data) > self.size:
            return False
        if os.pwrite(self.descriptor, data, self.written) != len(data):
            raise OSError("only a part of the event was written")
        self.written += len(data)
        return True

    def lines(self) -> list[bytes]:
        """The next lines to send."""
        chunk = os.pread(self.descriptor, min(BATCH_BYTES + 1, self.written - self.read), self.read)
        lines = chunk[: chunk.rfind(b"\n") + 1].split(b"\n")[:-1][:BATCH]
        if not lines and chunk:  # no event is so long: the disk has damaged it, and the exporter will refuse it
            lines = [os.pread(self.descriptor, self.written - self.read, self.read).partition(b"\n")[0]]
        self.read += _size(lines)
        return lines

    def mark(self) -> None:
        """Write down how far the events are decided on."""
        os.pwrite(self.descriptor, b"%019d\n" % self.decided, 0)

    def remove(self) -> None:
        """Take it from the disk."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Spool:
    """Lines in segments of a folder that holds `limit` bytes at most, of all processes together.

    Its owner lets only one thread in at a time; only `sync` may run beside another call.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        if limit < LEAST_BYTES:
            raise MidwatchError(f"a spool of {limit} bytes is too small: {LEAST_BYTES} are the least")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MidwatchError(f"{folder}: no folder for a spool: {error.strerror}") from error
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise MidwatchError(f"{folder}: the spool's folder cannot be written")
        self._folder, self._limit = folder, limit
        self._segment_bytes = max(LEAST_BYTES // 2, min(SEGMENT_BYTES, limit // 4))
        self._segments: deque[_Segment] = deque()
        self._writing: _Segment | None = None
        self._full_until = 0.0
        self.waiting = 0
        self.waiting_bytes = 0

    def put(self, line: bytes) -> bool:
        """Keep a line; False when there is no room. OSError when the disk does not take it."""
        data = line + b"\n"
        if self._writing is None or not self._writing.append(data):
            if not self._begin():
                return False
            if self._writing is None or not self._writing.append(data):
                return False
        self.waiting += 1
        self.waiting_bytes += len(line)
        return True

    def is_full_batch(self) -> bool:
        """Whether there is no use in waiting for more."""
        return self.waiting >= BATCH or self.waiting_bytes >= BATCH_BYTES

    def take(self) -> list[bytes]:
        """The next lines to send, which stay on disk until they are `done`; none when there are none."""
        for segment in self._segments:
            if segment.read < segment.written and (lines := segment.lines()):
                return lines
        return []

    def done(self, lines: list[bytes]) -> None:
        """Forget lines that are decided on, in the order in which they were taken."""
        self.waiting -= len(lines)
        self.waiting_bytes -= sum(map(len, lines))
        segment = next(segment for segment in self._segments if segment.decided < segment.written)
        segment.decided += _size(lines)
        segment.mark()
        if segment.decided >= segment.written and segment is not self._writing:
            self._segments.remove(segment)
            segment.remove()

    def sync(self) -> None:
        """Make what waits survive the machine."""
        for segment in list(self._segments):
            with contextlib.suppress(OSError):
                os.fsync(segment.descriptor)

    def orphans(self) -> list[_Segment]:
        """Segments that processes have left which are gone. May run beside any other call."""
        found = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(OSError):
                if (segment := _Segment.adopt(path)) is not None:
                    found.append(segment)
        for path in self._folder.glob(f"*{_NEW}"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()
        return found

    def adopt(self, segments: list[_Segment]) -> int:
        """Make segments one's own; how many events they had left."""
        for segment in segments:
            if not segment.left:
                segment.remove()
                continue
            self._segments.append(segment)
            self.waiting += segment.left
            self.waiting_bytes += segment.written - segment.decided - segment.left
        return sum(segment.left for segment in segments)

    def abandon(self) -> int:
        """Close everything: what waits stays on disk for the next process, and nothing is lost."""
        for segment in self._segments:
            if segment.decided >= segment.written:
                segment.remove()
            else:
                os.close(segment.descriptor)
        self._forget()
        return 0

    def leave(self) -> None:
        """Let go of what is the parent process's, in a child that was forked."""
        for segment in self._segments:
            os.close(segment.descriptor)
        self._forget()

    def _forget(self) -> None:
        self._segments.clear()
        self._writing = None
        self.waiting = self.waiting_bytes = 0

    def _begin(self) -> bool:
        """A new segment to write to; False while the folder is full."""
        now = time.monotonic()
        if now < self._full_until:
            return False
        if self._occupied() + self._segment_bytes > self._limit:
            self._full_until = now + _FULL_SECONDS
            return False
        segment = _Segment.begin(self._folder, self._segment_bytes)
        if self._occupied() > self._limit:  # another process began one at the same time
            segment.remove()
            return False
        before, self._writing = self._writing, segment
        self._segments.append(segment)
        if before is not None and before.decided >= before.written:
            self._segments.remove(before)
            before.remove()
        return True

    def _occupied(self) -> int:
        total = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += max(entry.stat().st_size, self._segment_bytes)
        return total


def _size(lines: list[bytes]) -> int:
    """Bytes of lines with their ends."""
    return sum(map(len, lines)) + len(lines)
