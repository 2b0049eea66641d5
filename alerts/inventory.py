"""Every alert of a platform with the labels it will have, as routes and checks see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from alerts import library, objectives, ruleset
from alerts.made import Made
from alerts.objectives import Target
from midwatch.spec import model as spec
from midwatch.spec.base import Place
from midwatch.spec.slo import Alerting
from midwatch.spec.values import parse_duration


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An alert, the rule file it stands in, what it comes from, and where in the platform file.

    `target` is the objective of an alert that burns, or with `direct` of one on the SLI itself; `has_runbook` whether a
    team names a runbook of its own.
    """

    made: Made
    file: str
    origin: str
    place: Place
    target: Target | None = None
    direct: Alerting | None = None
    has_runbook: bool = False

    @property
    def rule(self) -> dict[str, Any]:
        """Its rule."""
        return self.made.rule

    @property
    def name(self) -> str:
        """Its `alertname`; several alerts may share it."""
        return self.made.name

    @property
    def owner(self) -> str | None:
        """Owner that is called; None for an alert of nobody, such as the deadman's switch."""
        owner: str | None = self.rule["labels"].get("owner")
        return owner

    @property
    def severity(self) -> str:
        """`page`, `ticket` or `none`."""
        return str(self.rule["labels"]["severity"])

    @property
    def for_(self) -> float:
        """Seconds that its expression must hold before it fires."""
        return parse_duration(self.rule.get("for", "0s"))

    @property
    def labels(self) -> dict[str, str]:
        """Labels it has whatever its series are; with `alertname`."""
        return {"alertname": self.made.name, **self.rule["labels"]}

    @property
    def title(self) -> str:
        """Name that tells it from the others."""
        labels = self.rule["labels"]
        about = " ".join(labels[key] for key in ("model", "slo") if key in labels) or self.origin
        return f"{self.made.name} {labels['severity']} {about}"


def entries(platform: spec.Platform) -> Iterator[Entry]:
    """Alerts of the plane, of the models, of the rule files, and of every objective."""
    everything = {target.place: target for target in objectives.targets(platform)}
    for file, make in ruleset.PARTS.items():
        for made in make(platform):
            yield Entry(made=made, file=file, origin=file.removesuffix(".yml"), place=())
    for index, model in enumerate(platform.models):
        file = f"model-{model.name}.yml"
        for number, slo in enumerate(model.slos):
            if slo.alert:
                made, place = ruleset.direct_alert(platform, model, slo, slo.alert), ("models", index, "slos", number)
                target = replace(everything[place], slo=slo.model_copy(update={"by": ["version"]}))
                yield Entry(made=made, file=file, origin=model.name, place=place, target=target, direct=slo.alert)
        for made in library.of_model(platform, model):
            yield Entry(made=made, file=file, origin=model.name, place=("models", index))
    for index, team in enumerate(platform.rules):
        for number, made in enumerate(ruleset.team_alerts(platform, team)):
            place = ("rules", index, "alerts", number)
            runbook = bool(team.alerts[number].runbook)
            yield Entry(made=made, file=f"team-{team.name}.yml", origin=team.name, place=place, has_runbook=runbook)
    for target in everything.values():
        for rule in target.group["rules"]:
            if "alert" in rule:
                made = Made(rule=rule)
                yield Entry(made=made, file=target.file, origin=target.name, place=target.place, target=target)
