"""Argo CD: whether the application that carries the model has the new version, by its last operation.

The history lacks syncs that failed, were partial or dry; `status.operationState` has the last one whatever it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from midwatch import argo_applications
from midwatch.argo_applications import Application
from midwatch.spec.observed.argo_cd import ArgoCdObserved, Carried
from monitors.loop.episode import Episode, Result, Step
from monitors.loop.owner import Place, Sight

STEPS = frozenset({Step.DEPLOYED})

_FAILED = ("Failed", "Error")


@dataclass(frozen=True, kw_only=True)
class ArgoCd:
    """Argo CD, and the applications that carry the model."""

    observed: ArgoCdObserved
    carries: dict[str, Carried]
    source: str = "argo_cd"
    steps: frozenset[Step] = STEPS

    def look(self, episode: Episode, now: float) -> list[Sight]:  # noqa: ARG002 - the signature of every owner
        """What the last operation made of an application with the new version."""
        version, registered = episode.new_version, episode.time(Step.REGISTERED)
        if version is None or registered is None:
            return []
        applications = argo_applications.ask(self.observed)
        return [
            sight
            for one in applications
            if one.name in self.carries and version in one.versions(self.carries[one.name])
            for sight in _operation(one, version, registered)
        ]


def _operation(application: Application, version: str, registered: float) -> Iterator[Sight]:
    ended = application.finished
    if ended is None or ended < registered:
        return  # an operation that runs, or one before the version was there
    if application.operation in _FAILED:
        said = f"the last operation ended as {application.operation}: {application.said[:200]}"
        yield Sight(step=Step.DEPLOYED, result=Result.FAILED, id=application.key, at=ended, said=said)
    elif application.operation == "Succeeded":
        said = f"synced with {version}"
        yield Sight(step=Step.DEPLOYED, result=Result.DONE, id=application.key, at=ended, said=said)


def build(place: Place) -> ArgoCd | str:
    """Argo CD, where the platform file says which application carries the model."""
    for use in place.platform.systems.values():
        if isinstance(observed := use.observe, ArgoCdObserved):
            carries = {name: one for name, one in observed.carries.items() if one.model == place.model.name}
            return ArgoCd(observed=observed, carries=carries) if carries else "no application carries it"
    return "systems.argo_cd has no observe"
