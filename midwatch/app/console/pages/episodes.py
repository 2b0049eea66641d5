"""Episodes of the loop, from drift to a better model: where each stands, its steps, who saw them, and how it ended.

The newest of each model is as Prometheus has it; earlier ones, and who said so of each step, are in the loop's log of
evidence, where that is among the folders that the console looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from midwatch import grafana, metrics, promql
from midwatch.app.console import drawing
from midwatch.app.console.page import Context, NoPageError, Page
from midwatch.app.console.pages import evidence
from midwatch.errors import MidwatchError
from midwatch.html import About, numbers
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.spec import loop as spec
from monitors.loop import episode_log
from monitors.loop.episode import PHASES, TIMES, Episode, Outcome, State, Step

if TYPE_CHECKING:
    from midwatch.spec.model import Model

MOST_EPISODES = 50
"""Episodes of the list; `midwatch loop episodes` has all of them."""
LATE_LOOKS = 4
"""A loop that has not looked for so many of its intervals is said not to look."""
OPEN = Outcome.OPEN.value
OUTCOMES = {
    Outcome.BETTER.value: "good",
    Outcome.WORSE.value: "bad",
    Outcome.FAILED.value: "bad",
    Outcome.ABANDONED.value: "bad",
}
"""Class of each outcome; of the others nobody knows, or not yet."""
STATES = {
    State.DONE.value: "good",
    State.FAILED.value: "bad",
    State.WAITING.value: "unsure",
    State.NOT_SEEN.value: "unsure",
}
"""Class of each state of a step; the others say nothing good or bad."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A step as the page shows it: `after` is seconds since the onset; `source`, `id` and `said` are its owner's."""

    step: str
    state: str
    verdict: str
    at: datetime | None
    after: float | None
    source: str = ""
    id: str = ""
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An episode as the page shows it. `origin` is who has it: Prometheus, or the path of a log."""

    id: str
    model: str
    version: str
    new_version: str
    outcome: str
    cause: str
    began: datetime | None
    took: float | None
    waits_for: str
    waits_since: datetime | None
    origin: str
    features: tuple[str, ...] = ()
    ending: str = ""

    @property
    def verdict(self) -> str:
        """Class of its outcome."""
        return OUTCOMES.get(self.outcome, "unsure")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Episodes of a log, and why there are none, or are not to be believed."""

    path: str
    episodes: tuple[Episode, ...] = ()
    why: str = ""


# Pages ---------------------------------------------------------------------------------------------------------------


def build_all(context: Context) -> Page:
    """The page of all models' episodes."""
    followed = spec.followed(context.platform)
    known = _Known(context)
    shown = known.all()
    opened = [one for one in shown if one.outcome == OPEN]
    return Page(
        template="episodes.html",
        area="episodes",
        about=About(
            title="Episodes",
            meaning=_meaning(context, followed, known, len(opened), len(shown)),
            platform=context.platform.platform,
        ),
        values={
            "episodes": shown[:MOST_EPISODES],
            "more": max(0, len(shown) - MOST_EPISODES),
            "followed": [(model.name, known.recovery(model.name), known.ended(model.name)) for model in followed],
            "warnings": [*known.warnings()],
            "dashboard": grafana.dashboard_url(context.platform, grafana.Page.LOOP) if followed else "",
        },
    )


def build(context: Context, *, model: str) -> Page:
    """The page of a model's episode: the newest, or the one that the address names; NoPageError for none of these."""
    described = context.model(model)
    known = _Known(context, model)
    mine = known.all()
    wanted = context.query.get("episode", "")
    chosen = next((one for one in mine if one.id == wanted or not wanted), None)
    if wanted and chosen is None:
        raise NoPageError(f"{model} has no episode {wanted!r} that Prometheus or a log of evidence here knows")
    followed = [one for one in spec.followed(context.platform) if one.name == model]
    return Page(
        template="episode.html",
        area="episodes",
        about=About(
            title=f"{model}: {_words(chosen.outcome)}" if chosen else f"{model}: no episode",
            verdict=chosen.verdict if chosen else "",
            meaning=_of_one(chosen) if chosen else _meaning(context, followed, known, 0, 0),
            model=model,
            platform=context.platform.platform,
            owner=described.owner,
            more=_facts(chosen) if chosen else [],
        ),
        values={
            "model": model,
            "chosen": chosen,
            "steps": known.steps(chosen) if chosen else [],
            "phases": known.phases(chosen) if chosen else [],
            "others": [one for one in mine if one is not chosen][:MOST_EPISODES],
            "warnings": [*known.warnings()],
        },
    )


def _meaning(context: Context, followed: Sequence[Model], known: _Known, opened: int, shown: int) -> str:
    if context.platform.loop is None:
        return "The platform file has no loop: drift is judged, and nobody follows what comes of it."
    if not followed:
        return "Nothing is followed: it takes drift.retrain."
    if known.is_unanswered and not shown:
        return "Not known: Prometheus does not answer, and no log of the loop is here."
    if not shown:
        return "No episode is known: no drift has begun one, as far as Prometheus and the logs here say."
    return f"{opened} open." if opened else "None is open."


