"""Ways in which a driver pushes its metrics, where many drivers run or none can be scraped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporters import otlp
from exporters.remote_write import pusher
from exporters.remote_write.pusher import Pusher, Target
from exporters.stream.service import Push, Pushing
from midwatch.spec.prometheus_auth import Auth

JOB = "midwatch-stream"
"""The label `job` of what is pushed; `instance` is the id that the ledger of counts has had from its beginning."""


def by_otlp(endpoint: str, interval_seconds: float, prometheus: str) -> Push:
    """Push by OTLP; TelemetryError when the endpoint cannot be one. `prometheus` is the one that scrapes."""
    target = otlp.Target.of(endpoint)
    otlp.warn_of_scrape(target.url, prometheus)

    def push(sources: Sequence[otlp.Source], instance: str, state: Path) -> Pushing:  # noqa: ARG001 - it keeps nothing
        return Pushing(stop=otlp.start_pusher(sources, instance, target, interval_seconds, JOB))

    return push


def by_remote_write(url: str, token_file: Path | None, interval_seconds: float, prometheus: str) -> Push:
    """Push by remote write; TelemetryError when the URL cannot be one. `prometheus` is the one that scrapes."""
    target = Target.of(url, Auth(token_file=token_file.absolute()) if token_file else None)
    otlp.warn_of_scrape(target.url, prometheus)

    def push(sources: Sequence[otlp.Source], instance: str, state: Path) -> Pushing:
        labels = {"job": JOB, "instance": instance}
        pushing = Pusher(sources, labels, pusher.poster(target), state, interval_seconds)
        return Pushing(stop=pusher.start(pushing, interval_seconds), samples=pushing.samples)

    return push
