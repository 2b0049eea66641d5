"""Did it help? The new version against the old one, as one verdict of several comparisons. Pure: nothing is asked here.

Superiority is asked on the drifted window, on rows that both versions predicted; where there are none, on the traffic
that both served. On a frozen set, on each group and on the traffic the new version has to be no worse. Every bound
holds at every look, and the chance of calling a version worse that is not is shared out among the comparisons. Better
needs every comparison (an intersection-union test, so each at its full level); worse needs one.

No better is a verdict: a gain that is worth a new version is excluded. Then what changed is in the world, or in the
data on their way, and training again on it does not help.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from midwatch.spec.promotion import Better
from monitors.canary.ratio import Interval
from monitors.loop import paired
from monitors.loop.paired import Pairs


class Verdict(StrEnum):
    """What is said of a new version against the one that it replaces."""

    BETTER = "better"
    NO_BETTER = "no better"
    WORSE = "worse"
    UNKNOWN = "not yet known"


class Role(StrEnum):
    """What a comparison has to show: that the new version is superior, or no more than that it is no worse."""

    SUPERIOR = "superior"
    NO_WORSE = "no worse"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison and its verdict; of a `NO_WORSE` one, `BETTER` says that it is no worse.

    `value`, `low` and `high` are a difference of accuracies (new less old), or with `is_ratio` the ratio of the wrong
    answers' shares (new to old); None is unknown or unbounded. `needed` is how many more rows would decide it, None
    where that cannot be told. `doubts` are why the rows cannot carry a verdict.
    """

    name: str
    role: Role
    verdict: Verdict
    reason: str
    rows: int
    value: float | None
    low: float | None
    high: float | None
    is_ratio: bool = False
    needed: int | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Helped:
    """The verdict on a new version: what was compared, and what it means for whoever decides.

    `reading` says in words what follows; `needed` is how many more labelled rows would decide it, where that is what
    is missing. `is_upstream` says that the drift is in the world or in the data: retraining again does not help.
    """

    model: str
    old: str
    new: str
    verdict: Verdict
    reason: str
    reading: str
    is_upstream: bool = False
    needed: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()


# One comparison ----------------------------------------------------------------------------------------------------


def of_pairs(name: str, pairs: Pairs, role: Role, settings: Better, alpha: float) -> Comparison:
    """Compare two versions on the same labelled rows, at a level of `alpha`."""
    found = paired.interval(pairs, alpha)
    margin, worthwhile = float(settings.margin), float(settings.worthwhile)
    limits: tuple[float, ...]
    if role is Role.SUPERIOR:
        verdict = _superior(found.low, found.high, nothing=0.0, worthwhile=worthwhile)
        limits = (0.0, worthwhile)
    else:
        verdict = _no_worse(found.low, found.high, limit=-margin)
        limits = (-margin,)
    shown = f"{found.value:+.2%} [{found.low:+.2%}, {found.high:+.2%}] accuracy on {pairs.rows:,} rows"
    return Comparison(
        name=name,
        role=role,
        verdict=verdict,
        reason=f"{name}: {shown}, of which the versions differ on {pairs.only_new + pairs.only_old:,}",
        rows=pairs.rows,
        value=found.value,
        low=found.low,
        high=found.high,
        needed=_needed(verdict, pairs.rows, (found.low, found.value, found.high), limits),
    )


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Wrong answers among the settled labels of the traffic that both versions served.

    `interval` is the always-valid one of the ratio, new to old; `rows` are labelled predictions of the new version.
    `tolerated` and `unacceptable` are the canary's ratios. With a `doubt` it is not known, whatever the numbers say.
    """

    interval: Interval
    rows: int
    wrong_old: int
    rows_old: int
    wrong_new: int
    tolerated: float
    unacceptable: float
    doubts: tuple[str, ...] = ()


def of_traffic(found: Traffic, role: Role) -> Comparison:
    """Compare two versions on the traffic that both served at the same time."""
    interval = found.interval
    # A better version makes fewer wrong answers: the sides of the ratio are those of a difference, mirrored.
    low, value, high = (None if one is None else -_log(one) for one in (interval.high, interval.ratio, interval.low))
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    limits: tuple[float, ...]
    if role is Role.SUPERIOR:
        limits = (0.0, math.log(found.tolerated))
        verdict = _superior(low, high, nothing=0.0, worthwhile=limits[1])
    else:
        limits = (-math.log(found.unacceptable),)
        verdict = _no_worse(low, high, limit=limits[0])
    if not found.rows or not found.rows_old or interval.ratio is None or found.doubts:
        verdict = Verdict.UNKNOWN
    shares = " against ".join(
        f"{wrong / rows:.2%} of {rows:,}" if rows else "no labels"
        for wrong, rows in ((found.wrong_new, found.rows), (found.wrong_old, found.rows_old))
    )
    times = f"{_shown(interval.ratio, '∞')} times [{_shown(interval.low, '0')}, {_shown(interval.high, '∞')}]"
    known = value is not None and math.isfinite(low) and math.isfinite(high) and not found.doubts
    return Comparison(
        name="traffic",
        role=role,
        verdict=verdict,
        reason="; ".join((f"traffic: wrong answers are {shares}, {times}", *found.doubts)),
        rows=found.rows,
        value=interval.ratio,
        low=interval.low,
        high=interval.high,
        is_ratio=True,
        needed=_needed(verdict, found.rows, (low, value or 0.0, high), limits) if known else None,
        doubts=found.doubts,
    )


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _shown(value: float | None, unknown: str) -> str:
    return unknown if value is None else f"{value:.3g}"


def _superior(low: float, high: float, *, nothing: float, worthwhile: float) -> Verdict:
    """A gain that is smaller than what is worth a new version is no better, also where it is a sure one."""
    if high < nothing:
        return Verdict.WORSE
    if high < worthwhile:
        return Verdict.NO_BETTER
    return Verdict.BETTER if low > nothing else Verdict.UNKNOWN


def _no_worse(low: float, high: float, *, limit: float) -> Verdict:
    if high < limit:
        return Verdict.WORSE
    return Verdict.BETTER if low > limit else Verdict.UNKNOWN


def _needed(verdict: Verdict, rows: int, bounds: tuple[float, float, float], limits: Sequence[float]) -> int | None:
    """Rows beyond those there are until a bound passes one of the limits, if things go on as they are.

    A bound's distance from the estimate falls as the root of the rows. It is a forecast: half of the time it takes
    longer. None when it is decided, or when the estimate is at a limit, so that no number of rows would do.
    """
    low, value, high = bounds
    if verdict is not Verdict.UNKNOWN or not rows:
        return None
    times = [
        ((high - value if limit > value else value - low) / abs(limit - value)) ** 2
        for limit in limits
        if limit != value
    ]
    return math.ceil(rows * (min(times) - 1)) if times and min(times) > 1 and math.isfinite(min(times)) else None


# All of them -------------------------------------------------------------------------------------------------------

DRIFTED, FROZEN = "drifted", "frozen"
"""Names of the sets of rows: those of the drifted window, and those that stay the same from release to release."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation of both versions on the same rows found: by set, and by group of the drifted window."""

    sets: dict[str, Pairs]
    groups: dict[str, Pairs] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def compare(
    model: str,
    old: str,
    new: str,
    settings: Better,
    *,
    evaluation: Evaluation | None,
    traffic: Callable[[float], Traffic] | None,
    drift_goes_on: bool | None = None,
) -> Helped:
    """The verdict of all comparisons that there are.

    `traffic` is asked with the level that is its own share of the false alarms. `drift_goes_on` says whether the new
    version's inputs still drift, None where nobody knows.
    """
    names = [] if evaluation is None else [*evaluation.sets, *evaluation.groups]
    count = len(names) + (traffic is not None)
    alpha = float(settings.false_alarm) / max(count, 1)
    found: list[Comparison] = []
    if evaluation is not None:
        for name, pairs in evaluation.sets.items():
            role = Role.SUPERIOR if name == DRIFTED else Role.NO_WORSE
            found.append(of_pairs(_set_name(name), pairs, role, settings, alpha))
        found += [of_pairs(name, pairs, Role.NO_WORSE, settings, alpha) for name, pairs in evaluation.groups.items()]
    if traffic is not None:
        has_superior = any(one.role is Role.SUPERIOR for one in found)
        found.append(of_traffic(traffic(alpha), Role.NO_WORSE if has_superior else Role.SUPERIOR))
    return _together(model, old, new, found, evaluation.notes if evaluation else (), drift_goes_on)


