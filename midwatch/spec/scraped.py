"""How Prometheus finds Midwatch's own services, and the token that it sends to their `/metrics`."""

from __future__ import annotations

from midwatch.spec.base import HostPort, Strict
from midwatch.spec.prometheus_auth import SecretFile


class Scraped(Strict):
    """A service of Midwatch's that Prometheus scrapes; where it listens is not always where it is found."""

    listen: str
    """HOST:PORT where it listens."""
    targets: list[HostPort] = []
    """HOST:PORT of every one of them that Prometheus scrapes; `listen` without any."""
    metrics_token_file: SecretFile | None = None
    """File in which Prometheus finds the token for `/metrics`: what the service reads from `--metrics-token-file`."""
