"""Changes of a series over time: that it appeared, rose from nothing, has another value, or a time that was due passed.

Each yields a moment as an interval, from the last look before to the first look after it, and when it was over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from midwatch.prometheus import Line

MOST_CHANGES = 20
"""Changes of one series that are told; one that flaps all the time is not a cause twenty times over."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One change of a series: between which looks, when it was over, and the values before and after it."""

    at: float
    latest: float
    ended: float | None
    before: float | None
    after: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a series was looked at: from when on Prometheus had anything, when last, and seconds between two looks."""

    first: float
    last: float
    step: float


Turns = Callable[[Line, Look], Iterator[Turn]]


def risen(line: Line, look: Look) -> Iterator[Turn]:
    """It was nothing, or not there, and is more than that; over when it is nothing again."""
    up: float | None = None
    before = look.first
    for at, value in _filled(line, look):
        if value > 0 and up is None:
            up = at
        elif value <= 0 and up is not None:
            yield from _turn(up, before, at, look)
            up = None
        if value <= 0:
            before = at
    if up is not None:
        yield from _turn(up, before, None, look)


def _turn(up: float, before: float, ended: float | None, look: Look) -> Iterator[Turn]:
    if up > look.first + look.step / 2:  # what was there at the first look may have been there for long
        yield Turn(at=before, latest=up, ended=ended, before=0.0, after=1.0)


def _filled(line: Line, look: Look) -> Iterator[tuple[float, float]]:
    """Values at every look; 0 where there was none."""
    known = {round(at): value for at, value in line.points}
    count = round((look.last - look.first) / look.step)
    for number in range(count + 1):
        at = look.first + number * look.step
        yield at, known.get(round(at), 0.0)


def appeared(line: Line, look: Look) -> Iterator[Turn]:
    """The series was not there before, and is; it is not over by itself, and what comes back is not new."""
    first = line.points[0][0]
    if first > look.first + look.step * 1.5:
        yield Turn(at=first - look.step, latest=first, ended=None, before=None, after=line.points[0][1])


def altered(line: Line, look: Look) -> Iterator[Turn]:  # noqa: ARG001 - the signature of all
    """The value is another one."""
    for (earlier, before), (at, after) in zip(line.points, line.points[1:], strict=False):
        if before != after:
            yield Turn(at=earlier, latest=at, ended=None, before=before, after=after)


def stamped(line: Line, look: Look) -> Iterator[Turn]:
    """The value is a time, and that time is in the window: a run, a reload, a registration."""
    for value in dict.fromkeys(value for _, value in line.points):
        if look.first < value <= look.last:
            yield Turn(at=value, latest=value, ended=None, before=None, after=value)


def passed(line: Line, look: Look) -> Iterator[Turn]:
    """The value is a time until when something was due, and it passed; over when there is a later one."""
    due: float | None = None
    for at, value in line.points:
        if due is not None and value > due:
            yield Turn(at=due, latest=due, ended=at, before=None, after=due)
            due = None
        if due is None and look.first < value <= at:
            due = value
    if due is not None:
        yield Turn(at=due, latest=due, ended=None, before=None, after=due)


def scope_of(labels: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    """Labels of a change's scope, by the names that they have in a series."""
    return {name: labels[label] for label, name in kept.items() if labels.get(label)}
