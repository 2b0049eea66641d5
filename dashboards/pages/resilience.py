"""Chaos and disaster recovery: would we come back, how soon, with how much lost, and when was that last proven?"""

from __future__ import annotations

from dashboards import happenings, looks, runbooks, variables
from dashboards.document import Page
from dashboards.house import House, Note, Panel
from dashboards.layout import Row, Section
from dashboards.looks import State
from dashboards.targets import Query
from midwatch import grafana, metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.signals import Selection

STORES: Selection = {"store": promql.matches("$store")}
DRILLS = ("drill", "store")
DAY = 86400.0

MET = {"met": 1.0, "inconclusive": 2.0, "breached": 3.0}
MET_STATES = [
    State(text="● met", color=looks.GOOD, value=1),
    State(text="◌ inconclusive", color=looks.UNDECIDED, value=2),
    State(text="▼ breached", color=looks.BAD, value=3),
]
HELD = {"held": 1.0, "inconclusive": 2.0, "deviated": 3.0}
HELD_STATES = [
    State(text="● held", color=looks.GOOD, value=1),
    State(text="◌ inconclusive", color=looks.UNDECIDED, value=2),
    State(text="▼ deviated", color=looks.BAD, value=3),
]
STANDBY = [State(text="▼ away", color=looks.BAD, value=0), State(text="● streams", color=looks.GOOD, value=1)]
ANSWERS = [State(text="▼ no answer", color=looks.BAD, value=0), State(text="● answers", color=looks.GOOD, value=1)]
CLEAN = [State(text="▼ a fault stayed", color=looks.BAD, value=0), State(text="● clean", color=looks.GOOD, value=1)]
RUNNING = [State(text="-", color="transparent", value=0), State(text="◆ running", color=looks.WATCH, value=1)]


def build(house: House) -> Page:
    """The page of a platform."""
    return Page(
        page=grafana.Page.RESILIENCE,
        title="Chaos and recovery",
        description="Recovery drills against their objectives, what could be restored now, and chaos experiments.",
        variables=[variables.many("store", "Store", metrics.DR_DRILL_LAST_RUN, "store"), variables.window()],
        happenings=[happenings.drills(), happenings.experiments()],
        sections=[
            Section(title="Would we come back in time?", rows=_drills(house)),
            Section(title="What could be restored right now?", rows=_now(house)),
            Section(title="What did experiments do to the models?", rows=_experiments(house)),
        ],
        since="now-30d",
    )


def objective(kind: str) -> Query:
    """The objective of a kind, rto or rpo, as the platform file has it."""
    expr = signals.chosen(metrics.DR_OBJECTIVE, {"kind": kind})
    return Query(expr=expr, legend=f"{kind.upper()} promised", promise=True)


