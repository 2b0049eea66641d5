"""What the gate's evidence log says of verdicts and promotions. It is read on as it grows; what it holds is kept here.

A promotion is written down before the registry is told, and again when the registry was read back: a version that is
champion without one of the two went around the gate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import get_args

import msgspec

from midwatch import evidence
from monitors.canary.findings import Verdict
from monitors.canary.times import parse_moment
from monitors.promotion.requirements import GivenVerdict

# Records -----------------------------------------------------------------------------------------------------------


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """How a requirement stood."""

    name: str
    state: str
    reason: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-refused"):
    """A promotion that was asked for and not made; `answer` is refused or undecided."""

    model: str
    version: str
    by: str
    answer: str
    reason: str
    requirements: tuple[Stands, ...]


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-began"):
    """A promotion, or with `is_rollback` the way back, that is about to be made.

    `override` is the reason that somebody gave for going on although the answer was none that allows it. `at` is
    seconds since 1970.
    """

    model: str
    version: str
    previous: str | None
    role: str
    by: str
    at: float
    answer: str
    requirements: tuple[Stands, ...]
    override: str = ""
    is_rollback: bool = False


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-done"):
    """The registry was read back, and has the version in the role."""

    model: str
    version: str
    previous: str | None
    by: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-failed"):
    """A promotion that began and did not come about; `found` is what the registry had in the role then."""

    model: str
    version: str
    found: str | None
    reason: str


class FirstSeen(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-first-seen"):
    """The champion when the gate first looked: from there on promotions are on record. `seen` is seconds since 1970."""

    model: str
    version: str | None
    seen: float


class Around(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-around-gate"):
    """A version that became champion, and no record says that somebody promoted it.

    `seen` is when it was noticed, in seconds since 1970; `seen_by` is `alias`, a look at the registry, or `webhook`,
    what MLflow has signed. Without a version the role was taken away.
    """

    model: str
    version: str | None
    previous: str | None
    seen: float
    seen_by: str


class Mended(msgspec.Struct, frozen=True, kw_only=True, tag="promotion-mended"):
    """A version that went around the gate is champion no more: the one on record is. `seen` is seconds since 1970."""

    model: str
    version: str | None
    seen: float


INTENT_SECONDS = 600.0
"""How long a promotion that began explains a new champion: setting an alias takes seconds, also with attempts again."""

Event = Refused | Began | Done | Failed | FirstSeen | Around | Mended
_KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Event))


class Counted(StrEnum):
    """What is counted of a log: the label of our own metric."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    OVERRIDDEN = "overridden"
    REFUSED = "refused"
    FAILED = "failed"
    AROUND_GATE = "around_gate"
    MENDED = "mended"


_COUNTED: dict[type, Counted] = {
    Refused: Counted.REFUSED,
    Failed: Counted.FAILED,
    Around: Counted.AROUND_GATE,
    Mended: Counted.MENDED,
}


# What follows from them --------------------------------------------------------------------------------------------


