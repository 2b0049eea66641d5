"""Canary: is the new version worse than the old one, and how sure is that?"""

from __future__ import annotations

from collections.abc import Callable

from dashboards import annotation, rows, runbooks, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import State
from midwatch import grafana, metrics, promql, signals
from midwatch.promql import Expr
from midwatch.signals import THIS_MODEL, Selection
from midwatch.spec import promotion

PAIR: Selection = {"model": "$model", "baseline": "$baseline", "canary": "$canary"}
ARMS = (("baseline", style.BASELINE), ("canary", style.CANARY))

COMPARED = ("model", "baseline", "canary")

VERDICT_CODES = {"pass": 1.0, "inconclusive": 2.0, "fail": 3.0}
VERDICTS = [
    State(text="● pass", color=style.GOOD, value=1),
    State(text="◌ inconclusive", color=style.UNDECIDED, value=2),
    State(text="▼ fail", color=style.BAD, value=3),
]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    return [
        Page(
            name=grafana.Page.CANARY,
            title="Canary",
            order=50,
            description="A canary beside its baseline, the evidence for and against it, and what the gate answers.",
            variables=[
                variables.one("model", "Model", metrics.REQUESTS, "model"),
                variables.one("baseline", "Baseline", metrics.REQUESTS, "version", model="$model"),
                variables.one("canary", "Canary", metrics.REQUESTS, "version", newest=True, model="$model"),
                variables.window(),
            ],
            annotations=annotation.of_models(THIS_MODEL),
            sections=[
                Section(title="What is the verdict?", rows=_verdict(factory)),
                Section(title="Baseline and canary", rows=_arms(factory)),
                Section(title="The gate", rows=[rows.canary_gate(factory)]),
                *_explained(factory),
                *_promotions(factory),
                *_histories(factory),
            ],
        )
    ]


def _explained(factory: PanelFactory) -> list[Section]:
    """What the canary uses otherwise than its baseline; nothing where no model with canaries has explanations."""
    if not any(model.canary and model.explanations for model in factory.platform.models):
        return []
    row = rows.moved_features(factory, {"model": "$model", "version": "$canary"})
    return [Section(title="Which features does it use otherwise?", rows=[row])]


def _verdict(factory: PanelFactory) -> list[Row]:
    verdict = signals.verdict(metrics.CANARY_VERDICT, VERDICT_CODES, PAIR, *COMPARED)
    return [
        Row(
            height=7,
            widths=[6, 18],
            panels=[
                factory.stat(
                    "Is the canary worse?",
                    Note(
                        shows="The gate's verdict now. Inconclusive is not a pass: too little is known yet.",
                        act="fail: the rollout stops by itself; see below which criterion.",
                        runbook=runbooks.CANARY,
                    ),
                    "none",
                    Query(expr=verdict, legend="{{canary}} against {{baseline}}"),
                    states=VERDICTS,
                ),
                factory.timeline(
                    "How did the verdict change?",
                    Note(
                        shows="The verdict over time, by canary and baseline.",
                        act="a pass that turns into a fail: a step of the rollout brought it out.",
                        runbook=runbooks.CANARY,
                    ),
                    VERDICTS,
                    Query(expr=verdict, legend="{{canary}} against {{baseline}}"),
                ),
            ],
        ),
        Row(
            panels=[
                _evidence(factory, "How strong is the evidence against it?", "fail"),
                _evidence(factory, "How strong is the evidence for it?", "pass"),
                factory.lines(
                    "How much worse is it?",
                    Note(
                        shows="Canary over baseline by criterion: 1 is the same, above 1 is worse.",
                        act="read it with the evidence: a large ratio of few requests says nothing.",
                        runbook=runbooks.CANARY,
                    ),
                    "none",
                    Query(expr=signals.gauge(metrics.CANARY_EFFECT_RATIO, PAIR, "criterion"), legend="{{criterion}}"),
                    Query(expr=promql.vector(1), legend="the same", promise=True),
                ),
                factory.lines(
                    "How many requests were judged?",
                    Note(
                        shows="Requests behind the verdict, by arm.",
                        act="a canary with few: raise its share, or wait.",
                        runbook=runbooks.CANARY,
                    ),
                    "short",
                    Query(expr=signals.gauge(metrics.CANARY_REQUESTS, PAIR, "arm"), legend="{{arm}}"),
                ),
            ]
        ),
    ]


ON_RECORD = [
    State(text="● on record", color=style.GOOD, value=0),
    State(text="▼ not on record", color=style.BAD, value=1),
]


