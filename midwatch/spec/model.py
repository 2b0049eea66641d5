"""The platform file as strict models: what may be written, with which defaults. Reading files is `load`'s job."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from midwatch import metrics
from midwatch.spec.base import LabelName, Name, Strict
from midwatch.spec.canary import Canary, Gate, LocalCanary
from midwatch.spec.channels import Channel
from midwatch.spec.chaos import Chaos
from midwatch.spec.dr import DisasterRecovery
from midwatch.spec.grafana import Grafana
from midwatch.spec.routing import Alertmanager, Maintenance, Owner, TimeInterval
from midwatch.spec.rules import RuleFile
from midwatch.spec.slo import ServingMetrics
from midwatch.spec.slo import Severity as Severity  # noqa: PLC0414 - known under this module too
from midwatch.spec.slo import Slo as Slo  # noqa: PLC0414 - known under this module too
from midwatch.spec.values import Duration, Ratio, Size


class Feature(StrEnum):
    """How a feature's values are compared."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


FeatureMethod = Literal["ks", "psi", "chi2"]
RowMethod = Literal["mmd", "isolation_forest", "classifier"]
DriftMethod = Literal[FeatureMethod, RowMethod]
"""Methods that look at one feature at a time, and those that look at whole rows."""


class SignedWebhook(Strict):
    """An endpoint that takes a signed trigger: its address, and the secret of the signature."""

    url_file: Path = Field(strict=False)
    secret_file: Path = Field(strict=False)


class PipelineRun(Strict):
    """A Tekton pipeline to run. In `params`, `{model}`, `{version}`, `{features}` and the like are replaced."""

    namespace: Name
    pipeline: Name
    service_account: Name | None = None
    params: dict[str, str] = {}

    @model_validator(mode="after")
    def _known_fields(self) -> PipelineRun:
        for name, text in self.params.items():
            unknown = {field for _, field, _, _ in Formatter().parse(text) if field is not None} - set(EPISODE_FIELDS)
            if unknown:
                raise ValueError(
                    f"params.{name} has {{{sorted(unknown)[0]}}}; what an episode has is {', '.join(EPISODE_FIELDS)}"
                )
        return self


EPISODE_FIELDS = ("episode", "platform", "model", "version", "began", "windows", "features", "reason")


class Retrain(Strict):
    """What drift that holds triggers: exactly one of a webhook and a pipeline run."""

    after: Annotated[str, Field(pattern=r"^[1-9]\d* windows?$")] = "3 windows"
    cooldown: Duration = 86400.0
    webhook: SignedWebhook | None = None
    pipeline_run: PipelineRun | None = None

    @property
    def windows(self) -> int:
        """Drifted windows that make a trigger due."""
        return int(self.after.split()[0])

    @model_validator(mode="after")
    def _one_target(self) -> Retrain:
        if (self.webhook is None) == (self.pipeline_run is None):
            raise ValueError("needs exactly one of webhook and pipeline_run")
        return self


class Drift(Strict):
    """How a model's features are watched for drift from a reference.

    A window ends after `window`, or after `rows` predictions where they come first; with `panes` it slides by a part.
    """

    reference: Path = Field(strict=False)
    window: Duration = 3600.0
    rows: Annotated[int, Field(ge=2)] | None = None
    panes: Annotated[int, Field(ge=1, le=100)] = 1
    min_samples: Annotated[int, Field(ge=2)] = 500
    features: Annotated[dict[str, Annotated[Feature, Field(strict=False)]], Field(min_length=1)]
    methods: Annotated[list[DriftMethod], Field(min_length=1)] = ["ks", "psi"]
    quorum: Annotated[int, Field(ge=1)] = 2
    false_alarms: Annotated[str, Field(pattern=r"^\d+ per \d+(ms|s|m|h|d|w)$")] = "1 per 90d"
    severity: Severity = Field(default=Severity.PAGE, strict=False)
    retrain: Retrain | None = None

    @property
    def looks_at_rows(self) -> bool:
        """Whether a method compares rows with all their features."""
        return not set(self.methods).isdisjoint(get_args(RowMethod))


ClassName = Annotated[str, Field(min_length=1, max_length=100)] | bool | int
"""A class of a model as its events name it."""


