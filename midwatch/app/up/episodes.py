"""Episodes of the loop while the stack runs: asked of its service, for the live view and the result."""

from __future__ import annotations

from typing import Any

import urllib3

from midwatch.app.up.asking import Asking

TIMEOUT_SECONDS = 5.0


class Episodes(Asking):
    """Asks the loop's service, once a second, in a thread; `found` is its last answer, empty before the first."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=False)
        self.found: list[dict[str, Any]] = []
        super().__init__("episodes", self.ask, is_needed=bool(loop))

    def ask(self) -> None:
        """Ask once. A service that does not answer leaves what it said last."""
        try:
            said = self._pool.request("GET", f"{self._loop}/episodes").json()
        except (urllib3.exceptions.HTTPError, ValueError):
            return
        self.found = list(said.get("episodes", ())) or self.found
