"""A client that knows what was acknowledged to it: it sends a batch until every event of it is, and counts."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from typing import Any

from benchmarks.soak.process import Exporter

BATCH = 20
PAUSE = 0.02


class Client(threading.Thread):
    """Predictions and, of an earlier batch, labels; `predictions` and `labels` are what was acknowledged."""

    def __init__(self, number: int, exporter: Exporter, stop: threading.Event, seed: int) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self._model, self._exporter, self._stop_asked = f"soak-{number}", exporter, stop
        self._source = random.Random(seed + number)
        self.predictions = self.labels = 0
        self.failure: str | None = None

    def run(self) -> None:
        """Send until it is asked to stop; what has begun is ended."""
        batch = 0
        try:
            while not self._stop_asked.is_set():
                self._send([("prediction", f"{batch}-{place}") for place in range(BATCH)])
                if batch:
                    self._send([("label", f"{batch - 1}-{place}") for place in range(BATCH)])
                batch += 1
        except Exception as error:  # the table must not hide that a ledger has ended
            self.failure = repr(error)

    def _send(self, events: list[tuple[str, str]]) -> None:
        unsettled = events
        while unsettled:
            answer = self._answer(unsettled)
            if answer is None:
                time.sleep(PAUSE)
                continue
            status, refused = answer
            kept = [event for line, event in enumerate(unsettled) if line not in refused]
            if status not in (200, 422):
                raise RuntimeError(f"an answer of {status}")
            self.predictions += sum(kind == "prediction" for kind, _ in kept)
            self.labels += sum(kind == "label" for kind, _ in kept)
            unsettled = [event for line, event in enumerate(unsettled) if line in refused]
            if unsettled:
                time.sleep(PAUSE)

    def _answer(self, events: list[tuple[str, str]]) -> tuple[int, set[int]] | None:
        """Status and places of the refused; None when it has to be sent again."""
        blank = self._source.random() < 0.3
        lines = [json.dumps(self._event(kind, identifier)) for kind, identifier in events]
        body = ("\n\n" if blank else "\n").join(lines).encode()
        try:
            status, text = self._exporter.ask("POST", "/events", body)
        except (OSError, http.client.HTTPException):
            return None
        if status == 503:
            return None
        document: dict[str, Any] = json.loads(text)
        step = 2 if blank else 1
        return status, {(one["line"] - 1) // step for one in document.get("refused", ())}

    def _event(self, kind: str, identifier: str) -> dict[str, Any]:
        common = {"event": kind, "id": identifier, "model": self._model, "ts": time.time()}
        answer = "late" if hash(identifier) % 3 else "fine"
        if kind == "label":
            return {**common, "label": answer}
        return {**common, "version": "v1", "prediction": answer, "score": 0.7, "duration_seconds": 0.01}
