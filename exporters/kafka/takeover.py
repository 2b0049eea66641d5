"""Where a member begins with a partition that it was given, and whether it knows what waits there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporters.events.prepared import Span
from exporters.kafka.claims import Claim
from exporters.kafka.partitions import Place

RETENTION, RECREATED, TRUNCATED, FORGOTTEN = "retention", "recreated", "truncated", "forgotten"
"""Why a member does not go on behind the last record that was counted: the broker has deleted it by age or size; the
topic is another one of the same name; it is shorter than it was; the group's offsets were deleted."""


class Committed(NamedTuple):
    """What the group has for a place: the next offset, and the claim beside it where a member wrote it."""

    offset: int
    claim: Claim | None


class Bounds(NamedTuple):
    """First offset that is there, and the one after the last."""

    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the member's own journal has: up to where it counted, of topics with which ids, and whole partitions."""

    member: str
    offsets: Mapping[Place, int]
    topics: Mapping[str, str]
    partitions: Collection[int]


@dataclass(frozen=True, kw_only=True)
class Log:
    """What the brokers have. `is_begun` says whether the group has read anything of the topics."""

    committed: Mapping[Place, Committed]
    bounds: Mapping[Place, Bounds]
    topics: Mapping[str, str]
    is_begun: bool


@dataclass(kw_only=True)
class Takeover:
    """How to begin with a partition: at `begins`, after writing `spans`. `claim` is the newest there is.

    With `is_known` what waits is known; else it is to be read back as far as `counted`, which has topics whose records
    were counted by somebody, and is all empty where nobody has.
    """

    partition: int
    is_known: bool
    begins: dict[Place, int] = field(default_factory=dict)
    counted: dict[Place, int] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    claim: Claim | None = None


def was_taken(member: str, number: int, committed: Iterable[Committed]) -> bool | None:
    """Whether the group has a member's commit with a number, by any place it was for; None when nobody knows."""
    told = {found.claim.has(member, number) for found in committed if found.claim is not None}
    if True in told:
        return True
    return False if told == {False} else None


def plan(partition: int, known: Known, log: Log, *, from_latest: bool) -> Takeover:
    """How a member begins with a partition of every topic."""
    takeover = Takeover(partition=partition, is_known=partition in known.partitions)
    for topic in log.topics:
        place = topic, partition
        committed = log.committed.get(place)
        if committed is None:
            _without_offset(takeover, place, known, log, from_latest=from_latest)
        else:
            _behind(takeover, place, committed, known, log)
    return takeover


def _without_offset(takeover: Takeover, place: Place, known: Known, log: Log, *, from_latest: bool) -> None:
    """The group has nothing: it is new, or its offsets were deleted: with the topic, or since nobody came for long."""
    low, high = log.bounds[place]
    own = known.offsets.get(place)
    if own is None:
        takeover.is_known = False
        takeover.begins[place] = high if from_latest and not log.is_begun else low
    elif _is_another(known.topics.get(place[0]), log.topics[place[0]]):
        _reset(takeover, place, RECREATED, low)
    else:
        takeover.spans.append(Span(*place, own, own, 0, FORGOTTEN))
        takeover.begins[place] = min(max(own, low), high)


def _behind(takeover: Takeover, place: Place, committed: Committed, known: Known, log: Log) -> None:
    offset, claim = committed
    low, high = log.bounds[place]
    if claim is not None and (takeover.claim is None or claim.time >= takeover.claim.time):
        takeover.claim = claim
    if claim is not None and _is_another(claim.topic, log.topics[place[0]]):
        _reset(takeover, place, RECREATED, low)
        return
    is_own = claim is not None and claim.owner == known.member and known.offsets.get(place) == offset
    takeover.is_known = takeover.is_known and is_own
    if offset < low:
        takeover.spans.append(Span(*place, offset, low, low - offset, RETENTION))
    elif offset > high:
        takeover.spans.append(Span(*place, high, high, 0, TRUNCATED))
    takeover.begins[place] = min(max(offset, low), high)
    if claim is not None:
        takeover.counted[place] = min(offset, high)


def _reset(takeover: Takeover, place: Place, reason: str, begin: int) -> None:
    takeover.is_known = False
    takeover.spans.append(Span(*place, begin, begin, 0, reason))
    takeover.begins[place] = begin


def _is_another(one: str | None, other: str) -> bool:
    """Whether two ids are of two topics; an empty one is not known."""
    return bool(one and other and one != other)