def _of_one(one: Shown) -> str:
    if one.outcome != OPEN:
        return one.ending or f"It ended: {_words(one.outcome)}{f', by {_words(one.cause)}' if one.cause else ''}."
    return f"It is open; the next step is: {_words(one.waits_for)}." if one.waits_for else "It is open."


def _facts(one: Shown) -> list[tuple[str, str]]:
    facts = [
        ("Episode", one.id),
        ("Drift of", one.version),
        ("Replaced by", one.new_version),
        ("Features", ", ".join(one.features)),
        ("Cause", _words(one.cause)),
        ("Took" if one.outcome != OPEN else "Open for", "" if one.took is None else numbers.span(one.took)),
    ]
    return [(name, value) for name, value in facts if value]


def _words(name: str) -> str:
    return name.replace("_", " ")


# What is known -------------------------------------------------------------------------------------------------------


class _Known:
    """What Prometheus and the logs of evidence say of the platform's models, or of one of them."""

    def __init__(self, context: Context, model: str = "") -> None:
        self._context = context
        self._models = [model] if model else [one.name for one in context.platform.models]
        wanted = dict(_questions(model))
        self._answers = dict(zip(wanted, context.asked.ask(*map(drawing.now, wanted.values())), strict=True))
        self._logs = [_kept(context, path) for path in evidence.find(context) if path.name == episode_log.LOG]
        self._kept = {one.id: (one, log) for log in self._logs for one in log.episodes if one.model in self._models}

    @property
    def is_unanswered(self) -> bool:
        """Whether Prometheus never said what it has."""
        return any(answer.at is None for answer in self._answers.values())

    def warnings(self) -> Iterator[str]:
        """What is missing to believe the page."""
        if why := drawing.why(*self._answers.values()):
            yield f"Not of now: {why}"
        yield from (f"{log.path}: {log.why}" for log in self._logs if log.why)
        loop = self._context.platform.loop
        if loop is None or self.is_unanswered:
            return
        looks = drawing.value(self._answers["look"])
        if looks is None:
            yield "No loop looks, as far as Prometheus says: nothing new is seen."
        elif self._context.now - looks > LATE_LOOKS * loop.interval + self._context.platform.prometheus.scrape_interval:
            yield f"The loop last looked {numbers.span(self._context.now - looks)} ago."
        blind = [name for (name,), is_up in drawing.values(self._answers["sources"], "source").items() if is_up == 0]
        if blind:
            yield f"These do not answer the loop, which is blind for their steps: {', '.join(sorted(blind))}"

    def recovery(self, model: str) -> float | None:
        """Seconds of the last recovery of a model."""
        return drawing.values(self._answers["recovery"], "model").get((model,))

    def ended(self, model: str) -> list[tuple[str, str, float]]:
        """Class and words of each outcome of a model's episodes, and how many there were."""
        found = drawing.values(self._answers["ended"], "model", "outcome", "cause")
        return [
            (OUTCOMES.get(outcome, "unsure"), f"{_words(outcome)} ({_words(cause)})", count)
            for (name, outcome, cause), count in sorted(found.items())
            if name == model
        ]

    def all(self) -> list[Shown]:
        """Episodes, the newest first; what Prometheus says of one comes before what a log says."""
        found = {key: _of_log(one, log, self._context.now) for key, (one, log) in self._kept.items()}
        for one in self._newest():
            found[one.id] = one
        return sorted(found.values(), key=lambda one: (-(one.began.timestamp() if one.began else 0.0), one.id))

    def _newest(self) -> Iterator[Shown]:
        times = drawing.values(self._answers["times"], "model", "time")
        waiting = {
            key[0]: (key[1], at) for key, at in drawing.values(self._answers["waiting"], "model", "step").items()
        }
        labels = ("model", "episode", "version", "new_version", "outcome", "cause")
        for model, episode, version, new_version, outcome, cause in drawing.values(self._answers["newest"], *labels):
            if model not in self._models:
                continue
            begun = times.get((model, "T0"))
            kept = self._kept.get(episode, (None, None))[0]
            ended = kept.ended if kept else None
            waits_for, since = waiting.get(model, ("", None))
            until = self._context.now if outcome == OPEN else ended
            yield Shown(
                id=episode,
                model=model,
                version=version,
                new_version=new_version,
                outcome=outcome,
                cause=cause,
                began=_moment(begun),
                took=None if begun is None or until is None else until - begun,
                waits_for=waits_for if outcome == OPEN else "",
                waits_since=_moment(since) if outcome == OPEN else None,
                origin="Prometheus",
                features=kept.features if kept else (),
                ending=kept.ending if kept and outcome != OPEN else "",
            )

    def steps(self, shown: Shown) -> list[Row]:
        """The steps of an episode in their usual order."""
        kept = self._kept.get(shown.id, (None, None))[0]
        states = dict(kept.states()) if kept else {}
        at = {step: kept.time(step) for step in Step} if kept else {}
        if shown.origin == "Prometheus":
            states |= self._states()
            at |= self._times_of_steps()
        onset = shown.began.timestamp() if shown.began else None
        return [
            _row(step, states[step], at.get(step), onset, kept, is_open=shown.outcome == OPEN)
            for step in Step
            if step in states and (step is not Step.ROLLED_BACK or states[step] is not State.AHEAD)
        ]

    def _states(self) -> dict[Step, State]:
        known = {(step.value, state.value): (step, state) for step in Step for state in State}
        found = drawing.values(self._answers["states"], "step", "state") if "states" in self._answers else {}
        return dict(known[key] for key in found if key in known)

    def _times_of_steps(self) -> dict[Step, float]:
        known = {step.value: step for step in Step}
        return {
            known[name]: at for (name,), at in drawing.values(self._answers["steps"], "step").items() if name in known
        }

    def phases(self, shown: Shown) -> list[tuple[str, float]]:
        """Seconds of each phase whose both ends were seen."""
        if shown.origin != "Prometheus":
            return list(self._kept[shown.id][0].phases().items())
        said = drawing.values(self._answers["times"], "time")
        at = [said.get((f"T{number}",)) for number in range(len(TIMES))]
        return [
            (phase, max(0.0, end - begun))
            for phase, begun, end in zip(PHASES, at, at[1:], strict=False)
            if begun is not None and end is not None
        ]


