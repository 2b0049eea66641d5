"""What all pods of the plane have in common: names and labels, the rights of a process, where it may be scheduled.

They pass the Pod Security Standard `restricted` (Kubernetes' documentation, "Pod Security Standards"), and their root
file system is read-only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from midwatch import pod_security, pod_volumes
from midwatch.spec.canary import SecretKey
from midwatch.spec.kubernetes import Kubernetes, Resources, Stateful
from midwatch.spec.model import Platform
from monitors.canary import argo

Object = dict[str, Any]

CONFIGURATION = PurePosixPath("/etc/midwatch")
FILE = str(CONFIGURATION / "platform.yaml")
STATE = "/var/lib/midwatch"
TOKEN_FOLDER = "/run/secrets/midwatch-token"  # noqa: S105 - the folder of one
METRICS_FOLDER = "/run/secrets/midwatch-metrics"
KEY = "token"
"""Key of a token in its Secret, and so the name of its file."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the objects of the plane are written for: the platform, its settings, the text of its file."""

    platform: Platform
    settings: Kubernetes
    text: str

    def labels(self, component: str) -> dict[str, str]:
        """Labels that select the pods of a part; they never change, or the part could not be updated."""
        return {
            "app.kubernetes.io/name": "midwatch",
            "app.kubernetes.io/part-of": self.platform.platform,
            "app.kubernetes.io/component": component,
        }

    def metadata(self, name: str, component: str, namespace: str = "") -> Object:
        """Metadata of an object; the plane's namespace without another."""
        labels = {**self.settings.labels, **self.labels(component)}
        return {"name": name, "namespace": namespace or self.settings.namespace, "labels": labels}

    @property
    def checksum(self) -> str:
        """Digest of the platform file as pods read it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of the plane: its words, its port, its paths of health, and what it mounts beside the usual."""

    name: str
    words: tuple[str, ...]
    port: int
    ready: str
    resources: Resources
    secrets: Sequence[Mounted]


def container(place: Place, wanted: Container) -> Object:
    """The container, with the least rights and with probes.

    It has two minutes to start: a large journal is read again first.
    """
    resources = wanted.resources
    return {
        "name": wanted.name,
        "image": place.settings.image,
        "command": ["midwatch", *wanted.words],
        "ports": [{"name": "http", "containerPort": wanted.port, "protocol": "TCP"}],
        "startupProbe": _probe("/healthz", period=2, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "readinessProbe": _probe(wanted.ready, period=5, failures=2),
        "resources": {
            "requests": {"cpu": resources.cpu, "memory": resources.memory},
            "limits": {"memory": resources.memory_limit},
        },
        "securityContext": pod_security.of_container(),
        "volumeMounts": [
            {"name": "platform", "mountPath": str(CONFIGURATION), "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an empty volume of the pod
            *(one.as_mount() for one in wanted.secrets),
        ],
    }


def without_platform(made: Object) -> Object:
    """A container that reads nothing of the platform's and keeps nothing."""
    mounts = [one for one in made["volumeMounts"] if one["name"] not in ("platform", "state")]
    return made | {"volumeMounts": mounts}


def _probe(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod of one container: what it mounts, as whom it speaks to the API server, and whether it does at all."""

    component: str
    container: Object
    volumes: list[Object]
    account: str
    asks_api: bool = False
    grace_seconds: int = 30


def template(place: Place, wanted: Pod) -> Object:
    """The pod's template: restarted when its configuration changes, never two of a part on one node if it can be."""
    settings = place.settings
    labels = {**settings.labels, **place.labels(wanted.component)}
    spec: Object = {
        "serviceAccountName": wanted.account,
        "automountServiceAccountToken": wanted.asks_api,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": wanted.grace_seconds,
        # A large journal is not given to its user again at each start.
        "securityContext": {**pod_security.of_pod(), "fsGroupChangePolicy": "OnRootMismatch"},
        "affinity": _apart(place.labels(wanted.component)),
        "containers": [wanted.container],
        "volumes": [*wanted.volumes, {"name": "tmp", "emptyDir": {}}],
    }
    optional: Object = {
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [one.model_dump(exclude_none=True) for one in settings.tolerations],
        "priorityClassName": settings.priority_class,
    }
    spec |= {key: value for key, value in optional.items() if value}
    return {"metadata": {"labels": labels, "annotations": {pod_volumes.CHECKSUM: place.checksum}}, "spec": spec}


def _apart(labels: dict[str, str]) -> Object:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    wish = {"weight": 100, "podAffinityTerm": term}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


# Volumes -------------------------------------------------------------------------------------------------------------


def configuration(place: Place) -> Object:
    """The platform file and what lies beside it: secrets of Prometheus' `auth`, references of drift."""
    found = pod_volumes.platform_file(place.platform, argo.PLATFORM_MAP)
    references = sorted({str(model.drift.reference) for model in place.platform.models if model.drift})
    if place.settings.references is None or not references:
        return {"name": "platform", **found}
    sources = found["projected"]["sources"] if "projected" in found else [found]
    items = [{"key": PurePosixPath(path).name, "path": path} for path in references]
    brought = {"configMap": {"name": place.settings.references, "items": items}}
    return {"name": "platform", "projected": {"sources": [*sources, brought]}}


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """A Secret of the namespace that a container finds as files in a folder; with `key`, that one alone as `token`."""

    volume: str
    secret: str
    folder: str
    key: str | None = None

    def as_volume(self) -> Object:
        """The pod's volume."""
        items = {"items": [{"key": self.key, "path": KEY}]} if self.key else {}
        return {"name": self.volume, "secret": {"secretName": self.secret, **items}}

    def as_mount(self) -> Object:
        """The container's mount."""
        return {"name": self.volume, "mountPath": self.folder, "readOnly": True}


def metrics_token(place: Place) -> Mounted:
    """The token that Prometheus sends."""
    return Mounted(volume="metrics", secret=place.settings.metrics_secret, folder=METRICS_FOLDER, key=KEY)


def secrets(place: Place, token: SecretKey) -> list[Mounted]:
    """The token that clients send, Prometheus' token, and further Secrets of the platform file."""
    further = enumerate(sorted(place.settings.secrets.items()))
    return [
        Mounted(volume="token", secret=token.name, folder=TOKEN_FOLDER, key=token.key),
        metrics_token(place),
        *(Mounted(volume=f"secret-{number}", secret=name, folder=folder) for number, (name, folder) in further),
    ]


def claim(place: Place, kept: Stateful, component: str) -> Object:
    """The claim of a volume for each pod; it stays when the part is deleted: it is what was acknowledged."""
    spec: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": kept.storage}}}
    if kept.storage_class is not None:
        spec["storageClassName"] = kept.storage_class
    return {"metadata": {"name": "state", "labels": place.labels(component)}, "spec": spec}
