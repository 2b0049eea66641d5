"""Links of alerts that lead nowhere for whoever gets them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from midwatch.spec.base import Finding
from midwatch.spec.model import Platform


def dashboard_loopback(platform: Platform) -> Iterator[Finding]:
    """Dashboards on loopback: people get alerts elsewhere, and the links open nothing."""
    readers = sorted(name for name, channel in platform.channels.items() if channel.integration.is_person)
    host = urlsplit(platform.grafana.url).hostname or ""
    if readers and _is_loopback(host):
        message = f"alerts link to dashboards on {host}, which opens nothing for who reads {', '.join(readers)}"
        yield ("grafana", "url"), message, "write the address of Grafana that people open"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
