"""What is dear to make and wanted by many: made once, handed out for a while; who comes meanwhile waits for it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass
class _Entry(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Value | None = None
    until: float = 0.0


class Remembered(Generic[Value]):
    """Values by key, at most `most`; each is good for `seconds`. What fails is not remembered."""

    def __init__(self, seconds: float, *, most: int = 200, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._entries: OrderedDict[Hashable, _Entry[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if there is none that is good."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        with entry.lock:
            if entry.value is None or self._clock() >= entry.until:
                entry.value = make()
                entry.until = self._clock() + self._seconds
            return entry.value