def _questions(model: str) -> Iterator[tuple[str, Expr]]:
    """What is asked of all models, or of one, whose steps are asked too."""

    def newest(metric: Metric, *labels: str) -> Expr:
        where = {"model": model} if model and "model" in metric.labels else {}
        return promql.max_by(promql.select(metric, **where), *labels)

    info = ("model", "episode", "version", "new_version", "outcome", "cause")
    yield "newest", newest(metrics.LOOP_EPISODE, *info)
    yield "waiting", newest(metrics.LOOP_WAITING, "model", "step")
    yield "times", newest(metrics.LOOP_TIME, "model", "time")
    yield "ended", newest(metrics.LOOP_EPISODES, "model", "outcome", "cause")
    yield "recovery", newest(metrics.LOOP_RECOVERY, "model")
    yield "look", newest(metrics.LOOP_LAST_LOOK)
    yield "sources", newest(metrics.LOOP_SOURCE_UP, "source")
    if model:
        yield "states", newest(metrics.LOOP_STEP_STATE, "step", "state")
        yield "steps", newest(metrics.LOOP_STEP, "step")


def _row(
    step: Step, state: State, at: float | None, onset: float | None, kept: Episode | None, *, is_open: bool
) -> Row:
    seen = kept.last(step) if kept else None
    words = "did not come" if state is State.AHEAD and not is_open else _words(state.value)
    return Row(
        step=_words(step.value),
        state=words,
        verdict=STATES.get(state.value, ""),
        at=_moment(at),
        after=None if at is None or onset is None else at - onset,
        source=seen.source if seen else _unsaid(step, state),
        id=seen.id if seen else "",
        said=seen.said if seen else "",
    )


def _unsaid(step: Step, state: State) -> str:
    """Who said so of a step that is in no log here."""
    if step is Step.DRIFT:
        return "the drift judge"
    return "not here" if state in (State.DONE, State.FAILED, State.SKIPPED) else ""


def _of_log(one: Episode, log: Kept, now: float) -> Shown:
    waiting = one.waiting_for()
    return Shown(
        id=one.id,
        model=one.model,
        version=one.version,
        new_version=one.new_version or "",
        outcome=one.outcome.value,
        cause=one.cause,
        began=_moment(one.onset),
        took=(one.ended or now) - one.onset,
        waits_for=waiting.value if waiting else "",
        waits_since=_moment(one.waiting_since()) if waiting else None,
        origin=log.path,
        features=one.features,
        ending=one.ending,
    )


def _moment(at: float | None) -> datetime | None:
    return None if not at else datetime.fromtimestamp(at, UTC)


# Logs ----------------------------------------------------------------------------------------------------------------


def _kept(context: Context, path: Path) -> Kept:
    checked = evidence.checked(context, path)
    if checked.state == "not read":
        return Kept(path=str(path), why=checked.why)
    try:
        status = path.stat()
        episodes = _episodes(path, status.st_size, status.st_mtime_ns)
    except (OSError, MidwatchError) as error:
        return Kept(path=str(path), why=str(error).partition("\n")[0])
    why = "this log was changed: what it says is not to be believed" if checked.state == "changed" and episodes else ""
    return Kept(path=str(path), episodes=episodes, why=why)


@lru_cache(maxsize=16)
def _episodes(path: Path, _size: int, _changed_at: int) -> tuple[Episode, ...]:
    """Episodes of a log, read once for each of its sizes and times."""
    return tuple(episode_log.load(path).values())
