"""The platform file as strict models: what may be written, with which defaults. Reading files is `load`'s job."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from midwatch import metrics
from midwatch.spec.base import LabelName, Name, Strict
from midwatch.spec.canary import Canary, Gate, LocalCanary
from midwatch.spec.channels import Channel
from midwatch.spec.chaos import Chaos
from midwatch.spec.dr import DisasterRecovery
from midwatch.spec.drift import Drift
from midwatch.spec.grafana import Grafana
from midwatch.spec.routing import Alertmanager, Maintenance, Owner, TimeInterval
from midwatch.spec.rules import RuleFile
from midwatch.spec.slo import ServingMetrics
from midwatch.spec.slo import Severity as Severity  # noqa: PLC0414 - known under this module too
from midwatch.spec.slo import Slo as Slo  # noqa: PLC0414 - known under this module too
from midwatch.spec.systems import SystemUse
from midwatch.spec.values import Duration, Ratio, Size


class Model(Strict):
    """A model in production and what is promised for it."""

    name: Name
    owner: Name
    task: Literal["classification", "regression"]
    positive: str | None = None
    serving: Literal["midwatch", "kserve", "triton", "vllm", "seldon", "custom"] = "midwatch"
    served_as: str | None = None
    serving_metrics: ServingMetrics | None = None
    latency_buckets: Annotated[list[float], Field(min_length=1)] = list(metrics.LATENCY_BUCKETS)
    groups: list[LabelName] = []
    runbook: str | None = None
    slos: list[Slo] = []
    drift: Drift | None = None
    canary: Canary | None = None


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
    systems: dict[str, SystemUse] = {}
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
