"""What goes on beside alerts: episodes of drift, canaries, drills and experiments, and which systems answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from midwatch import jobs, metrics
from midwatch.app.status.ask import Answers, Question
from midwatch.app.status.records import Canary, Drill, Episode, System
from midwatch.metrics import Metric
from midwatch.prometheus import Sample
from midwatch.spec import cron
from midwatch.spec.model import Platform

BY_VERSION = ("model", "version")
RECOVERY, EXPERIMENT = "recovery", "experiment"

Labels = tuple[str, ...]


def named(samples: Iterable[Sample], metric: Metric, *labels: str) -> dict[Labels, float]:
    """Largest value of a metric's samples by labels; replicas publish the same."""
    found: dict[Labels, float] = {}
    for one in samples:
        if one.labels.get("__name__") == metric.name:
            key = tuple(one.labels.get(label, "") for label in labels)
            found[key] = max(one.value, found.get(key, one.value))
    return found


def _moment(seconds: float | None) -> datetime | None:
    return None if not seconds else datetime.fromtimestamp(seconds, UTC)


# Drift ------------------------------------------------------------------------------------------------------------


def episodes(answers: Answers, models: frozenset[str] | None) -> list[Episode]:
    """Open episodes of drift and of the loop, the longest first; with `models`, those of them alone."""
    samples = answers[Question.EPISODES]
    drifting = [key for key, value in named(samples, metrics.DRIFT_EPISODE, *BY_VERSION).items() if value == 1]
    loops = _loops(answers)
    since = named(samples, metrics.DRIFT_EPISODE_ONSET, *BY_VERSION)
    votes = named(samples, metrics.DRIFT_VOTES, *BY_VERSION)
    quorum = named(samples, metrics.DRIFT_QUORUM, "model")
    found = []
    for key in sorted({*drifting, *loops}):
        waits = loops.get(key)
        found.append(
            Episode(
                model=key[0],
                version=key[1],
                since=_moment(since.get(key)),
                votes=votes.get(key),
                quorum=quorum.get(key[:1]),
                is_drifting=key in drifting,
                waits_for=waits[0] if waits else "",
                waits_since=_moment(waits[1]) if waits else None,
            )
        )
    ours = [one for one in found if models is None or one.model in models]
    return sorted(ours, key=lambda one: (one.since or datetime.min.replace(tzinfo=UTC), one.model, one.version))


def _loops(answers: Answers) -> dict[Labels, tuple[str, float | None]]:
    """Open episodes of the loop by model and version: the step that each waits for, and since when."""
    samples = answers[Question.LOOP]
    opened = {key for key, value in named(samples, metrics.LOOP_EPISODE_OPEN, "model").items() if value == 1}
    waiting = {model: (step, at) for (model, step), at in named(samples, metrics.LOOP_WAITING, "model", "step").items()}
    return {
        key: waiting.get(key[0], ("", None))
        for key in named(samples, metrics.LOOP_EPISODE, *BY_VERSION)
        if key[:1] in opened
    }


# Canaries ---------------------------------------------------------------------------------------------------------


def canaries(answers: Answers, models: frozenset[str] | None) -> list[Canary]:
    """Comparisons that the gate judged lately; with `models`, those of them alone."""
    samples = answers[Question.CANARIES]
    requests = named(samples, metrics.CANARY_REQUESTS, "model", "baseline", "canary", "arm")
    made = []
    for (model, baseline, canary, verdict), value in sorted(
        named(samples, metrics.CANARY_VERDICT, "model", "baseline", "canary", "verdict").items()
    ):
        if value != 1 or (models is not None and model not in models):
            continue
        arms = {arm: count for (*pair, arm), count in requests.items() if pair == [model, baseline, canary]}
        made.append(Canary(model=model, baseline=baseline, canary=canary, verdict=verdict, requests=arms))
    return made


# Drills and experiments -------------------------------------------------------------------------------------------


