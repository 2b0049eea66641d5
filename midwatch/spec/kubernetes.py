"""Where the plane itself runs in a cluster: its namespace and image, and what its pods ask of the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from midwatch.spec.base import Finding, Name, Place, Strict

if TYPE_CHECKING:
    from midwatch.spec.model import Platform

KubernetesLabel = Annotated[str, Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
"""Name of a label or an annotation of an object."""

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")]
"""A number of Kubernetes with its unit, such as `500m`, `2`, `10Gi` (its documentation, "Quantity")."""

MountPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")]
"""A folder in a container."""


class Toleration(Strict):
    """A taint of nodes that the pods may run on all the same."""

    key: KubernetesLabel | None = None
    """The taint's key; every one without it."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the value counts."""
    value: str | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; every one without it."""

    @model_validator(mode="after")
    def _whole(self) -> Toleration:
        if self.operator == "Equal" and (self.key is None or self.value is None):
            raise ValueError("operator Equal needs key and value; for every value write operator: Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value")
        return self


class Resources(Strict):
    """What a container asks for, and the most that it may take."""

    cpu: Quantity = "250m"
    """Processors that are kept for it; it may take more when nobody else wants them."""
    memory: Quantity = "512Mi"
    """Memory that is kept for it."""
    memory_limit: Quantity = "1Gi"
    """Most memory; it is ended when it takes more."""


class Stateful(Strict):
    """A part of the plane that keeps what it knows on a volume."""

    storage: Quantity = "1Gi"
    """Size of the volume."""
    storage_class: Name | None = None
    """The volume's class; the cluster's default without it."""
    resources: Resources = Resources()
    """What its container asks for."""


class ExporterPods(Stateful):
    """The exporters in the cluster. What each acknowledged is on a volume of its own."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """How many. The predictions and labels of one id have to be sent to the same one: `midwatch-exporter-0.…`."""
    storage: Quantity = "10Gi"
    """Size of each one's volume."""
    resources: Resources = Resources(cpu="500m", memory="1Gi", memory_limit="4Gi")
    """What its container asks for."""


def _free(settings: dict[str, str]) -> dict[str, str]:
    if taken := min((name for name in settings if name in FIXED or name.startswith(FIXED_PARTS)), default=None):
        raise ValueError(f"has {taken}, which the rendered pods and network policies rely on; leave it out")
    for name, value in settings.items():
        if not re.fullmatch(r"spark\.[\w.-]+", name) or not value.isprintable():
            raise ValueError(f"{name!r} is no setting of Spark on one line; write spark.NAME: value")
    return settings


FIXED = frozenset({"spark.master", "spark.submit.deployMode", "spark.port.maxRetries", "spark.blockManager.port"})
"""Settings of Spark that are ours where it has executors in the cluster."""

FIXED_PARTS = (
    *("spark.driver.host", "spark.driver.bindAddress", "spark.driver.port", "spark.driver.blockManager."),
    *("spark.kubernetes.namespace", "spark.kubernetes.driver.", "spark.kubernetes.container.image"),
    *("spark.kubernetes.executor.podTemplate", "spark.kubernetes.executor.disableConfigMap"),
    *("spark.executor.instances", "spark.executor.cores", "spark.dynamicAllocation."),
)
"""How the names of further such settings begin."""


def _shared(address: str) -> str:
    if address.startswith("file:"):
        raise ValueError(
            f"{address} is a folder of each machine; write the URL of a store, such as s3a://bucket/stream"
        )
    return address


class StreamExecutors(Strict):
    """Pods that work for the stream's driver: Spark makes them, and makes another where one is gone."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many."""
    cores: Annotated[int, Field(ge=1, le=64)] = 2
    """Processors of each: as many tasks at once."""
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*[mg]$")] = "2g"
    """Memory of the Java of each, as Java writes it; two fifths more are kept for its Python."""
    checkpoint: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S+$"), AfterValidator(_shared)]
    """URL of Spark's checkpoint in a store that driver and executors reach, such as `s3a://bucket/stream`."""
    settings: Annotated[dict[str, str], AfterValidator(_free)] = {}
    """Further settings of Spark, such as the address of that store; no secrets: they are in a ConfigMap."""


