"""Fleet: which model is worst off right now?"""

from __future__ import annotations

from dashboards import annotation, links, runbooks, states, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, PanelFactory
from dashboards.style import Column, DataLink, State
from midwatch import grafana, metrics, promql, signals, traffic
from midwatch.promql import Expr
from midwatch.signals import BY_VERSION, MANY_MODELS, Selection
from midwatch.traffic import Traffic

PAGE_WEIGHT = 10.0
"""What a firing page counts in the order of the table, where a ticket, or a whole budget spent, counts 1."""
DRIFTED = [State(text="● calm", color=style.GOOD, value=0), State(text="▲ drifted", color=style.WATCH, value=1)]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    names = traffic.of_platform(factory.platform).names
    return [
        Page(
            name=grafana.Page.FLEET,
            title="Fleet",
            order=10,
            description="Every model and version on one page, the worst first.",
            variables=[
                variables.many("models", "Models", names, "model"),
                variables.window(),
            ],
            annotations=[*annotation.of_models(MANY_MODELS), annotation.experiments(), annotation.drills()],
            sections=[
                Section(title="Is anything wrong?", rows=[_now(factory), Row(panels=[_worst(factory)], height=12)]),
                Section(title="Since when?", rows=_trends(factory)),
            ],
        )
    ]


def _now(factory: PanelFactory) -> Row:
    asked = traffic.of_platform(factory.platform)
    return Row(
        height=4,
        panels=[
            factory.stat(
                "Pages firing",
                Note(
                    shows="Alerts that wake somebody, of models and of the plane.",
                    act="open the row of the model below, or the control plane for alerts without a model.",
                    runbook=runbooks.ERRORS,
                ),
                "none",
                Query(expr=_firing("page")),
                steps=[(None, style.GOOD), (1, style.BAD)],
                states=[State(text="none", color=style.GOOD, value=0)],
            ),
            factory.stat(
                "Tickets firing",
                Note(
                    shows="Alerts that wait for office hours.",
                    act="nothing tonight; they are listed below with their owners.",
                    runbook=runbooks.NO_DATA,
                ),
                "none",
                Query(expr=_firing("ticket")),
                steps=[(None, style.GOOD), (1, style.WATCH)],
                states=[State(text="none", color=style.GOOD, value=0)],
            ),
            factory.stat(
                "Objectives breached",
                Note(
                    shows="Objectives whose error budget is spent.",
                    act="stop releases of that model, and see the objectives' page for what spent it.",
                    runbook=runbooks.BUDGET,
                ),
                "none",
                Query(expr=_breached()),
                steps=[(None, style.GOOD), (1, style.BAD)],
                states=[State(text="none", color=style.GOOD, value=0)],
            ),
            factory.stat(
                "Versions serving",
                Note(
                    shows="Model versions that answered a request lately.",
                    act="a version that is missing gets no traffic, or its events do not arrive.",
                    runbook=runbooks.NO_DATA,
                ),
                "none",
                Query(expr=promql.count(asked.requests(MANY_MODELS, *BY_VERSION) > 0)),
            ),
            factory.stat(
                "Requests",
                Note(
                    shows="Predictions per second, of all models chosen.",
                    act="a sudden fall is an outage in front of the models: look at the gateway.",
                    runbook=runbooks.NO_DATA,
                ),
                "reqps",
                Query(expr=asked.requests(MANY_MODELS)),
            ),
            factory.stat(
                "Alerts known",
                Note(
                    shows="Everything that fires, the deadman's switch too: 0 means that alerting itself is broken.",
                    act="look at the control plane first; no other panel can be trusted to page.",
                    runbook=runbooks.ALERTING,
                ),
                "none",
                Query(expr=promql.count(signals.firing({})).or_(promql.vector(0))),
                steps=[(None, style.BAD), (1, style.GOOD)],
                states=[State(text="none: alerting is broken", color=style.BAD, value=0)],
            ),
        ],
    )


def _firing(severity: str) -> Expr:
    """Alerts of a severity; 0 only while the deadman's switch fires: without it nobody knows."""
    return promql.count(signals.firing({"severity": severity})).or_(promql.count(signals.firing({})) * 0)


def _breached() -> Expr:
    """Objectives without budget; 0 only where objectives are known."""
    left = signals.series(metrics.SLO_BUDGET_REMAINING, MANY_MODELS)
    return promql.count(left < 0).or_(promql.count(left) * 0)


def _worst(factory: PanelFactory) -> object:
    return factory.table(
        "Which model is worst off?",
        Note(
            shows=f"A row for each version. Trouble is {PAGE_WEIGHT:g} for each page that fires, 1 for each ticket, "
            "1 for drift, and the share of the error budget that is spent, of the worst objective.",
            act="open the first row's model; its page shows since when, in which signal.",
            runbook=runbooks.ERRORS,
        ),
        _columns(traffic.of_platform(factory.platform)),
        worst="Trouble",
        links=[DataLink(column="model", title="Model ${__value.text}", url=links.model_of_row(factory.platform))],
    )


