"""Stretches of hours in which an objective surely did worse than is promised, found from its own counts.

An alert's worth cannot be judged by alerts: harm is measured without them. An hour is harmful when so many bad events,
or more, would come in fewer than one of a thousand hours that just keep the promise (a Poisson tail).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from midwatch.app.report.counted import TILE, Counted, Hours
from midwatch.app.report.month import HOUR
from midwatch.app.report.records import Harm

CHANCE = 0.001
MOST_GAP = 2
"""Harmful hours with one quiet hour between them are one stretch."""
LEAST_SPENT = 0.01
"""A stretch that spent less of the month's budget is not told."""


def hours(counted: Counted) -> NDArray[np.bool_]:
    """Which hours are harmful."""
    return _surely_worse(np.nan_to_num(counted.bad), np.nan_to_num(counted.allowed))


def _surely_worse(bad: Hours, allowed: Hours) -> NDArray[np.bool_]:
    """Where so many bad events would hardly come if just the allowed ones did."""
    chance = stats.poisson.sf(np.round(bad) - 1, np.maximum(allowed, 1e-12))
    worse: NDArray[np.bool_] = (np.round(bad) >= 1) & (bad > allowed) & (chance < CHANCE)
    return worse


def stretches(key: tuple[str, str], owner: str, counted: Counted, ends: NDArray[np.float64]) -> Iterator[Harm]:
    """Each stretch that cost something of the budget."""
    budget = float(np.nansum(counted.allowed))
    places = np.flatnonzero(hours(counted))
    if not len(places) or budget <= 0:
        return
    for run in np.split(places, np.flatnonzero(np.diff(places) > MOST_GAP) + 1):
        first, last = int(run[0]), int(run[-1])
        bad = float(np.nansum(counted.bad[first : last + 1]))
        if bad / budget >= LEAST_SPENT:
            yield Harm(
                subject=key[0],
                name=key[1],
                owner=owner,
                start=float(ends[first]) - HOUR,
                end=float(ends[last]),
                bad=bad,
                spent=bad / budget,
            )


def sharpened(harm: Harm, share: float, ends: NDArray[np.float64], total: Hours, bad: Hours) -> Harm:
    """The stretch to five minutes: from the first that surely did worse than the allowed share to the last.

    Where no five minutes show it by themselves it stays as it is.
    """
    allowed = total * share
    places = np.flatnonzero(
        (bad > allowed) & (stats.poisson.sf(np.round(bad) - 1, np.maximum(allowed, 1e-12)) < CHANCE)
    )
    if not len(places):
        return harm
    return replace(harm, start=float(ends[places[0]]) - TILE, end=float(ends[places[-1]]))