class StreamPods(Stateful):
    """The driver of the stream. Checkpoint and counts are on its volume; Spark runs in its pod, or in executors."""

    image: str = "midwatch-stream:0.1.0"
    """An image [with Spark](stream.md#in-a-cluster): that of the plane has none."""
    storage: Quantity = "50Gi"
    """Size of the volume."""
    resources: Resources = Resources(cpu="2", memory="4Gi", memory_limit="8Gi")
    """What its container asks for; `stream.cores` of it work where it has no executors."""
    executors: StreamExecutors | None = None
    """Pods that do the work; without them it is done in the driver's."""


class Kubernetes(Strict):
    """Where the plane runs in a cluster: `midwatch render --target kubernetes` [writes its objects](install.md).

    One platform has a namespace: the objects' names do not carry the platform's.
    """

    namespace: Name = "midwatch"
    """The namespace of exporter and gate; whoever installs makes it."""
    image: str = "midwatch:0.1.0"
    """The image of exporter, gate and recovery exporter."""
    pull_secrets: list[Name] = []
    """Secrets that the image is pulled with."""
    token_secret: Name = "midwatch-token"  # noqa: S105 - the name of a Secret
    """Secret whose key `token` clients of exporter and gate send; in the namespace, made by whoever installs."""
    metrics_secret: Name = "midwatch-metrics"  # noqa: S105 - the name of a Secret
    """Secret whose key `token` Prometheus sends to `/metrics` alone; in the namespaces of the plane and of drills."""
    secrets: dict[Name, MountPath] = {}
    """Further Secrets of the namespace, and the folder where exporter and gate find their keys as files."""
    references: Name | None = None
    """ConfigMap of the namespace with the models' drift references, by the names of their files."""
    labels: dict[KubernetesLabel, str] = {}
    """Labels that the plane's objects and pods carry beside ours."""
    node_selector: dict[KubernetesLabel, str] = {}
    """Labels of the nodes that the pods run on."""
    tolerations: list[Toleration] = []
    """Taints of nodes that the pods tolerate."""
    priority_class: Name | None = None
    """PriorityClass of the pods: who watches has to stay when there is little room."""
    clients: dict[KubernetesLabel, str] = {}
    """Labels of the namespaces that may send events and ask the gate; every namespace without any."""
    exporter: ExporterPods = ExporterPods()
    """What takes events."""
    gate: Stateful = Stateful()
    """What judges canaries, where a model has any."""
    systems: Stateful = Stateful()
    """What asks systems for what they do not publish, where one has `observe`."""
    loop: Stateful = Stateful()
    """What asks for retrainings and follows them, where the file has a `loop`."""
    incidents: Resources = Resources(cpu="100m", memory="256Mi", memory_limit="768Mi")
    """What the container asks for that says what changed, where the file has `incidents.watch`."""
    evaluator: Resources = Resources(cpu="100m", memory="256Mi", memory_limit="1Gi")
    """What the container asks for that judges fairness, where a model has `fairness`."""
    stream: StreamPods = StreamPods()
    """What makes the counts on Spark, where the file has a `stream`."""
    recovery: Resources = Resources()
    """What the recovery exporter's container asks for, where `disaster_recovery.kubernetes` says where it runs."""


def find_problems(platform: Platform) -> Iterator[Finding]:
    """What pods would lack, or nobody would find, of what the rest of the file says."""
    if platform.kubernetes is None:
        return
    yield from _find_references(platform, platform.kubernetes)
    yield from _find_gate(platform, platform.kubernetes)
    yield from _find_account(platform, platform.kubernetes)
    yield from _find_folders(platform, platform.kubernetes)
    for place, file in _secret_files(platform):
        if not _is_mounted(platform.kubernetes, file):
            yield place, f"no pod has {file}", "name its folder and Secret in kubernetes.secrets"


def _find_folders(platform: Platform, settings: Kubernetes) -> Iterator[Finding]:
    """Executors have no folder of the driver's: what the stream reads is in a store."""
    if settings.stream.executors is None or platform.stream is None:
        return
    paths = {
        "folders": [folder.path for folder in platform.stream.folders],
        "tables": [table.path for table in platform.stream.tables],
    }
    for key, named in paths.items():
        for index, path in enumerate(named):
            if "://" not in path:
                message = f"executors have no {path}: it is a folder of a machine"
                yield (
                    ("stream", key, index, "path"),
                    message,
                    "write the address of a store, such as s3://bucket/events",
                )


