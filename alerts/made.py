"""An alerting rule as Prometheus loads it, with what proves that it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from midwatch.spec.rules import Proof


@dataclass(frozen=True, kw_only=True)
class Made:
    """A rule, and its proof where one is written."""

    rule: dict[str, Any]
    proof: Proof | None = None

    @property
    def name(self) -> str:
        """Its alert name."""
        return str(self.rule["alert"])
