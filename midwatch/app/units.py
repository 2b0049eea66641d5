"""Services of systemd for parts of the plane, where they run on machines: what asks Prometheus alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from midwatch import systemd
from midwatch.spec import evaluation
from midwatch.spec.model import Platform
from midwatch.spec.scraped import Scraped


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """A service: its file, the command without its options, and its section of the platform file."""

    file: str
    description: str
    command: str
    settings: Scraped


def render_files(platform: Platform) -> dict[str, str]:
    """Each service by its path, for `systemctl enable --now`; none that the platform file asks nothing of.

    They run with the platform file as it is installed, and with the token that Prometheus is told to send.
    """
    return {one.file: systemd.lasting_service(one.description, _command(one)) for one in _units(platform)}


def _units(platform: Platform) -> Iterator[_Unit]:
    if platform.incidents.watch:
        yield _Unit(
            file="systemd/midwatch-incidents.service",
            description="What changed before an alert",
            command="midwatch explain watch",
            settings=platform.incidents,
        )
    if evaluation.promised(platform):
        yield _Unit(
            file="systemd/midwatch-evaluator.service",
            description="Whether promises hold that PromQL alone cannot judge",
            command="midwatch evaluate serve",
            settings=platform.evaluator,
        )


def _command(unit: _Unit) -> str:
    command = f"{unit.command} -f /etc/midwatch/platform.yaml"
    if (token := unit.settings.metrics_token_file) is not None:
        command += f" --metrics-token-file {systemd.word(str(token))}"
    return command
