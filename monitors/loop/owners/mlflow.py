"""MLflow: the run that trained, the version that was registered for an episode, its checks, and who is champion.

A version belongs to an episode by the tag `midwatch.episode`, its own or its run's, or by the run that the pipeline
named as its result; never by its time alone. An alias has neither a time nor an actor: it moved between two looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from midwatch import registry
from midwatch.registry import Registered, Run, Version
from midwatch.rest import Api
from midwatch.spec.observed.mlflow import MlflowObserved
from monitors.loop.episode import CHECKS, Episode, Result, Step
from monitors.loop.owner import SKEW, Place, Sight

STEPS = frozenset({Step.RUN_STARTED, Step.TRAINED, *CHECKS, Step.REGISTERED, Step.PROMOTED, Step.ROLLED_BACK})

READY = "READY"
"""Status of a version whose files are there; others are of one that is being registered, or was not."""
EPISODE = "midwatch.episode"
"""Tag of a version, or of the run that made it, with the episode that it was made for."""
CHECK = "midwatch."
"""What a tag of a version begins with that says how a check ended, such as `midwatch.bias_check`."""
_RESULTS = {"passed": Result.DONE, "failed": Result.FAILED, "skipped": Result.SKIPPED}
_ENDED_BADLY = ("FAILED", "KILLED")
_SHOWN = 6
"""Metrics of an evaluation that are recorded by value."""


@dataclass(kw_only=True)
class Mlflow:
    """A registered model, `name`, and the experiment that its training runs are in, where that is known."""

    api: Api
    observed: MlflowObserved
    name: str
    experiment: str | None
    source: str = "mlflow"
    steps: frozenset[Step] = STEPS
    _runs: dict[str, Run] = field(default_factory=dict)

    def look(self, episode: Episode, now: float) -> list[Sight]:  # noqa: ARG002 - the signature of every owner
        """The training run, the version, its checks, and whether it is champion."""
        registered = registry.ask(self.api, self.name)
        version = self._version(registered, episode)
        run = self._run(version, episode)
        sights = [] if run is None else list(_training(run))
        if version is not None:
            sights += [
                self._registered(version),
                *self._checks(version, run),
                *self._role(registered, version, episode),
            ]
        return sights

    # The version ---------------------------------------------------------------------------------------------------

    def _version(self, registered: Registered, episode: Episode) -> Version | None:
        """The newest version that was made for the episode; none that is older than the drift, or is not there yet."""
        ready = [one for one in registered.versions if one.status == READY]
        young = [one for one in ready if one.created >= episode.detected - SKEW]
        known = episode.first_done(Step.REGISTERED)
        if known is not None:  # one that came later is another's, or a second one of the same run
            return next((one for one in registered.versions if one.number == known.id), None)
        mine = [one for one in young if self._is_of(one, episode)]
        return max(mine, key=lambda one: one.created, default=None)

    def _is_of(self, version: Version, episode: Episode) -> bool:
        tag = version.tags.get(EPISODE)
        if tag is not None:
            return tag == episode.id
        if not version.run_id:
            return False
        if version.run_id == _run_of_pipeline(episode):
            return True
        run = self._known_run(version.run_id)
        return run is not None and run.tags.get(EPISODE) == episode.id

    def _registered(self, version: Version) -> Sight:
        facts = {"served_as": self.observed.served_as.replace("{version}", version.number), "run_id": version.run_id}
        return Sight(
            step=Step.REGISTERED,
            result=Result.DONE,
            id=version.number,
            at=version.created,
            said=f"version {version.number} of {self.name}",
            facts=facts,
        )

    # The run -------------------------------------------------------------------------------------------------------

    def _run(self, version: Version | None, episode: Episode) -> Run | None:
        if version is not None and version.run_id:
            return self._known_run(version.run_id)
        if self.experiment is None or episode.is_done(Step.TRAINED):
            return None
        runs = registry.runs_with_tag(self.api, self.experiment, EPISODE, episode.id)
        return next((one for one in runs if (one.started or 0.0) >= episode.detected - SKEW), None)

    def _known_run(self, run_id: str) -> Run | None:
        """A run, which is asked for again until it has ended."""
        if run_id not in self._runs:
            run = registry.run(self.api, run_id)
            if run is None or run.ended is None:
                return run
            self._runs[run_id] = run
        return self._runs[run_id]

    # Checks --------------------------------------------------------------------------------------------------------

    def _checks(self, version: Version, run: Run | None) -> Iterator[Sight]:
        for step in CHECKS:
            written = version.tags.get(f"{CHECK}{step.value}", "").strip().lower()
            if written in _RESULTS:
                said = f"tag {CHECK}{step.value} says {written}"
                yield Sight(step=step, result=_RESULTS[written], id=version.number, at=None, said=said)
            elif step is Step.EVALUATION and (found := self._evaluation(version, run)) is not None:
                yield found

    def _evaluation(self, version: Version, run: Run | None) -> Sight | None:
        """Metrics of the version's logged model or of its run, or the tag that says that it was evaluated."""
        logged = registry.logged_metrics(self.api, version)
        measured = {str(one["key"]): float(one["value"]) for one in logged} or (dict(run.metrics) if run else {})
        times = [float(one["timestamp"]) / 1000 for one in logged if one.get("timestamp")]
        digests = sorted({str(one["dataset_digest"]) for one in logged if one.get("dataset_digest")})
        if not measured and not version.tags.get(self.observed.evaluation_tag):
            return None
        facts = {name: f"{value:.6g}" for name, value in sorted(measured.items())[:_SHOWN]}
        data = f"on data with the digest {', '.join(digests)}" if digests else "on data that is not named"
        return Sight(
            step=Step.EVALUATION,
            result=Result.DONE,
            id=version.number,
            at=max(times, default=run.measured if run else None),
            said=data if measured else f"tag {self.observed.evaluation_tag}",
            facts=facts,
        )

    # The role ------------------------------------------------------------------------------------------------------

    def _role(self, registered: Registered, version: Version, episode: Episode) -> Iterator[Sight]:
        """Whether it is champion now, or another one is again."""
        champions = registered.roles().get(self.observed.champion_role, ())
        role = self.observed.champion_role
        if version.number in champions:
            said = f"{role} is version {version.number}"
            if not episode.is_done(Step.CANARY_JUDGED):
                said += ", before a verdict on its canary was seen"
            yield Sight(step=Step.PROMOTED, result=Result.DONE, id=version.number, at=None, said=said)
        elif episode.is_done(Step.PROMOTED) and champions:
            number = champions[0]
            said = f"{role} is version {number} again"
            yield Sight(step=Step.ROLLED_BACK, result=Result.DONE, id=number, at=None, said=said)


