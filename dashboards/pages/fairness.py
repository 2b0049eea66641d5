"""Fairness: are groups of people treated alike, how sure is that, and what would decide?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dashboards import annotation, rows, runbooks, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import Column, State
from midwatch import grafana, metrics, promql, signals
from midwatch.metrics import FAIRNESS_PROMISE, Metric
from midwatch.promql import Expr
from midwatch.signals import THESE_VERSIONS, THIS_MODEL, Selection

THESE: Selection = {
    **THESE_VERSIONS,
    "attribute": promql.matches("$attribute"),
    "measure": promql.matches("$measure"),
}
THIS_RATE: Selection = {**THESE, "rate": "$rate"}
PROMISE = "{{version}} {{attribute}} {{measure}} {{rate}} {{limit}}"
BOUNDS = ("low", "estimate", "high")

VERDICTS = [
    State(text="▼ unfair", color=style.BAD, value=-1),
    State(text="◌ not known", color=style.UNDECIDED, value=0),
    State(text="● fair", color=style.GOOD, value=1),
]
LATELY = [
    State(text="no sign of it", color=style.UNDECIDED, value=0),
    State(text="▼ unfair lately", color=style.BAD, value=1),
]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform that promises fairness."""
    promising = [model for model in factory.platform.models if model.fairness]
    if not promising:
        return []
    strata = sorted({promise.within for model in promising for promise in model.fairness if promise.within})
    explained = [rows.moved_features(factory)] if any(model.explanations for model in promising) else []
    if any(model.explanations and model.explanations.by_group for model in promising):
        explained.insert(0, _features_by_group(factory))
    return [
        Page(
            name=grafana.Page.FAIRNESS,
            title="Fairness",
            order=60,
            description="Whether groups are treated alike within what is promised, how sure that is, what is missing.",
            variables=[
                variables.one("model", "Model", metrics.FAIRNESS_VERDICT, "model"),
                variables.many("version", "Version", metrics.FAIRNESS_VERDICT, "version", model="$model"),
                variables.many("attribute", "Attribute", metrics.FAIRNESS_VERDICT, "attribute", model="$model"),
                variables.many("measure", "Measure", metrics.FAIRNESS_VERDICT, "measure", model="$model"),
                variables.many("rate", "Rate", metrics.FAIRNESS_VERDICT, "rate", model="$model"),
                variables.window(),
            ],
            annotations=annotation.of_models(THIS_MODEL),
            sections=[
                Section(title="Are groups treated alike?", rows=_verdicts(factory)),
                Section(title="Groups: $rate", rows=_groups(factory), repeat="rate"),
                *([Section(title="Who applies, or the model?", rows=[_strata(factory, strata)])] if strata else []),
                Section(title="What is missing?", rows=[_missing(factory), rows.evaluator(factory)]),
                *([Section(title="What explains it?", rows=explained)] if explained else []),
            ],
            since="now-7d",
        )
    ]


def _gauge(metric: Metric, *by: str, where: Selection = THESE) -> Expr:
    return signals.gauge(metric, where, *FAIRNESS_PROMISE, *by)


def _worst(metric: Metric) -> Expr:
    """The least value: replicas that disagree are not calm."""
    return promql.min_by(signals.series(metric, THESE), *FAIRNESS_PROMISE)


_GAPS = {
    "difference": ("How far are the worst groups apart?", metrics.FAIRNESS_DIFFERENCE),
    "ratio": ("What has the lower of the higher?", metrics.FAIRNESS_RATIO),
}
"""Title and metric of the worst gap, by the kind of limit."""


def _verdicts(factory: PanelFactory) -> list[Row]:
    kinds = {
        "difference" if promise.ratio is None else "ratio"
        for model in factory.platform.models
        for promise in model.fairness
    }
    return [
        Row(
            height=8,
            panels=[
                factory.timeline(
                    "What is shown since counting began?",
                    Note(
                        shows="Shown unfair, shown fair within the limit, or not known yet, for each promise.",
                        act="unfair: it is shown over all looks. Not known is no pass: see what is missing.",
                        runbook=runbooks.FAIRNESS,
                    ),
                    VERDICTS,
                    Query(expr=_worst(metrics.FAIRNESS_VERDICT), legend=PROMISE),
                ),
                factory.timeline(
                    "Has it become unfair lately?",
                    Note(
                        shows="Whether the last blocks of time show it, whatever was before. No sign is not fair.",
                        act="unfair lately: look at the annotation before it, a deployment most often.",
                        runbook=runbooks.FAIRNESS,
                    ),
                    LATELY,
                    Query(expr=_gauge(metrics.FAIRNESS_BECAME_UNFAIR), legend=PROMISE),
                ),
            ],
        ),
        Row(height=9, panels=[_table(factory)]),
        Row(
            panels=[
                _gap(factory, title, metric, f"{limit} .*")
                for limit, (title, metric) in _GAPS.items()
                if limit in kinds
            ]
        ),
    ]


