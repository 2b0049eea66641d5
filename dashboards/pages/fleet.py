"""Fleet: which model is worst off right now?"""

from __future__ import annotations

from dashboards import happenings, links, looks, runbooks, variables
from dashboards.document import Page
from dashboards.house import House, Note
from dashboards.layout import Row, Section
from dashboards.looks import Column, Link, State
from dashboards.targets import Query
from midwatch import grafana, metrics, promql, signals, upstream
from midwatch.promql import Expr
from midwatch.signals import BY_VERSION, MANY_MODELS

PAGE_WEIGHT = 10.0
"""What a firing page counts in the order of the table, where a ticket, or a whole budget spent, counts 1."""
AT_RISK = 0.25
"""Share of the error budget below which it is marked: a quarter left (SRE Workbook, chapter 4, on budget policies)."""

BUDGET = [
    State(text="▼ breached", color=looks.BAD, high=0.0),
    State(text="◆ at risk", color=looks.WATCH, low=0.0, high=AT_RISK),
    State(text="● met", color=looks.GOOD, low=AT_RISK),
]
YES = [State(text="● calm", color=looks.GOOD, value=0), State(text="▲ drifted", color=looks.WATCH, value=1)]


def build(house: House) -> Page:
    """The page of a platform."""
    return Page(
        page=grafana.Page.FLEET,
        title="Fleet",
        description="Every model and version on one page, the worst first.",
        variables=[variables.many("models", "Models", metrics.REQUESTS, "model"), variables.window()],
        happenings=[*happenings.of_models(MANY_MODELS), happenings.experiments(), happenings.drills()],
        sections=[
            Section(title="Is anything wrong?", rows=[_now(house), Row(panels=[_worst(house)], height=12)]),
            Section(title="Since when?", rows=_trends(house)),
        ],
    )


def _now(house: House) -> Row:
    return Row(
        height=4,
        panels=[
            house.stat(
                "Pages firing",
                Note(
                    shows="Alerts that wake somebody, of models and of the plane.",
                    act="open the row of the model below, or the control plane for alerts without a model.",
                    runbook=runbooks.ERRORS,
                ),
                "none",
                Query(expr=_firing("page")),
                steps=[(None, looks.GOOD), (1, looks.BAD)],
                states=[State(text="none", color=looks.GOOD, value=0)],
            ),
            house.stat(
                "Tickets firing",
                Note(
                    shows="Alerts that wait for office hours.",
                    act="nothing tonight; they are listed below with their owners.",
                    runbook=runbooks.NO_DATA,
                ),
                "none",
                Query(expr=_firing("ticket")),
                steps=[(None, looks.GOOD), (1, looks.WATCH)],
                states=[State(text="none", color=looks.GOOD, value=0)],
            ),
            house.stat(
                "Objectives breached",
                Note(
                    shows="Objectives whose error budget is spent.",
                    act="stop releases of that model, and see the objectives' page for what spent it.",
                    runbook=runbooks.BUDGET,
                ),
                "none",
                Query(expr=_breached()),
                steps=[(None, looks.GOOD), (1, looks.BAD)],
                states=[State(text="none", color=looks.GOOD, value=0)],
            ),
            house.stat(
                "Versions serving",
                Note(
                    shows="Model versions that answered a request lately.",
                    act="a version that is missing gets no traffic, or its events do not arrive.",
                    runbook=runbooks.NO_DATA,
                ),
                "none",
                Query(expr=promql.count(signals.requests(MANY_MODELS, *BY_VERSION) > 0)),
            ),
            house.stat(
                "Requests",
                Note(
                    shows="Predictions per second, of all models chosen.",
                    act="a sudden fall is an outage in front of the models: look at the gateway.",
                    runbook=runbooks.NO_DATA,
                ),
                "reqps",
                Query(expr=signals.requests(MANY_MODELS)),
            ),
            house.stat(
                "Alerts known",
                Note(
                    shows="Everything that fires, the deadman's switch too: 0 means that alerting itself is broken.",
                    act="look at the control plane first; no other panel can be trusted to page.",
                    runbook=runbooks.ALERTING,
                ),
                "none",
                Query(expr=promql.count(_any_alert()).or_(promql.vector(0))),
                steps=[(None, looks.BAD), (1, looks.GOOD)],
                states=[State(text="none: alerting is broken", color=looks.BAD, value=0)],
            ),
        ],
    )


def _any_alert() -> Expr:
    return promql.select(upstream.ALERTS, alertstate="firing")


def _firing(severity: str) -> Expr:
    """Alerts of a severity; 0 only while the deadman's switch fires: without it nobody knows."""
    wanted = promql.select(upstream.ALERTS, alertstate="firing", severity=severity)
    return promql.count(wanted).or_(promql.count(_any_alert()) * 0)


def _breached() -> Expr:
    """Objectives without budget; 0 only where objectives are known."""
    left = promql.select(metrics.SLO_BUDGET_REMAINING, model=promql.matches("$models"))
    return promql.count(left < 0).or_(promql.count(left) * 0)


def _worst(house: House) -> object:
    return house.table(
        "Which model is worst off?",
        Note(
            shows=f"A row for each version. Trouble is {PAGE_WEIGHT:g} for each page that fires, 1 for each ticket, "
            "1 for drift, and the share of the error budget that is spent, of the worst objective.",
            act="open the first row's model; its page shows since when, in which signal.",
            runbook=runbooks.ERRORS,
        ),
        _columns(),
        worst="Trouble",
        links=[Link(column="model", title="Model ${__value.text}", url=links.model_of_row(house.platform))],
    )


