"""Services of systemd for parts of the plane, where they run on machines: what says what changed before an alert."""

from __future__ import annotations

from midwatch import systemd
from midwatch.spec.model import Platform

FILE = "systemd/midwatch-incidents.service"


def render_files(platform: Platform) -> dict[str, str]:
    """The service by its path, for `systemctl enable --now`; nothing unless alerts are to carry its line.

    It runs with the platform file as it is installed, and with the token that Prometheus is told to send.
    """
    if not platform.incidents.watch:
        return {}
    command = "midwatch explain watch -f /etc/midwatch/platform.yaml"
    if (token := platform.incidents.metrics_token_file) is not None:
        command += f" --metrics-token-file {systemd.word(str(token))}"
    return {FILE: systemd.lasting_service("What changed before an alert", command)}
