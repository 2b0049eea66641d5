"""The configuration of a Prometheus that scrapes the player: jobs and instances are those of the platform's systems."""

from __future__ import annotations

from typing import Any

from midwatch import yamlfile
from midwatch.spec import system_rules
from midwatch.spec.model import Platform
from midwatch.spec.system_rules import Installed
from midwatch.spec.values import format_duration


def configuration(platform: Platform, address: str) -> str:
    """Text of the configuration; each target of the platform file is a path of the player."""
    interval = format_duration(platform.prometheus.scrape_interval)
    document: dict[str, Any] = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [_job(system, address) for system in system_rules.installed(platform)],
    }
    return yamlfile.dump(document)


def path(system: Installed, target: str) -> str:
    """Path of the player for a target of a system."""
    return f"/{system.job}/{target}"


def _job(system: Installed, address: str) -> dict[str, Any]:
    """A job whose targets have the names that they have in the platform file."""
    return {
        "job_name": system.job,
        "honor_labels": system.described.scrape.honor_labels,
        "static_configs": [
            {"targets": [address], "labels": {"instance": target, "__metrics_path__": path(system, target)}}
            for target in system.use.targets
        ],
    }
