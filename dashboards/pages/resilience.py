"""Chaos and disaster recovery: would we come back, how soon, with how much lost, and when was that last proven?"""

from __future__ import annotations

from dashboards import annotation, runbooks, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import State
from midwatch import grafana, metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.signals import Selection

STORES: Selection = {"store": promql.matches("$store")}
DRILLS = ("drill", "store")
DAY = 86400.0

MET = {"met": 1.0, "inconclusive": 2.0, "breached": 3.0}
MET_STATES = [
    State(text="● met", color=style.GOOD, value=1),
    State(text="◌ inconclusive", color=style.UNDECIDED, value=2),
    State(text="▼ breached", color=style.BAD, value=3),
]
HELD = {"held": 1.0, "inconclusive": 2.0, "deviated": 3.0}
HELD_STATES = [
    State(text="● held", color=style.GOOD, value=1),
    State(text="◌ inconclusive", color=style.UNDECIDED, value=2),
    State(text="▼ deviated", color=style.BAD, value=3),
]
STANDBY = [State(text="▼ away", color=style.BAD, value=0), State(text="● streams", color=style.GOOD, value=1)]
ANSWERS = [State(text="▼ no answer", color=style.BAD, value=0), State(text="● answers", color=style.GOOD, value=1)]
CLEAN = [State(text="▼ a fault stayed", color=style.BAD, value=0), State(text="● clean", color=style.GOOD, value=1)]
RUNNING = [State(text="-", color="transparent", value=0), State(text="◆ running", color=style.WATCH, value=1)]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    return [
        Page(
            name=grafana.Page.RESILIENCE,
            title="Chaos and recovery",
            order=60,
            description="Recovery drills against their objectives, what could be restored now, and chaos experiments.",
            variables=[variables.many("store", "Store", metrics.DR_DRILL_LAST_RUN, "store"), variables.window()],
            annotations=[annotation.drills(), annotation.experiments()],
            sections=[
                Section(title="Would we come back in time?", rows=_drills(factory)),
                Section(title="What could be restored right now?", rows=_now(factory)),
                Section(title="What did experiments do to the models?", rows=_experiments(factory)),
            ],
            since="now-30d",
        )
    ]


def objective(kind: str) -> Query:
    """The objective of a kind, rto or rpo, as the platform file has it."""
    expr = signals.gauge(metrics.DR_OBJECTIVE, {"kind": kind})
    return Query(expr=expr, legend=f"{kind.upper()} promised", promise=True)


def _drills(factory: PanelFactory) -> list[Row]:
    return [
        Row(
            panels=[
                factory.lines(
                    "How long did recovery take?",
                    Note(
                        shows="Recovery time that each drill measured last, detection included; dashed is the RTO.",
                        act="above the line: the drill's report says whether detection, decision or restore took it.",
                        runbook=runbooks.DRILL,
                    ),
                    "s",
                    Query(expr=signals.gauge(metrics.DR_DRILL_RECOVERY, STORES, *DRILLS), legend="{{drill}} {{store}}"),
                    objective("rto"),
                ),
                factory.lines(
                    "How much was lost?",
                    Note(
                        shows="Time of acknowledged writes that each drill lost last; dashed is the RPO.",
                        act="above the line: replication or the archive is too slow for what is promised.",
                        runbook=runbooks.DRILL,
                    ),
                    "s",
                    Query(
                        expr=signals.gauge(metrics.DR_DRILL_DATA_LOSS, STORES, *DRILLS), legend="{{drill}} {{store}}"
                    ),
                    objective("rpo"),
                ),
                factory.timeline(
                    "Were the objectives met?",
                    Note(
                        shows="Verdict of each drill's last run. Inconclusive proves nothing: it counts as not met.",
                        act="run the drill again in office hours, and read its report.",
                        runbook=runbooks.DRILL,
                    ),
                    MET_STATES,
                    Query(
                        expr=signals.verdict(metrics.DR_DRILL_VERDICT, MET, STORES, *DRILLS),
                        legend="{{drill}} {{store}}",
                    ),
                ),
                _days(
                    factory,
                    "How long ago was it proven?",
                    "Days since each drill last met its objectives.",
                    metrics.DR_DRILL_LAST_MET,
                    STORES,
                    DRILLS,
                    "{{drill}} {{store}}",
                    metrics.DR_DRILL_LAST_RUN,
                    runbooks.DRILL_AGE,
                ),
            ]
        )
    ]


