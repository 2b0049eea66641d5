"""Wrong answers of both versions on the traffic that they served at the same time, from Prometheus."""

from __future__ import annotations

from decimal import Decimal

from midwatch import metrics, promql
from midwatch.prometheus import QueryError
from midwatch.spec import canary as spec
from midwatch.spec.model import Model, Platform
from monitors.canary import ask, enough
from monitors.canary.question import Question
from monitors.canary.ratio import Interval
from monitors.canary.series import Querier
from monitors.loop.better import Traffic


def compared(
    querier: Querier, platform: Platform, model: Model, question: Question, alpha: float, *, clock: float | None
) -> Traffic:
    """Settled labels of both versions while both served, with an interval at a level of `alpha`.

    What Prometheus cannot say is a doubt, and no error. The arms are told apart as the canary section says, and
    labelled predictions are compared at an equal age (see `monitors.canary.settled`). With our `clock` (seconds since
    1970) a Prometheus that is behind decides nothing.
    """
    criterion = _criterion(model)
    if criterion is None:
        return _nothing("its answers are neither classes nor within a promised bound: give an evaluation of both")
    own = model.canary or spec.Canary(criteria=[criterion])
    settings = own.model_copy(update={"criteria": [criterion], "false_alarm": Decimal(repr(alpha))})
    interval = settings.interval or platform.prometheus.scrape_interval
    counts, said = ask.ask(querier, question, settings, interval=interval, clock=clock)
    doubts = [*counts.doubts, *enough.check_traffic(counts, settings), *enough.check_criteria(counts, [criterion])]
    told = tuple(dict.fromkeys(doubt.text for doubt in doubts))
    evidence = said.findings[0].evidence
    if evidence is None:
        return _nothing(*(told or ("there are no labels yet",)))
    return Traffic(
        interval=evidence.interval,
        rows=evidence.canary_requests,
        wrong_new=evidence.canary_events,
        rows_old=evidence.baseline_requests,
        wrong_old=evidence.baseline_events,
        tolerated=criterion.tolerated_ratio,
        unacceptable=criterion.unacceptable_ratio,
        doubts=told,
    )


def _nothing(*doubts: str) -> Traffic:
    return Traffic(
        interval=Interval(ratio=None, low=None, high=None),
        rows=0,
        wrong_new=0,
        rows_old=0,
        wrong_old=0,
        tolerated=1.0,
        unacceptable=1.0,
        doubts=doubts,
    )


def _criterion(model: Model) -> spec.Counted | None:
    """What makes an answer wrong: another class, or for a regression one beyond the first bound that is promised.

    The canary section's own margins hold where it compares the accuracy.
    """
    if model.task == "classification":
        own = [one for one in (model.canary.criteria if model.canary else ()) if isinstance(one, spec.Accuracy)]
        return own[0] if own else spec.Accuracy(metric="accuracy")
    if not model.error_bounds:
        return None
    bound = next(iter(model.error_bounds))
    return spec.Counters(
        metric="counters",
        name="accuracy",
        total=str(promql.select(metrics.ERRORS_BOUNDED, model=model.name, bound=bound)),
        good=str(promql.select(metrics.ERRORS_BOUNDED, model=model.name, bound=bound, within="yes")),
    )


def drift_goes_on(querier: Querier, model: str, version: str) -> bool | None:
    """Whether the inputs of a version drift now; None where nobody judges them, or Prometheus does not say."""
    episode = promql.max_by(promql.select(metrics.DRIFT_EPISODE, model=model, version=version))
    try:
        found = querier.query(episode)
    except QueryError:
        return None
    return bool(found[0].value) if found else None
