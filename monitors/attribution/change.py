"""Whether a window's attributions differ from those of earlier windows, and of which features.

Rows are autocorrelated, so a test that takes them for independent is wrong most of the time. Windows of equal length
are compared with each other instead: the statistic of the window, the greatest change of any feature in units of its
own spread over the reference windows, has a rank among those of the reference windows, each left out in turn. One
statistic over all features needs no correction for their number; which features moved is said after it. Twins are one
feature here: that one takes over from the other is told, and is no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from monitors.attribution import others, twins
from monitors.attribution.others import Floats

LEAST_WINDOWS = 20
"""Reference windows from which a rank can be small enough: 1 / (R + 1) has to be at most 5%."""
LEAST_SPREAD = 1e-9
"""Spread, in parts of all attribution, below which a feature is taken to have this much: of none, all is infinite."""

Interval = tuple[float, float]


class Verdict(StrEnum):
    """What is said of a window."""

    CHANGED = "changed"
    STABLE = "stable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Means by window and feature, shape (windows, features): of the attribution, and of its amount.

    `rows` is how many predictions each window's means are of. `places` counts predictions by window, feature and place
    among the features of a prediction, by the bounds of its histogram; None where nobody asked.
    """

    signed: Floats
    amount: Floats
    rows: Floats
    places: Floats | None = None

    def part(self, which: slice | NDArray[np.integer]) -> Windows:
        """Some of the windows."""
        places = None if self.places is None else self.places[which]
        return Windows(signed=self.signed[which], amount=self.amount[which], rows=self.rows[which], places=places)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature before and now: its share of all attribution and its signed mean, with 95% intervals of their changes.

    The intervals hold for all features at once, since the one that moved most was chosen by looking. `spreads` is how
    far it is off, in spreads of the earlier windows. `twins` are the features that stand for it. `divergence` is the
    Jensen-Shannon divergence of its places among the features, in bits; None where nobody asked.
    """

    name: str
    share_before: float
    share_now: float
    share_change: Interval
    mean_before: float
    mean_now: float
    mean_change: Interval
    spreads: float
    twins: tuple[str, ...] = ()
    divergence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A verdict, the chance of a window so far off when nothing changed, and the features by their change.

    `features` moved, `others` did not; both with the greatest change first. `exchanged` are those of `others` that
    moved alone, while they and their twins together did not. `ndcg` is that of the features' order, and `usual_ndcg`
    what 95% of the earlier windows have at least, each held against the others. `limit` is the change, in spreads, from
    which a feature moved.
    """

    verdict: Verdict
    p: float
    windows: int
    features: tuple[Feature, ...]
    others: tuple[Feature, ...] = ()
    exchanged: tuple[str, ...] = ()
    ndcg: float | None = None
    usual_ndcg: float | None = None
    limit: float | None = None


def compare(
    names: Sequence[str],
    reference: Windows,
    current: Windows,
    *,
    false_alarm: float = 0.05,
    listed: Sequence[Sequence[str]] = (),
) -> Change:
    """Compare one window, shape (1, features), with earlier ones of the same length; `listed` are known twins."""
    windows = len(reference.signed)
    if windows < LEAST_WINDOWS or not names:
        return Change(verdict=Verdict.UNKNOWN, p=1.0, windows=windows, features=())
    parts = twins.parts(names, reference.signed, reference.amount, listed)
    together, alone = (_Calm.of(reference, current, places) for places in (parts, [[one] for one in range(len(names))]))
    p = (1 + sum(one >= together.off.max() for one in together.usual)) / (1 + windows)
    limit = together.limit(false_alarm)
    moved = _moved(parts, together.off > limit, alone.off, alone.limit(false_alarm))
    features = _features(names, reference, current, parts, alone, false_alarm)
    by_change = sorted(range(len(names)), key=lambda place: (-alone.off[place], names[place]))
    shares = [one.amount / np.maximum(one.amount.sum(axis=1, keepdims=True), _TINY) for one in (reference, current)]
    apart = alone.off > alone.limit(false_alarm)
    return Change(
        verdict=Verdict.CHANGED if p <= false_alarm else Verdict.STABLE,
        p=p,
        windows=windows,
        features=tuple(features[place] for place in by_change if moved[place]),
        others=tuple(features[place] for place in by_change if not moved[place]),
        exchanged=tuple(
            sorted(names[place] for own in parts if len(own) > 1 for place in own if apart[place] and not moved[place])
        ),
        ndcg=_known(others.ndcg(shares[0].mean(axis=0), shares[1][0])),
        usual_ndcg=_known(_usual_ndcg(shares[0], false_alarm)),
        limit=limit,
    )


_TINY = np.finfo(float).tiny


@dataclass(frozen=True, kw_only=True)
class _Calm:
    """How far each part is off in the window, and how far the one that is farthest is in each earlier window."""

    off: Floats
    usual: Floats

    @classmethod
    def of(cls, reference: Windows, current: Windows, parts: Sequence[Sequence[int]]) -> _Calm:
        windows = len(reference.signed)
        both = np.concatenate([_in_parts(reference, parts), _in_parts(current, parts)])
        total = np.concatenate([reference.amount, current.amount]).sum(axis=1)
        both /= float(np.median(np.maximum(total, _TINY)))
        before, now = both[:windows], both[windows]
        rows, rows_now = reference.rows, float(current.rows[0])
        off = (_spreads(before, now) / _thinner(rows, rows_now)).reshape(2, -1).max(axis=0)
        return cls(off=off, usual=_usual(before, rows))

    def limit(self, false_alarm: float) -> float:
        """The greatest change that calm windows keep."""
        return float(np.quantile(self.usual, 1 - false_alarm))


