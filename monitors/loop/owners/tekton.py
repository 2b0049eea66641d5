"""Tekton: the run that an episode asked for, and the tasks of it that train and check.

A run is found by the id that the EventListener answered (label `triggers.tekton.dev/triggers-eventid`, triggers 0.37.0,
pkg/apis/triggers/register.go), by our own label or by the name that a PipelineRun of ours has. `Completed` is a success
that skipped a task; a `finally` task that fails makes a run `Failed` though all others succeeded. Runs are pruned: what
was seen of one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from midwatch import cluster_objects, kubernetes, pipeline_runs
from midwatch.cluster_objects import Object
from midwatch.pipeline_runs import Run
from midwatch.spec.drift import Retrain
from midwatch.spec.loop import Tasks
from midwatch.spec.observed.tekton import PIPELINE_RUNS, TASK_RUNS, TektonObserved
from monitors.drift import trigger
from monitors.drift.episodes import Trigger
from monitors.loop.episode import CHECKS, Episode, Result, Step
from monitors.loop.owner import SKEW, Place, Sight

STEPS = frozenset({Step.RUN_STARTED, Step.TRAINED, *CHECKS})

EVENT = "triggers.tekton.dev/triggers-eventid"
_RUN, _TASK, _MEMBER = "tekton.dev/pipelineRun", "tekton.dev/pipelineTask", "tekton.dev/memberOf"
_NOT_ASKED = (Trigger.NONE, Trigger.PENDING, Trigger.FAILED, Trigger.WITHDRAWN)
MLFLOW_RUN = "mlflow-run-id"
"""A run's result, in Tekton, with the id of the run in MLflow: it ties a version to the episode that has no tag."""


@dataclass(frozen=True, kw_only=True)
class Tekton:
    """The Kubernetes API that a model's runs are in; without `namespaces` all of them are looked into."""

    model: str
    retrain: Retrain
    namespaces: Sequence[str]
    tasks: Tasks
    timeout: float
    source: str = "tekton"
    steps: frozenset[Step] = STEPS

    def look(self, episode: Episode, now: float) -> list[Sight]:  # noqa: ARG002 - the signature of every owner
        """The run, its checks and its training; nothing once the run's end is on record, which comes last of all.

        So a process that dies between two records has all that is missing asked again.
        """
        if episode.trigger in _NOT_ASKED or _is_over(episode):
            return []
        found = self._find(episode)
        if found is None:
            return []
        tasks = self._tasks(found)
        return [*_started(found), *self._checks(found, tasks), *_trained(found, tasks, self.tasks.training)]

    def _find(self, episode: Episode) -> Object | None:
        """The run of an episode; none that is older than the drift.

        Several triggers of an EventListener make several runs of one event: the one that trains is meant, else the
        earliest.
        """
        runs = [one for one in self._candidates(episode) if cluster_objects.created(one) >= episode.detected - SKEW]

        def place(one: Object) -> tuple[bool, float, tuple[str, str]]:
            return self.tasks.training not in _names(one), cluster_objects.created(one), cluster_objects.name_of(one)

        return min(runs, key=place, default=None)

    def _candidates(self, episode: Episode) -> list[Object]:
        if self.retrain.pipeline_run is not None:
            root = f"/apis/{PIPELINE_RUNS.group}/{PIPELINE_RUNS.version}/namespaces"
            name = trigger.run_name(self.model, episode.id)
            path = f"{root}/{self.retrain.pipeline_run.namespace}/{PIPELINE_RUNS.plural}/{name}"
            found = kubernetes.find(path, timeout=self.timeout)
            return [] if found is None else [found]
        by_event = self._labelled(f"{EVENT}={episode.request}") if episode.request else []
        return by_event or self._labelled(f"{trigger.EPISODE_LABEL}={episode.id}")

    def _labelled(self, selector: str) -> list[Object]:
        return cluster_objects.objects(PIPELINE_RUNS, self.namespaces, self.timeout, selector)

    def _tasks(self, run: Object) -> dict[str, Object]:
        """TaskRuns of a run by the pipeline's name of the task; not those of an earlier run that had its name."""
        namespace, name = cluster_objects.name_of(run)
        found = cluster_objects.objects(TASK_RUNS, [namespace], self.timeout, f"{_RUN}={name}")
        return {_labels(one).get(_TASK, ""): one for one in found if _is_owned(one, run)}

    def _checks(self, run: Object, tasks: dict[str, Object]) -> Iterator[Sight]:
        skipped = _skipped(run)
        for step in CHECKS:
            name = getattr(self.tasks, step.value)
            if name in skipped:
                said = f"the run left it out: {skipped[name]}"
                yield Sight(step=step, result=Result.SKIPPED, id=f"{_id(run)}/{name}", at=None, said=said)
            elif name in tasks and (ended := _ended(tasks[name])) is not None:
                result, said = _result(tasks[name])
                yield Sight(step=step, result=result, id=f"{_id(run)}/{name}", at=ended, said=said)


