"""Drift: have the inputs changed, which of them, by how much, and who says so?"""

from __future__ import annotations

from dashboards import annotation, rows, runbooks, states, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, PanelFactory
from dashboards.style import Column, State
from midwatch import grafana, metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.signals import THESE_VERSIONS, THIS_MODEL

THIS_METHOD = {**THESE_VERSIONS, "method": "$method"}
VOTES = [State(text="● no", color=style.GOOD, value=0), State(text="▲ drift", color=style.BAD, value=1)]

JUDGED = [State(text="? not judged", color=style.UNDECIDED, value=0), State(text="● judged", color=style.GOOD, value=1)]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    return [
        Page(
            name=grafana.Page.DRIFT,
            title="Drift",
            order=40,
            description="Whether the inputs of a model have left its reference, which features, and by how much.",
            variables=[
                variables.one("model", "Model", metrics.DRIFT_WINDOWS, "model"),
                variables.many("version", "Version", metrics.DRIFT_WINDOWS, "version", model="$model"),
                variables.many("method", "Method", metrics.DRIFT_EFFECT, "method", model="$model"),
                variables.window(),
            ],
            annotations=[*annotation.of_models(THIS_MODEL), annotation.experiments()],
            sections=[
                Section(title="Have the inputs drifted?", rows=_verdicts(factory)),
                Section(title="Which features?", rows=_features(factory)),
                Section(title="Effect by feature: $method", rows=_effects(factory), repeat="method"),
                *_explained(factory),
                Section(title="Can it be trusted, and what came of it?", rows=_trust(factory)),
            ],
        )
    ]


def _explained(factory: PanelFactory) -> list[Section]:
    """What moved in the model's use of its features; nothing where no model that is watched has explanations."""
    if not any(model.drift and model.explanations for model in factory.platform.models):
        return []
    return [Section(title="What does the model make of it?", rows=[rows.moved_features(factory)])]


def _verdicts(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            height=7,
            panels=[
                factory.timeline(
                    "What did each window say?",
                    Note(
                        shows="Verdict of each window, by version; a gap is a window with too little data to say.",
                        act="one drifted window may pass; two in a row begin an episode. See the features below.",
                        runbook=runbooks.DRIFT,
                    ),
                    states.DRIFT_VERDICTS,
                    Query(expr=signals.gauge(metrics.DRIFT_DETECTED, THESE_VERSIONS, "version"), legend="{{version}}"),
                ),
                factory.lines(
                    "How many methods vote for drift?",
                    Note(
                        shows="Votes of the last window; dashed is the quorum.",
                        act="at the quorum it pages; below it, and staying, something small has changed.",
                        runbook=runbooks.DRIFT,
                    ),
                    "none",
                    Query(expr=signals.gauge(metrics.DRIFT_VOTES, THESE_VERSIONS, "version"), legend="{{version}}"),
                    Query(expr=signals.gauge(metrics.DRIFT_QUORUM, THIS_MODEL), legend="quorum", promise=True),
                ),
                factory.history(
                    "Which methods vote?",
                    Note(
                        shows="Whether each method voted in the window of that time, in any version and feature.",
                        act="methods that look at rows alone: a dependence between features changed, not one of them.",
                        runbook=runbooks.DRIFT,
                    ),
                    VOTES,
                    Query(expr=signals.gauge(metrics.DRIFT_VOTE, THESE_VERSIONS, "method"), legend="{{method}}"),
                ),
            ],
        )
    ]


