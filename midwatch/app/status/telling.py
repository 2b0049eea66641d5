"""Who was told of an alert: what Alertmanager says of it, what its routes say now, and what its counters counted.

Alertmanager keeps no list of what it delivered to whom. That an alert is silenced or inhibited it says; that a time
interval mutes it, it says since 0.28, and before that its own configuration does. That a notification arrived is
inferred: its group waits no more, its integration notified since the alert fires, and no attempt failed or is still
repeated. Where attempts failed and others did not, nobody can say which one was this alert's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.routing import configuration, delivery
from alerts.routing.configuration import Config
from alerts.routing.delivery import Delivery
from midwatch import alertmanager
from midwatch.app.status.ask import Counted, Counters, OfAlertmanager
from midwatch.app.status.records import Alert, Silence, Telling, Told
from midwatch.errors import InvalidInputError
from midwatch.prometheus import Sample
from midwatch.spec.alertmanager_fields import NEWEST
from midwatch.spec.values import describe_duration

DAY = 86_400.0
SLACK_SECONDS = 45.0
"""A scrape of Alertmanager and the notification itself: three times the usual interval."""
FIRING, FOR_STATE = "firing", "ALERTS_FOR_STATE"
OWN_LABELS = ("__name__", "alertstate")
"""What Prometheus adds to an alert's labels in its own series."""

Labels = Mapping[str, str]


def running_config(status: alertmanager.Status | None) -> Config | None:
    """The configuration that an Alertmanager runs, None where it does not say or nobody can read it."""
    if status is None or not status.config.original:
        return None
    known = re.match(r"(\d+)\.(\d+)", status.version)
    try:
        return configuration.running(status.config.original, (int(known[1]), int(known[2])) if known else NEWEST)
    except InvalidInputError:
        return None


# Alerts of both ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Firing:
    """An alert that fires, as Prometheus has it and as Alertmanager does; one of the two may be missing."""

    labels: Labels
    active_since: datetime | None
    sent: alertmanager.Alert | None
    is_in_prometheus: bool

    @property
    def since(self) -> datetime | None:
        """When it began to fire; where Alertmanager does not have it, since when its expression holds."""
        return self.sent.starts_at if self.sent else self.active_since


def firing(samples: Sequence[Sample], sent: Sequence[alertmanager.Alert]) -> list[Firing]:
    """Every alert that fires, each once."""
    active: dict[frozenset[tuple[str, str]], float] = {}
    fires: list[dict[str, str]] = []
    for one in samples:
        labels = {name: value for name, value in one.labels.items() if name not in OWN_LABELS}
        if one.labels.get("__name__") == FOR_STATE:
            active[frozenset(labels.items())] = one.value
        elif one.labels.get("alertstate") == FIRING:
            fires.append(labels)
    by_name: dict[str, list[alertmanager.Alert]] = {}
    for alert in sent:
        by_name.setdefault(alert.labels.get("alertname", ""), []).append(alert)
    found = []
    for labels in fires:
        at = active.get(frozenset(labels.items()))
        found.append(
            Firing(
                labels=labels,
                active_since=None if at is None else datetime.fromtimestamp(at, UTC),
                sent=_taken(by_name.get(labels.get("alertname", ""), []), labels),
                is_in_prometheus=True,
            )
        )
    others = [alert for those in by_name.values() for alert in those]
    return [*found, *(Firing(labels=one.labels, active_since=None, sent=one, is_in_prometheus=False) for one in others)]


def _taken(candidates: list[alertmanager.Alert], labels: Labels) -> alertmanager.Alert | None:
    """Take the alert that Prometheus sent from the candidates: the one that shares most, and contradicts nothing.

    What was sent may have further labels (external ones), and may lack some (alert_relabel_configs).
    """
    fitting = [one for one in candidates if all(one.labels.get(key, value) == value for key, value in labels.items())]
    if not fitting:
        return None
    best = max(fitting, key=lambda one: len(one.labels.keys() & labels.keys()))
    candidates.remove(best)
    return best