def _run_of_pipeline(episode: Episode) -> str | None:
    return next((one.facts["mlflow_run"] for one in episode.steps if "mlflow_run" in one.facts), None)


def _training(run: Run) -> Iterator[Sight]:
    if run.started is not None:
        yield Sight(step=Step.RUN_STARTED, result=Result.DONE, id=run.run_id, at=run.started)
    if run.status == "FINISHED":
        yield Sight(step=Step.TRAINED, result=Result.DONE, id=run.run_id, at=run.ended)
    elif run.status in _ENDED_BADLY:
        said = f"the run ended as {run.status}"
        yield Sight(step=Step.TRAINED, result=Result.FAILED, id=run.run_id, at=run.ended, said=said)


def build(place: Place) -> Mlflow | str:
    """The registry of the platform file, if it has the model."""
    for use in place.platform.systems.values():
        if isinstance(observed := use.observe, MlflowObserved):
            name = observed.registered([model.name for model in place.platform.models]).get(place.model.name)
            if name is None:
                return f"systems.mlflow.observe.models does not have {place.model.name}"
            api = Api(observed.url, observed.auth, place.timeout)
            return Mlflow(api=api, observed=observed, name=name, experiment=place.settings.experiment)
    return "systems.mlflow has no observe, so no registry is known"
