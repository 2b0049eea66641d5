"""Has a series of trainings changed for the worse, and since which one? Ranks and permutations; nothing is assumed.

For every place in the second half of the series, the runs from there on are compared with all before: the standardised
rank sum of Mann & Whitney (1947). The largest of these is the statistic, as in Pettitt's test for a change point
("A non-parametric approach to the change-point problem", Applied Statistics 28(2), 1979); its distribution without a
change is that over permutations of the series itself, so the chance of a false alarm at a look is at most `alpha`
whatever the values' distribution is, ties included. Not all permutations can be tried, and those that are drawn for a
length are the same for every series of it: what counts is an upper bound of the share of all permutations (Clopper &
Pearson, "The use of confidence or fiducial limits", Biometrika 26(4), 1934), so that no length has a higher level by
chance. `alpha` is a budget per look: one more run is one more look.

A series so short that even the clearest change could not be told at `alpha` is undecided, and so is one whose recent
runs may be worse by more than is tolerated: steady is said only where that is excluded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PERMUTATIONS = 20_000
"""Drawn with a fixed seed: the same series gives the same answer."""
AT_ONCE = 2000
"""Permutations that are in memory together: 3 MB of the longest series."""
CONFIDENCE = 0.999
"""Of the bound of a p-value. Simulated, 100,000 series of each length from 9 to 40: levels of 0.6% to 1.0% for 1%."""
LONGEST = 200
"""Newest values that are looked at: what was long ago is another platform."""
RECENT = 5
"""Newest values that are compared with those before, to say that nothing has changed."""
FEWEST = 8
"""Values below which nothing is said whatever the level: their spread is not known."""


class Verdict(StrEnum):
    """What is said of a series."""

    REGRESSED = "regressed"
    STEADY = "steady"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Change:
    """The verdict on a series.

    `since` is the place of the first value of the worse ones; `before` and `after` are medians on its two sides (of the
    recent values where nothing has changed). `p_value` is the bound of the look's. `needed` is how many values more a
    decision needs at least, 0 where their number is enough.
    """

    verdict: Verdict
    reason: str
    values: int
    since: int | None = None
    before: float | None = None
    after: float | None = None
    p_value: float | None = None
    needed: int = 0


def find(values: Floats, *, worse_is_higher: bool, tolerated: float, alpha: float) -> Change:
    """Look for a change for the worse that is larger than `tolerated`, a share of the median before it.

    `values` are in the order of time; what is no number has to be left out.
    """
    kept = values[-LONGEST:] * (1.0 if worse_is_higher else -1.0)
    count, dropped = kept.size, values.size - min(values.size, LONGEST)
    needed = fewest(alpha) - count
    if needed > 0:
        reason = f"{count} values, and {fewest(alpha)} are the fewest that can show a change at {alpha:.2%}"
        return Change(verdict=Verdict.UNDECIDED, reason=reason, values=count, needed=needed)
    ranks = _ranks(kept)
    scores = _scores(ranks[None, :])[0]
    place = int(np.argmax(scores))
    p_value = _p_value(ranks, float(scores[place]))
    since = first_place(count) + place
    sign = 1.0 if worse_is_higher else -1.0
    if p_value <= alpha:
        before, after = float(np.median(kept[:since])), float(np.median(kept[since:]))
        share = _share(after - before, before)
        told = (
            f"median {sign * before:.4g} before, {sign * after:.4g} in the {count - since} since, p below {p_value:.2g}"
        )
        if share > tolerated:
            return Change(
                verdict=Verdict.REGRESSED,
                reason=f"worse by {share:.1%}: {told}",
                values=count,
                since=dropped + since,
                before=sign * before,
                after=sign * after,
                p_value=p_value,
            )
    return _without_change(kept, sign, tolerated, alpha, p_value)


def _without_change(kept: Floats, sign: float, tolerated: float, alpha: float, p_value: float) -> Change:
    """Steady where the recent values are not worse by more than is tolerated, else undecided."""
    earlier, recent = kept[:-RECENT], kept[-RECENT:]
    before, after = float(np.median(earlier)), float(np.median(recent))
    most = _share(_largest_shift(earlier, recent, alpha), before)
    is_steady = most <= tolerated
    reason = f"the last {RECENT} are worse by at most {most:.1%} than the {earlier.size} before"
    if not is_steady:
        reason = (
            f"the last {RECENT} may be worse by {most:.1%} than the {earlier.size} before; {tolerated:.1%} is tolerated"
        )
    return Change(
        verdict=Verdict.STEADY if is_steady else Verdict.UNDECIDED,
        reason=reason,
        values=kept.size,
        before=sign * before,
        after=sign * after,
        p_value=p_value,
        needed=0 if is_steady else 1,
    )


def _share(change: float, of: float) -> float:
    """A change as a share of a median; of one that is 0 any change is beyond every share."""
    if of == 0:
        return 0.0 if change <= 0 else math.inf
    return change / abs(of)


def _largest_shift(earlier: Floats, recent: Floats, alpha: float) -> float:
    """Upper bound of the shift from the earlier values to the recent ones, at 1 - `alpha`.

    By the ordered pairwise differences, of which as many lie above the bound as the normal approximation of the rank
    sum gives (Lehmann, "Nonparametrics", 1975, section 2.5); with few values it is the largest difference.
    """
    from scipy.special import ndtri

    differences = np.sort((recent[:, None] - earlier[None, :]).ravel())
    spread = math.sqrt(earlier.size * recent.size * (earlier.size + recent.size + 1) / 12)
    above = math.floor(differences.size / 2 + float(ndtri(alpha)) * spread)
    return float(differences[-1 - max(0, above)])


# The statistic -----------------------------------------------------------------------------------------------------


def first_place(count: int) -> int:
    """The first place at which a change is looked for: at least half of the values lie before it."""
    return math.ceil(count / 2)


def _ranks(values: Floats) -> Floats:
    """Ranks with the mean of tied ones, from 1."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[inverse]


