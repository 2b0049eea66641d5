"""The loop: does a drifted model come back as a better one, in what time, and where does that time go?"""

from __future__ import annotations

from collections.abc import Iterable

from dashboards import annotation, runbooks, style, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import State
from midwatch import grafana, metrics, promql, signals
from midwatch.promql import Expr
from midwatch.signals import MANY_MODELS
from midwatch.spec import loop, loop_drill
from midwatch.spec.model import Model
from midwatch.spec.values import format_duration

DAY = 86400.0

STEP_CODES = {
    "done": 1.0,
    "waiting": 2.0,
    "failed": 3.0,
    "skipped": 4.0,
    "not_seen": 5.0,
    "not_observed": 6.0,
    "ahead": 7.0,
}
STEPS = [
    State(text="● done", color=style.GOOD, value=1),
    State(text="◆ waited for", color=style.WATCH, value=2),
    State(text="▼ failed", color=style.BAD, value=3),
    State(text="▲ left out", color=style.BAD, value=4),
    State(text="◌ not seen", color=style.UNDECIDED, value=5),
    State(text="◌ nobody to ask", color=style.UNDECIDED, value=6),
    State(text="-", color="transparent", value=7),
]
OUTCOME_CODES = {
    "open": 1.0,
    "better": 2.0,
    "no_better": 3.0,
    "worse": 4.0,
    "failed": 5.0,
    "abandoned": 6.0,
    "undecided": 7.0,
}
OUTCOMES = [
    State(text="◆ open", color=style.WATCH, value=1),
    State(text="● better", color=style.GOOD, value=2),
    State(text="▲ no better", color=style.BAD, value=3),
    State(text="▼ worse", color=style.BAD, value=4),
    State(text="▼ failed", color=style.BAD, value=5),
    State(text="▼ abandoned", color=style.BAD, value=6),
    State(text="◌ undecided", color=style.UNDECIDED, value=7),
]
ANSWERS = [State(text="▼ no answer", color=style.BAD, value=0), State(text="● answers", color=style.GOOD, value=1)]
MET_CODES = {"met": 1.0, "inconclusive": 2.0, "breached": 3.0}
MET = [
    State(text="● met", color=style.GOOD, value=1),
    State(text="◌ inconclusive", color=style.UNDECIDED, value=2),
    State(text="▼ breached", color=style.BAD, value=3),
]


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform that follows its loop, none for others."""
    platform = factory.platform
    if platform.loop is None:
        return []
    sections = [
        Section(title="Where does the newest episode stand?", rows=[_newest(factory)]),
        Section(title="Is a better model back in time, and where does the time go?", rows=[_times(factory)]),
        Section(title="Do retrainings help?", rows=[_helped(factory)]),
        Section(title="Is the loop itself watched, and tried?", rows=[_watched(factory)]),
    ]
    return [
        Page(
            name=grafana.Page.LOOP,
            title="Loop",
            order=55,
            description="Episodes of drift: the retraining asked for, each step to a better model, where time goes.",
            variables=[variables.many("models", "Models", metrics.LOOP_EPISODE_OPEN, "model"), variables.window()],
            annotations=annotation.of_models(MANY_MODELS),
            sections=sections,
            since="now-7d",
        )
    ]


# The newest episode --------------------------------------------------------------------------------------------------


def _newest(factory: PanelFactory) -> Row:
    steps = signals.state(metrics.LOOP_STEP_STATE, "state", STEP_CODES, MANY_MODELS, "model", "step")
    outcome = signals.state(
        metrics.LOOP_EPISODE, "outcome", OUTCOME_CODES, MANY_MODELS, "model", "new_version", "cause"
    )
    return Row(
        height=10,
        widths=[12, 6, 6],
        panels=[
            factory.timeline(
                "Which steps were seen?",
                Note(
                    shows="Every step of each model's newest episode, as its owner says. A step that nobody can be "
                    "asked about is never taken for done.",
                    act="a step that is waited for too long: midwatch loop show has its owner's words.",
                    runbook=runbooks.LOOP_STUCK,
                ),
                STEPS,
                Query(expr=steps, legend="{{model}} {{step}}"),
            ),
            factory.timeline(
                "How did it end?",
                Note(
                    shows="Outcome of the newest episode, with what shows it, or the step at which it ended.",
                    act="no better, and drift persists: the drift is in the world. Call the data's owner.",
                    runbook=runbooks.NOT_BETTER,
                ),
                OUTCOMES,
                Query(expr=outcome, legend="{{model}} {{new_version}} {{cause}}"),
            ),
            factory.lines(
                "How long has the next step been waited for?",
                Note(
                    shows="Time since the last step that was seen, by the step that is next.",
                    act="much longer than the same step usually takes: ask its owner.",
                    runbook=runbooks.STEP_OVERDUE,
                ),
                "s",
                Query(
                    expr=signals.age(metrics.LOOP_WAITING, MANY_MODELS, "model", "step"), legend="{{model}} {{step}}"
                ),
            ),
        ],
    )


# Time ----------------------------------------------------------------------------------------------------------------


def _times(factory: PanelFactory) -> Row:
    onset = promql.max_by(signals.series(metrics.LOOP_TIME, {**MANY_MODELS, "time": "T0"}), "model")
    times = signals.gauge(metrics.LOOP_TIME, MANY_MODELS, "model", "time")
    since_onset = times - promql.on_each(times, onset, "model")
    spent = signals.series(metrics.LOOP_PHASE, MANY_MODELS)
    usual = promql.sum_by(signals.series(metrics.LOOP_STEP_DURATION, MANY_MODELS, "_bucket"), "model", "step", "le")
    return Row(
        height=9,
        panels=[
            factory.lines(
                "How long did recovery take?",
                Note(
                    shows="Time from the drift's onset until a better version had all traffic, of the last episode "
                    "that ended so; dashed is what is promised.",
                    act="above the line: the panels beside it say which phase took the time.",
                    runbook=runbooks.RECOVERY_LATE,
                ),
                "s",
                Query(expr=signals.gauge(metrics.LOOP_RECOVERY, MANY_MODELS, "model"), legend="{{model}}"),
                *_promised(loop.followed(factory.platform)),
            ),
            factory.lines(
                "When was each time of the newest episode?",
                Note(
                    shows="T1 detected, T2 asked, T3 run started, T4 trained, T5 registered, T6 canary, T7 all "
                    "traffic, T8 well; each since T0, the drift's onset.",
                    act="the widest gap between two lines is the phase to shorten.",
                    runbook=runbooks.RECOVERY_LATE,
                ),
                "s",
                Query(expr=since_onset, legend="{{model}} {{time}}"),
            ),
            factory.bars(
                "Where did the time of all episodes go?",
                Note(
                    shows="Time that ended episodes spent in each phase: detection, decision, queue, training, "
                    "registration, deployment, canary, proof (windows and labels).",
                    act="the longest bar is where an hour of work saves most.",
                    runbook=runbooks.RECOVERY_LATE,
                ),
                "s",
                {"Spent": Query(expr=promql.sum_by(spent, "phase"))},
                by="phase",
            ),
            factory.lines(
                "How long does each step usually take?",
                Note(
                    shows="Time within which 95% of the episodes came to each step from the one before; twice that is "
                    "overdue, once there were five.",
                    act="a step whose line climbs becomes slower from episode to episode.",
                    runbook=runbooks.STEP_OVERDUE,
                ),
                "s",
                Query(expr=promql.histogram_quantile(0.95, usual), legend="{{model}} {{step}}"),
            ),
        ],
    )


def _promised(models: Iterable[Model]) -> list[Query]:
    """A line for each time that is promised to some of the models."""
    promises = {model.loop.recover_within for model in models if model.loop is not None} - {None}
    return [
        Query(expr=promql.vector(seconds), legend=f"promised {format_duration(seconds)}", promise=True)
        for seconds in sorted(seconds for seconds in promises if seconds is not None)
    ]


# Did it help? --------------------------------------------------------------------------------------------------------


def _helped(factory: PanelFactory) -> Row:
    ended = signals.series(metrics.LOOP_EPISODES, MANY_MODELS)
    better = signals.series(metrics.LOOP_EPISODES, {**MANY_MODELS, "outcome": "better"})
    return Row(
        panels=[
            factory.stat(
                "Which share of episodes ended better?",
                Note(
                    shows="Of all episodes that ended, those with a better version in production.",
                    act="low: the bars beside it say why; a cause that comes back is worth more than a retraining.",
                    runbook=runbooks.NOT_BETTER,
                ),
                "percentunit",
                Query(expr=_share(better, ended), legend="{{model}}"),
            ),
            _causes(factory, ended),
            factory.lines(
                "Is an episode open?",
                Note(
                    shows="1 while an episode of the model is open.",
                    act="open most of the time: the world drifts faster than the loop comes round.",
                    runbook=runbooks.LOOP_STUCK,
                ),
                "none",
                Query(expr=signals.gauge(metrics.LOOP_EPISODE_OPEN, MANY_MODELS, "model"), legend="{{model}}"),
                maximum=1,
            ),
        ]
    )


def _share(better: Expr, ended: Expr) -> Expr:
    """Share by model; 0 where none ended so, nothing where none has ended."""
    total = promql.sum_by(ended, "model")
    return promql.sum_by(better, "model").or_(total * 0, on=("model",)).over(total, on=("model",))


def _causes(factory: PanelFactory, ended: Expr) -> Panel:
    return factory.lines(
        "How did episodes end, and why?",
        Note(
            shows="Episodes that ended, by outcome and by cause: what shows it, or the step that failed or was "
            "missing.",
            act="one cause that leads: mend that before anything else.",
            runbook=runbooks.EPISODE_FAILED,
        ),
        "short",
        Query(expr=promql.sum_by(ended, "outcome", "cause"), legend="{{outcome}}: {{cause}}"),
        stack=True,
    )


# The loop itself -----------------------------------------------------------------------------------------------------


def _watched(factory: PanelFactory) -> Row:
    panels = [
        factory.timeline(
            "Do the owners of steps answer?",
            Note(
                shows="Whether each owner answered when the loop last asked it. Blind is not calm: nothing is assumed.",
                act="no answer: its steps are not seen until it does.",
                runbook=runbooks.LOOP_BLIND,
            ),
            ANSWERS,
            Query(
                expr=promql.min_by(promql.select(metrics.LOOP_SOURCE_UP), "source"),
                legend="{{source}}",
            ),
        ),
        factory.lines(
            "When did it last look?",
            Note(
                shows="Time since the process that leads last looked at every model.",
                act="growing: it hangs, or none leads.",
                runbook=runbooks.LOOP_BEHIND,
            ),
            "s",
            Query(expr=signals.age(metrics.LOOP_LAST_LOOK, {}), legend="last look"),
            Query(expr=promql.sum_by(promql.select(metrics.LOOP_LEADER)), legend="processes that lead"),
        ),
    ]
    if loop_drill.drilled(factory.platform):
        panels += _drills(factory)
    return Row(panels=panels)


def _drills(factory: PanelFactory) -> list[Panel]:
    return [
        factory.timeline(
            "Did the loop's drills meet the promise?",
            Note(
                shows="Verdict of each loop's last drill. Inconclusive proves nothing: it counts as not met.",
                act="midwatch loop drills has the reasons and the evidence.",
                runbook=runbooks.LOOP_DRILL,
            ),
            MET,
            Query(
                expr=signals.verdict(metrics.LOOP_DRILL_VERDICT, MET_CODES, MANY_MODELS, "model"), legend="{{model}}"
            ),
        ),
        factory.lines(
            "How long did a drilled loop take?",
            Note(
                shows="Time from the drill's drift until another version had all traffic; dashed is what is promised.",
                act="climbing from drill to drill: the next real drift will be late.",
                runbook=runbooks.LOOP_DRILL,
            ),
            "s",
            Query(expr=signals.gauge(metrics.LOOP_DRILL_RECOVERY, MANY_MODELS, "model"), legend="{{model}}"),
            *_promised(loop_drill.drilled(factory.platform)),
        ),
        factory.lines(
            "How long ago was the loop proven?",
            Note(
                shows="Days since each loop's drill last met its promise.",
                act="a line that only climbs is a promise nobody has tried: schedule it.",
                runbook=runbooks.LOOP_DRILL,
            ),
            "d",
            Query(expr=signals.age(metrics.LOOP_DRILL_LAST_MET, MANY_MODELS, "model") / DAY, legend="{{model}}"),
            Query(
                expr=signals.age(metrics.LOOP_DRILL_LAST_RUN, MANY_MODELS, "model") / DAY,
                legend="{{model}} last run",
                color=style.UNDECIDED,
            ),
        ),
    ]
