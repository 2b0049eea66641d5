"""What a platform file says of shipped alerts by their names: how long they wait, who is called, which are off."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from alerts.alerting_rule import AlertingRule, wait_text
from midwatch.errors import Problem
from midwatch.spec.base import unknown
from midwatch.spec.document import Document
from midwatch.spec.model import Model, Platform
from midwatch.spec.values import format_duration, parse_duration


@dataclass(frozen=True, kw_only=True)
class TurnedOff:
    """An alert that there is not, of a model or a system, and why."""

    alert: str
    of: str
    reason: str


def is_off(model: Model, alert: str) -> bool:
    """Whether a model has no such alert."""
    said = model.alerts.get(alert)
    return said is not None and said.off_because is not None


def tuned(model: Model, alert: AlertingRule) -> AlertingRule:
    """An alert of a model as the platform file wants it."""
    said = model.alerts.get(alert.name)
    if said is None:
        return alert
    wait = parse_duration(alert.rule["for"])
    rule = {**alert.rule, "for": wait_text(said.wait(wait))}
    if said.keep_firing_for is not None:
        rule["keep_firing_for"] = format_duration(said.keep_firing_for)
    if said.severity is not None:
        rule["labels"] = {**rule["labels"], "severity": said.severity.value}
    return AlertingRule(rule=rule, proof=said.proof(alert.proof, wait) if alert.proof else None)


def find_problems(platform: Platform, document: Document, known: Collection[str]) -> Iterator[Problem]:
    """Names in a model's `alerts` that no shipped alert has."""
    for index, model in enumerate(platform.models):
        for name in sorted(set(model.alerts) - set(known)):
            yield document.problem(("models", index, "alerts", name), *unknown(name, known, "shipped alert of a model"))


def turned_off(platform: Platform) -> Iterator[TurnedOff]:
    """Every alert that is off."""
    sections = [(model.name, model.alerts) for model in platform.models]
    sections += [(name, use.alerts) for name, use in platform.systems.items()]
    for of, alerts in sections:
        for name, said in alerts.items():
            if said.off_because is not None:
                yield TurnedOff(alert=name, of=of, reason=said.off_because)
