"""Facts of a drill: what the observer saw of the store, and what the recoverer did to it.

Times are nanoseconds of CLOCK_MONOTONIC. On the disk a fact is JSON with short names (`t0`, `r`), as it has been since
the first drills, so that their ledgers can be read for as long as they are kept.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

SECOND = 1e9
"""Nanoseconds."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="k"):
    """Something that was seen or done; `k` on the disk says what."""


# What the observer saw -----------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What became of a request. An unknown write may have been applied or not; a stale read saw an older row."""

    OK = "ok"
    STALE = "stale"
    FAILED = "fail"
    UNKNOWN = "unknown"


class Started(Fact, tag="start", frozen=True, kw_only=True):
    """The observer began; `boot` says with which other monotonic times its own can be compared."""

    at: int = msgspec.field(name="t")
    wall: float
    boot: str
    run: str = ""
    rate: float = 0.0


class Ended(Fact, tag="end", frozen=True, kw_only=True):
    """The observer ended by itself, with everything on the disk."""

    at: int = msgspec.field(name="t")
    wall: float


class Request(Fact, frozen=True, kw_only=True):
    """Something that was asked, and when the answer was there."""

    sent: int = msgspec.field(name="t0")
    answered: int = msgspec.field(name="t1")
    outcome: Outcome = msgspec.field(name="r")
    why: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.answered - self.sent) / SECOND


class Write(Request, tag="w", frozen=True, kw_only=True):
    """A row with a number that is used once. `server` acknowledged it, where clients can tell."""

    number: int = msgspec.field(name="n")
    server: str | None = msgspec.field(name="s", default=None)

    @property
    def is_acknowledged(self) -> bool:
        """Whether the store has promised to keep it."""
        return self.outcome is Outcome.OK


class Read(Request, tag="r", frozen=True, kw_only=True):
    """A read on a new connection: the newest number, the one it had to be at least, and seconds since it was written.

    `content` is a digest of what else the store holds.
    """

    newest: int | None = msgspec.field(name="n", default=None)
    wanted: int | None = None
    age: float | None = None
    content: str | None = msgspec.field(name="c", default=None)


class Prediction(Request, tag="m", frozen=True, kw_only=True):
    """A request to the model, and the version that answered."""

    version: str | None = msgspec.field(name="v", default=None)


Observed = Started | Ended | Write | Read | Prediction


# What the recoverer did ----------------------------------------------------------------------------------------------


class Event(Fact, frozen=True, kw_only=True):
    """Something that the recoverer did or found; `wall` is a label."""

    at: int = msgspec.field(name="t")
    wall: float = 0.0

    @property
    def word(self) -> str:
        """What it is, for people."""
        return str(self.__struct_config__.tag).replace("_", " ")

    @property
    def detail(self) -> str:
        """What is worth knowing of it, for people."""
        return ""


class Watching(Event, tag="watching", frozen=True, kw_only=True):
    """It began to check the store."""

    boot: str = ""
    interval: float = 0.0
    failures: int = 0


class CheckFailed(Event, tag="failed", frozen=True, kw_only=True):
    """A check failed; `count` of them have in a row."""

    count: int = 0
    why: str = ""


class Decided(Event, tag="decided", frozen=True, kw_only=True):
    """It will recover the store, and how."""

    why: str = ""
    plan: str = ""

    @property
    def detail(self) -> str:
        """The plan."""
        return self.plan


class Fenced(Event, tag="fenced", frozen=True, kw_only=True):
    """What failed cannot acknowledge any more."""

    how: str = ""
    term: int = 0

    @property
    def detail(self) -> str:
        """How."""
        return self.how


class Progress(Event, tag="progress", frozen=True, kw_only=True):
    """How far a long step is."""

    how: str = ""

    @property
    def detail(self) -> str:
        """How far."""
        return self.how


class Recovered(Event, tag="recovered", frozen=True, kw_only=True):
    """The store is back; `source` is what it was brought back from."""

    source: str = msgspec.field(name="from_", default="")

    @property
    def detail(self) -> str:
        """From what."""
        return self.source


class Rerouted(Event, tag="rerouted", frozen=True, kw_only=True):
    """Clients are sent there."""

    to: str = ""
    term: int = 0

    @property
    def detail(self) -> str:
        """Where."""
        return self.to


class Redundant(Event, tag="redundant", frozen=True, kw_only=True):
    """The store has a second copy again."""

    how: str = ""

    @property
    def detail(self) -> str:
        """How."""
        return self.how


class Said(Event, frozen=True, kw_only=True):
    """An event with a reason."""

    why: str = ""

    @property
    def detail(self) -> str:
        """Why."""
        return self.why


class Refused(Said, tag="refused", frozen=True, kw_only=True):
    """There is nothing safe that it could do."""


class GaveUp(Said, tag="gave_up", frozen=True, kw_only=True):
    """A step failed; everything is tried again after new checks."""


class NotRebuilt(Said, tag="not_rebuilt", frozen=True, kw_only=True):
    """The store could not be made redundant yet."""


class SplitBrain(Said, tag="split_brain", frozen=True, kw_only=True):
    """Another server of the store takes writes beside the primary."""


class RebuildOffered(Said, tag="rebuild_offered", frozen=True, kw_only=True):
    """The store has no second server any more, and the recoverer may not or cannot make one; how it is made."""


class Doubted(Said, tag="doubted", frozen=True, kw_only=True):
    """Something changed that may be damage, or somebody's intention: nothing is restored for it."""


class LeaseLost(Said, tag="lost", frozen=True, kw_only=True):
    """It does not hold the store's lease any more."""


class Stopped(Event, tag="stopped", frozen=True, kw_only=True):
    """It ended by itself."""


Recorded = (
    Watching
    | CheckFailed
    | Decided
    | Fenced
    | Progress
    | Recovered
    | Rerouted
    | Redundant
    | Refused
    | GaveUp
    | NotRebuilt
    | SplitBrain
    | RebuildOffered
    | Doubted
    | LeaseLost
    | Stopped
)
"""What the recoverer's ledger holds."""
