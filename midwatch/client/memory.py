"""Events that wait in memory, bounded in number and in bytes."""

from __future__ import annotations

from collections import deque

BATCH = 2_000
"""Events of one request at most: at full load a request takes four turns of the interpreter's lock, 20 ms."""
BATCH_BYTES = 1 << 20


class Memory:
    """Lines that wait, those being sent included. Its owner lets only one thread in at a time."""

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity, self._max_bytes = capacity, max_bytes
        self._clear()

    def _clear(self) -> None:
        self._batches: deque[list[bytes]] = deque()
        self._last: list[bytes] = []
        self._last_bytes = 0
        self.waiting = 0
        self.waiting_bytes = 0

    def put(self, line: bytes) -> bool:
        """Keep a line; False when there is no room."""
        size = len(line)
        if self.waiting >= self._capacity or self.waiting_bytes + size > self._max_bytes:
            return False
        if len(self._last) >= BATCH or self._last_bytes + size > BATCH_BYTES:
            self._batches.append(self._last)
            self._last, self._last_bytes = [], 0
        self.waiting += 1  # before the line is there: a signal may raise an exception after any call
        self.waiting_bytes += size
        self._last_bytes += size
        self._last.append(line)
        return True

    def is_full_batch(self) -> bool:
        """Whether there is no use in waiting for more."""
        return bool(self._batches)

    def take(self) -> list[bytes]:
        """The next lines to send, which go on waiting until they are `done`; none when there are none."""
        if self._batches:
            return self._batches.popleft()
        batch, self._last, self._last_bytes = self._last, [], 0
        return batch

    def done(self, lines: list[bytes]) -> None:
        """Forget lines that are decided on, in the order in which they were taken."""
        self.waiting -= len(lines)
        self.waiting_bytes -= sum(map(len, lines))

    def sync(self) -> None:
        """Nothing of it is on a disk."""

    def abandon(self) -> int:
        """Forget everything; how many lines are lost with it."""
        lost = self.waiting
        self._clear()
        return lost

    def leave(self) -> None:
        """Forget what is the parent process's, in a child that was forked."""
        self._clear()
