"""What people read of a registry's history: times with their zone, changes and gaps as lines, and damage of the log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from exporters.systems import registry_history
from exporters.systems.registry_history import Answer, Changed, Event, History
from midwatch import evidence


def written(at: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def text(answer: Answer, role: str) -> str:
    """Who had a role, and where nobody can say, why not."""
    who = " or ".join(answer.versions) or "no version"
    facts = f" ({_facts(answer.facts)})" if answer.facts else ""
    if answer.is_known:
        return f"{role}: {who}{facts}"
    possible = f"; {who} is possible" if answer.versions else ""
    return f"{role}: nobody can say: {answer.reason}{possible}{facts}"


def _facts(facts: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {written(at)}" for name, at in facts.items())


def _of(history: History, model: str, role: str) -> list[Event]:
    return sorted([*history.of(model, role), *history.unwatched(model)], key=_end)


def _end(event: Event) -> float:
    return event.seen if isinstance(event, Changed) else event.until


def documents(history: History, model: str, role: str) -> list[dict[str, Any]]:
    """Changes and gaps, the earliest first; times are seconds since 1970."""
    return [msgspec.to_builtins(event) for event in _of(history, model, role)]


def lines(history: History, model: str, role: str) -> list[str]:
    """A line for each change and each gap, the earliest first, and when anybody last looked."""
    last = history.last_looks.get(model)
    if last is None:
        return [f"{model}: nobody has looked yet; start midwatch systems export"]
    return [*(_line(event, role) for event in _of(history, model, role)), f"{written(last)} last look"]


def _line(event: Event, role: str) -> str:
    if not isinstance(event, Changed):
        return f"{written(event.until)} nobody had looked since {written(event.since)}"
    after = ", ".join(event.after) or "no version"
    if event.last_seen is None:
        return f"{written(event.seen)} {role} was {after} at the first look"
    before = ", ".join(event.before) or "no version"
    return f"{written(event.seen)} {role} from {before} to {after}, between then and {written(event.last_seen)}"


def damages(folder: Path) -> list[str]:
    """What is not right with the log, one text each."""
    log = folder / registry_history.LOG
    return [str(problem) for problem in evidence.verify(log).problems] if log.exists() else []
