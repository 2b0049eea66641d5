"""What a run would do: its targets, how far it reaches, and what the preconditions say now. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

from chaos import kinds, preconditions
from chaos.document import ACTIONS, Experiment, activities, extension
from chaos.places.place import Place
from chaos.preconditions import Precondition
from chaos.targets import Prepared
from midwatch.errors import MidwatchError
from midwatch.spec.model import Model, Platform


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do: its targets, how far it reaches, and what the preconditions say now."""

    experiment: str
    title: str
    kind: str
    blast_radius: str
    expected_alert: str
    hit: tuple[str, ...]
    candidates: tuple[str, ...]
    what: tuple[str, ...]
    guards: tuple[preconditions.Decision, ...]
    problem: str = ""

    @property
    def refusals(self) -> list[str]:
        """Why it may not start, empty when it may."""
        return [*([self.problem] if self.problem else []), *preconditions.refusals(self.guards)]


def title_of(experiment: Experiment) -> str:
    """An experiment's name, by which it is known."""
    return str(extension(experiment).get("experiment") or experiment.get("title"))


def owner_of(platform: Platform, experiment: Experiment) -> str:
    """Who is called about it: the owner of the model that is hit, else the platform's operator."""
    owners = {model.name: model.owner for model in platform.models}
    return owners.get(str(extension(experiment).get("model")), platform.operator)


def plan(place: Place, experiment: Experiment, asked: dict[str, Precondition]) -> Plan:
    """Targets, and what the preconditions that are asked say."""
    about = extension(experiment)
    prepared, problem = _prepared(place, experiment)
    hit = [target for one in prepared for target in one.hit]
    candidates = [target for one in prepared for target in one.candidates]
    return Plan(
        experiment=title_of(experiment),
        title=str(experiment["title"]),
        kind=about.get("kind", ""),
        blast_radius=about.get("blast_radius", "not stated"),
        expected_alert=about.get("expected_alert", ""),
        hit=tuple(dict.fromkeys(hit)),
        candidates=tuple(dict.fromkeys(candidates)),
        what=tuple(fault.describe() for one in prepared for fault in one.faults),
        guards=tuple(preconditions.decide_all(asked, place.chaos.guard.timeout)),
        problem=problem,
    )


def kinds_and_models(experiment: Experiment) -> list[tuple[str, str | None]]:
    """Kind and model of each of the experiment's actions that are ours; the model where one is named."""
    found = []
    for _, activity in activities(experiment):
        provider = activity.get("provider") or {}
        if provider.get("module") == ACTIONS and provider.get("func") != "revert":
            found.append((str(provider.get("func")), (provider.get("arguments") or {}).get("model")))
    return found


def model_of(experiment: Experiment) -> str | None:
    """The model that an experiment says it is about, or that its first action on one hits."""
    models = [model for _, model in kinds_and_models(experiment) if model]
    return extension(experiment).get("model") or next(iter(models), None)


def _prepared(place: Place, experiment: Experiment) -> tuple[list[Prepared], str]:
    """What the experiment's actions would hit, by the arguments that stand in its file, or why they cannot."""
    prepared: list[Prepared] = []
    for _, activity in activities(experiment):
        provider = activity.get("provider")
        if not provider or provider.get("module") != ACTIONS or provider.get("func") == "revert":
            continue
        try:
            injection = kinds.injection(provider["func"], provider.get("arguments", {}))
            prepared.append(place.prepare(injection, [hit for one in prepared for hit in one.hits]))
        except (MidwatchError, OSError, ValueError, TypeError) as error:
            return prepared, f"targets: {error}"
    return prepared, ""


def of_error_budgets(place: Place, experiment: Experiment) -> dict[str, Precondition]:
    """Enough error budget is left of the model that is hit, of every model where none is named."""
    least = place.chaos.guard.error_budget
    if least is None:
        return {}
    return {
        f"error budget of {model.name}": preconditions.error_budget(place.prometheus, model, float(least))
        for model in _models(place, experiment)
    }


def _models(place: Place, experiment: Experiment) -> list[Model]:
    name = model_of(experiment)
    return [model for model in place.platform.models if name in (None, model.name)]
