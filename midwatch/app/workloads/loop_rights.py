"""What the loop may do in a cluster: make the runs that drift triggers, and read what becomes of an episode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from midwatch.rbac import Right
from midwatch.spec import loop as loop_spec
from midwatch.spec.drift import PipelineRun
from midwatch.spec.model import Model, Platform
from midwatch.spec.observed.argo_cd import ArgoCdObserved
from midwatch.spec.observed.tekton import TektonObserved

RUNS, TASKS = "pipelineruns", "taskruns"
_READ = Right(group="tekton.dev", resources=(RUNS, TASKS), verbs=("get", "list"))


def of_platform(platform: Platform, own_namespace: str) -> dict[str, list[Right]]:
    """Rights by namespace; those by an empty name are of every namespace."""
    found: defaultdict[str, list[Right]] = defaultdict(list)
    for model in loop_spec.followed(platform):
        for namespace, right in _of_model(platform, model, own_namespace):
            found[namespace].append(right)
    for use in platform.systems.values():
        if found_in := use.observe.places if isinstance(use.observe, ArgoCdObserved) else ():
            right = Right(group="argoproj.io", resources=("applications",), verbs=("list",))
            found[found_in[0]].append(right)
    return dict(found)


def _of_model(platform: Platform, model: Model, own_namespace: str) -> Iterator[tuple[str, Right]]:
    run = _pipeline_run(model)
    if run is not None:
        yield run.namespace, Right(group="tekton.dev", resources=(RUNS,), verbs=("create",))
        yield run.namespace, _READ
    else:
        for use in platform.systems.values():
            if isinstance(use.observe, TektonObserved):
                yield from ((namespace, _READ) for namespace in use.observe.namespaces or [""])
    rollout = model.canary.rollout if model.canary else None
    if rollout is not None:
        right = Right(group="argoproj.io", resources=("rollouts",), verbs=("get",), names=(rollout.name,))
        yield rollout.namespace or own_namespace, right


def _pipeline_run(model: Model) -> PipelineRun | None:
    return model.drift.retrain.pipeline_run if model.drift and model.drift.retrain else None
