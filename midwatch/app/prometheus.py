"""The file that Prometheus starts from: what it scrapes, which rules it reads, whom it tells.

In a cluster the operator writes that file; a system's scrape job is an object that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from midwatch import jobs, scrape_size, yamlfile
from midwatch.app import prometheus_base
from midwatch.errors import InvalidInputError, Problem
from midwatch.jobs import Job, Relabeling
from midwatch.programs import Version
from midwatch.spec.document import Document
from midwatch.spec.model import Platform
from midwatch.spec.prometheus_auth import Auth
from midwatch.spec.values import format_duration

RULES_FOLDER = "rules"


class Setting(NamedTuple):
    """A setting of a scrape job: the first Prometheus that reads it, and how a file and an object say it."""

    since: Version
    in_file: tuple[str, Any]
    in_object: tuple[str, Any]


AS_IN_TWO = (
    Setting(
        (3, 0),
        ("fallback_scrape_protocol", "PrometheusText0.0.4"),
        ("fallbackScrapeProtocol", "PrometheusText0.0.4"),
    ),
    Setting((3, 0), ("always_scrape_classic_histograms", True), ("scrapeClassicHistograms", True)),
    Setting((3, 0), ("metric_name_validation_scheme", "legacy"), ("nameValidationScheme", "Legacy")),
    Setting((3, 4), ("metric_name_escaping_scheme", "underscores"), ("nameEscapingScheme", "Underscores")),
)
"""What has Prometheus 3 scrape as 2 does (docs/configuration/configuration.md, scrapeconfig_types.go of the operator).

An answer without a content type is read, histograms that are native too keep the buckets that our expressions read, and
names come with `_` for what is not a letter or a digit.
"""

SECRETS_FOLDER = PurePosixPath("/etc/prometheus/secrets")
"""Where the operator mounts the Secrets of a Prometheus object's `secrets`: below it, SECRET/KEY."""


def render_files(platform: Platform) -> dict[str, str]:
    """Text of `prometheus.yml` by its path below the output folder."""
    text = render(platform, jobs.of_platform(platform), *_alertmanagers(platform))
    existing = platform.prometheus.base
    return {"prometheus/prometheus.yml": text if existing is None else prometheus_base.merged(existing, text)}


def render(platform: Platform, scraped: Sequence[Job], *alertmanagers: str) -> str:
    """Text of `prometheus.yml` for these jobs and the Alertmanagers at these URLs, each told of every alert."""
    document: dict[str, Any] = {
        "global": {
            "scrape_interval": format_duration(platform.prometheus.scrape_interval),
            "scrape_timeout": format_duration(_usual_timeout(platform)),
            "evaluation_interval": format_duration(platform.prometheus.evaluation_interval),
            **_external_labels(platform),
        },
        "rule_files": [f"{RULES_FOLDER}/*.yml"],
        "alerting": {"alertmanagers": [dict(_alertmanager(url)) for url in alertmanagers]},
        "scrape_configs": [
            *(dict(_scrape_config(job, platform)) for job in scraped),
            *platform.prometheus.scrapes,
        ],
    }
    return yamlfile.dump(document)


def _external_labels(platform: Platform) -> dict[str, Any]:
    """What every series and alert of this plane carries to others."""
    labels = dict(sorted(platform.place_labels.items()))
    return {"external_labels": labels} if labels else {}


def _alertmanagers(platform: Platform) -> list[str]:
    """Every Alertmanager of the platform: they gossip, and each has to know an alert to notify when another is gone."""
    regions = platform.regions
    if regions is None:
        return [platform.alertmanager.url]
    return [plane.alertmanager for _, plane in sorted(regions.planes.items())]


def _alertmanager(url: str) -> Iterator[tuple[str, Any]]:
    parts = urlsplit(url)
    if parts.scheme == "https":
        yield "scheme", "https"
    if prefix := parts.path.rstrip("/"):
        yield "path_prefix", prefix
    yield "static_configs", [{"targets": [parts.netloc]}]


def _usual_timeout(platform: Platform) -> float:
    return min(scrape_size.USUAL_TIMEOUT, platform.prometheus.scrape_interval)


