"""What Midwatch has to know of a kind of store. What a kind does not have is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Generic, TypeVar

from dr.drill.client import Client
from dr.recoverer.recovery import Recovery
from dr.samples import Collector
from dr.stores.setup import DrillSetup, RestoreDrill
from midwatch.admission import Demand
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import load
from midwatch.spec.stores.base import Store

S = TypeVar("S", bound=Store)


class NothingToVerifyError(MidwatchError):
    """Nothing could be looked at: that says nothing of a backup, and is not on record."""


@dataclass(frozen=True, kw_only=True)
class Site(Generic[S]):
    """A store of a platform file. `folder` is where a local store runs, or is put by a drill; None for all others."""

    promised: spec.DisasterRecovery
    store: S
    file: Path
    folder: Path | None = None

    @property
    def base(self) -> Path:
        """The folder that paths in the platform file start from."""
        return load.base_folder(self.file).resolve()

    @property
    def state_folder(self) -> Path:
        """Where the recoverer of a store that runs elsewhere keeps its events, and its lease if that is a file."""
        return self.base / ".midwatch" / self.store.name

    @property
    def own_folder(self) -> Path:
        """The folder; MidwatchError without one."""
        if self.folder is None:
            raise NothingToVerifyError(f"{self.store.name} is a local store: say with --cluster where it runs")
        return self.folder


@dataclass(frozen=True, kw_only=True)
class DrillSite(Site[S]):
    """A store in a drill. `state` is the folder of a `midwatch up` that is drilled; `randomness` picks phases."""

    drill: spec.Drill
    randomness: Random
    state: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A backup that was restored and looked at: up to when (seconds since the epoch), and which newer cannot be.

    `holes` says what the restore did not come to, although it is kept.
    """

    backup: str
    point: float
    unusable: tuple[str, ...]
    detail: str
    holes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Right:
    """What a drill may do with a kind of resource of a namespace; `names` are all without any."""

    namespace: str
    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What was published, and how it differs from the generation before."""

    generation: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Kind(Generic[S]):
    """A kind of store."""

    name: ClassVar[str]
    lag_advice: ClassVar[str | None] = None
    """What makes the lag of a store known where it is not; None for a kind that has none: only drills measure it."""
    is_local: ClassVar[bool] = False
    """It recovers in seconds: who waits twice a 15-minute objective for it learns nothing more."""

    def setup(self, site: DrillSite[S]) -> DrillSetup | RestoreDrill:
        """The store, as one drill needs it."""
        raise MidwatchError(f"drills of {self.name} cannot be run here: {site.store.name}")

    def client(self, arguments: dict[str, Any], run: str) -> Client:  # noqa: ARG002 - for kinds to override
        """The store as the observer sees it, by what `DrillSetup.client` of this kind says."""
        raise MidwatchError(f"nobody can write to a store of kind {self.name}")

    def recovery(self, site: Site[S]) -> tuple[Recovery, Path]:
        """How the recoverer recovers it, and the folder of its lease; MidwatchError when that is an operator's."""
        raise MidwatchError(
            f"{site.store.name}: a store of kind {self.name} recovers by its own operator; nothing to recover here"
        )

    def collector(self, site: Site[S]) -> Collector | None:  # noqa: ARG002 - for kinds to override
        """Whoever looks at it between drills; None when it cannot be looked at from here."""
        return None

    def verify(self, site: Site[S], say: Callable[[str], None]) -> Restored:  # noqa: ARG002 - for kinds to override
        """Restore the newest good backup into an empty target and look at it; MidwatchError when none can be.

        `say` is told how far it is.
        """
        raise NothingToVerifyError(
            f"{site.store.name}: its drills restore a store of kind {self.name}; there is no verification"
        )

    def publish(self, site: Site[S], remove: Sequence[str]) -> Publication:  # noqa: ARG002 - for kinds to override
        """Say that what is there now is meant, without the files `remove`, which go."""
        raise MidwatchError(f"{site.store.name}: nothing is published of a store of kind {self.name}")

    def looking_rights(self, store: S) -> Iterable[Right]:  # noqa: ARG002 - for kinds to override
        """What the recovery exporter needs to be allowed in a cluster to look at it."""
        return ()

    def rights(self, store: S) -> Iterable[Right]:  # noqa: ARG002 - for kinds to override
        """What its drills need to be allowed in a cluster, beside the recoverer's lease."""
        return ()

    def demands(self, store: S) -> Iterable[Demand]:  # noqa: ARG002 - for kinds to override
        """What must hold for what its drills may write, where their rights cannot say it; of two stores, for one."""
        return ()

    def stop_leftovers(self, folder: Path) -> None:
        """Stop what still runs in the folder of a drill that was killed."""
