"""What is said of an incident in sentences: times, places, rates and the reasons for or against a change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from midwatch.spec.values import describe_duration
from monitors.incident.records import Harm, Onset

MINUTE = 60.0


def clock(at: float, *, step: float = MINUTE) -> str:
    """A time of the day in UTC: to the minute, or to the second where bins are shorter."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M" if step >= MINUTE else "%H:%M:%S")


def between(onset: Onset) -> str:
    """The interval of an onset."""
    width = onset.latest - onset.earliest
    first, last = (clock(at, step=width) for at in (onset.earliest, onset.latest))
    return first if first == last else f"{first} to {last}"


def place(scope: Mapping[str, str]) -> str:
    """Labels as a person says them.

    >>> place({"version": "v2", "model": "fraud"}), place({})
    ('model fraud, version v2', 'the whole platform')
    """
    return ", ".join(f"{name} {scope[name]}" for name in sorted(scope)) or "the whole platform"


def duration(seconds: float) -> str:
    """A length of time as people say it: whole seconds, from five minutes on whole minutes.

    >>> duration(12.3), duration(200), duration(937)
    ('12 s', '3m20s', '16m')
    """
    unit = 1.0 if seconds < 5 * MINUTE else MINUTE
    return describe_duration(max(round(seconds / unit) * unit, 0.0))


def percent(share: float) -> str:
    """A share with two digits that say something.

    >>> percent(0.0123), percent(0.4), percent(0.997), percent(0)
    ('1.2%', '40%', '99.7%', '0%')
    """
    value = share * 100
    if value >= 99 or value < 0.1:
        return f"{value:.3g}%"
    return f"{value:.0f}%" if value >= 10 else f"{value:.1f}%"


def chance(probability: float) -> str:
    """A probability, never as certain.

    >>> chance(0.823), chance(0.9999), chance(0.0001)
    ('82%', 'over 99%', 'under 1%')
    """
    if probability > 0.99:
        return "over 99%"
    return "under 1%" if probability < 0.01 else f"{probability:.0%}"


def harm(harm: Harm, what: str) -> str:
    """One line of harm with its interval; `what` is a bad event in the plural."""
    span = f"{percent(harm.lower)} to {percent(harm.upper)}"
    return f"{place(harm.scope)}: {what} {percent(harm.before)} before, then {percent(harm.after)} ({span})"
