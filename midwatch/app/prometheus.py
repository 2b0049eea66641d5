"""The file that Prometheus starts from: what it scrapes, which rules it reads, whom it tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from midwatch import jobs, yamlfile
from midwatch.jobs import Job
from midwatch.spec import model as spec
from midwatch.spec.values import format_duration

RULES_FOLDER = "rules"


def render_files(platform: spec.Platform) -> dict[str, str]:
    """Text of `prometheus.yml` by its path below the output folder."""
    alertmanager = jobs.address(platform.alertmanager.url)
    return {"prometheus/prometheus.yml": render(platform, jobs.of_platform(platform), alertmanager)}


def render(platform: spec.Platform, scraped: Sequence[Job], alertmanager: str) -> str:
    """Text of `prometheus.yml` for these jobs and an Alertmanager at HOST:PORT."""
    document: dict[str, Any] = {
        "global": {
            "scrape_interval": format_duration(platform.prometheus.scrape_interval),
            "scrape_timeout": format_duration(min(10.0, platform.prometheus.scrape_interval)),
            "evaluation_interval": format_duration(platform.prometheus.evaluation_interval),
        },
        "rule_files": [f"{RULES_FOLDER}/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [dict(_scrape_config(job)) for job in scraped],
    }
    return yamlfile.dump(document)


def _scrape_config(job: Job) -> Iterator[tuple[str, Any]]:
    yield "job_name", job.name
    yield "metrics_path", job.path
    if job.params:
        yield "params", {name: list(values) for name, values in job.params}
    if job.honor_labels:
        yield "honor_labels", True
    if job.https:
        yield "scheme", "https"
    if job.ca_file:
        yield "tls_config", {"ca_file": str(job.ca_file)}
    if job.token_file:
        yield "authorization", {"credentials_file": str(job.token_file)}
    yield "static_configs", [{"targets": sorted(job.targets)}]
