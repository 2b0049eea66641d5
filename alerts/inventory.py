"""Lists every alert of a platform with the labels it will have, as routes and checks see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from alerts.alerting_rule import AlertingRule
from alerts.objectives import groups
from alerts.objectives import objective as objectives
from alerts.objectives.objective import Objective
from alerts.rules import files, models, shipped, teams
from midwatch.spec.base import Place
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import RuleFile
from midwatch.spec.slo import Alerting
from midwatch.spec.systems import SystemRules, place_of
from midwatch.spec.values import parse_duration


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An alert, the rule file it stands in, what it comes from, and where in the platform file.

    `objective` is what an alert on a burn rate is of, and `group` the rules that it reads; with `direct` the alert is
    on the objective's SLI itself. `has_runbook` says whether a team names a runbook of its own. `place_labels` are what
    Prometheus adds on the way to Alertmanager, where the rule has no such label.
    """

    alert: AlertingRule
    file: str
    origin: str
    place: Place
    objective: Objective | None = None
    group: dict[str, Any] | None = None
    direct: Alerting | None = None
    has_runbook: bool = False
    place_labels: tuple[tuple[str, str], ...] = ()

    @property
    def rule(self) -> dict[str, Any]:
        """Its rule."""
        return self.alert.rule

    @property
    def name(self) -> str:
        """Its `alertname`; several alerts may share it."""
        return self.alert.name

    @property
    def owner(self) -> str | None:
        """Owner that is called; None for an alert of nobody, such as the deadman's switch."""
        owner: str | None = self.rule["labels"].get("owner")
        return owner

    @property
    def severity(self) -> str:
        """`page`, `ticket` or `none`; of rules that others wrote whatever they say."""
        return str(self.rule["labels"].get("severity", ""))

    @property
    def for_(self) -> float:
        """Seconds that its expression must hold before it fires."""
        return parse_duration(self.rule.get("for", "0s"))

    @property
    def target(self) -> Objective | None:
        """Its objective, by the name that chaos reads it by."""
        return self.objective

    @property
    def labels(self) -> dict[str, str]:
        """Labels it has whatever its series are; with `alertname`."""
        return {"alertname": self.name, **dict(self.place_labels), **self.rule["labels"]}

    @property
    def title(self) -> str:
        """Name that tells it from the others."""
        labels = self.rule["labels"]
        about = " ".join(labels[key] for key in ("model", "slo") if key in labels) or self.origin
        return f"{self.name} {self.severity} {about}"


def entries(platform: Platform) -> Iterator[Entry]:
    """Alerts of the platform, of the models, of the rule files, and of every objective."""
    place_labels = tuple(platform.place_labels.items())
    for entry in _entries(platform):
        yield replace(entry, place_labels=place_labels) if place_labels else entry


def _entries(platform: Platform) -> Iterator[Entry]:
    by_place = {objective.place: objective for objective in objectives.of_platform(platform)}
    for file, make in files.of_platform(platform).items():
        for alert in make(platform):
            yield Entry(alert=alert, file=file, origin=file.removesuffix(".yml"), place=())
    for index, model in () if platform.is_view else enumerate(platform.models):
        yield from _of_model(platform, index, model, by_place)
    for index, team in enumerate(platform.rules):
        yield from _of_team(platform, index, team)
    for objective in by_place.values():
        yield from _of_objective(objective)


def _of_model(platform: Platform, index: int, model: Model, by_place: dict[Place, Objective]) -> Iterator[Entry]:
    """Alerts on the SLIs of a model, which are kept by version, and the shipped ones."""
    file = f"model-{model.name}.yml"
    for number, slo in enumerate(model.slos):
        if slo.alert:
            place = ("models", index, "slos", number)
            alert = models.on_sli(platform, model, slo, slo.alert)
            objective = replace(by_place[place], slo=slo.model_copy(update={"by": ["version"]}))
            yield Entry(alert=alert, file=file, origin=model.name, place=place, objective=objective, direct=slo.alert)
    for alert in shipped.of_model(platform, model):
        yield Entry(alert=alert, file=file, origin=model.name, place=("models", index))


def _of_team(platform: Platform, index: int, team: RuleFile) -> Iterator[Entry]:
    for number, alert in enumerate(teams.of_file(platform, team)):
        yield Entry(
            alert=alert,
            file=f"team-{team.name}.yml",
            origin=team.name,
            place=(*place_of(team, index), "alerts", number),
            has_runbook=bool(team.alerts[number].runbook) or isinstance(team, SystemRules),  # its page is in its folder
        )


def _of_objective(objective: Objective) -> Iterator[Entry]:
    group = groups.rule_group(objective)
    for rule in group["rules"]:
        if "alert" in rule:
            yield Entry(
                alert=AlertingRule(rule=rule),
                file=objective.file,
                origin=objective.subject,
                place=objective.place,
                objective=objective,
                group=group,
            )
