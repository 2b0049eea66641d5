"""Recovery and experiments: how each drill ended last, whether it is due, and what its evidence says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from midwatch import grafana, metrics, promql
from midwatch.app.console import drawing
from midwatch.app.console.page import Context, Page
from midwatch.app.status.records import Drill
from midwatch.errors import MidwatchError
from midwatch.html import About, numbers
from midwatch.html.charts import Rule

MET, BREACHED = "MET", "BREACHED"
NOTHING_PROMISED = "The platform file promises no recovery."
MOST_DRILLS = 10
"""Drills whose phases are shown; `midwatch dr report` has all of them."""


def build_recovery(context: Context) -> Page:
    """The page of recovery: posture of the stores, drills, phases of the last ones."""
    overview = context.snapshot.overview
    settings = context.platform.disaster_recovery
    drills = [one for one in overview.drills if one.kind == "recovery"]
    knows = context.snapshot.knows_drills
    phases, why = _phases(context)
    lag, age, recovery = context.asked.ask(
        drawing.over_time(context, promql.max_by(promql.select(metrics.DR_REPLICATION_LAG), "store")),
        drawing.over_time(context, promql.max_by(promql.select(metrics.DR_RESTORABLE_AGE), "store")),
        drawing.over_time(context, promql.max_by(promql.select(metrics.DR_DRILL_RECOVERY), "drill")),
    )
    promised = settings is not None
    rpo = [Rule(name="promised RPO", at=settings.rpo)] if settings else []
    rto = [Rule(name="promised RTO", at=settings.rto)] if settings and settings.rto else []
    store, drill = drawing.by_label("store"), drawing.by_label("drill")
    return Page(
        template="recovery.html",
        area="recovery",
        about=About(
            title="Recovery",
            verdict=_verdict(drills) if promised else "",
            meaning=_meaning(drills, knows=knows) if promised else NOTHING_PROMISED,
            platform=overview.platform,
            owner=settings.owner if settings else "",
            more=[("RTO", numbers.span(settings.rto)), ("RPO", numbers.span(settings.rpo))] if settings else [],
        ),
        values={
            "drills": drills,
            "phases": phases,
            "why_no_phases": why,
            "charts": [
                drawing.chart(context, "Replication lag", lag, unit="seconds", name=store, rules=rpo),
                drawing.chart(context, "Age of what could be restored", age, unit="seconds", name=store, rules=rpo),
                drawing.chart(
                    context, "Recovery that drills measured", recovery, unit="seconds", name=drill, rules=rto
                ),
            ]
            if promised
            else [],
            "dashboard": grafana.dashboard_url(context.platform, grafana.Page.RESILIENCE),
        },
    )


def build_experiments(context: Context) -> Page:
    """The page of experiments: how each ended last, and when."""
    overview = context.snapshot.overview
    experiments = [one for one in overview.drills if one.kind == "experiment"]
    written = {one.name: one for one in context.platform.chaos.experiments} if context.platform.chaos else {}
    running = [one.name for one in experiments if one.is_running]
    return Page(
        template="experiments.html",
        area="experiments",
        about=About(
            title="Experiments",
            meaning=_of_running(running, knows=context.snapshot.knows_drills),
            platform=overview.platform,
        ),
        values={"experiments": experiments, "written": written},
    )


def _of_running(running: Sequence[str], *, knows: bool) -> str:
    if running:
        return f"Running now: {', '.join(running)}{'' if knows else ', when Prometheus answered last'}."
    if not knows:
        return "Whether one runs now is not known: Prometheus does not say."
    return "None runs now, as far as Prometheus says."


def _verdict(drills: Sequence[Drill]) -> str:
    """Bad where a result is too old or a promise was not kept; unsure where nothing recent is proven."""
    if any(one.is_overdue or one.verdict == BREACHED for one in drills):
        return "bad"
    return "" if drills and all(one.verdict == MET and one.is_overdue is False for one in drills) else "unsure"


def _meaning(drills: Sequence[Drill], *, knows: bool) -> str:
    if not drills:
        why = "No drill has a result that Prometheus knows" if knows else "Prometheus does not say how drills ended"
        return f"{why}: nothing is proven."
    told = [
        (sum(bool(one.is_overdue) for one in drills), "overdue, so that what it proved is too old"),
        (sum(one.verdict == BREACHED for one in drills), "did not keep what is promised"),
        (sum(one.verdict not in (BREACHED, MET, "") for one in drills), "proved nothing"),
        (sum(not one.verdict for one in drills), "never ran, as far as Prometheus knows"),
    ]
    parts = [f"{count} {words}" for count, words in told if count] or ["none overdue, each met what is promised"]
    return f"{len(drills)} drill{'s' * (len(drills) != 1)}: {'; '.join(parts)}."


def _phases(context: Context) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The last drills with their phases from the evidence; and why there are none."""
    from dr import drill_log

    if context.platform.disaster_recovery is None:
        return [], ""
    try:
        log = drill_log.DrillLog.of(context.platform, context.file)
        results = log.results()
    except MidwatchError as error:
        return [], str(error).partition("\n")[0]
    newest = sorted(results, key=lambda one: str(one.get("at", "")), reverse=True)[:MOST_DRILLS]
    return newest, "" if newest else f"{log.folder}: no drill has left evidence there"
