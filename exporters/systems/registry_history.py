"""Which version of a model had which role in the registry, and when, as it was seen here: the registry keeps no times.

Every change is a record of an evidence log: the versions before and after, when the role was last seen as before and
when it was first seen as after. A time in which nobody looked is a record, too. What the last look was is kept in a
small file beside the log, since a record a minute would fill it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from midwatch import evidence, files
from midwatch.errors import MidwatchError

LOG = "registry.ndjson"
LAST_LOOKS = "last-looks.json"

Versions = tuple[str, ...]
Roles = Mapping[str, Versions]
"""Versions by their role, such as `alias champion` or `stage Production`."""


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag="registry-role-changed"):
    """A role of a model that other versions have than before; times are seconds since 1970.

    Without `last_seen` nobody had looked before, so that `before` says nothing.
    """

    model: str
    role: str
    before: Versions
    after: Versions
    last_seen: float | None
    seen: float


class Unwatched(msgspec.Struct, frozen=True, kw_only=True, tag="registry-not-watched"):
    """A time in which nobody looked at a model; times are seconds since 1970."""

    model: str
    since: float
    until: float


Event = Changed | Unwatched
_KINDS = frozenset({"registry-role-changed", "registry-not-watched"})


# Reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything that was seen, and when each model was last looked at."""

    events: tuple[Event, ...] = ()
    last_looks: Mapping[str, float] = field(default_factory=dict)

    def of(self, model: str, role: str) -> list[Changed]:
        """Changes of a role, the earliest first."""
        return [one for one in self.events if isinstance(one, Changed) and (one.model, one.role) == (model, role)]

    def roles(self, model: str) -> dict[str, Versions]:
        """Versions by role as they were last seen."""
        return {one.role: one.after for one in self.events if isinstance(one, Changed) and one.model == model}

    def unwatched(self, model: str) -> list[Unwatched]:
        """Times in which nobody looked at a model."""
        return [one for one in self.events if isinstance(one, Unwatched) and one.model == model]


def load(folder: Path) -> History:
    """What a folder holds; nothing where there is none. Whether it is what was written, `evidence.verify` says.

    MidwatchError when it cannot be read.
    """
    events = tuple(_events(evidence.read(folder / LOG)))
    return History(events=events, last_looks=_last_looks(folder, events))


def _events(records: Iterable[evidence.Record]) -> Iterator[Event]:
    for record in records:
        if record.kind in _KINDS:  # a log may also say that its key was exchanged
            yield msgspec.convert({**record.data, "type": record.kind}, Event)


def _last_looks(folder: Path, events: Iterable[Event]) -> dict[str, float]:
    """The file's times; a record that was written after it, before a crash, is later."""
    try:
        looks: dict[str, float] = json.loads((folder / LAST_LOOKS).read_bytes())
    except FileNotFoundError:
        looks = {}
    except (OSError, ValueError) as error:
        raise MidwatchError(f"{folder / LAST_LOOKS}: cannot be read; remove it: a gap will be on record") from error
    for event in events:
        at = event.seen if isinstance(event, Changed) else event.until
        looks[event.model] = max(at, looks.get(event.model, at))
    return looks


# Writing -----------------------------------------------------------------------------------------------------------


class Keeper:
    """Keeps a history in a folder. One process writes."""

    def __init__(self, folder: Path, patience: float) -> None:
        """`patience` is seconds between two looks at a model beyond which nobody has looked."""
        self._folder, self._patience = folder, patience
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MidwatchError(f"{folder}: {error.strerror}; give another folder with --state") from error
        self._log = evidence.Log(folder / LOG)
        self.history = load(folder)

    def look(self, seen: Mapping[str, Roles], now: float) -> None:
        """Put on record what is new in the roles of these models. Durable when it returns."""
        events = [event for model, roles in sorted(seen.items()) for event in self._new(model, roles, now)]
        for event in events:
            self._log.append_event(event)
        looks = {**self.history.last_looks, **dict.fromkeys(seen, now)}
        self.history = History(events=(*self.history.events, *events), last_looks=looks)
        files.replace(self._folder / LAST_LOOKS, json.dumps(looks, sort_keys=True).encode())

    def _new(self, model: str, roles: Roles, now: float) -> Iterator[Event]:
        last = self.history.last_looks.get(model)
        if last is not None and now - last > self._patience:
            yield Unwatched(model=model, since=last, until=now)
        known = self.history.roles(model)
        for role in sorted({*known, *roles}):
            before, after = known.get(role, ()), tuple(roles.get(role, ()))
            if before != after or role not in known:
                yield Changed(model=model, role=role, before=before, after=after, last_seen=last, seen=now)

    def since(self, model: str, role: str, version: str) -> float | None:
        """When a version that has a role now was first seen with it; None for one that does not have it."""
        first = None
        for change in reversed(self.history.of(model, role)):
            if version not in change.after:
                break
            first = change.seen
        return first


# Asking ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Who had a role at a time. Where `is_known` is not set, `versions` are all that are known to be possible."""

    is_known: bool
    versions: Versions
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


def who_was(history: History, model: str, role: str, at: float) -> Answer:
    """Which versions had a role of a model at a time, seconds since 1970."""
    changes = history.of(model, role)
    earlier = [one for one in changes if one.seen <= at]
    later = next((one for one in changes if one.seen > at), None)
    if not earlier:
        return _before_all(history, model, later, at)
    last = earlier[-1]
    if later is not None and later.last_seen is not None and at > later.last_seen:
        both = tuple(dict.fromkeys((*later.before, *later.after)))
        return Answer(
            is_known=False,
            versions=both,
            reason="it changed at a time that nobody saw",
            facts={"last_seen_before": later.last_seen, "first_seen_after": later.seen},
        )
    for gap in history.unwatched(model):
        if gap.since < at < gap.until:
            reason = "it was the same before and after a time in which nobody looked"
            facts = {"last_seen": gap.since, "seen_again": gap.until}
            return Answer(is_known=False, versions=last.after, reason=reason, facts=facts)
    end = history.last_looks[model]
    if at > end:
        return Answer(is_known=False, versions=last.after, reason="nobody has looked since", facts={"last_seen": end})
    return Answer(is_known=True, versions=last.after, reason="", facts={"first_seen": last.seen})


def _before_all(history: History, model: str, later: Changed | None, at: float) -> Answer:
    """The answer for a time before the role was first seen: nobody had it, or nobody had looked."""
    if (
        later is not None
        and later.last_seen is not None
        and at <= later.last_seen
        and _first_look(history, model) <= at
    ):
        return Answer(is_known=True, versions=(), reason="no version had it")
    facts = {"first_seen": later.seen} if later is not None else {}
    if later is not None and later.last_seen is not None and at > later.last_seen:
        facts["last_seen_before"] = later.last_seen
        return Answer(is_known=False, versions=later.after, reason="it came at a time that nobody saw", facts=facts)
    return Answer(is_known=False, versions=(), reason="nobody had looked yet", facts=facts)


def _first_look(history: History, model: str) -> float:
    return min(
        (one.seen if isinstance(one, Changed) else one.since for one in history.events if one.model == model),
        default=float("inf"),
    )
