"""Explanations: which features make the model's answers, did that change, and is it the inputs or the model?"""

from __future__ import annotations

from dashboards import annotation, rows, runbooks, states, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import State
from midwatch import grafana, metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.signals import THESE_VERSIONS, THIS_MODEL, Selection

MOST_FEATURES = 10
"""Features of a chart, those with the largest share."""

VERDICTS = [
    State(text="▼ changed", color=style.BAD, value=-1),
    State(text="◌ not known", color=style.UNDECIDED, value=0),
    State(text="● as before", color=style.GOOD, value=1),
]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform that has models with explanations."""
    if not any(model.explanations for model in factory.platform.models):
        return []
    return [
        Page(
            name=grafana.Page.EXPLANATIONS,
            title="Explanations",
            order=65,
            description="What each feature adds to answers, whether that changed, and by inputs or by the model.",
            variables=[
                variables.one("model", "Model", metrics.EXPLAINED, "model"),
                variables.many("version", "Version", metrics.EXPLAINED, "version", model="$model"),
                variables.window(),
            ],
            annotations=[*annotation.of_models(THIS_MODEL), annotation.experiments()],
            sections=[
                Section(title="Do features count as before?", rows=_verdicts(factory)),
                Section(title="Which features?", rows=_features(factory)),
                Section(title="What else would have said so?", rows=[_others(factory)]),
                Section(title="Can it be trusted?", rows=[_trust(factory), rows.evaluator(factory)]),
            ],
            since="now-7d",
        )
    ]


def _gauge(metric: Metric, *by: str, where: Selection = THESE_VERSIONS) -> Expr:
    return signals.gauge(metric, where, "version", "question", *by)


def _verdict(question: str) -> Query:
    series = signals.series(metrics.ATTRIBUTION_VERDICT, {**THESE_VERSIONS, "question": question})
    return Query(expr=promql.min_by(series, "version"), legend="{{version}}")


def _verdicts(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            height=7,
            panels=[
                factory.timeline(
                    "Have its inputs moved?",
                    Note(
                        shows="Each version against its own past: its model is the same, so a change is its inputs'.",
                        act="changed: look at drift of the features below. Drift that is silent misses a dependence.",
                        runbook=runbooks.ATTRIBUTIONS,
                    ),
                    VERDICTS,
                    _verdict("inputs"),
                ),
                factory.timeline(
                    "Does it use them otherwise than the one it replaces?",
                    Note(
                        shows="A new version against the one that it replaces, over the same time.",
                        act="changed: was it meant? Not known: the old one's inputs moved, or too few were explained.",
                        runbook=runbooks.ATTRIBUTIONS,
                    ),
                    VERDICTS,
                    _verdict("use"),
                ),
                *_drift(factory),
            ],
        )
    ]


def _drift(factory: PanelFactory) -> list[Panel]:
    """What drift says of the same inputs; nothing where it watches none of these models."""
    if not any(model.drift and model.explanations for model in factory.platform.models):
        return []
    drift = factory.timeline(
        "Did drift see it, too?",
        Note(
            shows="What drift says of the inputs at that time, by version.",
            act="stable here and moved beside: a dependence, or a feature that drift does not watch.",
            runbook=runbooks.DRIFT,
        ),
        states.DRIFT_VERDICTS,
        Query(expr=signals.gauge(metrics.DRIFT_DETECTED, THESE_VERSIONS, "version"), legend="{{version}}"),
    )
    return [drift]


def _features(factory: PanelFactory) -> list[Row]:
    def share(side: str) -> Query:
        where: Selection = {**THESE_VERSIONS, "side": side, "question": "inputs"}
        return Query(expr=signals.gauge(metrics.ATTRIBUTION_SHARE, where, "feature"))

    now = share("now").expr
    return [
        rows.moved_features(factory),
        Row(
            panels=[
                factory.bars(
                    "Whose are the answers, before and now?",
                    Note(
                        shows="Share of all attribution by feature: of the windows before, and of the last one.",
                        act="two that change places are twins most often, and no harm; see the table.",
                        runbook=runbooks.ATTRIBUTIONS,
                    ),
                    "percentunit",
                    {"before": share("before"), "now": share("now")},
                    by="feature",
                ),
                factory.lines(
                    "How did the shares go?",
                    Note(
                        shows="Share of all attribution over time, of the features with the largest.",
                        act="a step: find the annotation at it. A slope: inputs that move slowly.",
                        runbook=runbooks.ATTRIBUTIONS,
                    ),
                    "percentunit",
                    Query(expr=promql.topk(MOST_FEATURES, now), legend="{{feature}}"),
                ),
                factory.lines(
                    "What does each feature add just now?",
                    Note(
                        shows="Mean attribution with its sign over the chosen window, straight from the counters.",
                        act="one that changes its sign pushes the other way: its unit, or the model's reading of it.",
                        runbook=runbooks.ATTRIBUTIONS,
                    ),
                    "none",
                    Query(expr=promql.topk(MOST_FEATURES, _mean()), legend="{{feature}}"),
                    minimum=None,
                ),
            ]
        ),
    ]


def _mean() -> Expr:
    """Mean attribution by feature over the chosen window."""
    added, taken = (
        signals.increase(metric, THESE_VERSIONS, "feature")
        for metric in (metrics.ATTRIBUTION_ADDED, metrics.ATTRIBUTION_TAKEN)
    )
    return added.minus(taken, on=("feature",)) / promql.call(
        "scalar", signals.increase(metrics.EXPLAINED, THESE_VERSIONS)
    )


def _others(factory: PanelFactory) -> Row:
    return Row(
        panels=[
            factory.lines(
                "How surprising is it?",
                Note(
                    shows="Share of windows that are as far off when nothing changed; this is what is judged by.",
                    act="small once may be chance: 1 window in 20 is called changed; a ticket needs two in a row.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "percentunit",
                Query(expr=_gauge(metrics.ATTRIBUTION_P_VALUE), legend="{{version}} {{question}}"),
                maximum=1,
            ),
            factory.lines(
                "Is the features' order as it was?",
                Note(
                    shows="nDCG of the order (SageMaker Clarify alarms below 0.9), and what 95% of windows reach.",
                    act="below what is usual: the order changed. It does not see what leaves the order as it is.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "percentunit",
                Query(expr=_gauge(metrics.ATTRIBUTION_NDCG, "side"), legend="{{version}} {{question}} {{side}}"),
                minimum=None,
            ),
            factory.lines(
                "How far are places apart?",
                Note(
                    shows="Jensen-Shannon divergence of its places, before and now, in bits (Vertex AI alarms at 0.3).",
                    act="read it with the verdict: calm windows of few predictions stray far.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "none",
                Query(
                    expr=promql.topk(MOST_FEATURES, _gauge(metrics.ATTRIBUTION_DIVERGENCE, "feature")),
                    legend="{{version}} {{question}} {{feature}}",
                ),
            ),
            factory.lines(
                "At which place does each feature stand?",
                Note(
                    shows="Mean place among a prediction's features in the chosen window: 1 is the greatest amount.",
                    act="a feature that falls back is used less, or does not vary any more.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "none",
                Query(expr=promql.topk(MOST_FEATURES, _place()), legend="{{feature}}"),
            ),
        ]
    )


def _place() -> Expr:
    place = metrics.ATTRIBUTION_PLACE
    total, count = (
        promql.sum_by(promql.increase(signals.series(place, THESE_VERSIONS, suffix), signals.WINDOW), "feature")
        for suffix in ("_sum", "_count")
    )
    return total.over(count, on=("feature",))


def _trust(factory: PanelFactory) -> Row:
    return Row(
        panels=[
            factory.lines(
                "How many predictions are explained?",
                Note(
                    shows="Explained predictions per second, by version.",
                    act="none: the server does not send attributions, and nothing is known of changes.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "ops",
                Query(expr=signals.rate(metrics.EXPLAINED, THESE_VERSIONS, "version"), legend="{{version}}"),
            ),
            factory.lines(
                "How many are in the window that is judged?",
                Note(
                    shows="Explained predictions of the last window; 50 are needed.",
                    act="few: explain a larger share, or compare longer windows.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "short",
                Query(
                    expr=signals.gauge(metrics.ATTRIBUTION_EXPLAINED, THESE_VERSIONS, "version"), legend="{{version}}"
                ),
            ),
            factory.lines(
                "How many windows are there before it?",
                Note(
                    shows="Earlier windows with enough explained predictions; 20 are needed.",
                    act="they come with time; shorter windows bring them sooner.",
                    runbook=runbooks.ATTRIBUTIONS,
                ),
                "short",
                Query(expr=_gauge(metrics.ATTRIBUTION_WINDOWS), legend="{{version}} {{question}}"),
            ),
            factory.lines(
                "How old is the last window?",
                Note(
                    shows="Time since the last compared window ended.",
                    act="more than its own length: nobody judges.",
                    runbook=runbooks.EVALUATOR,
                ),
                "s",
                Query(expr=signals.age(metrics.ATTRIBUTION_WINDOW_END, THIS_MODEL, "model"), legend="{{model}}"),
            ),
        ]
    )