def _days(
    factory: PanelFactory,
    title: str,
    shows: str,
    metric: Metric,
    where: Selection,
    by: tuple[str, ...],
    legend: str,
    ran: Metric,
    runbook: str,
) -> Panel:
    return factory.lines(
        title,
        Note(
            shows=shows,
            act="a line that only climbs is a promise nobody has tested: schedule it.",
            runbook=runbook,
        ),
        "d",
        Query(expr=signals.age(metric, where, *by) / DAY, legend=legend),
        Query(expr=signals.age(ran, where, *by) / DAY, legend=f"{legend} last run", color=style.UNDECIDED),
    )


def _now(factory: PanelFactory) -> list[Row]:
    regions = ("store", "region")
    return [
        Row(
            panels=[
                factory.lines(
                    "How old is what could be restored?",
                    Note(
                        shows="Age of the newest verified restorable point; dashed is the RPO.",
                        act="above the line a loss now breaks the promise: look at backups and the archive.",
                        runbook=runbooks.RESTORABLE,
                    ),
                    "s",
                    Query(
                        expr=signals.gauge(metrics.DR_RESTORABLE_AGE, STORES, *regions), legend="{{store}} {{region}}"
                    ),
                    objective("rpo"),
                ),
                factory.lines(
                    "How far behind are the standbys?",
                    Note(
                        shows="Replication lag; dashed is the RPO.",
                        act="growing: the standby cannot keep up, or the link is down. Do not fail over to it.",
                        runbook=runbooks.RESTORABLE,
                    ),
                    "s",
                    Query(
                        expr=signals.gauge(metrics.DR_REPLICATION_LAG, STORES, *regions), legend="{{store}} {{region}}"
                    ),
                    objective("rpo"),
                ),
                factory.timeline(
                    "Is there a standby?",
                    Note(
                        shows="Whether each standby streams.",
                        act="without one a lost primary means a restore: bring it back before anything else.",
                        runbook=runbooks.STANDBY,
                    ),
                    STANDBY,
                    Query(
                        expr=signals.gauge(metrics.DR_STANDBY_CONNECTED, STORES, *regions),
                        legend="{{store}} {{region}}",
                    ),
                ),
                factory.timeline(
                    "Do the stores answer?",
                    Note(
                        shows="Whether what each store has could be asked.",
                        act="away: nothing here is known of it; ask it by hand before anything else.",
                        runbook=runbooks.STORE,
                    ),
                    ANSWERS,
                    Query(expr=signals.gauge(metrics.DR_STORE_ANSWERS, STORES, "store"), legend="{{store}}"),
                ),
                factory.lines(
                    "When was the last backup?",
                    Note(
                        shows="Age of the last backup that succeeded.",
                        act="older than the schedule: it fails silently; run one by hand and read its log.",
                        runbook=runbooks.BACKUP_AGE,
                    ),
                    "s",
                    Query(expr=signals.age(metrics.DR_BACKUP_SUCCESS, STORES, "store"), legend="{{store}}"),
                ),
                factory.lines(
                    "Does the backup look whole?",
                    Note(
                        shows="Size of the last backup, and of the largest that is kept.",
                        act="one that is suddenly small is not a backup: verify it by restoring.",
                        runbook=runbooks.BACKUP_SIZE,
                    ),
                    "decbytes",
                    Query(expr=signals.gauge(metrics.DR_BACKUP_SIZE, STORES, "store"), legend="{{store}}"),
                    Query(expr=signals.gauge(metrics.DR_BACKUP_LARGEST, STORES, "store"), legend="{{store}}, largest"),
                ),
            ],
            widths=[4] * 6,
        )
    ]


