"""How far back promises look, and whether Prometheus keeps samples for as long; what is forgotten is not counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from alerts.objectives import objective as objectives
from midwatch import yaml_nodes
from midwatch.errors import Problem
from midwatch.prometheus import Client
from midwatch.spec.base import Place
from midwatch.spec.document import Document
from midwatch.spec.model import Platform
from midwatch.spec.slo import Slo
from midwatch.spec.values import format_duration

STATED: Place = ("prometheus", "retention")
NAMED = 3
"""Promises that a warning names; of more it says how many."""

_FAIRNESS = "groups are counted over less time, and the bound on false alarms does not hold"
_INDICATOR = "they are computed over less time"
_BUDGET = "budgets are those of what is remembered"
_ATTRIBUTIONS = "there are fewer windows to compare with"


class _Promise(NamedTuple):
    """A promise, how far back it looks in seconds, and what comes of a shorter memory."""

    name: str
    seconds: float
    otherwise: str


def find_warnings(platform: Platform, document: Document) -> Iterator[Problem]:
    """Promises that look back further than the platform file says that samples are kept."""
    stated = platform.prometheus.retention
    if stated is not None:
        for message, remedy in _warnings(platform, stated):
            yield document.problem(STATED, message, remedy)


def live_warnings(platform: Platform) -> Iterator[Problem]:
    """Promises that look back further than the platform's Prometheus keeps samples; QueryError without an answer.

    What answers and does not say how long it keeps them, as a view over several Prometheus, is not warned of; nor is
    one that reads from elsewhere what it does not keep.
    """
    url, stated = platform.prometheus.url, platform.prometheus.retention
    client = Client.of(platform.prometheus)
    kept = client.retention()
    if kept is None or (stated is not None and kept >= stated):
        return
    if yaml_nodes.value(yaml_nodes.parsed(client.configuration()), "remote_read") is not None:
        return
    if stated is not None:
        message = (
            f"it keeps samples for {format_duration(kept)}, and prometheus.retention says {format_duration(stated)}"
        )
        yield Problem(file=url, message=message, remedy="correct one of them")
    for message, remedy in _warnings(platform, kept):
        yield Problem(file=url, message=message, remedy=remedy)


def _warnings(platform: Platform, kept: float) -> Iterator[tuple[str, str]]:
    """A message and what to do for each way in which promises suffer."""
    short: dict[str, list[_Promise]] = {}
    for promise in _promises(platform):
        if promise.seconds > kept:
            short.setdefault(promise.otherwise, []).append(promise)
    for otherwise, promises in short.items():
        longest = format_duration(max(one.seconds for one in promises))
        looks = "looks" if len(promises) == 1 else "look"
        message = (
            f"samples are kept for {format_duration(kept)}, and {_named(promises)} {looks} back {longest}: {otherwise}"
        )
        yield message, f"start Prometheus with --storage.tsdb.retention.time={longest}, or promise over less time"


def _named(promises: Iterable[_Promise]) -> str:
    names = [one.name for one in promises]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _promises(platform: Platform) -> Iterator[_Promise]:
    for model in platform.models:
        for promise in model.fairness:
            yield _Promise(f"fairness of {model.name} by {promise.attribute}", promise.over, _FAIRNESS)
        if model.explanations:
            seconds = model.explanations.window * (model.explanations.windows + 1)
            yield _Promise(f"attributions of {model.name}", seconds, _ATTRIBUTIONS)
    for one in objectives.of_platform(platform):
        name = f"{one.subject} {one.slo.name}"
        yield _Promise(name, one.slo.period_seconds, _BUDGET)
        yield _Promise(name, _indicator_seconds(one.slo), _INDICATOR)


def _indicator_seconds(slo: Slo) -> float:
    """The time that each value of an indicator is computed over; 0 where none is written."""
    kind = None if isinstance(slo.sli, str) else getattr(slo.sli, slo.kind)
    return float(getattr(kind, "over", 0.0))
