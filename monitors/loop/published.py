"""What is published of the episodes: where the newest of each model stands, and what became of those that ended.

Everything is made from the log, so that it is the same after a restart: counters go on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import midwatch
from midwatch import anchors, exposition, metrics
from midwatch.evidence import Head
from monitors.loop.episode import PATH, PHASES, Episode, Outcome, Step

DURATIONS = tuple(step for step in PATH if step is not Step.DRIFT)
"""Steps whose time from the one before is counted."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of a model beside its episodes: the steps that nobody can be asked about."""

    unobserved: frozenset[Step] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Process:
    """How the process stands: whether it acts, which owners answer, and when it last looked at everything.

    `log` is what the log of episodes is called, `head` where it ends.
    """

    is_leader: bool
    log: str = ""
    head: Head | None = None
    sources: Mapping[str, bool]
    last_look: float | None


def text(
    process: Process,
    episodes: Sequence[Episode],
    models: Mapping[str, Standing],
    drills: Iterable[exposition.Sample] = (),
) -> bytes:
    """Exposition of the process, and where it acts, of the episodes of `models`, and what `drills` have shown."""
    samples: list[exposition.Sample] = [
        (metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1),
        (metrics.LOOP_LEADER, {}, float(process.is_leader)),
        *((metrics.LOOP_SOURCE_UP, {"source": name}, float(is_up)) for name, is_up in sorted(process.sources.items())),
    ]
    if process.last_look is not None:
        samples.append((metrics.LOOP_LAST_LOOK, {}, process.last_look))
    if not process.is_leader:  # two that publish the same episodes would count them twice
        return exposition.text(samples)
    samples += drills
    samples += anchors.samples(process.log, process.head)
    histograms: list[exposition.Histogram] = []
    for model, standing in sorted(models.items()):
        mine = [one for one in episodes if one.model == model]
        samples += _of_model(model, mine, standing)
        histograms += _durations(model, mine)
    return exposition.text(samples, histograms)


def _of_model(model: str, episodes: Sequence[Episode], standing: Standing) -> Iterator[exposition.Sample]:
    ended = [one for one in episodes if one.outcome is not Outcome.OPEN]
    yield metrics.LOOP_EPISODE_OPEN, {"model": model}, float(len(ended) < len(episodes))
    for (outcome, cause), count in sorted(Counter((one.outcome.value, one.cause) for one in ended).items()):
        yield metrics.LOOP_EPISODES, {"model": model, "outcome": outcome, "cause": cause}, float(count)
    spent: Counter[str] = Counter()
    for one in ended:
        spent.update(one.phases())
    for phase in PHASES:
        yield metrics.LOOP_PHASE, {"model": model, "phase": phase}, float(spent[phase])
    if (recovery := last_recovery(ended)) is not None:
        yield metrics.LOOP_RECOVERY, {"model": model}, recovery
    if episodes:
        yield from _newest(model, episodes[-1], standing)


def last_recovery(ended: Iterable[Episode]) -> float | None:
    """Seconds from the onset until a better version had all traffic, in the last episode that ended so."""
    better = [one for one in ended if one.outcome is Outcome.BETTER]
    served = [(at - one.onset) for one in better if (at := one.time(Step.ALL_TRAFFIC)) is not None]
    return served[-1] if served else None


def _newest(model: str, episode: Episode, standing: Standing) -> Iterator[exposition.Sample]:
    yield (
        metrics.LOOP_EPISODE,
        {
            "model": model,
            "episode": episode.id,
            "version": episode.version,
            "new_version": episode.new_version or "",
            "outcome": episode.outcome.value,
            "cause": episode.cause,
        },
        1.0,
    )
    for step, state in episode.states(standing.unobserved).items():
        yield metrics.LOOP_STEP_STATE, {"model": model, "step": step.value, "state": state.value}, 1.0
        if (at := episode.time(step)) is not None:
            yield metrics.LOOP_STEP, {"model": model, "step": step.value}, at
    for number, at in enumerate(episode.times()):
        if at is not None:
            yield metrics.LOOP_TIME, {"model": model, "time": f"T{number}"}, at
    if (waiting := episode.waiting_for(standing.unobserved)) is not None:
        yield metrics.LOOP_WAITING, {"model": model, "step": waiting.value}, episode.waiting_since()


def _durations(model: str, episodes: Iterable[Episode]) -> Iterator[exposition.Histogram]:
    """Times to each step, of episodes that ended: those of an open one would be counted before it has all of them."""
    by_step: dict[Step, list[float]] = {step: [] for step in DURATIONS}
    for one in episodes:
        if one.outcome is not Outcome.OPEN:
            for step, seconds in one.durations().items():
                by_step[step].append(seconds)
    for step, times in by_step.items():
        counts = [0] * (len(metrics.LOOP_BUCKETS) + 1)
        for seconds in times:
            counts[bisect_left(metrics.LOOP_BUCKETS, seconds)] += 1
        labels = {"model": model, "step": step.value}
        yield exposition.Histogram(metrics.LOOP_STEP_DURATION, labels, metrics.LOOP_BUCKETS, counts, sum(times))
