"""Who owns steps of an episode, such as a registry: what it is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from midwatch.prometheus import Client
from midwatch.spec.loop import ModelLoop
from midwatch.spec.model import Model, Platform
from monitors.loop.episode import Episode, Result, Step

SKEW = 60.0
"""Seconds that two owners' clocks may differ: what is older than the drift by more belongs to no episode of it."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A step as its owner says it now; the fields are those of `episode.Seen`."""

    step: Step
    result: Result
    id: str
    at: float | None
    said: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class Owner(Protocol):
    """Who can be asked about some steps of a model's episodes."""

    source: str
    """What it is called in records."""
    steps: frozenset[Step]
    """Steps that it can see."""

    def look(self, episode: Episode, now: float) -> list[Sight]:
        """What it says of an open episode; again what it said before. MidwatchError when it does not answer."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The model that is followed, the platform file, and the platform's Prometheus."""

    platform: Platform
    model: Model
    client: Client

    @property
    def settings(self) -> ModelLoop:
        """How the model's episodes are followed."""
        return self.model.loop or ModelLoop()

    @property
    def timeout(self) -> float:
        """Seconds for one answer."""
        return self.platform.loop.timeout if self.platform.loop else 10.0
