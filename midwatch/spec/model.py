"""The platform file as strict models: what may be written, with which defaults. Reading files is `load`'s job."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from midwatch import metrics
from midwatch.programs import Version, version_text
from midwatch.spec import cron, observed
from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import HostPort, HostPorts, LabelName, Name, Strict, Topic
from midwatch.spec.canary import Canary, Gate, LocalCanary
from midwatch.spec.channels import Channel
from midwatch.spec.chaos import Chaos
from midwatch.spec.console import Console
from midwatch.spec.dr import DisasterRecovery
from midwatch.spec.drift import Drift
from midwatch.spec.evaluation import Evaluator
from midwatch.spec.explainer import Explainer
from midwatch.spec.explanations import Explanations
from midwatch.spec.fairness import Fairness
from midwatch.spec.grafana import Grafana
from midwatch.spec.incidents import Incidents
from midwatch.spec.kubernetes import Kubernetes, KubernetesLabel
from midwatch.spec.loop import Loop, ModelLoop
from midwatch.spec.prometheus_auth import Auth
from midwatch.spec.promotion import Promotion
from midwatch.spec.regions import Regions
from midwatch.spec.regression import Regression
from midwatch.spec.routing import Alertmanager, Maintenance, Owner, TimeInterval
from midwatch.spec.rules import AlertName, AlertTuning, RuleFile
from midwatch.spec.scraped import Scraped
from midwatch.spec.slo import ServingMetrics
from midwatch.spec.slo import Severity as Severity  # noqa: PLC0414 - known under this module too
from midwatch.spec.slo import Slo as Slo  # noqa: PLC0414 - known under this module too
from midwatch.spec.stream import Stream
from midwatch.spec.systems import File, SystemUse
from midwatch.spec.values import Duration, Ratio, Size, SomeDuration

ClassName = Annotated[str, Field(min_length=1, max_length=100)] | bool | int
"""A class of a model as its events name it."""


DIGEST_CHARACTERS = 12
"""Enough to tell what one file has said apart from what it said before."""


class Servers(Strict):
    """Where a model's servers are scraped: targets that Midwatch scrapes, or the job of whoever does."""

    targets: list[HostPort] = []
    """HOST:PORT of every server; a scrape job `model-NAME` is rendered for them."""
    job: Annotated[str, Field(min_length=1)] | None = None
    """The job that scrapes them already, such as one of the cluster's."""
    path: Annotated[str, Field(pattern=r"^/[^?#\s]*$")] = "/metrics"
    """Path of the targets' metrics."""
    https: bool = False
    """Whether the targets are asked over HTTPS."""
    ca_file: File | None = None
    """File of the certificates that the targets' own are signed with."""
    token_file: File | None = None
    """File of the bearer token that the targets want."""

    @model_validator(mode="after")
    def _one_way(self) -> Servers:
        if bool(self.targets) == (self.job is not None):
            raise ValueError("needs exactly one of targets and job")
        return self


NIGHTLY, NIGHTLY_CRON = "nightly", "0 0 * * *"


def _schedule(text: str) -> str:
    cron.parse(NIGHTLY_CRON if text == NIGHTLY else text).longest_gap()
    return text