class Model(Strict):
    """A model in production and what is promised for it.

    `too_old` is how late a prediction may come, and `remember` how long an id is known; the exporter's where unsaid.
    """

    name: Name
    owner: Name
    task: Literal["classification", "regression"]
    positive: str | None = None
    classes: list[ClassName] = []
    serving: Literal["midwatch", "kserve", "triton", "vllm", "seldon", "custom"] = "midwatch"
    served_as: str | None = None
    serving_metrics: ServingMetrics | None = None
    latency_buckets: Annotated[list[float], Field(min_length=1)] = list(metrics.LATENCY_BUCKETS)
    groups: list[LabelName] = []
    remember: Duration | None = None
    too_old: Duration | None = None
    runbook: str | None = None
    slos: list[Slo] = []
    drift: Drift | None = None
    canary: Canary | None = None

    @property
    def class_names(self) -> frozenset[str]:
        """Label values of the declared classes."""
        return frozenset(str(name).lower() if isinstance(name, bool) else str(name) for name in self.classes)

    @model_validator(mode="after")
    def _remembers_what_may_come(self) -> Model:
        if self.too_old is not None and self.remember is not None and self.too_old > self.remember:
            raise ValueError("too_old is longer than remember: an event that comes again could be counted twice")
        return self


# The plane ---------------------------------------------------------------------------------------------------------


class Prometheus(Strict):
    """The Prometheus that scrapes and evaluates."""

    url: str = "http://127.0.0.1:9090"
    scrape_interval: Duration = 15.0
    evaluation_interval: Duration = 15.0
    timeout: Duration = 5.0


class Personal(Strict):
    """Event fields that name a person: dropped, or replaced by a keyed hash, before anything is stored."""

    drop: list[str] = []
    hash: list[str] = []
    key_file: Path | None = Field(default=None, strict=False)

    @model_validator(mode="after")
    def _hash_needs_key(self) -> Personal:
        if self.hash and self.key_file is None:
            raise ValueError("hash needs key_file, the file with the secret key of the hash")
        return self


class Caps(Strict):
    """How many distinct values of a label are published before the rest is folded into `other`."""

    models: Annotated[int, Field(ge=1)] = 200
    versions: Annotated[int, Field(ge=1)] = 20
    classes: Annotated[int, Field(ge=2)] = 50
    groups: Annotated[int, Field(ge=1)] = 50


class Exporter(Strict):
    """The service that takes prediction and label events."""

    listen: str = "127.0.0.1:9500"
    targets: list[str] = []
    label_retention: Duration = 86400.0
    remember: Duration = 3600.0
    remember_loaded: Duration = 604800.0
    future: Duration = 300.0
    sample: Ratio = Decimal(1)
    max_waiting: Annotated[int, Field(ge=1)] = 2_000_000
    max_body: Size = 16 * 2**20
    caps: Caps = Caps()
    personal: Personal = Personal()


class LocalProcess(Strict):
    """A process that `midwatch up` starts beside the plane, in the platform file's folder.

    `{port}`, `{exporter}`, `{state}` and `{python}` in the command are replaced; `ready` is a path that answers 200,
    `metrics` a path that Prometheus scrapes; `model` and `version` say what it serves. A `replica_of` another
    server runs in region b, and takes its place when region a is lost.
    """

    name: Name
    command: Annotated[list[str], Field(min_length=1)]
    ready: str | None = None
    metrics: str | None = None
    model: Name | None = None
    version: str | None = None
    replica_of: Name | None = None


class Local(Strict):
    """What `midwatch up` runs on this machine."""

    prepare: list[list[str]] = []
    servers: list[LocalProcess] = []
    traffic: LocalProcess | None = None
    canaries: list[LocalCanary] = []


class Platform(Strict):
    """The whole platform file."""

    api_version: Literal["midwatch/v1"] = Field(alias="apiVersion")
    platform: Name
    runbooks: str = "https://runbooks.invalid/{alert}"
    prometheus: Prometheus = Prometheus()
    alertmanager: Alertmanager = Alertmanager()
    grafana: Grafana = Grafana()
    exporter: Exporter = Exporter()
    gate: Gate = Gate()
    owners: Annotated[dict[Name, Owner], Field(min_length=1)]
    plane_owner: Name | None = None
    channels: Annotated[dict[Name, Channel], Field(min_length=1)]
    time_intervals: dict[Name, TimeInterval] = {}
    maintenance: list[Maintenance] = []
    rule_files: list[str] = []
    rules: list[RuleFile] = []
    models: Annotated[list[Model], Field(min_length=1)]
    disaster_recovery: DisasterRecovery | None = None
    local: Local = Local()
    chaos: Chaos | None = None

    @property
    def operator(self) -> str:
        """Owner of the plane itself; without `plane_owner` the first by name."""
        return self.plane_owner or min(self.owners)

    def owner(self, name: str) -> Owner:
        """An owner with everything it extends filled in; what nobody says stays None."""
        found, seen = self.owners[name], {name}
        while found.extends and found.extends in self.owners and found.extends not in seen:
            base = self.owners[found.extends]
            seen.add(found.extends)
            own = {key: value for key, value in found if value is not None and key != "extends"}
            found = base.model_copy(update=own)
        return found
