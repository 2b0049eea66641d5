"""Argo CD's applications as it says them: the revision that is deployed, the one that is wanted, the last operation.

Asked is the API server (`/api/v1/applications`, Argo CD 2.14 to 3.5), or the Kubernetes API for the same objects. A
failed sync can show as Synced and Healthy (argo-cd#28646): the last operation is in `status.operationState` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from midwatch import cluster_objects
from midwatch.rest import Api
from midwatch.spec.observed.argo_cd import APPLICATIONS, ArgoCdObserved, Carried


@dataclass(frozen=True, kw_only=True)
class Application:
    """An application as Argo CD has it; `deployed` and `wanted` are revisions, one for each of its sources.

    `operation` is the phase of the last operation, which `finished` at that time, in seconds since 1970.
    """

    name: str
    namespace: str
    project: str
    sync: str
    health: str
    operation: str
    finished: float | None
    said: str
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
        last = status.get("operationState") or {}
        return cls(
            name=str(metadata["name"]),
            namespace=str(metadata.get("namespace", "")),
            project=str((said.get("spec") or {}).get("project", "")),
            sync=str(sync.get("status") or "Unknown"),
            health=str((status.get("health") or {}).get("status") or "Unknown"),
            operation=str(last.get("phase") or ""),
            finished=cluster_objects.seconds(last["finishedAt"]) if last.get("finishedAt") else None,
            said=str(last.get("message") or ""),
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
