"""Whose an alert is and who would be told of it at a time: by the routes that Alertmanager runs, or by the file's.

An alert's name may stand for several, of other models or severities: each is answered for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts import inventory
from alerts.routing import configuration, delivery, existing
from alerts.routing.configuration import Config
from alerts.routing.delivery import Delivery
from midwatch import alertmanager
from midwatch.app.status import ask, telling
from midwatch.app.status.ask import OfAlertmanager
from midwatch.app.status.records import Silence, Telling, Told
from midwatch.spec.model import Platform

PLATFORM_NAME = "alertmanager.yml of the platform file"


@dataclass(frozen=True, kw_only=True)
class Channel:
    """How an owner is reached, as the platform file says: a channel's name and its kind."""

    name: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Whose:
    """One alert: its owner, how it is reached, and what would become of it at each receiver.

    `hours` names the time interval outside of which the owner is sent nothing of that severity. `fires` is None where
    Alertmanager did not answer. `path` has the matchers of the routes from the root, for each telling.
    """

    labels: Mapping[str, str]
    owner: str
    severity: str
    channels: tuple[Channel, ...]
    hours: str
    fires: bool | None
    is_of_platform: bool
    telling: tuple[Telling, ...]
    paths: tuple[tuple[str, ...], ...]
    repeats_every: tuple[float, ...]
    silences: tuple[Silence, ...] = ()

    @property
    def is_told(self) -> bool:
        """Whether anybody is told."""
        return any(one.told in (Told.DELIVERED, Told.WAITING) for one in self.telling)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Each alert that is meant, at a time; `routes_of` says whose routes were followed."""

    at: datetime
    routes_of: str
    alerts: tuple[Whose, ...]
    unanswered: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        import msgspec

        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def answer(
    platform: Platform | None, asked: OfAlertmanager, name: str, labels: Mapping[str, str], at: datetime
) -> Answer | None:
    """Who is told of the alerts of a name that have these labels; None when nobody knows such an alert."""
    config = telling.running_config(asked.status)
    routes_of = "Alertmanager"
    if config is None and platform is not None:
        config = configuration.running(existing.text(platform), (0, 25))
        routes_of = PLATFORM_NAME
    meant = list(_meant(platform, asked.alerts or (), name, labels))
    if config is None or not meant:
        return None
    found = _Finder(platform, asked, config, at)
    return Answer(
        at=at,
        routes_of=routes_of,
        alerts=tuple(found.whose(wanted, is_of_platform=known) for wanted, known in meant),
        unanswered=gaps(asked),
    )


def gaps(asked: OfAlertmanager) -> tuple[str, ...]:
    """What Alertmanager did not answer, and that nobody can read the configuration that it runs."""
    found = tuple(ask.in_words(asked.unanswered))
    if asked.status is not None and telling.running_config(asked.status) is None:
        found += ("the configuration that Alertmanager runs cannot be read; not known: routes",)
    return found


def is_of_platform(platform: Platform | None, name: str) -> bool:
    """Whether the platform file has an alert of a name."""
    return platform is not None and any(entry.name == name for entry in inventory.entries(platform))


def _meant(
    platform: Platform | None, firing: Sequence[alertmanager.Alert], name: str, labels: Mapping[str, str]
) -> Iterator[tuple[dict[str, str], bool]]:
    """Label sets that are meant, and whether they are the platform file's: of its rules, else of what fires.

    A rule's labels are completed by the given ones, which its series may have: a version, an instance.
    """
    known = [entry.labels for entry in inventory.entries(platform) if entry.name == name] if platform else []
    fitting = [one for one in known if all(one.get(key, value) == value for key, value in labels.items())]
    seen = []
    for one in fitting:
        whole = {**one, **labels}
        if whole not in seen:
            seen.append(whole)
            yield whole, True
    if known:
        return
    for alert in firing:
        if alert.labels.get("alertname") == name and labels.items() <= alert.labels.items():
            yield alert.labels, False


class _Finder:
    """Follows label sets through one configuration at one time."""

    def __init__(self, platform: Platform | None, asked: OfAlertmanager, config: Config, at: datetime) -> None:
        self._platform, self._asked, self._config, self._at = platform, asked, config, at

    def whose(self, labels: dict[str, str], *, is_of_platform: bool) -> Whose:
        firing = [one for one in self._asked.alerts or () if _is_instance(labels, one.labels)]
        owner, severity = labels.get("owner", ""), labels.get("severity", "")
        ways = delivery.deliveries(self._config, labels, at=self._at)
        sources = [one.labels for one in self._asked.alerts or () if one not in firing]
        inhibited = delivery.inhibited_by(self._config, labels, sources)
        silences = [one for one in telling.silences(self._asked.silences or ()) if self._silences(one, labels)]
        return Whose(
            labels=labels,
            owner=owner,
            severity=severity,
            channels=tuple(self._channels(owner, severity)),
            hours=self._hours(owner, severity),
            fires=None if self._asked.alerts is None else bool(firing),
            is_of_platform=is_of_platform,
            telling=tuple(self._telling(way, inhibited, silences) for way in ways),
            paths=tuple(tuple(_step(route.matchers) for route in way.path) for way in ways),
            repeats_every=tuple(way.repeats_every for way in ways),
            silences=tuple(silences),
        )

    def _telling(
        self, way: Delivery, inhibited: tuple[Any, Mapping[str, str]] | None, silences: Sequence[Silence]
    ) -> Telling:
        told, by = Told.WAITING, "nothing holds it back"
        if self._asked.silences is None or self._asked.alerts is None:
            by = "no route holds it back; whether a silence or another alert does is not known"
        if silences:
            told, by = Told.SILENCED, "; ".join(f"{one.id} of {one.created_by}: {one.comment}" for one in silences)
        elif inhibited:
            rule, source = inhibited
            words = " ".join(source[key] for key in ("alertname", "severity", "model", "slo") if key in source)
            told, by = Told.INHIBITED, f"{words} ({rule.name or f'inhibit_rules[{rule.place[-1]}]'})"
        elif way.muted_by:
            told, by = Told.MUTED, f"the time interval {way.muted_by} is then"
        elif way.inactive:
            told, by = Told.MUTED, f"none of the time intervals {', '.join(way.inactive)} is then"
        elif not way.integrations:
            told, by = Told.NOBODY, f"the receiver {way.receiver} has no integration"
        return Telling(receiver=way.receiver, integrations=way.integrations, told=told, by=by)

    def _silences(self, silence: Silence, labels: Mapping[str, str]) -> bool:
        """Whether a silence holds an alert back at that time."""
        raw = next((one for one in self._asked.silences or () if one.id == silence.id), None)
        is_then = silence.starts_at <= self._at < silence.ends_at
        return raw is not None and is_then and alertmanager.fits(raw.matchers, labels)

    def _channels(self, owner: str, severity: str) -> Iterator[Channel]:
        if self._platform is None or owner not in self._platform.owners or severity not in ("page", "ticket"):
            return
        for name in getattr(self._platform.owner(owner), severity) or ():
            yield Channel(name=name, kind=self._platform.channels[name].kind)

    def _hours(self, owner: str, severity: str) -> str:
        if self._platform is None or owner not in self._platform.owners or severity not in ("page", "ticket"):
            return ""
        return str(getattr(self._platform.owner(owner), f"{severity}_hours") or "")


def _is_instance(labels: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether an alert that fires has all labels of the one that is meant."""
    return labels.items() <= other.items()


def _step(matchers: Sequence[object]) -> str:
    return "{" + ", ".join(map(str, matchers)) + "}" if matchers else "default"
