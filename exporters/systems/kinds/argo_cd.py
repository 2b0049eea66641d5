"""Argo CD's applications: the revision that is deployed and the one that is wanted, the last operation, the model.

Asked is the API server (`/api/v1/applications`, Argo CD 2.14 to 3.5), or the Kubernetes API for the same objects. A
failed sync can show as Synced and Healthy (argo-cd#28646): the last operation is in `status.operationState` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.systems.source import Sample
from midwatch import cluster_objects, files, metrics
from midwatch.errors import MidwatchError
from midwatch.rest import Api
from midwatch.spec.model import Platform
from midwatch.spec.observed.argo_cd import APPLICATIONS, ArgoCdObserved, Carried

_FAILED = frozenset({"Failed", "Error"})
_ENDED = _FAILED | {"Succeeded"}
LAST_IN_SYNC = "last-in-sync.json"


# What an application is --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Application:
    """An application as Argo CD has it; `deployed` and `wanted` are revisions, one for each of its sources."""

    name: str
    namespace: str
    project: str
    sync: str
    health: str
    operation: str
    deployed: tuple[str, ...]
    wanted: tuple[str, ...]
    images: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Application:
        """The application of an object; KeyError for what is none."""
        metadata, status = said["metadata"], said.get("status") or {}
        sync, history = status.get("sync") or {}, status.get("history") or []
        return cls(
            name=str(metadata["name"]),
            namespace=str(metadata.get("namespace", "")),
            project=str((said.get("spec") or {}).get("project", "")),
            sync=str(sync.get("status") or "Unknown"),
            health=str((status.get("health") or {}).get("status") or "Unknown"),
            operation=str((status.get("operationState") or {}).get("phase") or ""),
            deployed=_revisions(history[-1]) if history else (),
            wanted=_revisions(sync),
            images=tuple(sorted((status.get("summary") or {}).get("images") or ())),
            labels=metadata.get("labels") or {},
            annotations=metadata.get("annotations") or {},
        )

    @property
    def key(self) -> str:
        """What names it among those of all namespaces."""
        return f"{self.namespace}/{self.name}"

    def versions(self, carried: Carried) -> list[str]:
        """Versions of a model that it has."""
        if carried.image is not None:
            pattern = re.compile(carried.image)
            return sorted({match[1] for image in self.images if (match := pattern.fullmatch(image)) and match[1]})
        stated = self.annotations if carried.annotation is not None else self.labels
        found = stated.get(carried.annotation or carried.label or "")
        return [found] if found else []


def _revisions(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Of one source or of several, which Argo CD writes under another key."""
    several = said.get("revisions")
    return tuple(map(str, several)) if several else tuple(filter(None, [str(said.get("revision") or "")]))


# Asking ------------------------------------------------------------------------------------------------------------


def ask(observed: ArgoCdObserved) -> list[Application]:
    """Every application that is looked at, by name. MidwatchError when nobody answers."""
    objects = (
        _of_api(observed, observed.url)
        if observed.url is not None
        else cluster_objects.objects(APPLICATIONS, observed.places, observed.timeout)
    )
    found = (Application.of(one) for one in objects)
    wanted = frozenset(observed.applications)
    return sorted((one for one in found if not wanted or one.name in wanted), key=lambda one: one.key)


def _of_api(observed: ArgoCdObserved, url: str) -> Iterable[Mapping[str, Any]]:
    # Whole: of `fields` the server knows a list that lacks revisions and history (application/forwarder_overwrite.go).
    return Api(url, observed.auth, observed.timeout).document("/api/v1/applications").get("items") or ()


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
        ask_for: Callable[[ArgoCdObserved], list[Application]] = ask,
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
