"""The `chaos` section of the platform file: experiments, what has to hold before they start, and where they act."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from midwatch.spec.base import Name, Strict, unknown
from midwatch.spec.experiments import AnyExperiment, DeployBadVersion, OnModel, ensure_rate, ensure_something
from midwatch.spec.experiments import Experiment as Experiment  # noqa: PLC0414 - this is where callers look for it
from midwatch.spec.values import Duration, Ratio

_WINDOW = re.compile(
    r"^(?P<first>mon|tue|wed|thu|fri|sat|sun)(-(?P<last>mon|tue|wed|thu|fri|sat|sun))?\s+"
    r"(?P<from>([01]\d|2[0-3]):[0-5]\d)-(?P<to>([01]\d|2[0-3]):[0-5]\d|24:00)$"
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Window(Strict):
    """Days (0 is Monday) and minutes of the day, UTC, in which experiments may run."""

    days: frozenset[int]
    first_minute: int
    last_minute: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Window of `mon-fri 09:00-16:00`; ValueError if it is not one."""
        match = _WINDOW.match(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r} is not a window; write days and times in UTC, such as mon-fri 09:00-16:00")
        first = DAYS.index(match["first"])
        last = DAYS.index(match["last"] or match["first"])
        days = {(first + step) % 7 for step in range((last - first) % 7 + 1)}
        begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in (match["from"], match["to"]))
        if begin >= end:
            raise ValueError(f"{text!r} ends before it begins; write one window for each day")
        return cls(days=frozenset(days), first_minute=begin, last_minute=end)


class Protected(Strict):
    """What no experiment may hit."""

    parts: list[Name] = []
    """Parts of the plane, by name."""
    namespaces: list[Name] = ["kube-system", "kube-public", "kube-node-lease"]
    """Namespaces of the cluster."""
    labels: dict[str, str] = {"midwatch.dev/protected": "true"}
    """Labels of pods."""


class Preconditions(Strict):
    """What has to hold before an experiment may start, and while it runs; `error_budget: null` asks for none."""

    error_budget: Ratio | None = Decimal("0.1")
    """Share of the error budget that has to be left; null asks for none."""
    forbid_pages: bool = True
    """Whether nothing may page."""
    windows: list[str] = []
    """Times in UTC in which experiments may run, such as `mon-fri 09:00-16:00`."""
    max_share: Ratio = Decimal("0.5")
    """Share of the targets that may be hit."""
    protected: Protected = Protected()
    """What is never hit."""
    timeout: Duration = 5.0
    """How long each question may take."""

    _something = field_validator("max_share", "timeout")(ensure_something)

    @field_validator("windows")
    @classmethod
    def _are_windows(cls, texts: list[str]) -> list[str]:
        for text in texts:
            Window.parse(text)
        return texts


class Stop(Strict):
    """When a running experiment is stopped: errors beyond what is tolerated, at a stated rate of false stops."""

    tolerated_errors: Ratio = Decimal("0.02")
    """Share of errors that is tolerated."""
    false_stops: Ratio = Decimal("0.01")
    """Chance of a stop while nothing is wrong."""
    blind_for: Duration = 30.0
    """How long data may be missing before the experiment is stopped."""

    _rates = field_validator("tolerated_errors", "false_stops")(ensure_rate)


class Workload(Strict):
    """What a model or a part is in the cluster: its Deployment or StatefulSet, and the Service in front of it."""

    deployment: Name | None = None
    """Name of its Deployment."""
    stateful_set: Name | None = None
    """Name of its StatefulSet."""
    service: Name | None = None
    """Name of the Service in front of it."""
    feature_config: str | None = None
    """Name of the ConfigMap with its feature feed's factors."""

    @model_validator(mode="after")
    def _one_workload(self) -> Workload:
        if (self.deployment is None) == (self.stateful_set is None):
            raise ValueError("needs exactly one of deployment and stateful_set")
        return self


class Kubernetes(Strict):
    """Where experiments act in a cluster, and what the CronJobs run."""

    namespace: Name
    """The namespace that they run in."""
    image: str = "midwatch:0.1.0"
    """The container image of the jobs."""
    service_account: Name = "midwatch-chaos"
    """The service account of the jobs."""
    config_map: Name = "midwatch-platform"
    """Name of the ConfigMap with this file."""
    evidence_claim: Name | None = None
    """Name of the PersistentVolumeClaim that keeps the evidence."""
    models: dict[Name, Workload] = {}
    """What each model is in the cluster."""
    parts: dict[Name, Workload] = {}
    """What each part of the plane is in the cluster."""


class Grafana(Strict):
    """Where an annotation marks each run."""

    url: str
    """Where it answers."""
    token_file: Path = Field(strict=False)
    """File with the token of a service account."""