# What became of them ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Says who was told of an alert, by what is known at a time; what is None is not known."""

    config: Config | None
    asked: OfAlertmanager
    counters: Counters | None
    now: datetime

    def record(self, one: Firing) -> Alert:
        """An alert as it is shown."""
        labels = dict(one.sent.labels if one.sent else one.labels)
        has = {"prometheus": one.is_in_prometheus, "alertmanager": one.sent is not None}
        return Alert(
            name=labels.get("alertname", ""),
            severity=labels.get("severity", ""),
            owner=labels.get("owner", ""),
            labels=labels,
            annotations=dict(one.sent.annotations) if one.sent else {},
            since=one.since,
            sources=tuple(name for name, there in has.items() if there),
            telling=tuple(self.telling(one)),
            fingerprint=one.sent.fingerprint if one.sent else "",
            silences=one.sent.status.silenced_by if one.sent else (),
        )

    def telling(self, one: Firing) -> Iterator[Telling]:
        """What became of an alert at each of its receivers."""
        if one.sent is None:
            told, by = Told.NOT_THERE, "Prometheus has it; Alertmanager does not"
            if self.asked.alerts is None:
                told, by = Told.UNKNOWN, "Alertmanager does not answer"
            yield Telling(receiver="", integrations=(), told=told, by=by)
        elif self.config is None:
            for receiver in one.sent.receivers:
                held = self._held_back(one.sent) or (Told.UNKNOWN, "Alertmanager does not say what it runs")
                yield Telling(receiver=receiver.name, integrations=(), told=held[0], by=held[1])
        else:
            for way in delivery.deliveries(self.config, one.sent.labels, at=self.now):
                told, by = self._told(one.sent, way)
                yield Telling(receiver=way.receiver, integrations=way.integrations, told=told, by=by)

    def _told(self, alert: alertmanager.Alert, way: Delivery) -> tuple[Told, str]:
        if held := self._held_back(alert):
            return held
        if way.muted_by:
            return Told.MUTED, f"the time interval {way.muted_by} is now"
        if way.inactive:
            return Told.MUTED, f"none of the time intervals {', '.join(way.inactive)} is now"
        if not way.integrations:
            return Told.NOBODY, f"the receiver {way.receiver} has no integration"
        return self._counted(alert, way)

    # Held back on purpose ---

    def _held_back(self, alert: alertmanager.Alert) -> tuple[Told, str] | None:
        """What Alertmanager itself says that holds an alert back."""
        if alert.status.silenced_by:
            return Told.SILENCED, "; ".join(map(self._silence_in_words, alert.status.silenced_by))
        if alert.status.inhibited_by:
            return Told.INHIBITED, "; ".join(self._source_in_words(alert, one) for one in alert.status.inhibited_by)
        if alert.status.muted_by:
            return Told.MUTED, f"the time interval {', '.join(alert.status.muted_by)} is now"
        return None

    def _silence_in_words(self, silence: str) -> str:
        known = next((one for one in self.asked.silences or () if one.id == silence), None)
        if known is None:
            return f"silence {silence}"
        left = describe_duration(max(0, round((known.ends_at - self.now).total_seconds())))
        return f"silence {silence} of {known.created_by or 'nobody'}, {left} more: {known.comment or 'no reason'}"

    def _source_in_words(self, alert: alertmanager.Alert, fingerprint: str) -> str:
        source = next((one for one in self.asked.alerts or () if one.fingerprint == fingerprint), None)
        if source is None:
            return f"the alert {fingerprint}"
        name = " ".join(source.labels[key] for key in ("alertname", "severity", "model", "slo") if key in source.labels)
        found = delivery.inhibited_by(self.config, alert.labels, [source.labels]) if self.config else None
        if found is None:
            return name
        rule = found[0]
        return f"{name} ({rule.name or f'inhibit_rules[{rule.place[-1]}]'})"

    # Counted ---

    def _counted(self, alert: alertmanager.Alert, way: Delivery) -> tuple[Told, str]:
        """What counters say of an alert that nothing holds back."""
        route, age = way.path[-1], (self.now - alert.starts_at).total_seconds()
        first = self._begin_of_group(alert, way)
        if (self.now - first).total_seconds() < route.group_wait:
            return Told.WAITING, f"its group waits up to {describe_duration(route.group_wait)}"
        if self.counters is None:
            return Told.UNKNOWN, "Prometheus does not say what Alertmanager counted"
        if not self.counters.are_there:
            return Told.UNKNOWN, "Prometheus has no counters of Alertmanager: scrape it"
        reach = way.repeats_every + route.group_interval + SLACK_SECONDS
        begun = max(alert.starts_at.timestamp(), self.now.timestamp() - reach)
        counts = {kind: self.counters.since(kind, begun) for kind in dict.fromkeys(way.integrations)}
        silent = [kind for kind, counted in counts.items() if not round(counted.notifications)]
        if silent:
            return self._not_counted(silent, age, route.group_wait, route.group_interval, begun)
        since = "since it fires" if begun == alert.starts_at.timestamp() else f"in {describe_duration(round(reach))}"
        if age < route.group_interval and (alert.starts_at - first).total_seconds() > route.group_wait:
            said = f"{_times(sum(one.notifications for one in counts.values()))} by {_kinds(counts)} {since}"
            waits = describe_duration(route.group_interval)
            return Told.UNKNOWN, f"{said} may be of others: its group, which was told before, waits up to {waits}"
        return _arrived(counts, since)

    def _begin_of_group(self, alert: alertmanager.Alert, way: Delivery) -> datetime:
        """When the first alert of its group that still fires began, itself if none is older.

        Alertmanager's dispatcher has a new group wait `group_wait` from its first alert on; what joins it after that
        goes out with its next notification, up to `group_interval` later.
        """
        route = way.path[-1]
        if (self.now - alert.starts_at).total_seconds() >= max(route.group_wait, route.group_interval):
            return alert.starts_at  # it went out whatever its group waited for
        return min(
            (other.starts_at for other in self.asked.alerts or () if self._is_of_group(other, way)),
            default=alert.starts_at,
        )

    def _is_of_group(self, other: alertmanager.Alert, way: Delivery) -> bool:
        if self.config is None or any(other.labels.get(key) != value for key, value in way.group.items()):
            return False
        place = way.path[-1].place
        ways = delivery.deliveries(self.config, other.labels)
        return any(one.path[-1].place == place and one.group == way.group for one in ways)

    def _not_counted(
        self, silent: Sequence[str], age: float, wait: float, interval: float, begun: float
    ) -> tuple[Told, str]:
        """What it means that an integration notified of nothing since the alert fires."""
        if age < max(wait, interval) + SLACK_SECONDS:
            return Told.WAITING, f"its group waits up to {describe_duration(max(wait, interval))}"
        if self.counters is not None and begun < self.counters.start:
            return Told.UNKNOWN, f"it fires for longer than counters were read: {describe_duration(round(age))}"
        return Told.FAILED, f"no notification by {_kinds(silent)} since it fires"


