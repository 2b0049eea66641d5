"""The histories of a model: what its trainings logged and took, and what its pipeline's runs took. Nothing is judged.

Trainings are versions of the registry, in the order in which they were registered, with the run that made each. Runs of
a pipeline are those that its gauges showed at some step: of two that ended within one, the later is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from midwatch import metrics, promql, registry
from midwatch.prometheus import Line
from midwatch.registry import Run, Version
from midwatch.rest import Api
from midwatch.spec.observed.mlflow import MlflowObserved
from monitors.canary.series import Querier
from monitors.regression.change import Floats

MOST_TRAININGS = 60
"""Newest versions that are looked at; each costs the registry two questions."""
MOST_STEPS = 5000
FINISHED = "FINISHED"


@dataclass(frozen=True, kw_only=True)
class History:
    """Values in the order of time, and what each is of: a version, or a run by the time of its end."""

    name: str
    values: Floats
    of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A version, the run that made it, and the metrics of both."""

    version: Version
    run: Run | None
    metrics: dict[str, float]


def trainings(observed: MlflowObserved, name: str) -> list[Training]:
    """The newest trainings of a registered model, the oldest first; MidwatchError when the registry does not answer."""
    api = Api(observed.url, observed.auth, observed.timeout)
    versions = sorted(registry.ask(api, name).versions, key=lambda one: one.created)[-MOST_TRAININGS:]
    found = []
    for version in versions:
        run = registry.run(api, version.run_id) if version.run_id else None
        logged = {str(one["key"]): float(one["value"]) for one in registry.logged_metrics(api, version)}
        found.append(Training(version=version, run=run, metrics={**(run.metrics if run else {}), **logged}))
    return found


def of_metric(found: Iterable[Training], key: str) -> History:
    """A metric of the trainings that logged it; what is no number is left out."""
    told = [(one.version.number, one.metrics[key]) for one in found if math.isfinite(one.metrics.get(key, math.nan))]
    return _history(key, told)


def of_durations(found: Iterable[Training]) -> History:
    """Seconds that the training runs took which ended well; several versions of one run are one training."""
    told: dict[str, tuple[str, float]] = {}
    for one in found:
        run = one.run
        if run is not None and run.status == FINISHED and run.started is not None and run.ended is not None:
            told.setdefault(run.run_id, (one.version.number, run.ended - run.started))
    return _history("training_duration_seconds", list(told.values()))


def _history(name: str, told: list[tuple[str, float]]) -> History:
    return History(name=name, values=np.array([value for _, value in told]), of=tuple(of for of, _ in told))


def of_pipeline(querier: Querier, pipeline: str, *, until: float, seconds: float) -> History:
    """Seconds that a pipeline's runs took which succeeded; QueryError when Prometheus does not answer."""
    namespace, _, name = pipeline.partition("/")
    step = max(60.0, math.ceil(seconds / MOST_STEPS))
    of = {"namespace": namespace, "pipeline": name, "outcome": "succeeded"}
    ends, durations = (
        _values(
            querier.query_range(promql.max_by(promql.select(metric, **of)), start=until - seconds, end=until, step=step)
        )
        for metric in (metrics.PIPELINE_LAST_END, metrics.PIPELINE_LAST_DURATION)
    )
    by_end = {ends[at]: durations[at] for at in sorted(ends) if at in durations}
    return _history("pipeline_duration_seconds", [(f"{end:.0f}", by_end[end]) for end in sorted(by_end)])


def _values(lines: Iterable[Line]) -> dict[float, float]:
    return {at: value for line in lines for at, value in line.points}
