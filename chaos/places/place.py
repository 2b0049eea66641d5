"""What every place has: its platform, the files of its runs, who measures and who is told there, and its targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

from chaos import notices
from chaos.lease import ClusterLease
from chaos.targets import Hit, Prepared
from midwatch import evidence
from midwatch.prometheus import Client
from midwatch.spec import load, model
from midwatch.spec.chaos import Chaos

WHERE_VARIABLE, STATE_VARIABLE, PLATFORM_VARIABLE = (
    "MIDWATCH_CHAOS_WHERE",
    "MIDWATCH_CHAOS_STATE",
    "MIDWATCH_CHAOS_PLATFORM",
)
"""Environment variables that tell an experiment where it acts."""
VARIABLES = {"where": WHERE_VARIABLE, "state": STATE_VARIABLE, "platform": PLATFORM_VARIABLE}
"""The same by the keys of an experiment's configuration."""


@dataclass(frozen=True)
class Home:
    """Files of all runs below a state folder."""

    state: Path

    @property
    def folder(self) -> Path:
        """The folder of them all."""
        return self.state / "chaos"

    @property
    def evidence(self) -> Path:
        """The evidence log."""
        return self.folder / "evidence.jsonl"

    @property
    def lock(self) -> Path:
        """Held while an experiment runs."""
        return self.folder / "lock"

    @property
    def kill_switch(self) -> Path:
        """Is there while no experiment may run."""
        return self.folder / "stop"

    @property
    def runs(self) -> Path:
        """A folder for each run."""
        return self.folder / "runs"

    def open_runs(self) -> list[Path]:
        """Runs with faults that nobody has reverted, or rollbacks that nobody has played."""
        unreverted = {path.parent.parent for path in self.runs.glob("*/faults/*.json")}
        return sorted(unreverted | {path.parent for path in self.runs.glob("*/open.json")})


class Injection(Protocol):
    """A fault that is asked for, and how it is made at each place."""

    def here(self, plane: Any) -> Prepared:
        """Targets and faults on the plane of this machine."""
        ...

    def in_cluster(self, cluster: Any) -> Prepared:
        """Targets and faults in a cluster's namespace."""
        ...


class Place(ABC):
    """Where experiments act, and how to ask what is going on there."""

    name: ClassVar[str]
    """As `--where` says it."""

    def __init__(self, platform: model.Platform, platform_file: Path, state: Path) -> None:
        self.platform, self.platform_file, self.state = platform, platform_file, state

    @property
    def chaos(self) -> Chaos:
        """The platform's chaos section."""
        return self.platform.chaos or Chaos()

    @property
    def home(self) -> Home:
        """Files of all runs."""
        return Home(self.state)

    @abstractmethod
    def prepare(self, injection: Injection, earlier: Sequence[Hit] = ()) -> Prepared:
        """Choose targets for a fault; TargetError when there is none, it is protected, or too many would be hit.

        `earlier` is what other actions of the same experiment have hit.
        """

    def is_there(self) -> bool:
        """Whether it still is there; without it nothing more can be learnt."""
        return True

    @property
    @abstractmethod
    def prometheus(self) -> Client:
        """Prometheus of the place."""

    @property
    @abstractmethod
    def alertmanager(self) -> notices.Alertmanager:
        """Alertmanager of the place."""

    @property
    @abstractmethod
    def notices(self) -> notices.Notices:
        """Where alerts can be seen to arrive."""

    @property
    @abstractmethod
    def results(self) -> Path:
        """Folder that the experiments' metrics are written to."""

    def lease(self, holder: str) -> ClusterLease | None:  # noqa: ARG002 - of those places that have one
        """The lease that keeps runs apart beside the lock on this machine; None where the lock does."""
        return None

    @cached_property
    def key_file(self) -> Path | None:
        """The file of the evidence log's key, if it has one."""
        given = self.chaos.evidence_key_file
        return None if given is None else load.base_folder(self.platform_file) / given

    @property
    def anchor_file(self) -> Path | None:
        """The file elsewhere that takes the evidence log's head, if there is one."""
        given = self.chaos.evidence_anchor_file
        return None if given is None else load.base_folder(self.platform_file) / given

    def log(self) -> evidence.Log:
        """The evidence log; MidwatchError when its key cannot be read."""
        return evidence.Log(self.home.evidence, key=evidence.read_key(self.key_file) if self.key_file else b"")

    def environment(self) -> dict[str, str]:
        """What tells an experiment of this place."""
        return {
            WHERE_VARIABLE: self.name,
            STATE_VARIABLE: str(self.state.resolve()),
            PLATFORM_VARIABLE: str(self.platform_file.resolve()),
        }


def contradicts(place: Place, key: str, said: str) -> bool:
    """Whether what an experiment says of `where`, `state` or `platform` is another place than this one."""
    if key == "where":
        return said != place.name
    told = place.state if key == "state" else place.platform_file
    return Path(said).resolve() != told.resolve()
