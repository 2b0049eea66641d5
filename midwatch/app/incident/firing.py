"""The alert that is asked about: its labels, since when its condition holds and when it fired, as Prometheus knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from midwatch import promql, upstream
from midwatch.errors import Exit, MidwatchError
from midwatch.prometheus import Client, QueryError

BEFORE_SECONDS = 86400.0
"""How long ago an alert may have fired that is asked about without a time."""

FOUND_STEPS = 240
"""Looks between the begin of an alert's condition and now, to see when it fired."""

FOR_STATE = "ALERTS_FOR_STATE"
"""Of each alert the time since when its condition holds; Prometheus writes it beside ALERTS."""

NOT_SCOPE = frozenset({"alertname", "alertstate", "severity", "owner", "__name__", "slo"})
"""Labels of an alert that say whose it is, not where."""


OWN = ("model", "version", "slo", "store", "drill", "experiment", "system", "service")
"""Labels of an alert that say which of its name it is."""


class NoAlertError(MidwatchError):
    """Prometheus knows of no such alert."""

    exit = Exit.INCONCLUSIVE


class NoAnswerError(MidwatchError):
    """Prometheus does not answer, so that nothing is known of the alert."""

    exit = Exit.INCONCLUSIVE


@dataclass(frozen=True, kw_only=True)
class Firing:
    """An alert: its labels, since when its condition holds, and when it fired; a time that was asked about is both.

    `others` are labels, as `own`, of alerts of its name that were there as well.
    """

    name: str
    labels: Mapping[str, str]
    active_at: float
    fired_at: float
    others: tuple[Mapping[str, str], ...] = ()

    @property
    def own(self) -> dict[str, str]:
        """Labels that tell it from others of its name, whatever its severity."""
        return {name: self.labels[name] for name in OWN if self.labels.get(name)}

    @property
    def scope(self) -> dict[str, str]:
        """Labels that say what it is about."""
        return {name: value for name, value in self.labels.items() if name not in NOT_SCOPE and value}


def find(client: Client, name: str, labels: Mapping[str, str], at: float) -> Firing:
    """The alert of a name that fired last before a time, with these labels.

    NoAlertError when there was none, NoAnswerError when Prometheus does not say.
    """
    try:
        return _found(client, name, labels, at)
    except QueryError as error:
        raise NoAnswerError(str(error)) from error


def _found(client: Client, name: str, labels: Mapping[str, str], at: float) -> Firing:
    matchers = [promql.matcher("alertname", name), *(promql.matcher(*pair) for pair in sorted(labels.items()))]
    selector = f"{FOR_STATE}{{{', '.join(matchers)}}}"
    now = client.query(selector, at=at) or client.query(f"last_over_time({selector}[{BEFORE_SECONDS:g}s])", at=at)
    if not now:
        given = "".join(f" --label {label}={value}" for label, value in sorted(labels.items()))
        raise NoAlertError(
            f"{name}{given}: Prometheus has no such alert in the day before; give the labels that it has, or --at TIME"
        )
    last = max(now, key=lambda sample: (sample.value, sorted(sample.labels.items())))
    found, *others = (
        Firing(
            name=name,
            labels={label: value for label, value in one.labels.items() if label != "__name__"},
            active_at=one.value,
            fired_at=one.value,
        )
        for one in (last, *now)
    )
    differing = {tuple(one.own.items()): one.own for one in others if one.own != found.own}
    return replace(
        found,
        fired_at=_fired_at(client, last.labels, last.value, at),
        others=tuple(differing[key] for key in sorted(differing)),
    )


def _fired_at(client: Client, labels: Mapping[str, str], active_at: float, at: float) -> float:
    """When it was first seen to fire; while it is pending, now."""
    own = {**{name: value for name, value in labels.items() if name != "__name__"}, "alertstate": "firing"}
    selector = f"{upstream.ALERTS.name}{{{', '.join(promql.matcher(*pair) for pair in sorted(own.items()))}}}"
    step = max((at - active_at) / FOUND_STEPS, 1.0)
    lines = client.query_range(selector, start=active_at, end=max(at, active_at), step=step)
    return min((line.points[0][0] for line in lines if line.points), default=max(at, active_at))