class Known:
    """What a log says: verdicts on versions, and which version somebody made champion. It is read on by `read`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self.counts = Counter[tuple[str, Counted]]()
        self._offset = 0
        self._verdicts: dict[tuple[str, str, str, Verdict], GivenVerdict] = {}
        self._champions: dict[str, str | None] = {}
        self._former: dict[str, set[str]] = {}
        self._before: dict[str, str | None] = {}
        self._intended: dict[str, Began] = {}
        self._around: dict[str, Around] = {}

    @classmethod
    def of(cls, path: Path) -> Known:
        """Everything in a log, every byte of which is checked: `problem` says what is wrong with it.

        EvidenceError when it cannot be read.
        """
        known = cls(path)
        problems = evidence.verify(path).problems if path.exists() else ()
        known.problem = f"the gate's log is not what was written: {problems[0]}" if problems else ""
        known.read()
        return known

    def read(self) -> None:
        """Take in what was written since the last time; EvidenceError when the log cannot be read."""
        records, self._offset = evidence.read_from(self.path, self._offset)
        for record in records:
            self._take(record)

    def _take(self, record: evidence.Record) -> None:
        if record.kind == "verdict":
            self._take_verdict(record)
        elif record.kind == "withdrawn":
            self._withdraw(int(record.data.get("of", -1)))
        elif record.kind in _KINDS:
            self.take(msgspec.convert({**record.data, "type": record.kind}, Event))

    def _take_verdict(self, record: evidence.Record) -> None:
        asked, told = record.data.get("asked", {}), record.data.get("evidence", {})
        try:
            given = GivenVerdict(
                baseline=str(asked["baseline"]),
                canary=str(asked["canary"]),
                verdict=Verdict(record.data["verdict"]),
                reason=str(record.data.get("reason", "")),
                at=parse_moment(told["end"]),
                requests=int(told["requests"]["canary"]),
                record=record.seq,
            )
            self._verdicts[str(asked["model"]), given.baseline, given.canary, given.verdict] = given
        except (KeyError, TypeError, ValueError):
            return  # an answer that had no counts is no verdict on them

    def _withdraw(self, seq: int) -> None:
        """Forget a verdict that was not given after all; the one before it of the same kind is not taken for it."""
        self._verdicts = {key: one for key, one in self._verdicts.items() if one.record != seq}

    def take(self, event: Event) -> None:
        """Take one event in."""
        if not isinstance(event, FirstSeen | Began):
            self.counts[event.model, self._counted_as(event)] += 1
        match event:
            case Began():
                self._intended[event.model] = event
            case Done():
                self._is_champion(event.model, event.version, event.previous)
                self._around.pop(event.model, None)
                self._intended.pop(event.model, None)
            case Failed():
                self._intended.pop(event.model, None)
            case FirstSeen():
                self._is_champion(event.model, event.version)
            case Around():
                self._around[event.model] = event
            case Mended():
                self._around.pop(event.model, None)

    def _is_champion(self, model: str, version: str | None, *earlier: str | None) -> None:
        if self._champions.get(model) != version:
            self._before[model] = next(iter(earlier), self._champions.get(model))
        self._champions[model] = version
        self._former.setdefault(model, set()).update(one for one in (version, *earlier) if one is not None)

    def _counted_as(self, event: Event) -> Counted:
        if not isinstance(event, Done):
            return _COUNTED[type(event)]
        began = self._intended.get(event.model)
        if began is not None and began.is_rollback:
            return Counted.ROLLED_BACK
        return Counted.OVERRIDDEN if began is not None and began.override else Counted.PROMOTED

    # Asking --------------------------------------------------------------------------------------------------------

    def verdicts(self, model: str) -> Sequence[GivenVerdict]:
        """Verdicts on versions of a model, the oldest first."""
        found = [given for (of, *_), given in self._verdicts.items() if of == model]
        return sorted(found, key=lambda one: one.record)

    def champion(self, model: str) -> str | None:
        """The version that became champion with a record, None where no record tells of one."""
        return self._champions.get(model)

    def before(self, model: str, version: str) -> str | None:
        """The champion that a version has replaced, or would; None where no record tells of one."""
        champion = self._champions.get(model)
        return self._before.get(model) if champion == version else champion

    def was_champion(self, model: str, version: str) -> bool:
        """Whether a record tells that a version was champion at some time."""
        return version in self._former.get(model, ())

    def is_watched(self, model: str) -> bool:
        """Whether the log knows which version was champion at some time."""
        return model in self._champions

    def intended(self, model: str, now: float) -> Began | None:
        """The promotion that began a short time ago, and of whose end nothing is on record."""
        began = self._intended.get(model)
        return began if began is not None and now - began.at <= INTENT_SECONDS else None

    def around(self, model: str) -> Around | None:
        """The promotion that went around the gate, and that nothing on record has mended since."""
        return self._around.get(model)


def append(log: evidence.Log, known: Known, event: Event) -> None:
    """Write an event down, durably, and know it. EvidenceError when it cannot be kept."""
    log.append_event(event)
    known.read()