def build(place: Place) -> Tekton | str:
    """The Kubernetes API, where a pipeline is run, or Tekton is observed."""
    drift = place.model.drift
    if drift is None or drift.retrain is None:
        return f"nothing retrains {place.model.name}"
    observed = [use.observe for use in place.platform.systems.values() if isinstance(use.observe, TektonObserved)]
    if drift.retrain.pipeline_run is None and not observed:
        return "systems.tekton has no observe, and the webhook runs no pipeline that is named"
    namespaces = [drift.retrain.pipeline_run.namespace] if drift.retrain.pipeline_run else observed[0].namespaces
    return Tekton(
        model=place.model.name,
        retrain=drift.retrain,
        namespaces=namespaces,
        tasks=place.settings.tasks,
        timeout=place.timeout,
    )


# What a run says ---------------------------------------------------------------------------------------------------


def _is_over(episode: Episode) -> bool:
    return any(one.facts.get("run", "running") != "running" for one in episode.steps if one.source == "tekton")


def _id(run: Object) -> str:
    return "/".join(cluster_objects.name_of(run))


def _labels(found: Object) -> dict[str, str]:
    return found["metadata"].get("labels") or {}


def _is_owned(task: Object, run: Object) -> bool:
    owners = {one.get("uid") for one in task["metadata"].get("ownerReferences") or ()}
    return run["metadata"].get("uid") in owners


def _started(found: Object) -> Iterator[Sight]:
    run = pipeline_runs.run_of(found)
    if run.started is not None:
        facts = {"pipeline": run.pipeline, "created": f"{run.created:.0f}"}
        yield Sight(step=Step.RUN_STARTED, result=Result.DONE, id=_id(found), at=run.started, facts=facts)


def _trained(found: Object, tasks: dict[str, Object], training: str) -> Iterator[Sight]:
    """Whether the training ended: the task that trains, where there is such a one, else the run's tasks."""
    run = pipeline_runs.run_of(found)
    has_ended = run.ended is not None
    task = tasks.get(training)
    facts = _facts(found, run, tasks)
    if training in _skipped(found):
        reason = f"the run left {training} out: {_skipped(found)[training]}"
        yield _sight(found, Result.SKIPPED, run.ended, reason, facts)
    elif task is not None and (ended := _ended(task)) is not None:
        result, said = _result(task)
        yield _sight(found, result, ended, said, facts)
    elif has_ended and task is None and training not in _names(found):
        yield _sight(found, *_of_run(found, run, tasks), facts)
    elif has_ended:
        yield _sight(found, Result.FAILED, run.ended, f"the run ended before {training} did: {run.reason}", facts)


def _sight(run: Object, result: Result, at: float | None, said: str, facts: dict[str, str]) -> Sight:
    return Sight(step=Step.TRAINED, result=result, id=_id(run), at=at, said=said, facts=facts)


def _of_run(found: Object, run: Run, tasks: dict[str, Object]) -> tuple[Result, float | None, str]:
    """What the end of a run says of its training, which is no task of a known name."""
    if run.outcome in ("succeeded", "skipped"):
        return Result.DONE, run.ended, ""
    ordinary = [one for one in tasks.values() if _labels(one).get(_MEMBER) != "finally"]
    finally_began = cluster_objects.status(found).get("finallyStartTime")
    is_only_finally = run.outcome == "failed" and all(_result(one)[0] is Result.DONE for one in ordinary)
    if ordinary and finally_began and is_only_finally:
        return Result.DONE, cluster_objects.seconds(finally_began), "a finally task failed; every other succeeded"
    return Result.FAILED, run.ended, f"the run {run.outcome}: {run.reason}"


def _facts(found: Object, run: Run, tasks: dict[str, Object]) -> dict[str, str]:
    """How the run stands: `running`, or what became of it, with what it left out and what failed."""
    if run.ended is None:
        return {"run": "running"}
    failed = sorted(name for name, one in tasks.items() if _result(one)[0] is Result.FAILED and _ended(one))
    results: list[dict[str, Any]] = cluster_objects.status(found).get("results") or []
    said = {
        "run": run.outcome,
        "ended": f"{run.ended:.0f}",
        "skipped": ",".join(sorted(_skipped(found))),
        "failed": ",".join(failed),
        "mlflow_run": next((str(one.get("value", "")) for one in results if one.get("name") == MLFLOW_RUN), ""),
    }
    return {name: text for name, text in said.items() if text}


def _skipped(found: Object) -> dict[str, str]:
    """Reasons by task that was left out."""
    skipped = cluster_objects.status(found).get("skippedTasks") or ()
    return {one["name"]: str(one.get("reason", "")) for one in skipped}


def _names(found: Object) -> set[str]:
    """Names of the tasks of a run's pipeline, as far as its status has them."""
    status = cluster_objects.status(found)
    children = {one.get("pipelineTaskName") for one in status.get("childReferences") or ()}
    return {str(one["name"]) for one in (status.get("pipelineSpec") or {}).get("tasks") or ()} | children


def _ended(task: Object) -> float | None:
    ended = cluster_objects.status(task).get("completionTime")
    return cluster_objects.seconds(ended) if ended else None


def _result(task: Object) -> tuple[Result, str]:
    told = cluster_objects.condition(task, "Succeeded")
    if told.get("status") == "True":
        return Result.DONE, ""
    return Result.FAILED, f"{told.get('reason', '')}: {told.get('message', '')}".strip(": ")[:300]
