"""Reads runs of Tekton's pipelines and tasks: which pipeline, what became of it, since when it waits, and for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from midwatch import cluster_objects
from midwatch.cluster_objects import Object

ANONYMOUS = "anonymous"
"""Pipeline of runs that have theirs inside, as Tekton's own metrics call it (pkg/pipelinerunmetrics/metrics.go)."""

_CANCELLED = frozenset({"Cancelled", "CancelledRunningFinally", "StoppedRunningFinally"})
TASK_WAITS = frozenset(
    {"Pending", "ExceededResourceQuota", "ExceededNodeResources", "ResolvingTaskRef", "ResolvingStepActionRef"}
)
"""Reasons of a TaskRun without a running pod (pkg/pod/status.go, pkg/apis/pipeline/v1/taskrun_types.go, 1.6.0)."""
_PENDING = "PipelineRunPending"
_RESOLVING = "ResolvingPipelineRef"
NOT_STARTED = "NotStarted"
"""Our reason where Tekton gives none: its controller has not looked at the run."""

_EVENT = "triggers.tekton.dev/triggers-eventid"
_LISTENER, _TRIGGER = "triggers.tekton.dev/eventlistener", "triggers.tekton.dev/trigger"
"""Labels of what an EventListener made (triggers 0.37.0, pkg/apis/triggers/register.go)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A PipelineRun. `outcome` is waiting, running, succeeded, skipped, failed or cancelled; times are in seconds."""

    namespace: str
    name: str
    pipeline: str
    outcome: str
    reason: str
    created: float
    started: float | None
    ended: float | None
    event: tuple[str, str] | None

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its pipeline."""
        return {"namespace": self.namespace, "pipeline": self.pipeline}


@dataclass(frozen=True, kw_only=True)
class Wait:
    """What a pipeline waits for, by Tekton's reason, and since when, in seconds since 1970."""

    namespace: str
    pipeline: str
    reason: str
    since: float


def run_of(found: Object) -> Run:
    """What matters of a PipelineRun."""
    namespace, name = cluster_objects.name_of(found)
    status, labels = cluster_objects.status(found), found["metadata"].get("labels") or {}
    times = (status.get(key) for key in ("startTime", "completionTime"))
    started, ended = (cluster_objects.seconds(time) if time else None for time in times)
    outcome, reason = _outcome(found)
    return Run(
        namespace=namespace,
        name=name,
        pipeline=_pipeline(found),
        outcome=outcome,
        reason=reason,
        created=cluster_objects.created(found),
        started=started,
        ended=ended,
        event=(labels.get(_LISTENER, ""), labels.get(_TRIGGER, "")) if _EVENT in labels else None,
    )


def _outcome(found: Object) -> tuple[str, str]:
    """What became of a run, and Tekton's reason. `Completed` is a success that skipped a task."""
    told = cluster_objects.condition(found, "Succeeded")
    reason = told.get("reason", "")
    if told.get("status") == "True":
        return ("skipped" if reason == "Completed" else "succeeded"), reason
    if told.get("status") == "False":
        return ("cancelled" if reason in _CANCELLED else "failed"), reason
    is_pending = found["spec"].get("status") == _PENDING
    if is_pending or reason == _RESOLVING or not cluster_objects.status(found).get("startTime"):
        return "waiting", _PENDING if is_pending else reason or NOT_STARTED
    return "running", reason


def _pipeline(found: Object) -> str:
    """The pipeline of a run. Tekton labels one without a name by the run's own, which is no pipeline."""
    reference = found["spec"].get("pipelineRef") or {}
    parameters = {one["name"]: one.get("value") for one in reference.get("params") or ()}
    label = (found["metadata"].get("labels") or {}).get("tekton.dev/pipeline")
    named = reference.get("name") or (label if label != found["metadata"]["name"] else None)
    return str(named or parameters.get("name") or parameters.get("pathInRepo") or ANONYMOUS)


def waits_of_runs(runs: Iterable[Run]) -> Iterator[Wait]:
    """Runs that wait for their start."""
    for run in runs:
        if run.outcome == "waiting":
            yield Wait(namespace=run.namespace, pipeline=run.pipeline, reason=run.reason, since=run.created)


def waits_of_tasks(tasks: Iterable[Object], pipelines: Mapping[tuple[str, str], str]) -> Iterator[Wait]:
    """TaskRuns without a running pod, such as by a quota; `pipelines` are those of PipelineRuns by their names."""
    for found in tasks:
        told = cluster_objects.condition(found, "Succeeded")
        if told.get("status") in ("True", "False"):
            continue
        reason = told.get("reason") or NOT_STARTED
        if reason in TASK_WAITS or reason == NOT_STARTED:
            namespace, _ = cluster_objects.name_of(found)
            run = (found["metadata"].get("labels") or {}).get("tekton.dev/pipelineRun", "")
            pipeline = pipelines.get((namespace, run), ANONYMOUS)
            yield Wait(namespace=namespace, pipeline=pipeline, reason=reason, since=_task_since(found))


def _task_since(found: Object) -> float:
    """When a TaskRun was created, or its newest attempt began."""
    status = cluster_objects.status(found)
    is_again = bool(status.get("retriesStatus")) and bool(status.get("startTime"))
    return cluster_objects.seconds(status["startTime"]) if is_again else cluster_objects.created(found)
