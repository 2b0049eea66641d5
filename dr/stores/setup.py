"""What a drill needs of a store; the drill itself is the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.faults import Fault
from dr.drill import facts, ledger
from dr.drill.client import ClientConfig
from dr.drill.verdict import Check, Objectives, Result
from dr.recoverer import run
from midwatch.errors import MidwatchError


class NotReadyError(MidwatchError):
    """A drill must not begin: the store does not allow it, or is not as it should be. Nothing was harmed."""


@dataclass(frozen=True, kw_only=True)
class ExpectedAlert:
    """An alert that has to come in time: who publishes its metric, the labels, and the value above which it fires."""

    command: tuple[str, ...]
    url: str
    metric: str
    labels: dict[str, str]
    above: float


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """A request that a client sends to a model through its endpoint: the URL and the JSON body."""

    url: str
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlannedFault:
    """The fault of a drill and what it means: see `verdict.Injection`.

    `sink` is the file of what `midwatch up` delivers, empty without one: a page has to arrive there while it lasts.
    """

    fault: Fault
    silences: bool = True
    spoils: bool = False
    fails_over: bool = True
    clients_follow: bool = False
    old: str = ""
    warning: ExpectedAlert | None = None
    sink: str = ""


class DrillSetup(ABC):
    """A store, set up for one drill. `start` may raise NotReadyError; `stop` never raises and may be called twice."""

    model: ModelRequest | None = None
    """What the store's clients ask of a model, where there is one."""

    @abstractmethod
    def start(self) -> None:
        """Have everything run and be allowed that the drill needs, except the recoverer and the observer."""

    @abstractmethod
    def client(self) -> ClientConfig:
        """The store as the observer sees it."""

    def recoverer(self, events: Path) -> Sequence[str] | None:  # noqa: ARG002 - for kinds to override
        """Command of the recoverer that keeps its events there; None when it runs already, or there is none."""
        return None

    def events(self, asked: Path) -> Path | None:  # noqa: ARG002 - for kinds to override
        """Where the recoverer's events are; None when there are none: the recovery is an operator's own."""
        return None

    def prepare(self, warmup: float) -> float:
        """Bring the store to where the fault strikes, the recoverer running; returns seconds of writes before it."""
        return warmup

    @abstractmethod
    def fault(self) -> PlannedFault:
        """The fault."""

    @abstractmethod
    def is_redundant(self) -> bool | None:
        """Whether it has the redundancy back; None for a store that has none."""

    @abstractmethod
    def checks(self) -> list[Check]:
        """What must hold after the recovery, beside the writes."""

    def versions(self) -> dict[str, str]:
        """Versions of what took part."""
        return {}

    @abstractmethod
    def stop(self) -> None:
        """Stop what `start` started."""


class RecoveredSetup(DrillSetup):
    """A setup with a recoverer of its own, which is `midwatch dr recoverer` as in production."""

    cluster_folder: Path | None = None
    """Folder of a local store, which the recoverer has to be told."""
    take_over = False
    """The recoverer in the cluster is asked to step aside."""

    def __init__(self, platform_file: Path, store: str) -> None:
        self._file, self._name = platform_file, store
        self._events = Path()

    def recoverer(self, events: Path) -> Sequence[str] | None:
        """The command."""
        self._events = events
        return run.command(self._file, self._name, events, cluster=self.cluster_folder, take_over=self.take_over)

    def events(self, asked: Path) -> Path | None:
        """Where they were asked for."""
        return asked

    def is_redundant(self) -> bool | None:
        """Whether the recoverer says so."""
        return any(isinstance(event, facts.Redundant) for event in ledger.read_recorded(self._events))


class RestoreDrill(ABC):
    """A drill that hurts nothing: a backup is restored beside the store, and nobody writes."""

    what: str
    """In a line."""

    @abstractmethod
    def start(self) -> None:
        """Look whether it may begin; NotReadyError when it must not."""

    @abstractmethod
    def restore(self, run: str, objectives: Objectives, say: Callable[[str], None]) -> Result:
        """Restore, and judge that."""