def drills(answers: Answers, platform: Platform | None, now: datetime) -> list[Drill]:
    """Drills and experiments: those of the platform file, or without one those that have results."""
    found = [*_of_recovery(answers, platform, now), *_experiments(answers, platform, now)]
    return sorted(found, key=lambda one: (not one.is_overdue, one.kind, one.name, one.store))


def _of_recovery(answers: Answers, platform: Platform | None, now: datetime) -> Iterator[Drill]:
    samples = answers[Question.DRILLS]
    verdicts = named(samples, metrics.DR_DRILL_VERDICT, "drill", "store", "verdict")
    last_run = named(samples, metrics.DR_DRILL_LAST_RUN, "drill", "store")
    last_met = named(samples, metrics.DR_DRILL_LAST_MET, "drill", "store")
    ages: dict[Labels, float | None] = dict.fromkeys(last_run)
    if platform is not None:
        section = platform.disaster_recovery
        ages = {(one.name, one.store): one.result_age for one in section.drills} if section else {}
    for key, age in ages.items():
        verdict = next((verdict for (*pair, verdict), value in verdicts.items() if tuple(pair) == key and value), "")
        yield _drill(RECOVERY, key, verdict, last_run.get(key), last_met.get(key), age, now)


def _experiments(answers: Answers, platform: Platform | None, now: datetime) -> Iterator[Drill]:
    samples = answers[Question.DRILLS]
    verdicts = named(samples, metrics.CHAOS_VERDICT, "experiment", "verdict")
    last_run = named(samples, metrics.CHAOS_LAST_RUN, "experiment")
    last_held = named(samples, metrics.CHAOS_LAST_HELD, "experiment")
    running = named(samples, metrics.CHAOS_RUNNING, "experiment")
    ages: dict[str, float | None] = dict.fromkeys(name for (name,) in {**last_run, **running})
    if platform is not None:
        chosen = platform.chaos.experiments if platform.chaos else []
        ages = {
            one.title: cron.LATE_SHARE * cron.parse(one.schedule).longest_gap() if one.schedule else None
            for one in chosen
        }
    for name, age in ages.items():
        verdict = next((verdict for (title, verdict), value in verdicts.items() if title == name and value), "")
        key = (name,)
        is_running = running.get(key) == 1
        yield _drill(EXPERIMENT, (name, ""), verdict, last_run.get(key), last_held.get(key), age, now, is_running)


def _drill(
    kind: str,
    key: Labels,
    verdict: str,
    last_run: float | None,
    last_good: float | None,
    age: float | None,
    now: datetime,
    is_running: bool = False,
) -> Drill:
    due = None if age is None or not last_run else _moment(last_run + age)
    return Drill(
        kind=kind,
        name=key[0],
        store=key[1],
        verdict=verdict,
        last_run=_moment(last_run),
        last_good=_moment(last_good),
        due_at=due,
        is_overdue=None if due is None else due < now,
        is_running=is_running,
    )


# Systems ----------------------------------------------------------------------------------------------------------


def systems(answers: Answers, expected: frozenset[str] | None) -> list[System]:
    """What is scraped or asked, whatever does not answer first; with `expected` jobs, those and no other."""
    targets = {one.labels.get("job", ""): round(one.value) for one in answers[Question.TARGETS]}
    up = {one.labels.get("job", ""): round(one.value) for one in answers[Question.ANSWERING]}
    names = sorted(targets if expected is None else expected)
    made = [
        System(
            name=name,
            how="scraped",
            up=up.get(name, 0),
            targets=targets.get(name, 0),
            expected=expected is not None,
        )
        for name in names
        if answers.has(Question.TARGETS) and answers.has(Question.ANSWERING)
    ]
    made += [
        System(name=one.labels.get("source", ""), how="asked", up=round(one.value), targets=1, expected=False)
        for one in answers[Question.SOURCES]
    ]
    return sorted(made, key=lambda one: (one.answers, one.name))


def expected_jobs(platform: Platform) -> frozenset[str]:
    """Jobs that the platform's Prometheus has to have."""
    return frozenset(job.name for job in jobs.of_platform(platform))
