"""An episode as a JSON document, the same for the service's answers and the commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from monitors.loop import trace
from monitors.loop.episode import Episode, Step


def of_episode(episode: Episode, unobserved: Mapping[Step, str] | None = None) -> dict[str, Any]:
    """Everything of an episode: its times T0 to T8, how each step stands, and every record. Times are RFC 3339."""
    blind = unobserved or {}
    waiting = episode.waiting_for(blind)
    return {
        "episode": episode.id,
        "model": episode.model,
        "version": episode.version,
        "new_version": episode.new_version,
        "features": list(episode.features),
        "outcome": episode.outcome.value,
        "cause": episode.cause,
        "said": episode.ending,
        "began": moment(episode.detected),
        "ended": moment(episode.ended),
        "trigger": {"result": episode.trigger.value, "request": episode.request, "said": episode.said},
        "waiting_for": waiting.value if waiting else None,
        "waiting_since": moment(episode.waiting_since()) if waiting else None,
        "times": {f"T{number}": moment(at) for number, at in enumerate(episode.times())},
        "phases": {phase: round(seconds, 3) for phase, seconds in episode.phases().items()},
        "steps": {
            step.value: {"state": state.value, **_of_step(episode, step, blind)}
            for step, state in episode.states(blind).items()
        },
        "trace": trace.trace_id(episode.id),
    }


def _of_step(episode: Episode, step: Step, unobserved: Mapping[Step, str]) -> dict[str, Any]:
    seen = [one for one in episode.steps if one.step is step]
    why = {"why": unobserved[step]} if step in unobserved and not seen else {}
    return {"at": moment(episode.time(step)), **why, "seen": [_record(one) for one in seen]}


def _record(seen: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(seen))
    times = {name: moment(fields.pop(name)) for name in ("at", "seen", "not_before")}
    del fields["episode"], fields["step"]
    return {**fields, **times}


def moment(seconds: float | None) -> str | None:
    """A time as RFC 3339 in UTC, to the millisecond.

    >>> moment(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