def _columns(asked: Traffic) -> list[Column]:
    budget = _spread(asked, _worst_budget())
    return [
        Column(
            name="Trouble",
            query=Query(expr=_trouble(asked)),
            decimals=1,
            steps=[(None, style.GOOD), (1, style.WATCH), (PAGE_WEIGHT, style.BAD)],
        ),
        Column(name="Objectives", query=Query(expr=budget), states=states.BUDGET),
        Column(name="Budget left", query=Query(expr=budget), unit="percentunit", decimals=1),
        Column(name="Requests", query=Query(expr=_serving(asked)), unit="reqps"),
        Column(name="Errors", query=Query(expr=asked.errors(MANY_MODELS, *BY_VERSION)), unit="percentunit", decimals=2),
        Column(
            name="p99",
            query=Query(expr=asked.quantile(0.99, MANY_MODELS, *BY_VERSION)),
            unit="s",
        ),
        Column(
            name="Accuracy",
            query=Query(expr=signals.accuracy(MANY_MODELS, *BY_VERSION)),
            unit="percentunit",
            decimals=1,
        ),
        Column(
            name="Drift",
            query=Query(expr=signals.gauge(metrics.DRIFT_DETECTED, MANY_MODELS, *BY_VERSION)),
            states=DRIFTED,
        ),
        Column(
            name="Drift votes",
            query=Query(expr=signals.gauge(metrics.DRIFT_VOTES, MANY_MODELS, *BY_VERSION)),
            unit="none",
        ),
        Column(name="Alerts firing", query=Query(expr=_alerts(asked, "page|ticket")), unit="none"),
    ]


def _worst_budget() -> Expr:
    """What is left of the error budget of each model's worst objective."""
    return promql.min_by(signals.series(metrics.SLO_BUDGET_REMAINING, MANY_MODELS), "model")


def _serving(asked: Traffic) -> Expr:
    return asked.requests(MANY_MODELS, *BY_VERSION)


def _spread(asked: Traffic, by_model: Expr) -> Expr:
    """A figure of a model, on each of its versions."""
    return promql.on_each(_serving(asked), by_model, "model")


def _alerts(asked: Traffic, severity: str) -> Expr:
    """Alerts of a version, and those of its model as a whole; 0 without any."""
    these: Selection = {**MANY_MODELS, "severity": promql.matches(severity)}
    own = promql.count_by(signals.firing({**these, "version": promql.not_equal("")}), *BY_VERSION)
    whole = promql.count_by(signals.firing({**these, "version": ""}), "model")
    none = _serving(asked) * 0
    return own.and_(_serving(asked), on=BY_VERSION).or_(none) + _spread(asked, whole).or_(none)


def _trouble(asked: Traffic) -> Expr:
    none = _serving(asked) * 0
    spent = _spread(asked, promql.number(1) - promql.clamp(_worst_budget(), -1, 1)).or_(none)
    drifted = signals.gauge(metrics.DRIFT_DETECTED, MANY_MODELS, *BY_VERSION).or_(none)
    return _alerts(asked, "page") * PAGE_WEIGHT + _alerts(asked, "ticket") + drifted + spent


def _trends(factory: PanelFactory) -> list[Row]:
    asked = traffic.of_platform(factory.platform)
    return [
        Row(
            panels=[
                factory.lines(
                    "Who gets how much traffic?",
                    Note(
                        shows="Requests per second of each model.",
                        act="a model that falls alone has lost its callers or its events; all at once, the gateway.",
                        runbook=runbooks.NO_DATA,
                    ),
                    "reqps",
                    Query(expr=asked.requests(MANY_MODELS, "model"), legend="{{model}}"),
                    stack=True,
                ),
                factory.lines(
                    "Whose requests fail?",
                    Note(
                        shows="Share of failed requests, the ten worst versions.",
                        act="open the model's page: one version alone is a release to roll back.",
                        runbook=runbooks.ERRORS,
                    ),
                    "percentunit",
                    Query(expr=promql.topk(10, asked.errors(MANY_MODELS, *BY_VERSION)), legend="{{model}} {{version}}"),
                ),
            ]
        ),
        Row(
            panels=[
                factory.lines(
                    "Who is slow?",
                    Note(
                        shows="Time within which 99% of requests are answered, the ten slowest versions.",
                        act="open the model's page; the heatmap there leads to slow traces.",
                        runbook=runbooks.LATENCY,
                    ),
                    "s",
                    Query(
                        expr=promql.topk(10, asked.quantile(0.99, MANY_MODELS, *BY_VERSION)),
                        legend="{{model}} {{version}}",
                    ),
                ),
                factory.table(
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
                                    signals.firing({}),
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
                        DataLink(
                            column="model", title="Model ${__value.text}", url=links.model_of_row(factory.platform)
                        ),
                        DataLink(
                            column="alertname",
                            title="Runbook of ${__value.text}",
                            url=links.runbook_of_row(factory.platform),
                        ),
                    ],
                ),
            ]
        ),
    ]