def _secret_files(platform: Platform) -> Iterator[tuple[Place, Path]]:
    """Files with secrets that exporter and gate read, by where they are named."""
    key = platform.exporter.personal.key_file
    if key is not None:
        yield ("exporter", "personal", "key_file"), key
    kafka = platform.exporter.kafka
    for section in ("tls", "sasl") if kafka is not None else ():
        for field, file in getattr(kafka, section) or ():
            if isinstance(file, Path):
                yield ("exporter", "kafka", section, field), file
    for index, model in enumerate(platform.models):
        webhook = model.drift.retrain.webhook if model.drift and model.drift.retrain else None
        if webhook is not None:
            place = ("models", index, "drift", "retrain", "webhook")
            yield (*place, "url_file"), webhook.url_file
            yield (*place, "secret_file"), webhook.secret_file

    for name, use in platform.systems.items():
        for field, file in use.observe or ():
            if field.endswith("_file") and isinstance(file, Path):
                yield ("systems", name, "observe", field), file


def _find_account(platform: Platform, settings: Kubernetes) -> Iterator[Finding]:
    """What lists objects of the cluster needs an account that may, in the namespace of its pod."""
    account, place = platform.systems_exporter.account, ("systems_exporter", "account")
    listing = [name for name, use in sorted(platform.systems.items()) if use.observe and use.observe.resources]
    if listing and account is None:
        message = f"{', '.join(listing)}: observe lists objects of the cluster, and no account may"
        yield place, message, f"write {{namespace: {settings.namespace}}}"
    elif account is not None and account.namespace != settings.namespace:
        message = f"the systems exporter runs in {settings.namespace}, not in {account.namespace}"
        yield (*place, "namespace"), message, f"write {settings.namespace}"


def _find_references(platform: Platform, settings: Kubernetes) -> Iterator[Finding]:
    """References lie beside the platform file, each under a name of its own: that is its key in the ConfigMap."""
    paths: dict[str, Path] = {}
    for index, model in enumerate(platform.models):
        if model.drift is None:
            continue
        own = model.drift.version_references
        if own is not None and not _is_mounted(settings, own):
            message = f"pods have no file for {own}: the ConfigMap's files are named one by one"
            yield ("models", index, "drift", "version_references"), message, "write a folder of kubernetes.secrets"
        place, path = ("models", index, "drift", "reference"), model.drift.reference
        if path.is_absolute() and not _is_mounted(settings, path):
            yield place, f"no pod has {path}", "write it relative to this file, and put it into kubernetes.references"
        elif ".." in path.parts:
            yield place, f"{path} is outside the folder that pods have this file in", "put it beside this file"
        elif not path.is_absolute() and settings.references is None:
            message = f"pods read {path} from a ConfigMap that is not named"
            yield place, message, "name it in kubernetes.references"
        elif paths.setdefault(path.name, path) != path:
            message = f"{path} and {paths[path.name]} have one name, which is their key in kubernetes.references"
            yield place, message, "rename one"


def _find_gate(platform: Platform, settings: Kubernetes) -> Iterator[Finding]:
    """Argo Rollouts asks at `gate.url`: where that is a Service of the cluster, it has to be the one of the gate."""
    if not any(model.canary for model in platform.models):
        return
    parts, listen = urlsplit(platform.gate.url), platform.gate.listen.rpartition(":")[2]
    if ".svc" not in (parts.hostname or ""):
        return  # an ingress, or the address of another way in
    wanted = f"midwatch-gate.{settings.namespace}.svc"
    if (parts.hostname or "").split(".svc")[0] + ".svc" != wanted or str(parts.port) != listen:
        yield ("gate", "url"), f"{platform.gate.url} is not the gate's Service", f"write http://{wanted}:{listen}"


def _is_mounted(settings: Kubernetes, path: Path) -> bool:
    """Whether pods find a file in the folder of a Secret."""
    return str(PurePosixPath(path).parent) in settings.secrets.values()