def _promotions(factory: PanelFactory) -> list[Section]:
    """Which version is champion by a record, and what became of promotions; nothing where none are watched."""
    if not promotion.watched(factory.platform):
        return []
    row = Row(
        panels=[
            factory.stat(
                "Is the champion on record?",
                Note(
                    shows="Whether a record of the gate promoted the version that is champion in the registry.",
                    act="not on record: it went around the gate; see what it lacks, or go back.",
                    runbook=runbooks.PROMOTION,
                ),
                "none",
                Query(
                    expr=signals.gauge(metrics.PROMOTION_UNRECORDED, THIS_MODEL, "model", "version"),
                    legend="{{model}} {{version}}",
                ),
                states=ON_RECORD,
            ),
            factory.lines(
                "What became of promotions?",
                Note(
                    shows="Promotions in the window: promoted, refused, overridden, rolled back, around the gate.",
                    act="refused ones lack something, which the gate's log names.",
                    runbook=runbooks.PROMOTION,
                ),
                "short",
                Query(expr=signals.increase(metrics.PROMOTION_EVENTS, THIS_MODEL, "event"), legend="{{event}}"),
            ),
            factory.lines(
                "When was the registry last seen?",
                Note(
                    shows="Time since the gate last saw who is champion.",
                    act="a climb: promotions around the gate go unseen.",
                    runbook=runbooks.PROMOTIONS_UNWATCHED,
                ),
                "s",
                Query(expr=signals.age(metrics.PROMOTION_LAST_LOOK, THIS_MODEL, "model"), legend="{{model}}"),
            ),
            factory.lines(
                "What became of the registry's deliveries?",
                Note(
                    shows="Deliveries of its webhook per second, by what became of them.",
                    act="bad signatures: another secret, or somebody who is not the registry.",
                    runbook=runbooks.PROMOTION,
                ),
                "ops",
                Query(expr=signals.rate(metrics.PROMOTION_WEBHOOKS, {}, "result"), legend="{{result}}"),
            ),
        ]
    )
    return [Section(title="Promotions", rows=[row])]


REGRESSION_CODES = {"steady": 1.0, "undecided": 2.0, "regressed": 3.0}
REGRESSIONS = [
    State(text="● steady", color=style.GOOD, value=1),
    State(text="◌ undecided", color=style.UNDECIDED, value=2),
    State(text="▼ regressed", color=style.BAD, value=3),
]


def _histories(factory: PanelFactory) -> list[Section]:
    """Trainings and releases against their own history; nothing where none are compared."""
    if not any(model.regression for model in factory.platform.models):
        return []
    compared = ("model", "series")
    row = Row(
        panels=[
            factory.timeline(
                "Have trainings or releases become worse?",
                Note(
                    shows="What is said of durations, metrics and slow requests against their history.",
                    act="regressed: midwatch loop regressions names the version since which.",
                    runbook=runbooks.REGRESSION,
                ),
                REGRESSIONS,
                Query(
                    expr=signals.verdict(metrics.REGRESSION_VERDICT, REGRESSION_CODES, THIS_MODEL, *compared),
                    legend="{{model}} {{series}}",
                ),
            ),
            factory.lines(
                "By how much?",
                Note(
                    shows="Median of the newest over that of the history; 1 is no change.",
                    act="see the version since which, and what changed with it.",
                    runbook=runbooks.REGRESSION,
                ),
                "none",
                Query(
                    expr=signals.gauge(metrics.REGRESSION_AFTER, THIS_MODEL, *compared)
                    / signals.gauge(metrics.REGRESSION_BEFORE, THIS_MODEL, *compared),
                    legend="{{model}} {{series}}",
                ),
            ),
        ]
    )
    return [Section(title="Against its own history", rows=[row])]


def _evidence(factory: PanelFactory, title: str, direction: str) -> Panel:
    return factory.lines(
        title,
        Note(
            shows=f"E-values towards {direction}, by criterion; at the dashed line the verdict falls (for fail, the "
            "weighted mean of the criteria has to reach it). Looking often does not weaken them.",
            act="a line that climbs steadily decides soon; one that hovers needs more traffic.",
            runbook=runbooks.CANARY,
        ),
        "none",
        Query(
            expr=signals.gauge(metrics.CANARY_E_VALUE, {**PAIR, "direction": direction}, "criterion"),
            legend="{{criterion}}",
        ),
        Query(
            expr=signals.gauge(metrics.CANARY_E_VALUE_LIMIT, {**PAIR, "direction": direction}),
            legend="decides",
            promise=True,
        ),
        log=True,
    )


def _arms(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            panels=[
                factory.lines(
                    "Do they get their share?",
                    Note(
                        shows="Requests per second of both.",
                        act="no canary traffic: the rollout's weight is not applied.",
                        runbook=runbooks.NO_DATA,
                    ),
                    "reqps",
                    *_both(signals.requests),
                ),
                factory.lines(
                    "Does it fail more?",
                    Note(
                        shows="Share of failed requests of both.",
                        act="more than the criterion tolerates: the gate says so; roll back.",
                        runbook=runbooks.ERRORS,
                    ),
                    "percentunit",
                    *_both(signals.errors),
                ),
                factory.lines(
                    "Is it slower?",
                    Note(
                        shows="Time within which 99% of requests of both are answered.",
                        act="a cold canary is slow for minutes; later it is the model.",
                        runbook=runbooks.LATENCY,
                    ),
                    "s",
                    *_both(lambda where: signals.quantile(metrics.REQUEST_DURATION, 0.99, where)),
                ),
                factory.lines(
                    "Is it less right?",
                    Note(
                        shows="Accuracy of both over the chosen window, all predictions settled at an equal age.",
                        act="labels come late: before label_maturity there is nothing to compare.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    *_both(signals.accuracy),
                    maximum=1,
                ),
            ]
        )
    ]


def _both(signal: Callable[[Selection], Expr]) -> list[Query]:
    """A signal of baseline and canary, each in its colour."""
    return [
        Query(expr=signal({"model": "$model", "version": f"${arm}"}), legend=f"{arm} ${arm}", color=color)
        for arm, color in ARMS
    ]
