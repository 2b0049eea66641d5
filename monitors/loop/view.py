"""Episodes on the terminal: a table of all, and one with every step, its time and who said so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.table import Table

from midwatch.spec.values import describe_duration
from monitors.loop.episode import Episode, Outcome, State, Step

_WORDS = {
    State.NOT_SEEN: "not seen",
    State.NOT_OBSERVED: "not observed",
}


def table(episodes: Sequence[Episode], now: float, unobserved: Mapping[str, Mapping[Step, str]]) -> Table:
    """One row for each episode, the newest first; `unobserved` has of each model what nobody can be asked about."""
    made = Table("Episode", "Model", "From", "To", "Began", "Took", "Outcome", "Cause", "Waits for")
    for one in reversed(episodes):
        waiting = one.waiting_for(unobserved.get(one.model, ()))
        made.add_row(
            one.id,
            one.model,
            one.version,
            one.new_version or "",
            _time(one.onset),
            _span((one.ended or now) - one.onset),
            one.outcome.value.replace("_", " "),
            one.cause.replace("_", " "),
            waiting.value.replace("_", " ") if waiting else "",
        )
    return made


def steps(episode: Episode, unobserved: Mapping[Step, str]) -> Table:
    """Every step of an episode, when it was done, how long after the onset, and who said so."""
    made = Table("Step", "State", "Time", "After onset", "Source", "What")
    states = episode.states(unobserved)
    for step, state in states.items():
        at = episode.time(step)
        seen = episode.last(step)
        if step is Step.ROLLED_BACK and seen is None:
            continue
        said = seen.said if seen else unobserved.get(step, "") if state is State.NOT_OBSERVED else ""
        what = f"{seen.id}: {said}".rstrip(": ") if seen else said
        made.add_row(
            step.value.replace("_", " "),
            _WORDS.get(state, state.value),
            _time(at) if at is not None else "",
            _span(at - episode.onset) if at is not None else "",
            seen.source if seen else "",
            what,
        )
    return made


def headline(episode: Episode) -> str:
    """One sentence of how the episode stands."""
    what = f"{episode.model} {episode.version}: drift of {', '.join(episode.features) or 'the rows together'}"
    if episode.outcome is Outcome.OPEN:
        return f"{what}; open, retraining {episode.trigger}"
    return f"{what}; {episode.outcome.value.replace('_', ' ')} ({episode.cause.replace('_', ' ')}): {episode.ending}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _span(seconds: float) -> str:
    """How long something took, as people read it."""
    return describe_duration(max(0.0, round(seconds)))
