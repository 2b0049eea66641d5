"""Argo CD's applications: the revision that is deployed and the one that is wanted, the last operation, the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from exporters.systems.source import Sample
from midwatch import argo_applications, files, metrics
from midwatch.argo_applications import Application
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform
from midwatch.spec.observed.argo_cd import ArgoCdObserved, Carried

_FAILED = frozenset({"Failed", "Error"})
_ENDED = _FAILED | {"Succeeded"}
LAST_IN_SYNC = "last-in-sync.json"


# What is remembered between two answers ----------------------------------------------------------------------------


class InSync:
    """When each application was last seen in sync, in a file: nothing that Argo CD keeps says since when it is not."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / LAST_IN_SYNC
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._seen: dict[str, float] = json.loads(self._file.read_bytes()) if self._file.exists() else {}
        except (OSError, ValueError) as error:
            raise MidwatchError(f"{self._file}: cannot be used: {error}; remove it, or give another --state") from error

    def look(self, applications: Iterable[Application], now: float) -> Mapping[str, float]:
        """Times by application, now for those that are in sync. They are in the file when it returns."""
        self._seen = {one.key: now if one.sync == "Synced" else self._seen.get(one.key, now) for one in applications}
        files.replace(self._file, json.dumps(self._seen, sort_keys=True).encode())
        return self._seen


# The source --------------------------------------------------------------------------------------------------------


class Applications:
    """Argo CD's applications as a source."""

    def __init__(
        self,
        observed: ArgoCdObserved,
        folder: Path,
        ask_for: Callable[[ArgoCdObserved], list[Application]] = argo_applications.ask,
    ) -> None:
        self._observed, self._ask, self._in_sync = observed, ask_for, InSync(folder)
        self._failed: dict[str, bool] = {}

    def read(self, now: float) -> list[Sample]:
        """Samples of every application."""
        applications = self._ask(self._observed)
        in_sync = self._in_sync.look(applications, now)
        self._failed = {one.key: failed for one in applications if (failed := self._has_failed(one)) is not None}
        return [sample for one in applications for sample in self._samples(one, in_sync[one.key])]

    def _has_failed(self, application: Application) -> bool | None:
        """Whether its last operation that ended has failed; one that runs hides the one before it."""
        if application.operation in _ENDED:
            return application.operation in _FAILED
        return self._failed.get(application.key)

    def _samples(self, application: Application, in_sync: float) -> Iterator[Sample]:
        labels = {"application": application.name, "namespace": application.namespace}
        states = {"sync": application.sync, "health": application.health, "operation": application.operation}
        info = {**labels, **states, "project": application.project}
        yield Sample(metric=metrics.ARGO_APPLICATION, labels=info, value=1)
        revisions = {"deployed": ",".join(application.deployed), "wanted": ",".join(application.wanted)}
        yield Sample(metric=metrics.ARGO_REVISION, labels={**labels, **revisions}, value=1)
        yield Sample(metric=metrics.ARGO_IN_SYNC, labels=labels, value=in_sync)
        if (failed := self._failed.get(application.key)) is not None:
            yield Sample(metric=metrics.ARGO_OPERATION_FAILED, labels=labels, value=failed)
        if (carried := self._observed.carries.get(application.name)) is not None:
            yield from _models(application, carried, {**labels, "model": carried.model})


def _models(application: Application, carried: Carried, labels: Mapping[str, str]) -> Iterator[Sample]:
    versions = application.versions(carried)
    yield Sample(metric=metrics.ARGO_MODEL_VERSIONS, labels=labels, value=len(versions))
    for version in versions:
        yield Sample(metric=metrics.ARGO_MODEL_VERSION, labels={**labels, "version": version}, value=1)


def build(platform: Platform, observed: ArgoCdObserved, state: Path) -> Applications:  # noqa: ARG001 - as for all systems
    """The applications of the platform file's section; when they were in sync is kept in `state`."""
    return Applications(observed, state)
