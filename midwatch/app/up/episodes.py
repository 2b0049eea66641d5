"""Episodes of the loop while the stack runs: asked of its service, for the live view and the result."""

from __future__ import annotations

import threading
from typing import Any

import urllib3

ASK_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0


class Episodes:
    """Asks the loop's service, once a second, in a thread; `found` is its last answer, empty before the first."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=False)
        self.found: list[dict[str, Any]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask_for_ever, name="episodes", daemon=True)

    def start(self) -> None:
        """Begin to ask, if there is a service."""
        if self._loop:
            self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _ask_for_ever(self) -> None:
        while not self._stopped.wait(ASK_SECONDS):
            self.ask()

    def ask(self) -> None:
        """Ask once. A service that does not answer leaves what it said last."""
        try:
            said = self._pool.request("GET", f"{self._loop}/episodes").json()
        except (urllib3.exceptions.HTTPError, ValueError):
            return
        self.found = list(said.get("episodes", ())) or self.found
