"""What a drill needs of a kind of store; the drill itself is the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chaos.faults import Fault
from dr.verdict import Check
from midwatch.errors import MidwatchError


class NotReadyError(MidwatchError):
    """A drill must not begin: the target does not allow it, or is not as it should be. Nothing was harmed."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """An alert that has to come in time: the metric, its labels, and the value above which it fires."""

    command: tuple[str, ...]
    url: str
    metric: str
    labels: dict[str, str]
    above: float


@dataclass(frozen=True, kw_only=True)
class Injury:
    """The fault of a drill and what it means: see `verdict.Injection`.

    `sink` is the file of what a plane delivers, empty without one: a page has to arrive there while the fault lasts.
    """

    fault: Fault
    silences: bool = True
    spoils: bool = False
    fails_over: bool = True
    old: str = ""
    warning: Alarm | None = None
    sink: str = ""


class Scene(Protocol):
    """A store, set up for one drill. `start` may raise NotReadyError; `stop` never raises and may be called twice."""

    def start(self) -> None:
        """Have everything run and be allowed that the drill needs, except the recoverer and the observer."""

    def target(self) -> dict[str, Any]:
        """What the observer writes to, as `targets.build` takes it."""

    def guard(self, events: Path) -> Sequence[str] | None:
        """Command of the recoverer that keeps its events there; None when it runs already, or there is none."""

    def watched(self, events: Path) -> Path | None:
        """Where the recoverer's events are; None when nobody's are: the recovery is an operator's own."""

    def prepare(self, warmup: float) -> float:
        """Bring the store to where the fault strikes, the recoverer running; returns seconds of writes before it."""

    def injury(self) -> Injury:
        """The fault."""

    def is_redundant(self) -> bool | None:
        """Whether it has the redundancy back; None for a store that has none."""

    def checks(self) -> list[Check]:
        """What must hold after the recovery, beside the writes."""

    def versions(self) -> dict[str, str]:
        """Versions of what took part."""

    def stop(self) -> None:
        """Stop what `start` started."""