def _arrived(counts: Mapping[str, Counted], since: str) -> tuple[Told, str]:
    """What became of an alert's notifications, each integration of which notified."""
    attempts = sum(one.notifications for one in counts.values())
    failed = {kind: one for kind, one in counts.items() if round(one.failed)}
    pending = {kind: one for kind, one in counts.items() if round(one.pending)}
    if not failed and not pending:
        return Told.DELIVERED, f"{_times(attempts)} by {_kinds(counts)} {since}, none failed"
    tried = round(sum(one.tries_failed for one in pending.values()))
    if not failed and not tried:
        return Told.WAITING, f"{_kinds(pending)} did not answer yet"
    lost, waits = (
        round(sum(column)) for column in zip(*((one.failed, one.pending) for one in counts.values()), strict=True)
    )
    words = [f"{lost} of {_times(attempts)} by {_kinds(failed)} failed {since}"] if failed else []
    if pending:
        words.append(f"{_times(waits)} by {_kinds(pending)} did not arrive yet, after {tried} tries that failed")
    return (Told.FAILED if lost + waits >= round(attempts) else Told.UNKNOWN), "; ".join(words)


def _kinds(kinds: Sequence[str] | Mapping[str, object]) -> str:
    return " and ".join(kinds)


def _times(count: float) -> str:
    return f"{round(count)} notification{'' if round(count) == 1 else 's'}"


def reach_of_counters(config: Config | None, alerts: Sequence[Firing], now: datetime) -> float | None:
    """Seconds that counters have to reach back for these alerts, a day at most; None where none has to be known."""
    if config is None:
        return None
    longest = max((route.repeat_interval + route.group_interval for route in config.route.walk()), default=0.0)
    ages = [(now - one.sent.starts_at).total_seconds() for one in alerts if one.sent and not _is_held(one.sent)]
    if not ages:
        return None
    return min(DAY, longest + 2 * SLACK_SECONDS, max(0.0, *ages) + 2 * SLACK_SECONDS)


def _is_held(alert: alertmanager.Alert) -> bool:
    return bool(alert.status.silenced_by or alert.status.inhibited_by)


def silences(asked: Sequence[alertmanager.Silence]) -> list[Silence]:
    """Silences that are active or will be, the first to end first."""
    live = [one for one in asked if one.state != "expired"]
    return [
        Silence(
            id=one.id,
            state=one.state,
            matchers=tuple(map(str, one.matchers)),
            starts_at=one.starts_at,
            ends_at=one.ends_at,
            created_by=one.created_by,
            comment=one.comment,
        )
        for one in sorted(live, key=lambda one: (one.ends_at, one.id))
    ]
