"""Runs of Tekton's pipelines: last successes, waits, and what events triggered, from objects of the Kubernetes API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.systems import successes
from exporters.systems.source import Sample
from midwatch import cluster_objects, metrics, pipeline_runs
from midwatch.cluster_objects import Object
from midwatch.pipeline_runs import Run
from midwatch.spec.model import Platform
from midwatch.spec.observed.tekton import PIPELINE_RUNS, TASK_RUNS, PipelinePromise, TektonObserved


@dataclass(frozen=True, kw_only=True)
class Tekton:
    """The Kubernetes API that Tekton's objects are in, and what was seen of runs that may be pruned since."""

    settings: TektonObserved
    seen: successes.File

    def read(self, now: float) -> list[Sample]:
        """Samples of all pipelines that have runs, and of those that are promised."""
        settings = self.settings
        found = cluster_objects.objects(PIPELINE_RUNS, settings.namespaces, settings.timeout)
        tasks = cluster_objects.objects(TASK_RUNS, settings.namespaces, settings.timeout)
        runs = [pipeline_runs.run_of(one) for one in found]
        last = self.seen.updated(last_successes(runs, settings.pipelines), settings.pipelines, now)
        return [
            *last_runs(runs),
            *under_way(runs),
            *oldest_waits(runs, tasks),
            *triggered(runs),
            *promised(settings.pipelines, last),
        ]


def build(platform: Platform, observed: Any, state: Path) -> Tekton:  # noqa: ARG001 - the signature of every kind
    """The source of the section."""
    return Tekton(settings=observed, seen=successes.File(state / "successes.json"))


def last_runs(runs: Iterable[Run]) -> Iterator[Sample]:
    """The newest end by pipeline and outcome, and how long that run took; the wait of the newest start."""
    every = list(runs)
    ended = [(run.ended, run) for run in every if run.ended is not None]
    for end, run in _newest(ended, lambda run: (*run.labels.values(), run.outcome)):
        labels = {**run.labels, "outcome": run.outcome}
        yield Sample(metric=metrics.PIPELINE_LAST_END, labels=labels, value=end)
        if run.started is not None:
            yield Sample(metric=metrics.PIPELINE_LAST_DURATION, labels=labels, value=end - run.started)
    started = [(run.started, run) for run in every if run.started is not None]
    for start, run in _newest(started, lambda run: tuple(run.labels.values())):
        yield Sample(metric=metrics.PIPELINE_LAST_WAIT, labels=run.labels, value=start - run.created)


def _newest(runs: Iterable[tuple[float, Run]], key: Callable[[Run], tuple[str, ...]]) -> Iterable[tuple[float, Run]]:
    """Of runs with a time, those with the greatest by key."""
    newest: dict[tuple[str, ...], tuple[float, Run]] = {}
    for time, run in runs:
        if time >= newest.get(key(run), (time, run))[0]:
            newest[key(run)] = time, run
    return newest.values()


def under_way(runs: Iterable[Run]) -> Iterator[Sample]:
    """Runs that wait and that run, by pipeline; 0 of those of a pipeline that only has runs that ended."""
    counts = Counter((run.namespace, run.pipeline, run.outcome) for run in runs)
    for namespace, pipeline in sorted({key[:2] for key in counts}):
        for state in ("waiting", "running"):
            labels = {"namespace": namespace, "pipeline": pipeline, "state": state}
            yield Sample(metric=metrics.PIPELINE_RUNS, labels=labels, value=counts[namespace, pipeline, state])


def oldest_waits(runs: Sequence[Run], tasks: Iterable[Object]) -> Iterator[Sample]:
    """Since when each pipeline waits for its start, a quota or a node; nothing of one that does not wait."""
    pipelines = {(run.namespace, run.name): run.pipeline for run in runs}
    oldest: dict[tuple[str, str, str], float] = {}
    for wait in (*pipeline_runs.waits_of_runs(runs), *pipeline_runs.waits_of_tasks(tasks, pipelines)):
        key = wait.namespace, wait.pipeline, wait.reason
        oldest[key] = min(wait.since, oldest.get(key, wait.since))
    for key, since in sorted(oldest.items()):
        labels = dict(zip(metrics.PIPELINE_OLDEST_WAITING.labels, key, strict=True))
        yield Sample(metric=metrics.PIPELINE_OLDEST_WAITING, labels=labels, value=since)


def triggered(runs: Iterable[Run]) -> Iterator[Sample]:
    """The newest run that events made, by pipeline, trigger and what became of it."""
    every = [(run.created, run) for run in runs if run.event is not None]
    for created, run in _newest(every, lambda run: (*run.labels.values(), *(run.event or ()), run.outcome)):
        listener, trigger = run.event or ("", "")
        labels = {**run.labels, "listener": listener, "trigger": trigger, "outcome": run.outcome}
        yield Sample(metric=metrics.TRIGGER_LAST_RUN, labels=labels, value=created)


def last_successes(runs: Iterable[Run], pipelines: Mapping[str, PipelinePromise]) -> dict[str, float]:
    """When the newest run succeeded of each promised pipeline that has such a run."""
    last: dict[str, float] = {}
    for run in runs:
        name = f"{run.namespace}/{run.pipeline}"
        promise = pipelines.get(name)
        is_success = run.outcome == "succeeded" or (promise and promise.may_skip and run.outcome == "skipped")
        if promise and is_success and run.ended is not None:
            last[name] = max(run.ended, last.get(name, run.ended))
    return last


def promised(pipelines: Mapping[str, PipelinePromise], seen: Mapping[str, successes.Seen]) -> Iterator[Sample]:
    """Of each promised pipeline its last success, until when it has to succeed again, and whether it never did."""
    for name, promise in pipelines.items():
        namespace, _, pipeline = name.partition("/")
        labels = {"namespace": namespace, "pipeline": pipeline}
        last = seen[name].last
        since = seen[name].watched_since if last is None else last
        due = since + promise.succeed_within
        yield Sample(metric=metrics.PIPELINE_SUCCESS_DUE, labels=labels, value=due)
        yield Sample(metric=metrics.PIPELINE_NEVER_SUCCEEDED, labels=labels, value=last is None)
        if last is not None:
            yield Sample(metric=metrics.PIPELINE_LAST_SUCCESS, labels=labels, value=last)