def _scrape_config(job: Job, platform: Platform) -> Iterator[tuple[str, Any]]:
    yield "job_name", job.name
    version = platform.prometheus.version
    yield from (one.in_file for one in AS_IN_TWO if version is not None and version >= one.since)
    if job.timeout is not None and job.timeout != _usual_timeout(platform):
        yield "scrape_timeout", format_duration(job.timeout)
    yield "metrics_path", job.path
    if job.params:
        yield "params", {name: list(values) for name, values in job.params}
    if job.honor_labels:
        yield "honor_labels", True
    if not job.honor_timestamps:
        yield "honor_timestamps", False
    if job.https:
        yield "scheme", "https"
    if job.ca_file:
        yield "tls_config", {"ca_file": str(job.ca_file)}
    if job.token_file:
        yield "authorization", {"credentials_file": str(job.token_file)}
    if job.auth:
        yield from _who_asks(job.auth)
    yield "static_configs", [{"targets": sorted(job.targets)}]
    if job.relabel:
        yield "metric_relabel_configs", [dict(_relabeling(one, "source_labels", "target_label")) for one in job.relabel]


def _relabeling(one: Relabeling, sources: str, target: str) -> Iterator[tuple[str, Any]]:
    """A relabeling, whose keys a file and an object call differently."""
    if one.action == "replace":
        yield from ((sources, [one.source]), (target, one.target), ("replacement", one.replacement))
    yield from (("regex", one.regex), ("action", one.action))


def find_problems(platform: Platform, document: Document) -> list[Problem]:
    """Problems of the platform file's own scrape jobs and of its existing file: names and intervals."""
    found = [*jobs.find_problems(platform), *prometheus_base.find_problems(platform)]
    return [document.problem(*one) for one in found]


def _who_asks(auth: Auth) -> Iterator[tuple[str, Any]]:
    """What the scrape of Prometheus itself needs. Further headers are for queries: its `/metrics` has no tenants."""
    if auth.basic:
        yield "basic_auth", {"username": auth.basic.username, "password_file": str(auth.basic.password_file)}
    if auth.token_file:
        yield "authorization", {"credentials_file": str(auth.token_file)}
    if auth.tls:
        yield "tls_config", {name: str(value) for name, value in auth.tls if value is not None}


# For the operator --------------------------------------------------------------------------------------------------


def render_objects(platform: Platform) -> dict[str, str]:
    """Text of a ScrapeConfig for the servers of each model, for each system and each service of our own, by its path.

    Services of our own that are found on loopback alone have none. Raises InvalidInputError for a file that names no
    Secret.
    """
    found = {name for name, _, service in jobs.services(platform) if jobs.is_found(service)}
    # The plane's workloads bring ServiceMonitors of their own.
    own = [job for job in jobs.of_services(platform) if job.name in found and platform.kubernetes is None]
    scraped = [*jobs.of_models(platform), *jobs.of_systems(platform), *jobs.of_regions(platform), *own]
    return {f"kubernetes/scrape-{job.name}.yaml": yamlfile.dump(_object(platform, job)) for job in scraped}


def _object(platform: Platform, job: Job) -> dict[str, Any]:
    """A job in the object's terms (monitoring/v1alpha1/scrapeconfig_types.go of the operator)."""
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "ScrapeConfig",
        "metadata": platform.prometheus.operator.metadata(
            f"midwatch-{platform.platform}-{job.name}", platform.platform
        ),
        "spec": dict(_object_spec(job, platform.prometheus.version)),
    }


def _object_spec(job: Job, version: Version | None) -> Iterator[tuple[str, Any]]:
    yield "jobName", job.name
    yield from (one.in_object for one in AS_IN_TWO if version is not None and version >= one.since)
    yield "metricsPath", job.path
    yield "staticConfigs", [{"targets": sorted(job.targets)}]
    if job.params:
        yield "params", {name: list(values) for name, values in job.params}
    if job.honor_labels:
        yield "honorLabels", True
    if not job.honor_timestamps:
        yield "honorTimestamps", False
    if job.relabel:
        yield "metricRelabelings", [dict(_relabeling(one, "sourceLabels", "targetLabel")) for one in job.relabel]
    if job.https:
        yield "scheme", "HTTPS"
    if job.ca_file:
        yield "tlsConfig", {"ca": {"secret": _secret(job, PurePosixPath(job.ca_file))}}
    if job.token_file:
        yield "authorization", {"type": "Bearer", "credentials": _secret(job, PurePosixPath(job.token_file))}


def _secret(job: Job, file: PurePosixPath) -> dict[str, str]:
    """Secret and key of a file in the operator's folder."""
    if file.parent.parent != SECRETS_FOLDER:
        remedy = f"put the secret into {SECRETS_FOLDER}/SECRET/KEY"
        raise InvalidInputError.at("prometheus", f"{job.name}: {file} names no Kubernetes Secret", remedy=remedy)
    return {"name": file.parent.name, "key": file.name}
