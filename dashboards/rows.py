"""Rows of panels that several pages show."""

from __future__ import annotations

from dashboards import runbooks
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.panels import Note, PanelFactory
from midwatch import metrics, signals


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