def _set_name(name: str) -> str:
    return "drifted window" if name == DRIFTED else f"{name} set"


def _together(
    model: str,
    old: str,
    new: str,
    found: Sequence[Comparison],
    notes: Sequence[str],
    drift_goes_on: bool | None,
) -> Helped:
    by_verdict = {verdict: [one for one in found if one.verdict is verdict] for verdict in Verdict}
    superior = [one for one in found if one.role is Role.SUPERIOR]
    if by_verdict[Verdict.WORSE]:
        verdict, deciding = Verdict.WORSE, by_verdict[Verdict.WORSE]
    elif by_verdict[Verdict.NO_BETTER]:
        verdict, deciding = Verdict.NO_BETTER, by_verdict[Verdict.NO_BETTER]
    elif by_verdict[Verdict.UNKNOWN] or not superior:
        verdict, deciding = Verdict.UNKNOWN, by_verdict[Verdict.UNKNOWN]
    else:
        verdict, deciding = Verdict.BETTER, list(found)
    waiting = [one.needed for one in deciding]
    told = [needed for needed in waiting if needed is not None]
    is_upstream = verdict is Verdict.NO_BETTER or (verdict is Verdict.WORSE and drift_goes_on is True)
    return Helped(
        model=model,
        old=old,
        new=new,
        verdict=verdict,
        reason="; ".join(one.reason for one in deciding) or _nothing(found),
        reading=_reading(verdict, old, new, drift_goes_on),
        is_upstream=is_upstream,
        needed=max(told) if verdict is Verdict.UNKNOWN and told and len(told) == len(waiting) else None,
        comparisons=tuple(found),
        notes=tuple(notes),
    )


def _nothing(found: Sequence[Comparison]) -> str:
    if not found:
        return "nothing is compared: there is neither traffic of both versions nor an evaluation of both"
    return "nothing was compared on which the new version should be better: give rows of the drifted window"


def _reading(verdict: Verdict, old: str, new: str, drift_goes_on: bool | None) -> str:
    """What follows from a verdict, in words for whoever decides."""
    going_on = {True: " Its inputs drift still.", False: " Its inputs drift no more.", None: ""}[drift_goes_on]
    if verdict is Verdict.BETTER:
        remains = (
            " Drift that goes on is one that the model copes with: fit its reference anew." if drift_goes_on else ""
        )
        return f"{new} is better than {old}: keep it.{going_on}{remains}"
    if verdict is Verdict.WORSE:
        return f"{new} is worse than {old}: go back to {old}.{going_on}"
    if verdict is Verdict.NO_BETTER:
        return (
            f"Retraining did not help: {new} was trained on what changed and is no better than {old}. What changed is "
            "in the world or in the data on their way (a unit, a join, a source that is late), and no training undoes "
            f"it.{going_on} Ask the owner of the data, and hold further retraining."
        )
    return f"Nobody can say yet whether {new} is better than {old}; neither keep nor undo it for this.{going_on}"