def _features(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            height=9,
            panels=[
                factory.table(
                    "What is behind the last verdict?",
                    Note(
                        shows="Findings of the last window that could be judged, those that say drift first.",
                        act="features of one source together: that feed has changed, a unit or a default most often.",
                        runbook=runbooks.DRIFT,
                    ),
                    [
                        Column(
                            name="Order",
                            decimals=2,
                            query=Query(expr=_last(metrics.DRIFT_VOTE) * 10 + _last(metrics.DRIFT_EFFECT)),
                        ),
                        Column(name="Says", states=VOTES, query=Query(expr=_last(metrics.DRIFT_VOTE))),
                        Column(name="Effect", decimals=3, query=Query(expr=_last(metrics.DRIFT_EFFECT))),
                        Column(name="Statistic", decimals=3, query=Query(expr=_last(metrics.DRIFT_STATISTIC))),
                        Column(name="p-value", unit="sci", query=Query(expr=_last(metrics.DRIFT_P_VALUE))),
                    ],
                    worst="Order",
                ),
                factory.lines(
                    "How surprising is it?",
                    Note(
                        shows="The smallest p-value of each method, over features: small is surprising.",
                        act="small without effect is a large window, not a change: look at the effect.",
                        runbook=runbooks.DRIFT,
                    ),
                    "sci",
                    Query(
                        expr=promql.min_by(signals.series(metrics.DRIFT_P_VALUE, THESE_VERSIONS), "method"),
                        legend="{{method}}",
                    ),
                    log=True,
                ),
                factory.history(
                    "Which features could be judged?",
                    Note(
                        shows="Whether the window of that time would have shown a large change of the feature.",
                        act="longer windows, or a reference without the seasons; nothing is known of the feature.",
                        runbook=runbooks.DRIFT,
                    ),
                    JUDGED,
                    Query(
                        expr=promql.min_by(signals.series(metrics.DRIFT_JUDGED, THESE_VERSIONS), "feature"),
                        legend="{{feature}}",
                    ),
                ),
            ],
        )
    ]


def _last(metric: Metric) -> Expr:
    """A finding of the last window with a verdict: one with too little data takes the findings away."""
    newest = promql.last_over_time(signals.series(metric, THESE_VERSIONS), signals.WINDOW)
    return promql.max_by(newest, "version", "feature", "method")


def _effects(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            height=9,
            panels=[
                factory.heatmap(
                    "How far is each feature from the reference?",
                    Note(
                        shows="Effect size by feature over time: lighter is further away. One bright row is that "
                        "feature; all of them are the traffic.",
                        act="find the first bright cell, then the annotation above it.",
                        runbook=runbooks.DRIFT,
                    ),
                    "string",
                    Query(expr=signals.gauge(metrics.DRIFT_EFFECT, THIS_METHOD, "feature"), legend="{{feature}}"),
                )
            ],
        )
    ]


def _trust(factory: PanelFactory) -> list[Row]:
    windows = signals.increase(metrics.DRIFT_WINDOWS, THESE_VERSIONS, "verdict")
    triggers = signals.total(metrics.RETRAIN_TRIGGERS, THIS_MODEL, "result")
    return [
        Row(
            panels=[
                factory.lines(
                    "How large are the windows?",
                    Note(
                        shows="Predictions in the last judged window.",
                        act="few make every verdict inconclusive: lengthen the window, or find the traffic.",
                        runbook=runbooks.UNJUDGED,
                    ),
                    "short",
                    Query(
                        expr=signals.gauge(metrics.DRIFT_WINDOW_SAMPLES, THESE_VERSIONS, "version"),
                        legend="{{version}}",
                    ),
                ),
                factory.lines(
                    "What were the verdicts?",
                    Note(
                        shows="Windows judged in the chosen window, by verdict.",
                        act="mostly inconclusive: drift is not being watched, whatever the timeline says.",
                        runbook=runbooks.UNJUDGED,
                    ),
                    "none",
                    Query(expr=windows, legend="{{verdict}}"),
                    stack=True,
                ),
                factory.lines(
                    "How old is the last verdict?",
                    Note(
                        shows="Time since the last judged window ended.",
                        act="growing: the judge is behind, or there is no traffic.",
                        runbook=runbooks.BEHIND,
                    ),
                    "s",
                    Query(expr=signals.age(metrics.DRIFT_WINDOW_END, THESE_VERSIONS, "version"), legend="{{version}}"),
                ),
                factory.lines(
                    "Was a retraining started?",
                    Note(
                        shows="Triggers of retraining so far by result, and episodes of drift.",
                        act="failed or unknown: nobody has said that a training began; start it by hand.",
                        runbook=runbooks.RETRAINING,
                    ),
                    "none",
                    Query(expr=triggers, legend="trigger {{result}}"),
                    Query(
                        expr=signals.total(metrics.DRIFT_EPISODES, THESE_VERSIONS, "version"),
                        legend="episodes {{version}}",
                    ),
                ),
            ]
        )
    ]
