"""Argo Rollouts: whether the Rollout that serves the model has the new version, and whether it was aborted.

A Rollout is said to have a version where the field of its `canary` arm, a label `version` of its pods or an image's tag
is that version; else it is another release, and says nothing of the episode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from midwatch import cluster_objects, kubernetes
from midwatch.spec.canary import Rollout
from monitors.loop.episode import Episode, Result, Step
from monitors.loop.owner import Place, Sight

STEPS = frozenset({Step.DEPLOYED, Step.ROLLED_BACK})

GROUP = "/apis/argoproj.io/v1alpha1"
_LABELS = ("version", "app.kubernetes.io/version")
_KEYED = re.compile(r"metadata\.(annotations|labels)\['([^']+)'\]")


@dataclass(frozen=True, kw_only=True)
class ArgoRollouts:
    """The Kubernetes API that the model's Rollout is in."""

    rollout: Rollout
    namespace: str
    timeout: float
    source: str = "argo_rollouts"
    steps: frozenset[Step] = STEPS

    def look(self, episode: Episode, now: float) -> list[Sight]:  # noqa: ARG002 - the signature of every owner
        """What the Rollout says, once there is a version that it may have."""
        version = episode.new_version
        if version is None:
            return []
        path = f"{GROUP}/namespaces/{self.namespace}/rollouts/{self.rollout.name}"
        found = kubernetes.find(path, timeout=self.timeout)
        if found is None or version not in set(_versions(found, self.rollout.canary)):
            return []
        return list(self._sights(found, version))

    def _sights(self, found: Mapping[str, Any], version: str) -> Iterator[Sight]:
        status = cluster_objects.status(found)
        number, name = str(status.get("currentPodHash") or ""), f"{self.namespace}/{self.rollout.name}"
        if number and status.get("updatedReplicas"):
            yield Sight(
                step=Step.DEPLOYED,
                result=Result.DONE,
                id=name,
                at=None,
                said=f"the Rollout has pods of {version}",
                facts={"pod_hash": number},
            )
        if status.get("abort"):
            aborted = status.get("abortedAt")
            yield Sight(
                step=Step.ROLLED_BACK,
                result=Result.DONE,
                id=name,
                at=cluster_objects.seconds(aborted) if aborted else None,
                said=str(status.get("message") or "the Rollout was aborted"),
            )


def _versions(found: Mapping[str, Any], field: str | None) -> Iterator[str]:
    """What a Rollout calls the version of its newest pods."""
    metadata, template = found["metadata"], found["spec"].get("template") or {}
    if (keyed := _KEYED.fullmatch(field or "")) is not None:
        yield str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from (str(labels[name]) for name in _LABELS if name in labels)
    for container in (template.get("spec") or {}).get("containers") or ():
        yield str(container.get("image", "")).rpartition(":")[2]


def build(place: Place) -> ArgoRollouts | str:
    """The Rollout of the model, if the platform file names one."""
    rollout = place.model.canary.rollout if place.model.canary else None
    if rollout is None:
        return f"{place.model.name} has no canary.rollout"
    settings = place.platform.kubernetes
    namespace = rollout.namespace or (settings.namespace if settings else None)
    if namespace is None:
        return f"canary.rollout of {place.model.name} names no namespace"
    return ArgoRollouts(rollout=rollout, namespace=namespace, timeout=place.timeout)
