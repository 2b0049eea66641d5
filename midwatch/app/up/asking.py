"""A question that is asked again and again, in a thread, while the stack runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

ASK_SECONDS = 1.0


class Asking:
    """Calls `ask` once a second, from `start` to `stop`; never without something to ask about."""

    def __init__(self, name: str, ask: Callable[[], None], *, is_needed: bool) -> None:
        self._ask, self._is_needed = ask, is_needed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask_for_ever, name=name, daemon=True)

    def start(self) -> None:
        """Begin to ask, if there is anything to ask about."""
        if self._is_needed:
            self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _ask_for_ever(self) -> None:
        while not self._stopped.wait(ASK_SECONDS):
            self._ask()
