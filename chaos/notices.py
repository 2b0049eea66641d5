"""Whether somebody was told: alerts as they reached their receivers, since a mark that was set before the fault.

On this machine that is what the plane's sink was delivered; in a cluster what Alertmanager has, with its receivers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import urllib3

from alerts import alerting_rule
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform, Severity

TIMEOUT = 3.0


class NoAnswerError(MidwatchError):
    """Alertmanager does not answer."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One alert that somebody was told of: its labels, the channels it reached, and whether it still fires."""

    labels: Mapping[str, str]
    channels: frozenset[str]
    firing: bool

    def is_about(self, alert: str, labels: Mapping[str, str]) -> bool:
        """Whether it is this alert, with these labels."""
        wanted = {"alertname": alert, **labels}
        return all(self.labels.get(name) == value for name, value in wanted.items())


class Notices(Protocol):
    """Where alerts can be seen to arrive."""

    def mark(self) -> dict[str, Any]:
        """What is there now; alerts after it are new."""
        ...

    def since(self, mark: Mapping[str, Any]) -> list[Notice]:
        """Alerts that came after a mark, each as it was told last."""
        ...


class Sink:
    """The sink of `midwatch up`: deliveries as JSON lines, in the order of their arrival."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def mark(self) -> dict[str, Any]:
        """The file's size."""
        return {"offset": self._file.stat().st_size if self._file.exists() else 0}

    def since(self, mark: Mapping[str, Any]) -> list[Notice]:
        """Alerts in deliveries after the mark that began to fire after it: not those that were there and ended."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            before, after = file.read(mark["offset"]), file.read()
        known = {(entry["fingerprint"], entry["startsAt"]) for _, entry in _entries(before)}
        notices: dict[tuple[str, str], Notice] = {}
        for channel, entry in _entries(after):
            key = (entry["fingerprint"], entry["startsAt"])
            if key in known:
                continue
            channels = notices[key].channels if key in notices else frozenset()
            notices[key] = Notice(
                labels=entry["labels"], channels=channels | {channel}, firing=entry["status"] == "firing"
            )
        return list(notices.values())


def channels_of(platform: Platform) -> dict[str, frozenset[str]]:
    """Channels of each receiver that `alerts.routes` makes."""
    return {
        f"{name}-{severity.value}": frozenset(getattr(platform.owner(name), severity.value) or ())
        for name in platform.owners
        for severity in Severity
    }


def _entries(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Channel and alert of every whole line."""
    lines = content.split(b"\n")[:-1]
    documents = [json.loads(line) for line in lines]
    return [(document["channel"], entry) for document in documents for entry in document["delivery"]["alerts"]]


class Alertmanager:
    """Alertmanager's API, version 2. `channels` says which channels each of its receivers has."""

    def __init__(self, url: str, channels: Mapping[str, frozenset[str]] | None = None) -> None:
        self._url, self._channels = url.rstrip("/"), channels or {}

    def mark(self) -> dict[str, Any]:
        """The alerts that are there."""
        return {"known": [[alert["fingerprint"], alert["startsAt"]] for alert in self._alerts()]}

    def since(self, mark: Mapping[str, Any]) -> list[Notice]:
        """Alerts that were not there at the mark; one that ended is no longer there."""
        known = {tuple(one) for one in mark["known"]}
        return [
            Notice(
                labels=alert["labels"],
                channels=frozenset[str]().union(*(self._of(one["name"]) for one in alert["receivers"])),
                firing=alert["status"]["state"] == "active",
            )
            for alert in self._alerts()
            if (alert["fingerprint"], alert["startsAt"]) not in known
        ]

    def has_deadman(self) -> bool:
        """Whether the deadman's switch is there, as an outside watcher would ask."""
        return any(alert["labels"].get("alertname") == alerting_rule.DEADMAN for alert in self._alerts())

    def _of(self, receiver: str) -> frozenset[str]:
        return self._channels.get(receiver, frozenset())

    def _alerts(self) -> list[dict[str, Any]]:
        try:
            answer = urllib3.PoolManager().request("GET", f"{self._url}/api/v2/alerts", timeout=TIMEOUT, retries=False)
            document: list[dict[str, Any]] = answer.json()
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise NoAnswerError(f"{self._url}: no answer: {type(error).__name__}") from error
        if answer.status != 200:
            raise NoAnswerError(f"{self._url}: {answer.status}")
        return document
