"""Rows of panels that several pages show."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards import runbooks
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.panels import Note, PanelFactory
from dashboards.style import Column
from midwatch import metrics, signals
from midwatch.signals import THESE_VERSIONS, Selection


def canary_gate(factory: PanelFactory) -> Row:
    """What the canary gate answers, and how quickly."""
    return Row(
        panels=[
            factory.lines(
                "What does the gate answer?",
                Note(
                    shows="Answers per second by verdict, to every rollout.",
                    act="none while a rollout waits: it cannot reach the gate.",
                    runbook=runbooks.CANARY,
                ),
                "ops",
                Query(
                    expr=signals.rate(metrics.CANARY_GATE_REQUESTS, {}, "verdict"),
                    legend="{{verdict}}",
                ),
                stack=True,
            ),
            factory.lines(
                "How long does an answer take?",
                Note(
                    shows="Time within which the gate gives 50% and 99% of its answers.",
                    act="above a second rollouts begin to time out: look at Prometheus.",
                    runbook=runbooks.CANARY,
                ),
                "s",
                *(
                    Query(expr=signals.quantile(metrics.CANARY_GATE_DURATION, share, {}), legend=name)
                    for share, name in ((0.5, "p50"), (0.99, "p99"))
                ),
            ),
        ]
    )


def moved_features(factory: PanelFactory, where: Selection = THESE_VERSIONS) -> Row:
    """Features whose attributions moved, those that moved most first; all are 0 where none did."""
    by = ("version", "question", "feature")

    def change(bound: str) -> Query:
        return Query(expr=signals.gauge(metrics.ATTRIBUTION_SHARE_CHANGE, {**where, "bound": bound}, *by))

    def share(side: str) -> Query:
        return Query(expr=signals.gauge(metrics.ATTRIBUTION_SHARE, {**where, "side": side}, *by))

    return Row(
        height=9,
        panels=[
            factory.table(
                "Which features' attributions moved?",
                Note(
                    shows="Each feature's share of all attribution before and now, the interval of its change; how "
                    "far it moved, in spreads of the windows before, 0 where it did not. Question inputs: against its "
                    "own past. Question use: against the version that it replaces.",
                    act="the first rows are what to look at. No row: no attributions are sent, or nobody judges them.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                [
                    Column(
                        name="Moved", decimals=1, query=Query(expr=signals.gauge(metrics.ATTRIBUTION_MOVED, where, *by))
                    ),
                    Column(name="Share before", unit="percentunit", query=share("before")),
                    Column(name="Share now", unit="percentunit", query=share("now")),
                    Column(name="Change low", unit="percentunit", query=change("low")),
                    Column(name="Change high", unit="percentunit", query=change("high")),
                    *_means(where, by),
                ],
                worst="Moved",
            )
        ],
    )


def _means(where: Selection, by: Sequence[str]) -> list[Column]:
    return [
        Column(
            name=f"Mean {side}",
            decimals=3,
            query=Query(expr=signals.gauge(metrics.ATTRIBUTION_MEAN, {**where, "side": side}, *by)),
        )
        for side in ("before", "now")
    ]


def evaluator(factory: PanelFactory) -> Row:
    """Whether anybody judges, and how long it takes."""
    return Row(
        panels=[
            factory.lines(
                "When was it last judged?",
                Note(
                    shows="Time since all promises of each kind were judged.",
                    act="a climb: what is shown here is old. Prometheus does not answer the evaluator, or it is down.",
                    runbook=runbooks.EVALUATOR,
                ),
                "s",
                Query(expr=signals.age(metrics.EVALUATOR_LAST_SUCCESS, {}, "kind"), legend="{{kind}}"),
            ),
            factory.lines(
                "How long does judging take?",
                Note(
                    shows="Time of the last evaluation of all promises, by kind.",
                    act="near evaluator.every: the next one is late; ask less often, or look back less far.",
                    runbook=runbooks.EVALUATOR,
                ),
                "s",
                Query(expr=signals.gauge(metrics.EVALUATOR_DURATION, {}, "kind"), legend="{{kind}}"),
            ),
        ]
    )
