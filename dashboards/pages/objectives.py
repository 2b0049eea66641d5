"""Objectives: how much of the error budget is left, how quickly does it go, and when was it spent?"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from dashboards import annotation, runbooks, states, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import Column, State
from midwatch import grafana, metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.signals import THIS_MODEL, Selection
from midwatch.spec.slo import Slo

STATES = [State(text=state.text, color=state.color, value=float(number)) for number, state in enumerate(states.BUDGET)]
"""The states of a budget as numbers, for a timeline."""

THESE: Selection = {"model": "$model", "slo": promql.matches("$slo")}
BY = ("slo", "version")


@dataclass(frozen=True, kw_only=True)
class Burning:
    """A pair of windows whose burn rates alert together.

    `tier` is the platform file's name of it, `budget` the share of the period's budget that is too much to spend within
    the long window, unless an objective says otherwise.
    """

    title: str
    tier: str
    short: str
    long: str
    seconds: float
    budget: Decimal

    @property
    def severity(self) -> str:
        """Whether it pages or is a ticket."""
        return self.tier.partition("_")[0]

    def factor(self, slo: Slo) -> Decimal | None:
        """Burn rate at which an objective alerts by these windows: share x period / window; None when it does not.

        A period below four weeks has other windows, whose burn rates are not recorded.
        """
        given = getattr(slo.burn_rate, self.tier)
        if given is False or (given is True and slo.period_seconds < FOUR_WEEKS):
            return None
        if given is not True and given.over != self.seconds:
            return None
        budget = self.budget if given is True else given.budget
        return Decimal(budget * Decimal(slo.period_seconds) / Decimal(self.seconds))


BURNING = (
    Burning(
        title="Will it wake somebody?", tier="page_quick", short="5m", long="1h", seconds=3600.0, budget=Decimal("0.02")
    ),
    Burning(
        title="Is it a slow fire?", tier="page_slow", short="30m", long="6h", seconds=21600.0, budget=Decimal("0.05")
    ),
    Burning(
        title="Is today a bad day?", tier="ticket_quick", short="2h", long="1d", seconds=86400.0, budget=Decimal("0.1")
    ),
    Burning(
        title="Has it been bad for days?",
        tier="ticket_slow",
        short="6h",
        long="3d",
        seconds=259200.0,
        budget=Decimal("0.1"),
    ),
)
"""Google, The Site Reliability Workbook (2018), chapter 5, table 5-8: 2%, 5% and 10% of the budget."""

FOUR_WEEKS = 28 * 86400.0


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    return [
        Page(
            name=grafana.Page.OBJECTIVES,
            title="Objectives",
            order=30,
            description="Error budgets of a model: what is left, how quickly it goes, when it was spent.",
            variables=[
                variables.one("model", "Model", metrics.SLO_OBJECTIVE, "model"),
                variables.many("slo", "Objective", metrics.SLO_OBJECTIVE, "slo", model="$model"),
                variables.window(),
            ],
            annotations=[*annotation.of_models(THIS_MODEL), annotation.experiments()],
            sections=[
                Section(title="How much is left?", rows=_left(factory)),
                Section(title="How quickly does it go?", rows=_burning(factory)),
                Section(title="When was it bad?", rows=_history(factory)),
            ],
            since="now-1d",
        )
    ]


def _gauge(metric: Metric) -> Expr:
    return signals.gauge(metric, THESE, *BY)


def _left(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            height=7,
            panels=[
                factory.table(
                    "Which promise is kept worst?",
                    Note(
                        shows="A row for each objective: what was promised, what was delivered over its period, what "
                        "is left of its budget, how quickly it goes, and which share of its events came while nobody "
                        "scraped: they are counted, when they came is not known.",
                        act="below 0 the promise of this period is broken: stop releases, spend time on reliability.",
                        runbook=runbooks.BUDGET,
                    ),
                    [
                        Column(
                            name="Spent",
                            unit="percentunit",
                            decimals=1,
                            query=Query(expr=promql.number(1) - _gauge(metrics.SLO_BUDGET_REMAINING)),
                        ),
                        Column(
                            name="State", query=Query(expr=_gauge(metrics.SLO_BUDGET_REMAINING)), states=states.BUDGET
                        ),
                        Column(
                            name="Promised",
                            unit="percentunit",
                            decimals=3,
                            query=Query(expr=_gauge(metrics.SLO_OBJECTIVE)),
                        ),
                        Column(
                            name="Delivered",
                            unit="percentunit",
                            decimals=3,
                            query=Query(expr=promql.number(1) - _gauge(metrics.SLO_PERIOD_ERROR)),
                        ),
                        Column(name="Burn rate 1h", decimals=2, query=Query(expr=_gauge(metrics.SLO_BURN_RATES["1h"]))),
                        Column(
                            name="Gone in", unit="dtdurations", query=Query(expr=_gauge(metrics.SLO_TIME_TO_EXHAUSTION))
                        ),
                        Column(
                            name="Unseen",
                            unit="percentunit",
                            decimals=1,
                            query=Query(expr=_gauge(metrics.SLO_PERIOD_BRIDGED)),
                        ),
                    ],
                    worst="Spent",
                ),
            ],
        ),
        Row(
            widths=[16, 8],
            panels=[
                factory.lines(
                    "How much of the budget is left?",
                    Note(
                        shows="Share of the period's error budget that is left; below 0 the promise is broken.",
                        act="a step is an incident, a slope is a regression: find the annotation where it began.",
                        runbook=runbooks.BUDGET,
                    ),
                    "percentunit",
                    Query(expr=_gauge(metrics.SLO_BUDGET_REMAINING), legend="{{slo}} {{version}}"),
                    Query(expr=promql.vector(0), legend="promise broken", promise=True),
                    minimum=None,
                    maximum=1,
                ),
                factory.lines(
                    "When will it be gone?",
                    Note(
                        shows="Time until the budget is spent if the last hour goes on; no line: it would last.",
                        act="less than a night: act now. Less than the period: plan for it this week.",
                        runbook=runbooks.BUDGET,
                    ),
                    "dtdurations",
                    Query(expr=_gauge(metrics.SLO_TIME_TO_EXHAUSTION), legend="{{slo}} {{version}}"),
                ),
            ],
        ),
    ]


def _burning(factory: PanelFactory) -> list[Row]:
    panels = [_burn(factory, pair) for pair in BURNING]
    return [Row(panels=panels[:2]), Row(panels=panels[2:])]


def _burn(factory: PanelFactory, pair: Burning) -> Panel:
    """Burn rates of a pair of windows, and the rate at which the objectives of the platform alert by them."""
    slos = [slo for model in factory.platform.models for slo in model.slos]
    factors: dict[Decimal, set[str]] = {}
    for slo in slos:
        factor = pair.factor(slo)
        if factor is not None:
            factors.setdefault(factor, set()).add(slo.name)
    return factory.lines(
        pair.title,
        Note(
            shows=f"Burn rate over {pair.short} and {pair.long}: 1 spends the budget in exactly its period. Dashed: "
            f"where both make a {pair.severity}. No dashed line: the objective alerts by other windows, or not at all.",
            act="only the short one above the line has just begun, only the long one is over; find the annotation.",
            runbook=runbooks.BUDGET,
        ),
        "none",
        Query(expr=_gauge(metrics.SLO_BURN_RATES[pair.short]), legend=f"{{{{slo}}}} {{{{version}}}} {pair.short}"),
        Query(expr=_gauge(metrics.SLO_BURN_RATES[pair.long]), legend=f"{{{{slo}}}} {{{{version}}}} {pair.long}"),
        *(
            Query(expr=_limit(factors[factor], factor), legend=f"{pair.severity}: {{{{slo}}}}", promise=True)
            for factor in sorted(factors)
        ),
    )


def _limit(names: set[str], factor: Decimal) -> Expr:
    """The burn rate that alerts: the factor, or half way to everything being bad where that comes first.

    An objective of 75% cannot burn 14.4 times too fast: all events bad is 4 times. The rules have the same bound.
    """
    where: Selection = {"model": "$model", "slo": promql.matches("|".join(sorted(names)))}
    promised = signals.gauge(metrics.SLO_OBJECTIVE, where, "slo")
    everything = promql.number(1) / (promql.number(1) - promised)
    return promql.clamp((everything + 1) / 2, 0, factor)


def _state(left: Expr) -> Expr:
    """0 for a budget that is spent, 1 for one at risk, 2 for one that is met: equal states become one bar."""
    return promql.at_least(left, 0) + promql.at_least(left, states.AT_RISK)


def _history(factory: PanelFactory) -> list[Row]:
    firing = signals.firing({**THIS_MODEL, "severity": promql.matches("page|ticket")})
    alerts = promql.count_by(firing, "alertname", "slo", "severity")
    return [
        Row(
            height=7,
            panels=[
                factory.timeline(
                    "When was a promise broken?",
                    Note(
                        shows=f"State of each budget: at risk below {states.AT_RISK:.0%}, breached at 0.",
                        act="the text in the bar says the state; compare its start with deployments.",
                        runbook=runbooks.BUDGET,
                    ),
                    STATES,
                    Query(expr=_state(_gauge(metrics.SLO_BUDGET_REMAINING)), legend="{{slo}} {{version}}"),
                ),
                factory.timeline(
                    "What fired, and for how long?",
                    Note(
                        shows="Alerts of this model while they fire.",
                        act="the same alert again and again is a cause that was not removed.",
                        runbook=runbooks.BUDGET,
                    ),
                    [State(text="none", color=style.GOOD, value=0), State(text="▲ firing", color=style.BAD, low=1)],
                    Query(
                        expr=alerts.or_(
                            promql.set_label(promql.count(signals.firing({})) * 0, "alertname", "any alert")
                        ),
                        legend="{{alertname}} {{slo}} {{severity}}",
                    ),
                ),
            ],
        )
    ]
