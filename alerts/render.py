"""The files that Prometheus and Alertmanager load, from the platform file: the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from alerts import recovery, routes, ruleset
from midwatch import yamlfile
from midwatch.spec import model as spec
from midwatch.spec.values import format_duration

RULES_FOLDER = "rules"
GATE_JOB = "midwatch-gate"


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """A job beside the exporter: `targets` are HOST:PORT."""

    job: str
    targets: tuple[str, ...]
    path: str = "/metrics"


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Where things run, when that is not what the platform file says.

    `gate` is the canary gate's HOST:PORT, if there is one. With `sink_url` every receiver delivers there instead:
    nobody is paged from a demonstration.
    """

    exporters: tuple[str, ...]
    alertmanager: str
    scrapes: Sequence[Scrape] = field(default=())
    gate: str | None = None
    sink_url: str | None = None


def plane_of(platform: spec.Platform) -> Plane:
    """Where things run by the platform file."""
    targets = tuple(platform.exporter.targets) or (platform.exporter.listen,)
    alertmanager = _address(platform.alertmanager.url)
    posture = platform.disaster_recovery
    scrapes = of_itself(_address(platform.prometheus.url), alertmanager)
    return Plane(
        exporters=targets,
        alertmanager=alertmanager,
        scrapes=[*scrapes, Scrape(job=recovery.JOB, targets=(posture.listen,))] if posture else scrapes,
        gate=platform.gate.listen if any(model.canary for model in platform.models) else None,
    )


def of_itself(prometheus: str, alertmanager: str) -> list[Scrape]:
    """Jobs that watch the watch: whether rules are evaluated and people can be told."""
    return [Scrape(job="prometheus", targets=(prometheus,)), Scrape(job="alertmanager", targets=(alertmanager,))]


def _address(url: str) -> str:
    """HOST:PORT of an address."""
    return url.partition("://")[2].rstrip("/")


def render_files(platform: spec.Platform, plane: Plane | None = None) -> dict[str, str]:
    """Text of each file by its path below the output folder."""
    where = plane or plane_of(platform)
    files = {
        "prometheus/prometheus.yml": yamlfile.dump(_prometheus(platform, where)),
        "alertmanager/alertmanager.yml": yamlfile.dump(routes.alertmanager(platform, where.sink_url)),
    }
    for name, document in ruleset.rule_files(platform).items():
        files[f"prometheus/{RULES_FOLDER}/{name}"] = yamlfile.dump(document)
    return dict(sorted(files.items()))


def _prometheus(platform: spec.Platform, plane: Plane) -> dict[str, Any]:
    scrapes = [
        Scrape(job=ruleset.EXPORTER_JOB, targets=plane.exporters),
        *([Scrape(job=GATE_JOB, targets=(plane.gate,))] if plane.gate else []),
        *sorted(plane.scrapes, key=lambda one: one.job),
    ]
    return {
        "global": {
            "scrape_interval": format_duration(platform.prometheus.scrape_interval),
            "scrape_timeout": format_duration(min(10.0, platform.prometheus.scrape_interval)),
            "evaluation_interval": format_duration(platform.prometheus.evaluation_interval),
        },
        "rule_files": [f"{RULES_FOLDER}/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [plane.alertmanager]}]}]},
        "scrape_configs": [
            {
                "job_name": scrape.job,
                "metrics_path": scrape.path,
                "static_configs": [{"targets": sorted(scrape.targets)}],
            }
            for scrape in scrapes
        ],
    }