def _columns() -> list[Column]:
    budget = _spread(
        promql.min_by(promql.select(metrics.SLO_BUDGET_REMAINING, model=promql.matches("$models")), "model")
    )
    return [
        Column(
            name="Trouble",
            query=Query(expr=_trouble()),
            decimals=1,
            steps=[(None, looks.GOOD), (1, looks.WATCH), (PAGE_WEIGHT, looks.BAD)],
        ),
        Column(name="Objectives", query=Query(expr=budget), states=BUDGET),
        Column(name="Budget left", query=Query(expr=budget), unit="percentunit", decimals=1),
        Column(name="Requests", query=Query(expr=_serving()), unit="reqps"),
        Column(
            name="Errors", query=Query(expr=signals.errors(MANY_MODELS, *BY_VERSION)), unit="percentunit", decimals=2
        ),
        Column(
            name="p99",
            query=Query(expr=signals.quantile(metrics.REQUEST_DURATION, 0.99, MANY_MODELS, *BY_VERSION)),
            unit="s",
        ),
        Column(
            name="Accuracy",
            query=Query(expr=signals.accuracy(MANY_MODELS, *BY_VERSION)),
            unit="percentunit",
            decimals=1,
        ),
        Column(
            name="Drift", query=Query(expr=signals.chosen(metrics.DRIFT_DETECTED, MANY_MODELS, *BY_VERSION)), states=YES
        ),
        Column(
            name="Drift votes",
            query=Query(expr=signals.chosen(metrics.DRIFT_VOTES, MANY_MODELS, *BY_VERSION)),
            unit="none",
        ),
        Column(name="Alerts firing", query=Query(expr=_alerts("page|ticket")), unit="none"),
    ]


def _serving() -> Expr:
    return signals.requests(MANY_MODELS, *BY_VERSION)


def _spread(by_model: Expr) -> Expr:
    """A figure of a model, on each of its versions."""
    return promql.on_each(_serving(), by_model, "model")


def _alerts(severity: str) -> Expr:
    """Alerts of a version, and those of its model as a whole; 0 without any."""
    firing = {**MANY_MODELS, "alertstate": "firing", "severity": promql.matches(severity)}
    own = promql.count_by(signals.series(upstream.ALERTS, {**firing, "version": promql.not_equal("")}), *BY_VERSION)
    whole = promql.count_by(signals.series(upstream.ALERTS, {**firing, "version": ""}), "model")
    none = _serving() * 0
    return own.and_(_serving(), on=BY_VERSION).or_(none) + _spread(whole).or_(none)


def _trouble() -> Expr:
    none = _serving() * 0
    left = promql.min_by(promql.select(metrics.SLO_BUDGET_REMAINING, model=promql.matches("$models")), "model")
    spent = _spread(promql.number(1) - promql.clamp(left, -1, 1)).or_(none)
    drifted = signals.chosen(metrics.DRIFT_DETECTED, MANY_MODELS, *BY_VERSION).or_(none)
    return _alerts("page") * PAGE_WEIGHT + _alerts("ticket") + drifted + spent


def _trends(house: House) -> list[Row]:
    return [
        Row(
            panels=[
                house.lines(
                    "Who gets how much traffic?",
                    Note(
                        shows="Requests per second of each model.",
                        act="a model that falls alone has lost its callers or its events; all at once, the gateway.",
                        runbook=runbooks.NO_DATA,
                    ),
                    "reqps",
                    Query(expr=signals.requests(MANY_MODELS, "model"), legend="{{model}}"),
                    stack=True,
                ),
                house.lines(
                    "Whose requests fail?",
                    Note(
                        shows="Share of failed requests, the ten worst versions.",
                        act="open the model's page: one version alone is a release to roll back.",
                        runbook=runbooks.ERRORS,
                    ),
                    "percentunit",
                    Query(
                        expr=promql.topk(10, signals.errors(MANY_MODELS, *BY_VERSION)), legend="{{model}} {{version}}"
                    ),
                ),
            ]
        ),
        Row(
            panels=[
                house.lines(
                    "Who is slow?",
                    Note(
                        shows="Time within which 99% of requests are answered, the ten slowest versions.",
                        act="open the model's page; the heatmap there leads to slow traces.",
                        runbook=runbooks.LATENCY,
                    ),
                    "s",
                    Query(
                        expr=promql.topk(
                            10, signals.quantile(metrics.REQUEST_DURATION, 0.99, MANY_MODELS, *BY_VERSION)
                        ),
                        legend="{{model}} {{version}}",
                    ),
                ),
                house.table(
                    "What fires, and whose is it?",
                    Note(
                        shows="Every alert that fires, with its owner; the deadman's switch always does.",
                        act="pages first; each has a runbook of its name.",
                        runbook=runbooks.ALERTING,
                    ),
                    [
                        Column(
                            name="Firing",
                            unit="none",
                            query=Query(
                                expr=promql.count_by(
                                    promql.select(upstream.ALERTS, alertstate="firing"),
                                    "severity",
                                    "alertname",
                                    "model",
                                    "version",
                                    "slo",
                                    "owner",
                                )
                            ),
                        )
                    ],
                    worst="Firing",
                    links=[
                        Link(column="model", title="Model ${__value.text}", url=links.model_of_row(house.platform)),
                        Link(
                            column="alertname",
                            title="Runbook of ${__value.text}",
                            url=links.runbook_of_row(house.platform),
                        ),
                    ],
                ),
            ]
        ),
    ]