def _table(factory: PanelFactory) -> Panel:
    def bound(metric: Metric, name: str) -> Query:
        return Query(expr=_gauge(metric, where={**THESE, "bound": name}))

    return factory.table(
        "Which promise is worst?",
        Note(
            shows="Each promise: the worst pair's gap with the interval that holds at every look; what is promised.",
            act="an interval that holds the limit is not known: no colour says it better.",
            runbook=runbooks.FAIRNESS,
        ),
        [
            Column(name="Unfair", query=Query(expr=_worst(metrics.FAIRNESS_VERDICT) * -1), decimals=0, states=_TURNED),
            Column(name="Lately", query=Query(expr=_gauge(metrics.FAIRNESS_BECAME_UNFAIR)), states=LATELY),
            *(
                Column(name=f"Difference {name}", unit="percentunit", query=bound(metrics.FAIRNESS_DIFFERENCE, name))
                for name in BOUNDS
            ),
            *(
                Column(name=f"Ratio {name}", unit="percentunit", query=bound(metrics.FAIRNESS_RATIO, name))
                for name in BOUNDS
            ),
            Column(name="Promised", unit="percentunit", query=Query(expr=_gauge(metrics.FAIRNESS_LIMIT))),
            Column(name="Smallest group", query=Query(expr=_gauge(metrics.FAIRNESS_SMALLEST_GROUP))),
        ],
        worst="Unfair",
    )


_TURNED = [State(text=state.text, color=state.color, value=-(state.value or 0.0)) for state in VERDICTS]
"""The verdicts so that the worst is the greatest: tables are sorted by it."""


def _gap(factory: PanelFactory, title: str, metric: Metric, limits: str) -> Panel:
    """The worst pair's gap with its interval, of promises whose limit is of that kind."""
    where: Selection = {**THESE, "limit": promql.matches(limits)}
    return factory.lines(
        title,
        Note(
            shows="The worst pair with both ends of its interval, which holds at every look and for all pairs; "
            "dashed is what is promised.",
            act="unknown while the dashed line is within the interval, unfair once the interval is beyond it.",
            runbook=runbooks.FAIRNESS,
        ),
        "percentunit",
        Query(expr=_gauge(metric, "bound", where=where), legend=f"{PROMISE}: {{{{bound}}}}"),
        Query(expr=_gauge(metrics.FAIRNESS_LIMIT, where=where), legend=f"{PROMISE}: promised", promise=True),
        minimum=None,
    )


def _groups(factory: PanelFactory) -> list[Row]:
    def column(name: str) -> Query:
        where: Selection = {**THIS_RATE, "bound": name}
        return Query(expr=signals.gauge(metrics.FAIRNESS_GROUP_RATE, where, *_GROUP))

    return [
        Row(
            height=8,
            panels=[
                factory.table(
                    "What is each group's rate?",
                    Note(
                        shows="Each group's rate with the interval that holds at every look. A hashed group has "
                        "its name in the console, for whoever has the key's file.",
                        act="intervals that are apart: see the worst pair above, and who is in the lower group.",
                        runbook=runbooks.FAIRNESS,
                    ),
                    [Column(name=name.title(), unit="percentunit", query=column(name)) for name in BOUNDS],
                    worst="Estimate",
                ),
                factory.lines(
                    "How did each group's rate go?",
                    Note(
                        shows="The rate of each group since counting began, so that it moves slowly.",
                        act="one group alone: who is in it, or what the model makes of it, has changed.",
                        runbook=runbooks.FAIRNESS,
                    ),
                    "percentunit",
                    Query(expr=column("estimate").expr, legend="{{version}} {{attribute}} {{group}}"),
                ),
            ],
        )
    ]


_GROUP = ("version", "attribute", "measure", "group")