def _experiments(factory: PanelFactory) -> list[Row]:
    everything: Selection = {}
    experiment = ("experiment",)
    return [
        Row(
            height=6,
            widths=[24],
            panels=[
                factory.timeline(
                    "Which experiment ran when?",
                    Note(
                        shows="Experiments while they run, on the time axis of the signals below.",
                        act="a fault that outlives its bar was not taken back: stop it by hand.",
                        runbook=runbooks.EXPERIMENT,
                    ),
                    RUNNING,
                    Query(expr=signals.gauge(metrics.CHAOS_RUNNING, everything, *experiment), legend="{{experiment}}"),
                )
            ],
        ),
        _signals(factory),
        Row(
            panels=[
                factory.timeline(
                    "Did the steady state hold?",
                    Note(
                        shows="Verdict of each experiment's last run. Inconclusive proves nothing: the fault did not "
                        "happen, or could not be seen.",
                        act="deviated is a finding: its report names the probe that failed.",
                        runbook=runbooks.EXPERIMENT,
                    ),
                    HELD_STATES,
                    Query(
                        expr=signals.verdict(metrics.CHAOS_VERDICT, HELD, everything, *experiment),
                        legend="{{experiment}}",
                    ),
                ),
                factory.timeline(
                    "Was every fault taken back?",
                    Note(
                        shows="Whether anything of each experiment's last run stayed: a fault, or a process.",
                        act="what stayed is named in its report; take it back by hand, now.",
                        runbook=runbooks.FAULT_LEFT,
                    ),
                    CLEAN,
                    Query(expr=promql.min_by(promql.select(metrics.CHAOS_CLEAN), *experiment), legend="{{experiment}}"),
                ),
                _days(
                    factory,
                    "How long ago did it hold?",
                    "Days since each experiment's steady state last held.",
                    metrics.CHAOS_LAST_HELD,
                    everything,
                    experiment,
                    "{{experiment}}",
                    metrics.CHAOS_LAST_RUN,
                    runbooks.EXPERIMENT_AGE,
                ),
                factory.lines(
                    "How long do experiments take?",
                    Note(
                        shows="Duration of each experiment's last run.",
                        act="longer than before: recovery is slower, though it still held.",
                        runbook=runbooks.EXPERIMENT,
                    ),
                    "s",
                    Query(expr=signals.gauge(metrics.CHAOS_DURATION, everything, *experiment), legend="{{experiment}}"),
                ),
            ]
        ),
    ]


def _signals(factory: PanelFactory) -> Row:
    """Golden signals of all models, under the experiments."""
    return Row(
        panels=[
            factory.lines(
                "Did traffic go on?",
                Note(
                    shows="Requests per second of each model.",
                    act="a fall under an experiment that was to change nothing is its finding.",
                    runbook=runbooks.NO_DATA,
                ),
                "reqps",
                Query(expr=signals.requests({}, "model"), legend="{{model}}"),
                stack=True,
            ),
            factory.lines(
                "Did requests fail?",
                Note(
                    shows="Share of failed requests of each model.",
                    act="errors after the experiment's end: its fault is still there.",
                    runbook=runbooks.ERRORS,
                ),
                "percentunit",
                Query(expr=signals.errors({}, "model"), legend="{{model}}"),
            ),
            factory.lines(
                "Did they become slow?",
                Note(
                    shows="Time within which 99% of requests are answered, by model.",
                    act="slow for a while is what a fail-over costs; compare with the objective.",
                    runbook=runbooks.LATENCY,
                ),
                "s",
                Query(expr=signals.quantile(metrics.REQUEST_DURATION, 0.99, {}, "model"), legend="{{model}}"),
            ),
        ]
    )