def _in_parts(windows: Windows, parts: Sequence[Sequence[int]]) -> Floats:
    """Both means by part: (windows, 2 * parts)."""
    sums = [
        np.stack([values[:, own].sum(axis=1) for own in parts], axis=1) for values in (windows.signed, windows.amount)
    ]
    return np.concatenate(sums, axis=1)


def _spreads(before: Floats, now: Floats) -> Floats:
    """How many spreads of the earlier windows each value is off."""
    off: Floats = np.abs(now - before.mean(axis=0)) / _spread(before)
    return off


def _spread(before: Floats) -> Floats:
    """Spread of a new window's value around the mean of the earlier ones."""
    spread: Floats = np.maximum(before.std(axis=0, ddof=1), LEAST_SPREAD) * np.sqrt(1 + 1 / len(before))
    return spread


def _usual(before: Floats, rows: Floats) -> Floats:
    """How far the farthest value of each earlier window is off, in spreads of the others."""
    count = len(before) - 1
    middle = before - before.mean(axis=0)  # sums of squares of what is far from 0 would lose what differs
    mean = -middle / count
    variance = ((middle**2).sum(axis=0) - middle**2 - count * mean**2) / (count - 1)
    spread = np.maximum(np.sqrt(np.maximum(variance, 0.0)), LEAST_SPREAD) * np.sqrt(1 + 1 / count)
    thinner = [_thinner(np.delete(rows, place), float(row)) for place, row in enumerate(rows)]
    off: Floats = (np.abs(middle - mean) / spread).max(axis=1) / np.array(thinner)
    return off


def _thinner(before: Floats, now: float) -> float:
    """How many times as far as an earlier window one of fewer rows may be off by chance: its means are of less.

    All of the spread is taken to be of rows, which a part of it may not be: a thin window is never called changed for
    that, and needs a greater change.
    """
    return float(np.sqrt(max(1.0, np.median(before) / max(now, 1.0))))


def _moved(parts: Sequence[Sequence[int]], is_off: NDArray[np.bool_], alone: Floats, limit: float) -> list[bool]:
    """By feature: its part moved, and it is what moved in it (all of them where none did alone)."""
    moved = [False] * len(alone)
    for own, part_moved in zip(parts, is_off, strict=True):
        by_themselves = [place for place in own if alone[place] > limit] or list(own)
        for place in by_themselves if part_moved else ():
            moved[place] = True
    return moved


def _features(
    names: Sequence[str],
    reference: Windows,
    current: Windows,
    parts: Sequence[Sequence[int]],
    calm: _Calm,
    false_alarm: float,
) -> list[Feature]:
    shares, share_now = (
        one.amount / np.maximum(one.amount.sum(axis=1, keepdims=True), _TINY) for one in (reference, current)
    )
    share_changes = _changes(shares, share_now[0], reference.rows, float(current.rows[0]), false_alarm)
    mean_changes = _changes(reference.signed, current.signed[0], reference.rows, float(current.rows[0]), false_alarm)
    part_of = {place: own for own in parts for place in own}
    return [
        Feature(
            name=name,
            share_before=float(shares[:, place].mean()),
            share_now=float(share_now[0, place]),
            share_change=(float(share_changes[0, place]), float(share_changes[1, place])),
            mean_before=float(reference.signed[:, place].mean()),
            mean_now=float(current.signed[0, place]),
            mean_change=(float(mean_changes[0, place]), float(mean_changes[1, place])),
            spreads=float(calm.off[place]),
            twins=tuple(names[other] for other in part_of[place] if other != place),
            divergence=_divergence(reference, current, place),
        )
        for place, name in enumerate(names)
    ]


def _changes(before: Floats, now: Floats, rows: Floats, rows_now: float, false_alarm: float) -> Floats:
    """Both ends of each value's change, shape (2, values): as far as the farthest value of calm windows strays."""
    half = float(np.quantile(_usual(before, rows), 1 - false_alarm)) * _spread(before) * _thinner(rows, rows_now)
    change = now - before.mean(axis=0)
    return np.stack([change - half, change + half])


def _usual_ndcg(shares: Floats, false_alarm: float) -> float:
    """nDCG that so many of the earlier windows have at least, each held against the mean of the others."""
    found = [others.ndcg(np.delete(shares, place, axis=0).mean(axis=0), shares[place]) for place in range(len(shares))]
    return float(np.quantile(found, false_alarm))


def _divergence(reference: Windows, current: Windows, place: int) -> float | None:
    if reference.places is None or current.places is None:
        return None
    return _known(others.jensen_shannon(reference.places[:, place].sum(axis=0), current.places[0, place]))


def _known(number: float) -> float | None:
    return number if np.isfinite(number) else None