def _scores(ranks: Floats) -> Floats:
    """Standardised rank sums of the values from each place on, shape (series, places)."""
    count = ranks.shape[-1]
    sizes = np.arange(count - first_place(count), 0, -1)
    sums = np.cumsum(ranks[:, ::-1], axis=1)[:, ::-1][:, first_place(count) :]
    spread = np.sqrt(sizes * (count - sizes) * ranks.var(axis=1, keepdims=True) / (count - 1))
    scores: Floats = np.divide(sums - sizes * (count + 1) / 2, spread, out=np.zeros(sums.shape), where=spread > 0)
    return scores


def _p_value(ranks: Floats, seen: float) -> float:
    """Upper bound of the share of all permutations whose largest score is as large as what was seen."""
    largest = _without_ties(ranks.size) if len(np.unique(ranks)) == ranks.size else _largest_scores(ranks)
    return _bound(PERMUTATIONS - int(np.searchsorted(largest, seen - 1e-9)))


@cache
def _bound(as_large: int) -> float:
    """Upper bound of a share, of which so many of the permutations drawn are."""
    from scipy.special import betaincinv

    if as_large >= PERMUTATIONS:
        return 1.0
    return float(betaincinv(as_large + 1, PERMUTATIONS - as_large, CONFIDENCE))


@cache
def _without_ties(count: int) -> Floats:
    """Largest scores of permutations of ranks without ties: the same for every series of a length."""
    return _largest_scores(np.arange(1.0, count + 1))


def _largest_scores(ranks: Floats) -> Floats:
    """Largest scores of permutations of ranks, ascending."""
    generator = np.random.default_rng(20260)
    drawn = (generator.permuted(np.tile(ranks, (AT_ONCE, 1)), axis=1) for _ in range(PERMUTATIONS // AT_ONCE))
    largest: Floats = np.sort(np.concatenate([_scores(one).max(axis=1) for one in drawn]))
    return largest


@cache
def fewest(alpha: float) -> int:
    """Values from which a clear change, with all that are worse at the end, can be told at a level."""
    count = FEWEST
    while True:
        ranks = np.arange(1.0, count + 1)
        if _p_value(ranks, float(_scores(ranks[None, :]).max())) <= alpha:
            return count
        count += 1
