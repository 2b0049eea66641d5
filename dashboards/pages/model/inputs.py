"""Whether a model's inputs have drifted; the page of drift names the features."""

from __future__ import annotations

from dashboards import runbooks, states
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.panels import Note, PanelFactory
from midwatch import metrics, signals
from midwatch.signals import THESE_VERSIONS, THIS_MODEL


def drift(factory: PanelFactory) -> list[Row]:
    """Whether the inputs have drifted."""
    votes = signals.gauge(metrics.DRIFT_VOTES, THESE_VERSIONS, "version")
    return [
        Row(
            height=6,
            panels=[
                factory.timeline(
                    "Have the inputs drifted?",
                    Note(
                        shows="Verdict of each window; a gap is a window with too little data to say.",
                        act="the drift page names the features behind it.",
                        runbook=runbooks.DRIFT,
                    ),
                    states.DRIFT_VERDICTS,
                    Query(expr=signals.gauge(metrics.DRIFT_DETECTED, THESE_VERSIONS, "version"), legend="{{version}}"),
                ),
                factory.lines(
                    "How many methods say so?",
                    Note(
                        shows="Votes of the last window; dashed is the quorum that makes it drift.",
                        act="votes below the quorum that stay: something small has changed.",
                        runbook=runbooks.DRIFT,
                    ),
                    "none",
                    Query(expr=votes, legend="{{version}}"),
                    Query(expr=signals.gauge(metrics.DRIFT_QUORUM, THIS_MODEL), legend="quorum", promise=True),
                ),
            ],
        )
    ]
