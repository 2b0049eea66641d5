"""An objective: what is promised, what is left of its budget, how fast it is spent, and since when."""

from __future__ import annotations

from collections.abc import Iterator

from midwatch import grafana, metrics, promql
from midwatch.app.console import drawing, page
from midwatch.app.console.page import Context, NoPageError, Page
from midwatch.app.console.pages.overview import STANDINGS
from midwatch.app.console.state import Snapshot
from midwatch.app.status.ask import Question
from midwatch.app.status.records import Objective, Standing
from midwatch.html import About, numbers
from midwatch.html.charts import Rule

QUICK, SLOW = "1h", "6h"
"""Burn rates that are drawn: the windows that page (Workbook, chapter 5)."""
QUICK_PAGE, SLOW_PAGE = 14.4, 6.0
"""Burn rates that page over them, in a period of 30 days."""


def build(context: Context, *, subject: str, slo: str) -> Page:
    """The page of an objective; NoPageError for one that nobody promised."""
    overview = context.snapshot.overview
    found = [one for each in overview.subjects if each.name == subject for one in each.objectives if one.name == slo]
    if not found:
        raise NoPageError(f"{subject} has no objective {slo!r}, or Prometheus has not answered yet")
    worst = min(found, key=lambda one: (list(Standing).index(one.standing), one.budget_left or 0.0))
    where = {"model": subject, "slo": slo}

    left, quick, slow, error = context.asked.ask(
        *(
            drawing.over_time(context, promql.max_by(promql.select(metric, **where), "version"))
            for metric in (
                metrics.SLO_BUDGET_REMAINING,
                metrics.SLO_BURN_RATES[QUICK],
                metrics.SLO_BURN_RATES[SLOW],
                metrics.SLO_PERIOD_ERROR,
            )
        )
    )
    name = drawing.by_label("version")
    budget = [Rule(name="allowed", at=1 - worst.objective)] if worst.objective is not None else []
    figures = [
        drawing.chart(context, "Error budget left", left, unit="ratio", name=name, rules=[Rule(name="spent", at=0.0)]),
        drawing.chart(
            context, f"Burn rate of the last {QUICK}", quick, name=name, rules=_burning(QUICK_PAGE), note=_EXPLAINED
        ),
        drawing.chart(context, f"Burn rate of the last {SLOW}", slow, name=name, rules=_burning(SLOW_PAGE)),
        drawing.chart(context, "Bad events of the period", error, unit="ratio", name=name, rules=budget),
    ]
    return Page(
        template="objective.html",
        area="models",
        about=About(
            title=f"{subject}: {slo}",
            verdict=_verdict(worst.standing, context.snapshot),
            meaning=f"{page.as_of(context.snapshot)}{_meaning(worst)}"
            if context.snapshot.knows(Question.OBJECTIVES)
            else NOT_KNOWN,
            model=subject,
            platform=overview.platform,
            owner=worst.owner,
            dates=f"period {worst.period}",
        ),
        values={
            "found": found,
            "standings": STANDINGS,
            "charts": figures,
            "choices": page.choices(context, ["objectives", subject, slo]),
            "firing": [
                one
                for one in overview.alerts
                if one.labels.get("model") == subject and one.labels.get("slo", slo) == slo
            ],
            "dashboard": grafana.dashboard_url(context.platform, grafana.Page.OBJECTIVES, model=subject),
            "is_model": any(model.name == subject for model in context.platform.models),
            "subject": subject,
        },
    )


NOT_KNOWN = "Not known: Prometheus does not answer."
_EXPLAINED = "1 spends the budget just by the end of the period; the dashed line pages"


def _burning(rate: float) -> list[Rule]:
    return [Rule(name="pages, in a period of 30 days", at=rate)]


def _verdict(standing: Standing, snapshot: Snapshot) -> str:
    """Class of a standing; what was kept when Prometheus answered last need not be now."""
    return "unsure" if snapshot.stale_since and standing is Standing.KEPT else STANDINGS[standing]


def _meaning(one: Objective) -> str:
    told = "; ".join(_parts(one))
    return told if told.endswith("?") else f"{told}."


def _parts(one: Objective) -> Iterator[str]:
    if one.objective is not None:
        yield f"{numbers.number(one.objective, 'ratio')} of events are promised to be good"
    if one.standing is Standing.UNKNOWN:
        yield "Prometheus has no record of it: are its rules loaded?"
    elif one.standing is Standing.NO_DATA:
        yield "there was nothing to count in this period"
    elif one.standing is Standing.BROKEN:
        yield "groups are shown to be treated unlike; midwatch fairness judge names them"
    elif one.standing is Standing.UNDECIDED:
        yield "what was seen does not decide it yet; midwatch fairness judge says what is missing"
    elif one.budget_left is not None and one.budget_left < 0:
        yield f"the error budget is overspent by {numbers.number(-one.budget_left, 'ratio')} of it"
    elif one.budget_left is not None:
        yield f"{numbers.number(one.budget_left, 'ratio')} of the error budget is left"
    if one.exhausted_in is not None and one.standing is Standing.BURNING:
        yield f"at the rate of the last hour it is spent in {numbers.span(one.exhausted_in)}"