class Model(Strict):
    """A model in production and what is promised for it.

    `too_old` is how late a prediction may come, and `remember` how long an id is known; the exporter's where unsaid.
    """

    name: Name
    """Its name in events, labels and file names."""
    owner: Name
    """Who is called for it."""
    task: Literal["classification", "regression", "generation"]
    """What it answers: a class, a number, or text of its own."""
    positive: str | None = None
    """The class that scores are probabilities of."""
    classes: list[ClassName] = []
    """Names of the classes; without them they are learned, and what is no name counts as `text`."""
    serving: Literal["midwatch", "kserve", "triton", "vllm", "seldon", "custom"] = "midwatch"
    """Where its requests are counted: our events, or a model server's own metrics."""
    served_as: str | None = None
    """Its name at the server, where that is another."""
    serving_metrics: ServingMetrics | None = None
    """The server's metrics, for `serving: custom`."""
    servers: Servers | None = None
    """Where its servers are scraped, for alerts on those that cannot be."""
    schedule: Annotated[str, AfterValidator(_schedule)] | None = None
    """When it works, `nightly` or the five fields of cron in UTC: silence in between is calm. Always without it."""
    latency_buckets: Annotated[list[float], Field(min_length=1)] = list(metrics.LATENCY_BUCKETS)
    """Bounds of the latency histogram, in seconds; a latency objective has one of them as its threshold."""
    groups: list[LabelName] = []
    """Attributes whose groups are counted apart, for fairness."""
    remember: Duration | None = None
    """How long an id of this model is remembered, instead of `exporter.remember`."""
    too_old: Duration | None = None
    """How old a prediction of this model may be when it comes, instead of `exporter.remember`."""
    requests_per_second: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Predictions a second over its busiest day; `midwatch check` [computes](exporter.md#what-the-limits-hold) with
    it."""
    label_maturity: Duration | None = None
    """Age at which a prediction counts as right, wrong or unlabelled, or by its error where groups' errors are
    compared; without it, when 95% of the labels have come."""
    runbook: str | None = None
    """Address of the page for its alerts, instead of `runbooks`."""
    alerts: dict[AlertName, AlertTuning] = {}
    """What differs from the shipped alerts of these names."""
    slos: list[Slo] = []
    """What is promised of it."""
    drift: Drift | None = None
    """How its inputs are watched."""
    loop: ModelLoop | None = None
    """How its [episodes](loop.md) are followed, from drift to a better version."""
    canary: Canary | None = None
    """How a new version is judged."""
    fairness: list[Fairness] = []
    """What its groups may not differ in."""
    explanations: Explanations | None = None
    """That attributions of its features are counted."""
    explainer: Explainer | None = None
    """The [service](explanations.md#in-a-cluster) that explains a version of it, in the cluster of `kubernetes`."""
    promotion: Promotion | None = None
    """What a version needs before it becomes champion."""
    regression: Regression | None = None
    """What of its trainings and releases is compared with their history."""

    @property
    def longest_silence(self) -> float | None:
        """Seconds without a request that its schedule explains; None for a model that always works."""
        if self.schedule is None:
            return None
        return cron.LATE_SHARE * cron.parse(NIGHTLY_CRON if self.schedule == NIGHTLY else self.schedule).longest_gap()

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes whose groups are counted: those of `groups`, and the intersections that promises compare."""
        promised = [name for one in self.fairness for name in (one.compared, one.stratified) if name is not None]
        return tuple(dict.fromkeys((*self.groups, *promised)))

    @property
    def job(self) -> str | None:
        """The scrape job of its servers, where the platform file says it."""
        if self.servers is None:
            return None
        return self.servers.job or f"model-{self.name}"

    @property
    def error_bounds(self) -> dict[str, float]:
        """Bounds of absolute errors that its objectives promise, by the value of their label."""
        slis = [slo.sli.absolute_error for slo in self.slos if not isinstance(slo.sli, str)]
        return {one.bound: one.within for one in slis if one is not None}

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


def _scrape_config(written: dict[str, Any]) -> dict[str, Any]:
    name = written.get("job_name")
    if not isinstance(name, str) or not name:
        raise ValueError("has no job_name; write one, as in job_name: node")
    return written


ScrapeConfig = Annotated[dict[str, Any], AfterValidator(_scrape_config)]
"""One of Prometheus' scrape_configs. Prometheus has the last word on it: `midwatch check` asks promtool."""


class Operator(Strict):
    """The Prometheus operator's objects in a cluster: rules, scrape jobs and the Alertmanager's configuration."""

    namespace: Name | None = None
    """Their namespace; that of whoever applies them without it."""
    labels: dict[KubernetesLabel, str] = {}
    """Labels that the operator's selectors want, such as `release: kube-prometheus-stack`."""

    def metadata(self, name: str, platform_name: str) -> dict[str, Any]:
        """Metadata of an object."""
        ours = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/part-of": platform_name}
        place = {"namespace": self.namespace} if self.namespace else {}
        return {"name": name, **place, "labels": {**ours, **self.labels}}


OLDEST_PROMETHEUS: Version = (2, 42)
"""The oldest Prometheus that rules and scrape jobs are written for (Debian 12): it has `keep_firing_for`."""


def parse_prometheus_version(text: object) -> Version:
    """Version of a text such as `3.4`; ValueError if it is none, or too old."""
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"v?(\d+)\.(\d+)(\.\d+)?", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a version of Prometheus; write it in quotes, such as '3.4'")
    version: Version = (int(match[1]), int(match[2]))
    if version < OLDEST_PROMETHEUS:
        oldest = version_text(OLDEST_PROMETHEUS)
        raise ValueError(f"Prometheus {text} is too old; {oldest} is the oldest that is written for")
    return version


class Prometheus(Strict):
    """The Prometheus that scrapes and evaluates."""

    version: Annotated[Version, BeforeValidator(parse_prometheus_version, json_schema_input_type=str)] | None = None
    """Its version, such as `3.4`: [what older ones do not read](versions.md) is written only where it is said."""
    url: PlainUrl = "http://127.0.0.1:9090"
    """Where it answers; a user or a password in it is refused."""
    auth: Auth | None = None
    """Who asks, where it does not answer anybody. Rendered files name the same files."""
    scrape_interval: Duration = 15.0
    """How often targets are scraped."""
    evaluation_interval: Duration = 15.0
    """How often rules are evaluated."""
    timeout: Duration = 5.0
    """How long an answer may take."""
    retention: SomeDuration | None = None
    """How long it keeps samples (`--storage.tsdb.retention.time`); `midwatch check` warns of promises that look back
    further, and with `--prometheus` asks it."""
    operator: Operator = Operator()
    """What the operator's objects carry."""
    base: str | None = None
    """An existing `prometheus.yml` that our jobs and rules are [added to](alerts.md#beside-what-exists): its path, or
    its text."""
    scrapes: list[ScrapeConfig] = []
    """Scrape jobs of one's own, as Prometheus reads them, beside those that Midwatch writes."""


class Personal(Strict):
    """Event fields that name a person: dropped, or replaced by a keyed hash, before anything is stored."""

    drop: list[str] = []
    """Fields that are not kept at all."""
    hash: list[str] = []
    """Fields that are replaced by a keyed hash."""
    key_file: Path | None = Field(default=None, strict=False)
    """The file with the hash's secret key."""

    @model_validator(mode="after")
    def _hash_needs_key(self) -> Personal:
        if self.hash and self.key_file is None:
            raise ValueError("hash needs key_file, the file with the secret key of the hash")
        return self


class Caps(Strict):
    """How many distinct values of a label are published before the rest is folded into `other`."""

    models: Annotated[int, Field(ge=1)] = 200
    """Most models."""
    versions: Annotated[int, Field(ge=1)] = 20
    """Most versions of a model."""
    classes: Annotated[int, Field(ge=2)] = 50
    """Most classes of a model."""
    groups: Annotated[int, Field(ge=1)] = 50
    """Most groups of an attribute."""
    series: Annotated[int, Field(ge=1000)] = 50_000
    """Most series of one exporter, whatever the others multiply to; the drift judge has as many beside them."""


class KafkaTls(Strict):
    """How the connections to the brokers are encrypted."""

    ca_file: File | None = None
    """Certificates of who may sign the brokers'; without it, those of the system."""
    certificate_file: File | None = None
    """The client's certificate."""
    key_file: File | None = None
    """The key of the client's certificate."""

    @model_validator(mode="after")
    def _has_certificate_and_key(self) -> KafkaTls:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("has one of certificate_file and key_file; a client's certificate needs both")
        return self


class KafkaSasl(Strict):
    """How a client says to the brokers who it is."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    """How the password is used."""
    username: str
    """The name of the client."""
    password_file: File
    """File with the client's password."""


SESSION = (1.0, 1800.0)
"""Seconds. Kafka's brokers take 6 to 1800 where nobody sets group.min.session.timeout.ms and its opposite."""


class Kafka(Strict):
    """Topics that a fleet of exporters reads predictions and labels from (`midwatch exporter serve --kafka`)."""

    brokers: HostPorts
    """HOST:PORT of brokers that know the others."""
    topics: Annotated[list[Topic], Field(min_length=1, max_length=2)]
    """One topic of predictions and labels, or one of each: keyed by id, and partitioned alike."""
    format: Literal["events", "cloudevents"] = "events"
    """What a record is: Midwatch's events as JSON, or an inference log's CloudEvent in binary mode."""
    group: Annotated[str, Field(min_length=1, max_length=200)] = "midwatch-exporter"
    """The consumer group whose members share the partitions."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group begins that has read nothing yet."""
    session_timeout: Duration = 45.0
    """After how long without a sign of life a member's partitions go to others: longer than a restart takes."""
    max_waiting: Annotated[int, Field(ge=1)] = 500_000
    """Most predictions of one partition that wait for labels."""
    tls: KafkaTls | None = None
    """Encryption; without it there is none."""
    sasl: KafkaSasl | None = None
    """Authentication; without it there is none."""

    @model_validator(mode="after")
    def _has_two_topics_or_one(self) -> Kafka:
        if len(set(self.topics)) < len(self.topics):
            raise ValueError(f"topics has {self.topics[0]} twice; one topic may have predictions and labels")
        return self

    @model_validator(mode="after")
    def _is_taken_by_brokers(self) -> Kafka:
        if not SESSION[0] <= self.session_timeout <= SESSION[1]:
            raise ValueError(
                "session_timeout has to be from 1s to 30m; a broker takes 6s and more, if it has no settings of its own"
            )
        if self.sasl is not None and self.sasl.mechanism == "PLAIN" and self.tls is None:
            raise ValueError("sasl of mechanism PLAIN sends the password as it is; write tls, or a SCRAM mechanism")
        return self

    @property
    def places(self) -> str:
        """The brokers as clients take them."""
        return ",".join(self.brokers)


class Exporter(Scraped):
    """The service that takes prediction and label events."""

    listen: str = "127.0.0.1:9500"
    """HOST:PORT where it takes events and serves `/metrics`; off loopback it needs a token."""
    label_retention: Duration = 86400.0
    """How long a prediction waits for its label."""
    remember: Duration = 3600.0
    """How long an id is remembered, so that a retry is not counted twice."""
    remember_loaded: Duration = 604800.0
    """How old an event of a loaded file may be, and how long its id is remembered."""
    future: Duration = 300.0
    """How far ahead of the clock an event's time may be."""
    sample: Ratio = Decimal(1)
    """Share of predictions that are kept for labels."""
    max_waiting: Annotated[int, Field(ge=1)] = 2_000_000
    """Most predictions that wait for labels."""
    volume: Size | None = None
    """Size of the volume of its state; `midwatch check` [computes](exporter.md#what-the-limits-hold) with it."""
    max_body: Size = 16 * 2**20
    """Largest request."""
    caps: Caps = Caps()
    """How many values of a label are published."""
    personal: Personal = Personal()
    """Fields that name a person."""
    kafka: Kafka | None = None
    """Where a fleet of exporters reads events from, instead of being sent them."""


class SystemsAccount(Strict):
    """The account of the systems exporter in a cluster; `render --target kubernetes` gives it the right to list."""

    namespace: Name
    """The namespace that it runs in."""
    service_account: Name = "midwatch-systems"
    """Its service account."""


class SystemsExporter(Scraped):
    """The service of `midwatch systems export`, which asks systems for what they do not publish."""

    listen: str = "127.0.0.1:9540"
    """HOST:PORT where it serves `/metrics`; off loopback it needs a token."""
    account: SystemsAccount | None = None
    """Its account, if it runs in a cluster and lists objects of the Kubernetes API."""


class LocalProcess(Strict):
    """A process that `midwatch up` starts beside the plane, in the platform file's folder.

    `{port}`, `{exporter}`, `{gate}`, `{state}`, `{platform}` (this file, as it is laid out here) and `{python}` in the
    command are replaced; `ready` is a path that answers 200, `metrics` a path that Prometheus scrapes; `model` and
    `version` say what it serves. A `replica_of` another server runs in region b, and takes its place when region a is
    lost.
    """

    name: Name
    """Its name in logs and experiments."""
    command: Annotated[list[str], Field(min_length=1)]
    """Program and arguments."""
    ready: str | None = None
    """A path that answers 200 when it can be used."""
    metrics: str | None = None
    """A path that Prometheus scrapes."""
    model: Name | None = None
    """The model that it serves."""
    version: str | None = None
    """The version that it serves."""
    address: HostPort | None = None
    """HOST:PORT that this file has for it elsewhere, as `mlflow:5000`: here it is found where it runs."""
    replica_of: Name | None = None
    """The server whose place it takes when region a is lost."""


class Local(Strict):
    """What `midwatch up` runs on this machine."""

    prepare: list[list[str]] = []
    """Commands that are run before everything else, one after the other."""
    servers: list[LocalProcess] = []
    """Servers of models."""
    traffic: LocalProcess | None = None
    """The process that sends requests; [its lines](up.md#traffic) are shown and counted."""
    canaries: list[LocalCanary] = []
    """Versions that the gate is asked about."""


class Team(Strict):
    """What a team's files may name beside the owners and channels that are called as the team, or `TEAM-…`."""

    owners: list[Name] = []
    """Further owners."""
    channels: list[Name] = []
    """Further channels."""


class Platform(Strict):
    """The whole platform file."""

    api_version: Literal["midwatch/v1"] = Field(alias="apiVersion")
    """The form of this file."""
    platform: Name
    """Name of the platform."""
    runbooks: str = "https://runbooks.invalid/{alert}"
    """Address of the runbook pages; `{alert}` becomes the alert's name."""
    prometheus: Prometheus = Prometheus()
    """Where metrics are kept."""
    alertmanager: Alertmanager = Alertmanager()
    """What tells people."""
    grafana: Grafana = Grafana()
    """Where dashboards are looked at."""
    exporter: Exporter = Exporter()
    """What takes events."""
    gate: Gate = Gate()
    """What judges canaries."""
    evaluator: Evaluator = Evaluator()
    """What judges [fairness](fairness.md) again and again."""
    team: Name | None = None
    """Whose this file is, of several in a folder: it may name [that team's](#many-teams) owners and channels alone."""
    teams: dict[Name, Team] = {}
    """The teams, once there are any: a file of another one is refused."""
    owners: Annotated[dict[Name, Owner], Field(min_length=1)]
    """Who is called."""
    plane_owner: Name | None = None
    """Whose the alerts of the plane itself are; where there are several owners, it has to be said."""
    regions: Regions | None = None
    """[Regions](regions.md) that it is served from, each with a plane of its own."""
    channels: Annotated[dict[Name, Channel], Field(min_length=1)]
    """How owners are reached: one integration each."""
    time_intervals: dict[Name, TimeInterval] = {}
    """Times with a name, such as office hours."""
    maintenance: list[Maintenance] = []
    """Times when alerts are muted."""
    rule_files: list[str] = []
    """Patterns of [rule files](alerts.md), relative to this file."""
    rules: list[RuleFile] = []
    """Rule files, written in place."""
    systems: Annotated[dict[str, SystemUse], BeforeValidator(observed.with_names)] = {}
    """[Systems](systems.md) of the platform that are watched, by name."""
    stream: Stream | None = None
    """The [job](stream.md) that makes the exporter's counts on Spark; none runs without it."""
    systems_exporter: SystemsExporter = SystemsExporter()
    """What asks those systems that have an `observe`."""
    models: Annotated[list[Model], Field(min_length=1)]
    """The models, and what is promised of them."""
    loop: Loop | None = None
    """What asks for [retrainings](loop.md) and follows them until a better version serves."""
    disaster_recovery: DisasterRecovery | None = None
    """What must survive, and the [drills](recovery.md) that prove it."""
    kubernetes: Kubernetes | None = None
    """Where the plane runs in a cluster; without it, its own workloads are not rendered."""
    console: Console | None = None
    """The [console](console.md): with it, alerts link to their pages, and a cluster runs it."""
    local: Local = Local()
    """What `midwatch up` starts."""
    chaos: Chaos | None = None
    """Faults on purpose."""
    incidents: Incidents = Incidents()
    """What `midwatch explain` reads beside Prometheus."""

    @property
    def has_exporters(self) -> bool:
        """Whether exporters take events: everywhere but where a stream counts all of them."""
        return self.stream is None or self.stream.exporters

    @property
    def operator(self) -> str:
        """Owner of the plane itself; without `plane_owner` there is one only."""
        return self.plane_owner or min(self.owners)

    @property
    def is_view(self) -> bool:
        """Whether it is laid out for the view over all regions, which evaluates what is global and runs nothing."""
        return self.regions is not None and self.regions.is_view

    @property
    def place_labels(self) -> dict[str, str]:
        """Labels of the region, cluster and cloud of this plane; none of a platform that is in one place."""
        return self.regions.here_labels if self.regions is not None else {}

    @property
    def digests(self) -> dict[str, str]:
        """Digests of what is said of each model by its name, and of the rest by the empty one.

        They are of values, with defaults: another layout or comment changes none, another release may change all.
        """
        said = {model.name: model.model_dump_json() for model in self.models}
        said |= {"": self.model_dump_json(exclude={"models"})}
        return {name: hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS] for name, text in said.items()}

    @property
    def latency_bounds(self) -> list[float]:
        """Buckets of the models' latency, in seconds."""
        return sorted({bound for model in self.models for bound in model.latency_buckets})

    def owner(self, name: str) -> Owner:
        """An owner with everything it extends filled in; what nobody says stays None."""
        filled, seen = self.owners[name], {name}
        while filled.extends and filled.extends in self.owners and filled.extends not in seen:
            base = self.owners[filled.extends]
            seen.add(filled.extends)
            own = {key: value for key, value in filled if value is not None and key != "extends"}
            filled = base.model_copy(update=own)
        return filled
