"""The `chaos` section of the platform file: experiments, their guards, and where they act."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from midwatch.spec.base import Name, Strict
from midwatch.spec.cron import Cron
from midwatch.spec.values import Duration, Ratio, Size


class Kind(StrEnum):
    """Faults there are."""

    KILL_REPLICA = "kill_replica"
    SLOW_MODEL = "slow_model"
    FAILING_MODEL = "failing_model"
    CORRUPT_FEATURES = "corrupt_features"
    LOSE_EXPORTER = "lose_exporter"
    LOSE_PROMETHEUS = "lose_prometheus"
    LOSE_ALERTMANAGER = "lose_alertmanager"
    CUT_NETWORK = "cut_network"
    FILL_DISK = "fill_disk"
    EXHAUST_CPU = "exhaust_cpu"
    EXHAUST_MEMORY = "exhaust_memory"
    LOSE_NODE = "lose_node"
    SKEW_CLOCK = "skew_clock"
    DEPLOY_BAD_VERSION = "deploy_bad_version"


SETTINGS: dict[str, frozenset[Kind]] = {
    "replicas": frozenset({Kind.KILL_REPLICA, Kind.LOSE_NODE}),
    "delay": frozenset({Kind.SLOW_MODEL}),
    "errors": frozenset({Kind.FAILING_MODEL}),
    "scale": frozenset({Kind.CORRUPT_FEATURES}),
    "cores": frozenset({Kind.EXHAUST_CPU}),
    "size": frozenset({Kind.EXHAUST_MEMORY}),
    "shift": frozenset({Kind.SKEW_CLOCK}),
    "bad_version": frozenset({Kind.DEPLOY_BAD_VERSION}),
    "notice": frozenset({Kind.LOSE_NODE}),
}
"""Settings that only some kinds have."""

MODEL_KINDS = frozenset(
    {
        Kind.KILL_REPLICA,
        Kind.SLOW_MODEL,
        Kind.FAILING_MODEL,
        Kind.CORRUPT_FEATURES,
        Kind.CUT_NETWORK,
        Kind.LOSE_NODE,
        Kind.DEPLOY_BAD_VERSION,
    }
)
"""Kinds whose target is a model; the others hit the plane or the machine, and a model shows whether it is felt."""

_WINDOW = re.compile(
    r"^(?P<first>mon|tue|wed|thu|fri|sat|sun)(-(?P<last>mon|tue|wed|thu|fri|sat|sun))?\s+"
    r"(?P<from>([01]\d|2[0-3]):[0-5]\d)-(?P<to>([01]\d|2[0-4]):[0-5]\d)$"
)
NEEDED_OBJECTIVE = {"ModelErrorsHigh": "availability", "ModelLatencyHigh": "latency", "ModelAccuracyLow": "outcome"}
"""Kind of the objective that an alert on a model is about."""

EXPECTED_OBJECTIVE = {
    Kind.KILL_REPLICA: "availability",
    Kind.FAILING_MODEL: "availability",
    Kind.CUT_NETWORK: "availability",
    Kind.LOSE_NODE: "availability",
    Kind.SLOW_MODEL: "latency",
    Kind.DEPLOY_BAD_VERSION: "latency",
}
"""Kind of the objective whose alert is expected to tell of a fault, where nothing else is said."""

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
    namespaces: list[Name] = ["kube-system", "kube-public", "kube-node-lease"]
    labels: dict[str, str] = {"midwatch.dev/protected": "true"}


class Guard(Strict):
    """What has to hold before an experiment may start, and while it runs; `error_budget: null` asks for none."""

    error_budget: Ratio | None = Decimal("0.1")
    forbid_pages: bool = True
    windows: list[str] = []
    max_share: Ratio = Decimal("0.5")
    protected: Protected = Protected()
    timeout: Duration = 5.0

    @field_validator("windows")
    @classmethod
    def _are_windows(cls, texts: list[str]) -> list[str]:
        for text in texts:
            Window.parse(text)
        return texts


class Stop(Strict):
    """When a running experiment is stopped: errors beyond what is tolerated, at a stated rate of false stops."""

    tolerated_errors: Ratio = Decimal("0.02")
    false_stops: Ratio = Decimal("0.01")
    blind_for: Duration = 30.0


class Expect(Strict):
    """The alert that tells of a fault (`none`: nobody may be paged), and how soon it fires and resolves."""

    alert: str
    within: Duration = 300.0
    resolved_within: Duration = 300.0


class Experiment(Strict):
    """One experiment. Only `kind` is needed: the rest follows from the platform file."""

    kind: Kind = Field(strict=False)
    name: Name | None = None
    model: Name | None = None
    target: Name | None = None
    for_: Duration | None = Field(default=None, alias="for")
    recover_within: Duration = 120.0
    expect: Expect | None = None
    schedule: Cron | None = None
    tolerated_errors: Ratio | None = None
    replicas: Annotated[int, Field(ge=1)] | None = None
    delay: Duration | None = None
    errors: Ratio | None = None
    scale: dict[str, float] | None = None
    cores: Annotated[int, Field(ge=1)] | None = None
    size: Size | None = None
    shift: Duration | None = None
    notice: Duration | None = None
    bad_version: str | None = None

    @property
    def title(self) -> str:
        """Its name, by default its kind."""
        return self.name or self.kind.value.replace("_", "-")

    @model_validator(mode="after")
    def _settings_of_kind(self) -> Experiment:
        for setting, kinds in SETTINGS.items():
            if getattr(self, setting) is not None and self.kind not in kinds:
                known = ", ".join(sorted(name for name, ones in SETTINGS.items() if self.kind in ones)) or "none"
                raise ValueError(f"{self.kind.value} has no setting {setting}; its own settings: {known}")
        return self


class Workload(Strict):
    """What a model or a part is in the cluster: its Deployment or StatefulSet, and the Service in front of it."""

    deployment: Name | None = None
    stateful_set: Name | None = None
    service: Name | None = None
    feature_config: str | None = None

    @model_validator(mode="after")
    def _one_workload(self) -> Workload:
        if (self.deployment is None) == (self.stateful_set is None):
            raise ValueError("needs exactly one of deployment and stateful_set")
        return self


class Kubernetes(Strict):
    """Where experiments act in a cluster, and what the CronJobs run."""

    namespace: Name
    image: str = "midwatch:0.1.0"
    service_account: Name = "midwatch-chaos"
    config_map: Name = "midwatch-platform"
    evidence_claim: Name | None = None
    models: dict[Name, Workload] = {}
    parts: dict[Name, Workload] = {}


class Grafana(Strict):
    """Where an annotation marks each run."""

    url: str
    token_file: Path = Field(strict=False)


class Chaos(Strict):
    """Experiments on this platform."""

    guard: Guard = Guard()
    stop: Stop = Stop()
    experiments: list[Experiment] = []
    kubernetes: Kubernetes | None = None
    grafana: Grafana | None = None
    pushgateway: str | None = None
    evidence_key_file: Path | None = Field(default=None, strict=False)


def find_problems(platform: Any) -> Any:
    """What does not fit the rest of the platform file: place, message, remedy of each."""
    if platform.chaos is None:
        return
    models = {model.name: model for model in platform.models}
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
        if servers and experiment.target is not None and experiment.target not in servers:
            yield (
                (*place, "target"),
                f"there is no server {experiment.target!r}",
                f"known: {', '.join(sorted(servers))}",
            )
        model = models[experiment.model] if experiment.model else platform.models[0]
        if experiment.kind is Kind.CORRUPT_FEATURES and model.drift is None:
            yield place, f"{model.name} has no drift section, so nobody would notice", "watch its features for drift"
        needs = None if experiment.expect else EXPECTED_OBJECTIVE.get(experiment.kind)
        if needs and not any(slo.kind == needs for slo in model.slos):
            message = f"{model.name} has no objective of {needs}, so nobody would be told"
            yield place, message, "add one, or say with expect which alert tells of it"
        known = set(model.drift.features) if model.drift else set()
        for name in sorted(set(experiment.scale or ()) - known):
            yield (*place, "scale", name), f"{model.name} has no feature {name!r}", f"known: {', '.join(sorted(known))}"
