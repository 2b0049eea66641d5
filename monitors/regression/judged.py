"""Every history of a model with its verdict. An owner that does not answer leaves its own undecided, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from midwatch import exposition, metrics
from midwatch.errors import MidwatchError
from midwatch.spec.model import Model, Platform
from midwatch.spec.observed.mlflow import MlflowObserved
from midwatch.spec.regression import Regression
from monitors.canary.series import Querier
from monitors.regression import change, histories, releases
from monitors.regression.change import Verdict
from monitors.regression.histories import History, Training


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The verdict on one series; `since` names the version or the run from which on it is worse."""

    series: str
    verdict: Verdict
    reason: str
    values: int
    since: str | None = None
    before: float | None = None
    after: float | None = None


def judge(querier: Querier, platform: Platform, model: Model, *, now: float) -> list[Judged]:
    """Judge everything that the model's section compares; `now` is seconds since 1970."""
    settings = model.regression or Regression()
    return [
        *_of_trainings(platform, model, settings),
        *_of_pipeline(querier, settings, now),
        *_of_releases(querier, model, settings, now),
    ]


def _of_trainings(platform: Platform, model: Model, settings: Regression) -> Iterator[Judged]:
    use = platform.systems.get("mlflow")
    names = ["training_duration_seconds", *settings.metrics]
    if use is None or not isinstance(use.observe, MlflowObserved):
        reason = "nobody says where the registry is: add systems.mlflow.observe"
        yield from (_undecided(name, reason) for name in names if name in settings.metrics)
        return
    registered = use.observe.registered([one.name for one in platform.models])
    try:
        found = histories.trainings(use.observe, registered[model.name]) if model.name in registered else []
    except MidwatchError as error:
        yield from (_undecided(name, str(error)) for name in names)
        return
    yield from _compared(found, settings)


def _compared(found: list[Training], settings: Regression) -> Iterator[Judged]:
    alpha = float(settings.false_alarm)
    longer = float(settings.duration_tolerated)
    yield _judged(histories.of_durations(found), worse_is_higher=True, tolerated=longer, alpha=alpha)
    for key, one in settings.metrics.items():
        higher, tolerated = one.worse == "higher", float(one.tolerated)
        history = histories.of_metric(found, key)
        yield _of_the_newest(
            _judged(history, worse_is_higher=higher, tolerated=tolerated, alpha=alpha), history, found[-1:]
        )


def _of_the_newest(said: Judged, history: History, newest: list[Training]) -> Judged:
    """Steady is no verdict on a training that did not say the metric, or that said what is no number."""
    if said.verdict is not Verdict.STEADY or history.of[-1:] == tuple(one.version.number for one in newest):
        return said
    reason = f"version {newest[0].version.number} has no {history.name} that is a number; until then {said.reason}"
    return replace(said, verdict=Verdict.UNDECIDED, reason=reason)


def _of_pipeline(querier: Querier, settings: Regression, now: float) -> Iterator[Judged]:
    if settings.pipeline is None:
        return
    try:
        history = histories.of_pipeline(querier, settings.pipeline, until=now, seconds=settings.history)
    except MidwatchError as error:
        yield _undecided("pipeline_duration_seconds", str(error))
        return
    longer, alpha = float(settings.duration_tolerated), float(settings.false_alarm)
    yield _judged(history, worse_is_higher=True, tolerated=longer, alpha=alpha)


def _of_releases(querier: Querier, model: Model, settings: Regression, now: float) -> Iterator[Judged]:
    bound = releases.bound_of(model)
    try:
        found = releases.ask(querier, model, bound=bound, until=now, seconds=settings.history)
    except MidwatchError as error:
        yield _undecided(releases.SERIES, str(error))
        return
    said = releases.compare(found, tolerated=float(settings.latency_tolerated), alpha=float(settings.false_alarm))
    yield Judged(
        series=releases.SERIES,
        verdict=said.verdict,
        reason=f"slower than {bound:g} s: {said.reason}",
        values=len(found),
        since=said.newest.version if said.newest and said.verdict is Verdict.REGRESSED else None,
        before=said.best.share if said.best else None,
        after=said.newest.share if said.newest and said.newest.requests else None,
    )


def _judged(history: History, *, worse_is_higher: bool, tolerated: float, alpha: float) -> Judged:
    said = change.find(history.values, worse_is_higher=worse_is_higher, tolerated=tolerated, alpha=alpha)
    return Judged(
        series=history.name,
        verdict=said.verdict,
        reason=said.reason,
        values=said.values,
        since=None if said.since is None else history.of[said.since],
        before=said.before,
        after=said.after,
    )


def _undecided(series: str, reason: str) -> Judged:
    return Judged(series=series, verdict=Verdict.UNDECIDED, reason=reason, values=0)


# What is made of them ------------------------------------------------------------------------------------------------


def whole(judged: list[Judged]) -> Verdict:
    """The verdict on all series: regressed with one that is, steady with all that are."""
    found = {one.verdict for one in judged}
    if Verdict.REGRESSED in found:
        return Verdict.REGRESSED
    return Verdict.STEADY if found == {Verdict.STEADY} else Verdict.UNDECIDED


def document(model: str, judged: list[Judged]) -> dict[str, Any]:
    """Verdicts as JSON."""
    return {
        "model": model,
        "verdict": whole(judged).value,
        "series": [{**vars(one), "verdict": one.verdict.value} for one in judged],
    }


def samples(model: str, judged: list[Judged]) -> Iterator[exposition.Sample]:
    """Verdicts as metrics."""
    values: tuple[tuple[metrics.Metric, Callable[[Judged], float | None]], ...] = (
        (metrics.REGRESSION_BEFORE, lambda one: one.before),
        (metrics.REGRESSION_AFTER, lambda one: one.after),
    )
    for one in judged:
        labels = {"model": model, "series": one.series}
        for verdict in Verdict:
            yield metrics.REGRESSION_VERDICT, {**labels, "verdict": verdict.value}, float(verdict is one.verdict)
        for metric, value_of in values:
            if (value := value_of(one)) is not None:
                yield metric, labels, value