class Chaos(Strict):
    """Experiments on this platform."""

    guard: Preconditions = Preconditions()
    """What has to hold."""
    stop: Stop = Stop()
    """When a running experiment is stopped."""
    experiments: list[AnyExperiment] = []
    """The experiments."""
    kubernetes: Kubernetes | None = None
    """Where they act in a cluster."""
    grafana: Grafana | None = None
    """Where each run is marked."""
    pushgateway: str | None = None
    """Address of the Pushgateway that takes the results."""
    evidence_key_file: Path | None = Field(default=None, strict=False)
    """File with the key that signs the evidence."""
    evidence_earlier_key_files: list[Annotated[Path, Field(strict=False)]] = []
    """Files with keys that signed it before, the oldest first."""
    evidence_anchor_file: Path | None = Field(default=None, strict=False)
    """File elsewhere that the newest record's hash is kept in, so that a log that is cut off shows."""


PLANE_PARTS = ("alertmanager", "console", "exporter", "exporter-b", "gate", "grafana", "links", "prometheus")
"""Parts of the plane by the names that `midwatch up` gives them."""


def part_names(platform: Any) -> set[str]:
    """Names that `protected.parts` may have: parts of the plane, servers, models, and what the cluster's are called."""
    kubernetes = platform.chaos.kubernetes if platform.chaos else None
    servers = {f"server-{server.name}" for server in platform.local.servers}
    elsewhere = {*kubernetes.parts, *kubernetes.models} if kubernetes else set()
    return {*PLANE_PARTS, *servers, *elsewhere, *(model.name for model in platform.models)}


def bad_version_problem(platform: Any, model: str, target: str | None, version: str) -> tuple[str, str] | None:
    """Why a version cannot be the bad one that takes over, with the remedy; None when it can, or nobody can know.

    In a cluster it is the tag of an image, which the platform file does not list.
    """
    servers = [server for server in platform.local.servers if server.model in (None, model)]
    if not version:
        return "missing bad_version", "say which version is deployed"
    if not servers and platform.chaos.kubernetes is not None:
        return None
    versions = {server.version for server in servers if server.version}
    if version not in versions:
        return unknown(version, versions, f"version of {model}")
    hit = next((server for server in servers if server.name == target), servers[0])
    if hit.version == version:
        return f"server {hit.name}, which it takes over from, is of version {version} itself", "name another version"
    return None


def find_problems(platform: Any) -> Any:
    """What does not fit the rest of the platform file: place, message, remedy of each."""
    if platform.chaos is None:
        return
    models = {model.name: model for model in platform.models}
    parts = part_names(platform)
    for index, name in enumerate(platform.chaos.guard.protected.parts):
        if name not in parts:
            yield ("chaos", "guard", "protected", "parts", index), *unknown(name, parts, "part")
    if platform.chaos.kubernetes is not None:
        yield from _own_objects(platform, platform.chaos.kubernetes)
    servers = {server.name for server in platform.local.servers}
    names: set[str] = set()
    for index, experiment in enumerate(platform.chaos.experiments):
        place = ("chaos", "experiments", index)
        if experiment.title in names:
            yield place, f"a second experiment {experiment.title!r}", "give each its own name"
        names.add(experiment.title)
        if experiment.model is not None and experiment.model not in models:
            yield (*place, "model"), f"there is no model {experiment.model!r}", f"known: {', '.join(sorted(models))}"
            continue
        if experiment.model is None and len(models) > 1:
            yield place, "missing model", f"there are several: {', '.join(sorted(models))}"
            continue
        model = models[experiment.model] if experiment.model else platform.models[0]
        is_known_here = servers or platform.chaos.kubernetes is None  # in a cluster it is a pod or a node
        target = experiment.target if isinstance(experiment, OnModel) else None
        if is_known_here and target is not None and target not in servers:
            yield (*place, "target"), *unknown(target, sorted(servers), "server")
        elif isinstance(experiment, DeployBadVersion):
            problem = bad_version_problem(platform, model.name, experiment.target, experiment.bad_version)
            yield from [((*place, "bad_version"), *problem)] if problem else []
        yield from experiment.find_problems(place, model)


def _own_objects(platform: Any, settings: Kubernetes) -> Any:
    """Experiments write what the platform file names: neither the file of their own guards, nor what drills may."""
    drills = platform.disaster_recovery.kubernetes if platform.disaster_recovery else None
    place = ("chaos", "kubernetes")
    for name, workload in settings.models.items():
        if workload.feature_config == settings.config_map:
            message = f"{settings.config_map} is what experiments read their own limits from, and they would rewrite it"
            yield (
                (*place, "models", name, "feature_config"),
                message,
                "keep the feed's factors in a ConfigMap of their own",
            )
    if drills is not None and (drills.namespace, drills.service_account) == (
        settings.namespace,
        settings.service_account,
    ):
        message = f"drills have {settings.service_account} too: each could do what the other may"
        yield (*place, "service_account"), message, "give each an account of its own"
