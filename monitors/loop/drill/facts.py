"""Facts of a drill: what it sent, what it asked owners itself, and what the loop has said. A ledger has them in order.

`at` is nanoseconds of CLOCK_MONOTONIC, from which durations are computed; `wall` is seconds since 1970, by which times
of owners are compared. What is counted is a total since something began: the judge takes differences.
"""

from __future__ import annotations

import msgspec

SECOND = 1e9
"""Nanoseconds."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the drill saw or did."""

    at: int
    wall: float


class Started(Fact, frozen=True, kw_only=True, tag="started"):
    """The drill began to look. `boot` says with which other monotonic times its own can be compared.

    `episodes` and `runs` are those that the loop knew by then, of any model; `open` is the episode of the copy that was
    open, if one was.
    """

    run: str
    boot: str
    model: str
    stream: str
    interval: float
    episodes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    open: str = ""


class RegistryVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as the registry has it. `promoted_by` is who says that he promoted it, empty where nobody does."""

    number: str
    created: float
    run_id: str = ""
    promoted_by: str = ""


class Registry(Fact, frozen=True, kw_only=True, tag="registry"):
    """What the registry answered: every version of the copy, and the number of its champion, empty without one."""

    versions: tuple[RegistryVersion, ...]
    champion: str = ""


class Run(Fact, frozen=True, kw_only=True, tag="run"):
    """What its owner, `tekton` or `mlflow`, says of the run that the loop names: when it was made, and for whom.

    `request` is the id of the request that it came of, `episode` the episode that its tag, label or name has.
    """

    source: str
    id: str
    created: float
    request: str = ""
    episode: str = ""


class Sent(Fact, frozen=True, kw_only=True, tag="sent"):
    """How many requests the drill has sent, how many of those were answered well, and how many carried the drift."""

    sent: int
    answered: int
    drifted: int


class Counted(Fact, frozen=True, kw_only=True, tag="counted"):
    """What Prometheus counts of the copy: requests by version, and windows by version and verdict."""

    requests: dict[str, float]
    windows: dict[str, dict[str, float]]


class Injected(Fact, frozen=True, kw_only=True, tag="injected"):
    """From here on every request carries the drift; `what` says which."""

    what: str


class Withdrawn(Fact, frozen=True, kw_only=True, tag="withdrawn"):
    """From here on no request carries it."""


class Blind(Fact, frozen=True, kw_only=True, tag="blind"):
    """An owner did not answer: `prometheus`, `registry` or `loop`."""

    source: str
    why: str


class Told(Fact, frozen=True, kw_only=True, tag="told"):
    """A record of the loop's log about an episode of the copy, as it stands there."""

    kind: str
    data: dict[str, object]


class Finished(Fact, frozen=True, kw_only=True, tag="finished"):
    """The drill ended by itself, with everything on the disk."""


AnyFact = Started | Registry | Run | Sent | Counted | Injected | Withdrawn | Blind | Told | Finished
