"""What changed, for the pages: asked of `midwatch.app.incident`, once for all who look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from midwatch.app.console.remembered import Remembered
from midwatch.app.incident import explain
from midwatch.app.incident.collect import Collected
from midwatch.errors import MidwatchError
from monitors.incident.records import Incident

GOOD_FOR = 20.0
"""Seconds: an explanation takes one, and an incident lasts for minutes."""
ROUND = 15.0
"""Seconds to which a time is rounded, so that those who look a moment later look at the same."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The incident of an alert, or why there is none."""

    incident: Incident | None = None
    why: str = ""


@dataclass
class WhatChanged:
    """Changes of a time, and explanations of alerts."""

    sources: explain.Sources
    _collected: Remembered[Collected] = field(default_factory=lambda: Remembered(GOOD_FOR))
    _explained: Remembered[Explained] = field(default_factory=lambda: Remembered(GOOD_FOR))

    def changes(self, span: float, now: float) -> Collected:
        """Changes of the last `span` seconds."""
        end = now - now % ROUND
        return self._collected.get((span, end // GOOD_FOR), lambda: explain.changes(self.sources, end - span, end))

    def explained(self, alert: str, labels: Mapping[str, str], now: float) -> Explained:
        """The incident of an alert that fired last before now."""

        def make() -> Explained:
            try:
                return Explained(incident=explain.of_alert(self.sources, alert, labels, now, now))
            except MidwatchError as error:
                return Explained(why=str(error).partition("\n")[0])

        return self._explained.get((alert, tuple(sorted(labels.items()))), make)
