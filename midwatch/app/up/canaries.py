"""What the gate says of the platform's canaries while it runs: asked as Argo Rollouts would, shown, and kept."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from midwatch.app.up.asking import Asking
from midwatch.spec.canary import LocalCanary

TIMEOUT_SECONDS = 10.0
"""What Argo Rollouts' web metric takes."""


@dataclass(kw_only=True)
class Answer:
    """The gate's last answer on a canary; `decided_after` is seconds of analysis until the first that decided."""

    of: LocalCanary
    verdict: str = "inconclusive"
    reason: str = "not asked yet"
    decided_after: float | None = None

    def document(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return {
            "model": self.of.model,
            "baseline": self.of.baseline,
            "canary": self.of.canary,
            "verdict": self.verdict,
            "reason": self.reason,
            "decided_after_seconds": self.decided_after,
        }


class Canaries(Asking):
    """Asks the gate about each canary, once a second, in a thread."""

    def __init__(self, gate: str, canaries: Sequence[LocalCanary]) -> None:
        self._gate = gate
        self.answers = [Answer(of=one) for one in canaries]
        super().__init__("canaries", self._ask_all, is_needed=bool(self.answers))

    def _ask_all(self) -> None:
        for answer in self.answers:
            self._ask_of(answer)

    def _ask_of(self, answer: Answer) -> None:
        body = {"model": answer.of.model, "baseline": answer.of.baseline, "canary": answer.of.canary, "start": ""}
        request = urllib.request.Request(f"{self._gate}/verdict", json.dumps(body).encode())  # noqa: S310 - our gate
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - see above
                verdict = json.load(response)
        except (OSError, urllib.error.URLError, ValueError) as error:
            answer.verdict, answer.reason = "inconclusive", f"the gate does not answer: {error}"
            return
        answer.verdict, answer.reason = verdict["verdict"], verdict["reason"]
        if answer.verdict != "inconclusive" and answer.decided_after is None:
            answer.decided_after = _seconds(verdict["evidence"])


def _seconds(evidence: dict[str, Any]) -> float:
    from datetime import datetime

    start, end = (datetime.fromisoformat(evidence[name]) for name in ("start", "end"))
    return (end - start).total_seconds()
