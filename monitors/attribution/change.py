"""Whether a window's attributions differ from those of earlier windows, and of which features.

Rows are autocorrelated, so a test that takes them for independent is wrong most of the time. Windows of equal length
are compared with each other instead: the statistic of the window, the greatest change of any feature in units of its
own spread over the reference windows, has a rank among those of the reference windows, each left out in turn. One
statistic over all features needs no correction for their number; which features moved is said after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_WINDOWS = 20
"""Reference windows from which a rank can be small enough: 1 / (R + 1) has to be at most 5%."""
LEAST_SPREAD = 1e-9
"""Spread, in parts of all attribution, below which a feature is taken to have this much: of none, all is infinite."""


class Verdict(StrEnum):
    """What is said of a window."""

    CHANGED = "changed"
    STABLE = "stable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Means by window and feature, shape (windows, features): of the attribution, and of its amount.

    `rows` is how many predictions each window's means are of.
    """

    signed: Floats
    amount: Floats
    rows: Floats

    def values(self) -> Floats:
        """Both means of each feature in parts of all attribution: (windows, 2 * features)."""
        total = np.maximum(self.amount.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        scale = np.median(total) if len(total) else 1.0
        return np.concatenate([self.signed / scale, self.amount / scale], axis=1)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature that moved: its share of all attribution before and now, its signed mean, and the change in spreads."""

    name: str
    share_before: float
    share_now: float
    mean_before: float
    mean_now: float
    spreads: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """A verdict, the chance of a window so far off when nothing changed, and the features by their change."""

    verdict: Verdict
    p: float
    windows: int
    features: tuple[Feature, ...]


def compare(names: Sequence[str], reference: Windows, current: Windows, *, false_alarm: float = 0.05) -> Change:
    """Compare one window, shape (1, features), with earlier ones of the same length."""
    windows = len(reference.signed)
    both = Windows(
        signed=np.concatenate([reference.signed, current.signed]),
        amount=np.concatenate([reference.amount, current.amount]),
        rows=np.concatenate([reference.rows, current.rows]),
    ).values()
    before, now = both[:windows], both[windows]
    if windows < LEAST_WINDOWS or not names:
        return Change(verdict=Verdict.UNKNOWN, p=1.0, windows=windows, features=())
    off = _spreads(before, now) / _thinner(reference.rows, current.rows[0])
    left_out = [
        _spreads(np.delete(before, place, axis=0), before[place]).max()
        / _thinner(np.delete(reference.rows, place), reference.rows[place])
        for place in range(windows)
    ]
    p = (1 + sum(one >= off.max() for one in left_out)) / (1 + windows)
    limit = float(np.quantile(left_out, 1 - false_alarm))
    verdict = Verdict.CHANGED if p <= false_alarm else Verdict.STABLE
    return Change(verdict=verdict, p=p, windows=windows, features=_moved(names, reference, current, off, limit))


def _spreads(before: Floats, now: Floats) -> Floats:
    """How many spreads of the earlier windows each value is off."""
    spread = np.maximum(before.std(axis=0, ddof=1), LEAST_SPREAD) * np.sqrt(1 + 1 / len(before))
    off: Floats = np.abs(now - before.mean(axis=0)) / spread
    return off


def _thinner(before: Floats, now: float) -> float:
    """How many times as far as an earlier window one of fewer rows may be off by chance: its means are of less.

    All of the spread is taken to be of rows, which a part of it may not be: a thin window is never called changed for
    that, and needs a greater change.
    """
    return float(np.sqrt(max(1.0, np.median(before) / max(now, 1.0))))


def _moved(
    names: Sequence[str], reference: Windows, current: Windows, off: Floats, limit: float
) -> tuple[Feature, ...]:
    """Features beyond the limit that a calm window's greatest change keeps, the greatest first."""
    total_before, total_now = reference.amount.mean(axis=0).sum(), current.amount[0].sum()
    by_feature = off.reshape(2, -1).max(axis=0)
    moved = [place for place in np.argsort(-by_feature) if by_feature[place] > limit]
    return tuple(
        Feature(
            name=names[place],
            share_before=float(reference.amount[:, place].mean() / total_before) if total_before else 0.0,
            share_now=float(current.amount[0, place] / total_now) if total_now else 0.0,
            mean_before=float(reference.signed[:, place].mean()),
            mean_now=float(current.signed[0, place]),
            spreads=float(by_feature[place]),
        )
        for place in moved
    )


def ndcg(before: Floats, now: Floats) -> float:
    """nDCG of the features' order now against the amounts before, as SageMaker Clarify defines it: 1 is the same order.

    DCG is the sum of amounts before by place now, divided by log2(1 + place), over that of the order before.
    """
    discount = 1 / np.log2(2 + np.arange(len(before)))
    gained = (before[np.argsort(-now, kind="stable")] * discount).sum()
    return float(gained / (np.sort(before)[::-1] * discount).sum())


def jensen_shannon(before: Floats, now: Floats) -> float:
    """Jensen-Shannon divergence of two histograms in bits, which Vertex alerts on beyond 0.3."""
    p, q = before / before.sum(), now / now.sum()
    middle = (p + q) / 2

    def nats(one: Floats) -> float:
        seen = one > 0
        return float((one[seen] * np.log2(one[seen] / middle[seen])).sum())

    return (nats(p) + nats(q)) / 2
