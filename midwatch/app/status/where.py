"""Which Prometheus and Alertmanager a command asks: those of its options, of a plane that runs here, or of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midwatch import alertmanager, options, prometheus
from midwatch.app.status.read import Sources
from midwatch.errors import MidwatchError

PrometheusUrl = Annotated[str | None, typer.Option("--prometheus", help="Another Prometheus than the file's.")]
AlertmanagerUrl = Annotated[str | None, typer.Option("--alertmanager", help="Another Alertmanager than the file's.")]
StateFolder = Annotated[
    Path | None, typer.Option("--state", help="State folder of a midwatch up that runs: its plane is asked.")
]


NOBODY = "http://127.0.0.1:9090"
"""Stands for a Prometheus that is not asked."""


def sources(
    file: Path | None,
    *,
    prometheus_url: str | None = None,
    alertmanager_url: str | None = None,
    state: Path | None = None,
    needs_prometheus: bool = True,
) -> Sources:
    """Whom to ask; MidwatchError when neither a file nor addresses say it."""
    if state is not None:
        return _of_plane(state, file)
    found = file or options.default_file()
    if found is None:
        return _of_addresses(prometheus_url if needs_prometheus else prometheus_url or NOBODY, alertmanager_url)
    from midwatch.spec import load

    platform = load.load_platform(found)
    return Sources(
        prometheus=prometheus.Client.of(platform.prometheus, prometheus_url, retries=0),
        prometheus_url=prometheus_url or platform.prometheus.url,
        alertmanager=alertmanager.Client.of(platform, alertmanager_url),
        platform=platform,
    )


def _of_addresses(prometheus_url: str | None, alertmanager_url: str | None) -> Sources:
    if prometheus_url is None or alertmanager_url is None:
        raise MidwatchError("give a platform file with -f, or both --prometheus and --alertmanager")
    return Sources(
        prometheus=prometheus.Client(prometheus_url, retries=0),
        prometheus_url=prometheus_url,
        alertmanager=alertmanager.Client(alertmanager_url),
    )


def _of_plane(state: Path, file: Path | None) -> Sources:
    from chaos.places.local.plane import LocalPlane

    plane = LocalPlane(state, file)
    urls = {name: part.url for name, part in plane.parts.items()}
    asked, told = urls.get("prometheus"), urls.get("alertmanager")
    if asked is None or told is None:
        raise MidwatchError(f"{state}: the plane there has no Prometheus or no Alertmanager")
    return Sources(
        prometheus=prometheus.Client(asked, retries=0),
        prometheus_url=asked,
        alertmanager=alertmanager.Client(told),
        platform=plane.platform,
        expects_jobs=False,  # its jobs are those of what runs here
    )