def _strata(factory: PanelFactory, strata: Sequence[str]) -> Row:
    """The gap over all beside the gap within the groups of the attributes that promises name as `within`."""
    is_within = promql.matches(f".* within ({'|'.join(strata)})")

    def gap(rate: promql.Matcher) -> Query:
        where: Selection = {**THESE, "rate": rate, "bound": "estimate"}
        return Query(expr=_gauge(metrics.FAIRNESS_DIFFERENCE, where=where), legend=PROMISE)

    return Row(
        panels=[
            factory.lines(
                "How far apart are groups over all?",
                Note(
                    shows="The worst pair's gap over all events, whoever they are of.",
                    act="apart here and alike beside: it is who applies that differs, and not what the model does.",
                    runbook=runbooks.FAIRNESS,
                ),
                "percentunit",
                gap(replace(is_within, operator="!~")),
            ),
            factory.lines(
                "How far apart are like and like?",
                Note(
                    shows="The worst pair's gap within the groups that are compared like with like.",
                    act="apart here: the model treats like unlike, whoever applies.",
                    runbook=runbooks.FAIRNESS,
                ),
                "percentunit",
                gap(is_within),
            ),
        ]
    )


def _features_by_group(factory: PanelFactory) -> Row:
    """What each feature adds to the answers of each group."""
    where: Selection = {**THESE_VERSIONS, "attribute": promql.matches("$attribute")}
    of_group = ("version", "attribute", "group")
    added, taken, squares = (
        signals.increase(metric, where, *of_group, "feature")
        for metric in (
            metrics.GROUP_ATTRIBUTION_ADDED,
            metrics.GROUP_ATTRIBUTION_TAKEN,
            metrics.GROUP_ATTRIBUTION_SQUARES,
        )
    )
    count = signals.increase(metrics.GROUP_EXPLAINED, where, *of_group)
    mean = added.minus(taken, on=(*of_group, "feature")).over(count, on=of_group, group_left=True)
    spread = promql.sqrt(squares.over(count, on=of_group, group_left=True))
    return Row(
        height=9,
        panels=[
            factory.table(
                "What does each feature add to a group's answers?",
                Note(
                    shows="Mean attribution by group in the chosen window, and the root of its mean square. The "
                    "differences of two groups' means, of all features, add up to that of the model's answers.",
                    act="a feature whose means are apart makes the gap; the console has the interval of each.",
                    runbook=runbooks.FAIRNESS,
                ),
                [
                    Column(name="Mean", decimals=3, query=Query(expr=mean)),
                    Column(name="Root mean square", decimals=3, query=Query(expr=spread)),
                ],
                worst="Root mean square",
            )
        ],
    )


def _missing(factory: PanelFactory) -> Row:
    return Row(
        panels=[
            factory.lines(
                "How many more events would decide?",
                Note(
                    shows="Events that an open verdict waits for, if rates stay. None: it is decided, or none would.",
                    act="more than will come: promise a wider limit, or look over a longer time.",
                    runbook=runbooks.FAIRNESS_UNKNOWN,
                ),
                "short",
                Query(expr=_gauge(metrics.FAIRNESS_ROWS_NEEDED), legend=PROMISE),
            ),
            factory.lines(
                "Whose labels are missing?",
                Note(
                    shows="Share of settled predictions without a label, of the group that lacks most.",
                    act="much of one group: its labels could turn the verdict over, so that there is none.",
                    runbook=runbooks.FAIRNESS_UNKNOWN,
                ),
                "percentunit",
                Query(expr=_gauge(metrics.FAIRNESS_UNLABELLED), legend=PROMISE),
                maximum=1,
            ),
            factory.lines(
                "How small is the smallest group?",
                Note(
                    shows="Events of the judged group with the fewest.",
                    act="few: its interval is wide, and decides when a verdict comes.",
                    runbook=runbooks.FAIRNESS_UNKNOWN,
                ),
                "short",
                Query(expr=_gauge(metrics.FAIRNESS_SMALLEST_GROUP), legend=PROMISE),
            ),
            factory.lines(
                "Since when is it counted?",
                Note(
                    shows="Time since which outcomes are counted by group, by version.",
                    act="short: a version has just begun, and nothing can be known yet.",
                    runbook=runbooks.FAIRNESS_UNKNOWN,
                ),
                "s",
                Query(expr=signals.age(metrics.FAIRNESS_SINCE, THESE_VERSIONS, "version"), legend="{{version}}"),
            ),
        ]
    )
