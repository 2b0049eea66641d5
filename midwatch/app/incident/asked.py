"""What a source of changes is asked: the platform, the time, where Prometheus, evidence and Git are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from midwatch.prometheus import Client
from midwatch.spec.model import Platform
from monitors.incident.records import Change, Unanswered

KEPT_LABELS = ("model", "version", "region", "zone", "cluster", "slo")
"""Labels that say where something is, by which events are counted and changes told apart."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Changes are wanted from `start` to `end`, seconds since the epoch; `step` is seconds between two looks.

    `first` is the first look at which Prometheus has anything. `evidence` are logs and folders of logs, `repositories`
    folders with Git. `within` is how many seconds a program that is asked may take.
    """

    platform: Platform
    client: Client
    start: float
    end: float
    step: float
    first: float
    evidence: tuple[Path, ...] = ()
    repositories: tuple[Path, ...] = ()
    within: float = 1.0

    @property
    def looks(self) -> int:
        """How many looks there are."""
        return round((self.end - self.first) / self.step) + 1


Found = Iterator[Change | Unanswered]
"""What was found, and what could not be seen; an error is told as unanswered by whoever asks."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question to one source; questions are asked side by side."""

    source: str
    ask: Callable[[], Found]