def _drills(house: House) -> list[Row]:
    return [
        Row(
            panels=[
                house.lines(
                    "How long did recovery take?",
                    Note(
                        shows="Recovery time that each drill measured last, detection included; dashed is the RTO.",
                        act="above the line: the drill's report says whether detection, decision or restore took it.",
                        runbook=runbooks.DRILL,
                    ),
                    "s",
                    Query(
                        expr=signals.chosen(metrics.DR_DRILL_RECOVERY, STORES, *DRILLS), legend="{{drill}} {{store}}"
                    ),
                    objective("rto"),
                ),
                house.lines(
                    "How much was lost?",
                    Note(
                        shows="Time of acknowledged writes that each drill lost last; dashed is the RPO.",
                        act="above the line: replication or the archive is too slow for what is promised.",
                        runbook=runbooks.DRILL,
                    ),
                    "s",
                    Query(
                        expr=signals.chosen(metrics.DR_DRILL_DATA_LOSS, STORES, *DRILLS), legend="{{drill}} {{store}}"
                    ),
                    objective("rpo"),
                ),
                house.timeline(
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
                    house,
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
    house: House,
    title: str,
    shows: str,
    metric: Metric,
    where: Selection,
    by: tuple[str, ...],
    legend: str,
    ran: Metric,
    runbook: str,
) -> Panel:
    return house.lines(
        title,
        Note(
            shows=shows,
            act="a line that only climbs is a promise nobody has tested: schedule it.",
            runbook=runbook,
        ),
        "d",
        Query(expr=signals.age(metric, where, *by) / DAY, legend=legend),
        Query(expr=signals.age(ran, where, *by) / DAY, legend=f"{legend} last run", color=looks.UNDECIDED),
    )


def _now(house: House) -> list[Row]:
    regions = ("store", "region")
    return [
        Row(
            panels=[
                house.lines(
                    "How old is what could be restored?",
                    Note(
                        shows="Age of the newest verified restorable point; dashed is the RPO.",
                        act="above the line a loss now breaks the promise: look at backups and the archive.",
                        runbook=runbooks.RESTORABLE,
                    ),
                    "s",
                    Query(
                        expr=signals.chosen(metrics.DR_RESTORABLE_AGE, STORES, *regions), legend="{{store}} {{region}}"
                    ),
                    objective("rpo"),
                ),
                house.lines(
                    "How far behind are the standbys?",
                    Note(
                        shows="Replication lag; dashed is the RPO.",
                        act="growing: the standby cannot keep up, or the link is down. Do not fail over to it.",
                        runbook=runbooks.RESTORABLE,
                    ),
                    "s",
                    Query(
                        expr=signals.chosen(metrics.DR_REPLICATION_LAG, STORES, *regions), legend="{{store}} {{region}}"
                    ),
                    objective("rpo"),
                ),
                house.timeline(
                    "Is there a standby?",
                    Note(
                        shows="Whether each standby streams.",
                        act="without one a lost primary means a restore: bring it back before anything else.",
                        runbook=runbooks.STANDBY,
                    ),
                    STANDBY,
                    Query(
                        expr=signals.chosen(metrics.DR_STANDBY_CONNECTED, STORES, *regions),
                        legend="{{store}} {{region}}",
                    ),
                ),
                house.timeline(
                    "Do the stores answer?",
                    Note(
                        shows="Whether what each store has could be asked.",
                        act="away: nothing here is known of it; ask it by hand before anything else.",
                        runbook=runbooks.STORE,
                    ),
                    ANSWERS,
                    Query(expr=signals.chosen(metrics.DR_STORE_ANSWERS, STORES, "store"), legend="{{store}}"),
                ),
                house.lines(
                    "When was the last backup?",
                    Note(
                        shows="Age of the last backup that succeeded.",
                        act="older than the schedule: it fails silently; run one by hand and read its log.",
                        runbook=runbooks.BACKUP_AGE,
                    ),
                    "s",
                    Query(expr=signals.age(metrics.DR_BACKUP_SUCCESS, STORES, "store"), legend="{{store}}"),
                ),
                house.lines(
                    "Does the backup look whole?",
                    Note(
                        shows="Size of the last backup, and of the largest that is kept.",
                        act="one that is suddenly small is not a backup: verify it by restoring.",
                        runbook=runbooks.BACKUP_SIZE,
                    ),
                    "decbytes",
                    Query(expr=signals.chosen(metrics.DR_BACKUP_SIZE, STORES, "store"), legend="{{store}}"),
                    Query(expr=signals.chosen(metrics.DR_BACKUP_LARGEST, STORES, "store"), legend="{{store}}, largest"),
                ),
            ],
            widths=[4] * 6,
        )
    ]


def _experiments(house: House) -> list[Row]:
    everything: Selection = {}
    experiment = ("experiment",)
    return [
        Row(
            height=6,
            widths=[24],
            panels=[
                house.timeline(
                    "Which experiment ran when?",
                    Note(
                        shows="Experiments while they run, on the time axis of the signals below.",
                        act="a fault that outlives its bar was not taken back: stop it by hand.",
                        runbook=runbooks.EXPERIMENT,
                    ),
                    RUNNING,
                    Query(expr=signals.chosen(metrics.CHAOS_RUNNING, everything, *experiment), legend="{{experiment}}"),
                )
            ],
        ),
        _signals(house),
        Row(
            panels=[
                house.timeline(
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
                house.timeline(
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
                    house,
                    "How long ago did it hold?",
                    "Days since each experiment's steady state last held.",
                    metrics.CHAOS_LAST_HELD,
                    everything,
                    experiment,
                    "{{experiment}}",
                    metrics.CHAOS_LAST_RUN,
                    runbooks.EXPERIMENT_AGE,
                ),
                house.lines(
                    "How long do experiments take?",
                    Note(
                        shows="Duration of each experiment's last run.",
                        act="longer than before: recovery is slower, though it still held.",
                        runbook=runbooks.EXPERIMENT,
                    ),
                    "s",
                    Query(
                        expr=signals.chosen(metrics.CHAOS_DURATION, everything, *experiment), legend="{{experiment}}"
                    ),
                ),
            ]
        ),
    ]


def _signals(house: House) -> Row:
    """Golden signals of all models, under the experiments."""
    return Row(
        panels=[
            house.lines(
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
            house.lines(
                "Did requests fail?",
                Note(
                    shows="Share of failed requests of each model.",
                    act="errors after the experiment's end: its fault is still there.",
                    runbook=runbooks.ERRORS,
                ),
                "percentunit",
                Query(expr=signals.errors({}, "model"), legend="{{model}}"),
            ),
            house.lines(
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
