"""What follows from the facts of a drill: the episode, looks before and after the drift, and totals between times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

import msgspec

from monitors.loop import episode as loop
from monitors.loop.drill import facts
from monitors.loop.drill.facts import SECOND, AnyFact, Counted, Fact, Injected, Registry, Sent, Started, Told, Withdrawn
from monitors.loop.episode import Episode, Step

F = TypeVar("F", bound=Fact)


class Trace:
    """The facts of a drill, read. `broken` says what of the loop's records cannot be read."""

    def __init__(self, seen: Sequence[AnyFact]) -> None:
        self.facts = tuple(seen)
        self.broken: list[str] = []
        self._episodes: dict[str, Episode] = {}
        self._told: list[tuple[Told, loop.Record]] = []
        for fact in self.of(Told):
            try:
                record: loop.Record = msgspec.convert({"type": fact.kind, **fact.data}, loop.Record)
                loop.applied(self._episodes, record)
            except (msgspec.ValidationError, KeyError) as error:
                self.broken.append(f"{fact.kind}: {error}")
            else:
                self._told.append((fact, record))

    def of(self, kind: type[F]) -> list[F]:
        """The facts of a kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def first(self, kind: type[F]) -> F | None:
        """The first fact of a kind."""
        return next(iter(self.of(kind)), None)

    # The drift -----------------------------------------------------------------------------------------------------

    @cached_property
    def started(self) -> Started | None:
        """When the drill began to look."""
        return self.first(Started)

    @cached_property
    def injected(self) -> Injected | None:
        """When the drift began."""
        return self.first(Injected)

    @cached_property
    def withdrawn_at(self) -> int:
        """When the drift ended, in nanoseconds; the last fact's time while it goes on."""
        withdrawn = self.first(Withdrawn)
        return withdrawn.at if withdrawn else max((fact.at for fact in self.facts), default=0)

    def seconds(self, at: int) -> float:
        """Seconds since the drift began."""
        return (at - self.injected.at) / SECOND if self.injected else 0.0

    # The episode ---------------------------------------------------------------------------------------------------

    @cached_property
    def episodes(self) -> list[Episode]:
        """Episodes of the copy that began after the drift did, the oldest first."""
        if self.started is None or self.injected is None:
            return []
        known, since = self.started.episodes, self.injected.wall
        return [one for one in self._episodes.values() if one.id not in known and one.detected >= since]

    @cached_property
    def episode(self) -> Episode | None:
        """The episode that the drift led to."""
        return next(iter(self.episodes), None)

    def told(self, step: Step) -> tuple[Told, loop.Seen] | None:
        """When the drill first read of the episode that a step was done, and what it read."""
        for fact, record in self._told:
            is_mine = self.episode is not None and record.episode == self.episode.id
            if isinstance(record, loop.Seen) and is_mine and record.step is step and record.result is loop.Result.DONE:
                return fact, record
        return None

    def records(self) -> list[tuple[Told, loop.Record]]:
        """Records of the episode, and when each was read."""
        if self.episode is None:
            return []
        return [(fact, record) for fact, record in self._told if record.episode == self.episode.id]

    def read_at(self, seen: loop.Seen) -> float | None:
        """When the drill read a record, as wall time."""
        return next((fact.wall for fact, record in self._told if record is seen), None)

    # Looks ---------------------------------------------------------------------------------------------------------

    @cached_property
    def counted(self) -> list[Counted]:
        """What Prometheus counted."""
        return self.of(Counted)

    def before(self, kind: type[F]) -> F | None:
        """The last fact of a kind before the drift."""
        at = self.injected.at if self.injected else 0
        return next((fact for fact in reversed(self.of(kind)) if fact.at <= at), None)

    def last(self, kind: type[F]) -> F | None:
        """The last fact of a kind."""
        return next(reversed(self.of(kind)), None)

    def requests(self, version: str, since: float, until: float) -> float | None:
        """Requests of a version between two times; None when Prometheus was not asked around both."""
        earlier = [one for one in self.counted if one.wall <= since]
        later = [one for one in self.counted if one.wall >= until]
        if not earlier or not later:
            return None
        return later[0].requests.get(version, 0.0) - earlier[-1].requests.get(version, 0.0)

    def promoted_between(self, number: str) -> tuple[float, float] | None:
        """Between which looks the registry made a version the champion, as wall times; None when it never was."""
        looks = self.of(Registry)
        place = next((index for index, one in enumerate(looks) if one.champion == number), None)
        if place is None:
            return None
        return (looks[place - 1].wall if place else 0.0), looks[place].wall

    def full_service(self, version: str) -> Counted | None:
        """The first look from which on a version had all of the copy's traffic, until the drift ended."""
        looks = [one for one in self.counted if self.injected and self.injected.at <= one.at <= self.withdrawn_at]
        since: Counted | None = None
        served = 0.0
        for earlier, later in itertools.pairwise(looks):
            mine = later.requests.get(version, 0.0) - earlier.requests.get(version, 0.0)
            everybody = sum(later.requests.values()) - sum(earlier.requests.values())
            if everybody <= 0:
                continue
            if mine < ALL_TRAFFIC * everybody:
                since, served = None, 0.0
                continue
            since, served = since or later, served + mine
        return since if served >= SUSTAINED_REQUESTS else None

    def windows(self, version: str, verdict: str, since: int, until: int) -> float:
        """Windows of a version with a verdict between two times, in nanoseconds."""
        looks = [one for one in self.counted if since <= one.at <= until]
        if not looks:
            return 0.0
        first, last = (one.windows.get(version, {}).get(verdict, 0.0) for one in (looks[0], looks[-1]))
        return last - first

    def longest_pause(self, since: int, until: int) -> float:
        """The longest time, in seconds, in which no request of the drill was answered."""
        growing = [since]
        for earlier, later in itertools.pairwise(one for one in self.of(Sent) if one.at >= since):
            if later.answered > earlier.answered:
                growing.append(later.at)
        growing.append(until)
        inside = [min(at, until) for at in growing]
        return max((later - earlier) / SECOND for earlier, later in itertools.pairwise(inside))

    def longest_gap(self, kind: type[facts.Fact], since: int, until: int) -> float:
        """The longest time, in seconds, without a fact of a kind."""
        times = [since, *(fact.at for fact in self.of(kind) if since <= fact.at <= until), until]
        return max((later - earlier) / SECOND for earlier, later in itertools.pairwise(times))


ALL_TRAFFIC = 0.99
"""Share of the requests that is all traffic: a scrape may fall between a request's count and the next."""
SUSTAINED_REQUESTS = 50.0
"""All traffic counts when it holds for so many requests, until the drift ends."""
