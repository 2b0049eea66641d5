"""How well the counts fit a guess: these cells were hurt from this bin on, by any factor.

Events are Poisson with a mean by cell and bin, which the quiet bins tell: rate x exposure. A guess multiplies the mean
of the hurt cells. Its log-likelihood against "nothing happened" is the sum of two parts: how the hurt cells' share of
all events changed, given how many there were in that bin, and how the number of all events changed. A shock that all
cells share says nothing in the first part, which is the difference in differences. Each part is divided by its own
dispersion (quasi-likelihood; McCullagh and Nelder 1989, section 9.2): bursts and shared shocks are in it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitors.incident.counts import Counts, Mask, Numbers
from monitors.incident.records import Dispersion

FACTORS = np.geomspace(1.35, 40.0, 12)
"""By what harm multiplies bad events: from what few notice to what nobody can miss, each as likely beforehand."""

BLOCKS = (1, 5, 15)
"""Bins that are summed to estimate a dispersion: shocks that last are seen in the longer ones only."""

PRIOR_BLOCKS, PRIOR_DISPERSION = 10.0, 1.5
"""What a dispersion is drawn to while the quiet bins are few: so many blocks of so much."""

SHRINK_EVENTS = 2.0
"""Bad events that a cell's rate borrows from the cells like it: a new version has none of its own."""

LEVEL_BINS, LEVEL_EVENTS, MOST_LEVEL = 11, 20.0, 1.5
"""The level that all cells share is what those outside of the alert show in so many bins, drawn to 1 by so many events.
It is never more than so many times the usual, nor less than its inverse: beyond that it is harm."""

LEAST_MEAN = 1e-9


class Likelihood:
    """Of one table of counts, whose bins before `quiet` are those before anything happened.

    `alerted` are the cells that the alert is about: the others tell what all share.
    """

    def __init__(self, counts: Counts, quiet: int, alerted: Mask) -> None:
        self.counts, self.quiet, self.alerted = counts, max(quiet, 1), alerted

    @cached_property
    def mean(self) -> Numbers:
        """Expected bad events by cell and bin, had nothing happened."""
        usual = self._rates[:, None] * self.counts.total
        return np.maximum(usual * _level(self.counts.bad[~self.alerted], usual[~self.alerted]), LEAST_MEAN)

    @cached_property
    def _rates(self) -> Numbers:
        """Bad by all events of each cell in quiet bins, drawn to those of its own model, and these to all."""
        bad = self.counts.bad[:, : self.quiet].sum(axis=1)
        total = self.counts.total[:, : self.quiet].sum(axis=1)
        everywhere = (bad.sum() + 0.5) / (total.sum() + 1.0) if total.sum() else 0.5
        models = [cell.get("model", "") for cell in self.counts.cells]
        rates = np.zeros(len(models))
        for model in set(models):
            own = np.array([name == model for name in models])
            events, exposure = bad[own].sum(), total[own].sum()
            like = (events + everywhere * 1.0) / (exposure + 1.0)
            borrowed = SHRINK_EVENTS / max(like, LEAST_MEAN)
            rates[own] = (bad[own] + SHRINK_EVENTS) / (total[own] + borrowed)
        return rates

    @cached_property
    def dispersion(self) -> Dispersion:
        """Variance by mean of quiet bins, at least 1: given the number of all events, and of that number."""
        return Dispersion(
            parts=max(_pearson(self._blocks(size), is_given_total=True) for size in BLOCKS),
            together=max(_pearson(self._blocks(size), is_given_total=False) for size in BLOCKS),
        )

    def _blocks(self, size: int) -> tuple[Numbers, Numbers]:
        """Counted and expected events of quiet bins, `size` of them summed."""
        count = self.quiet // size
        shape = (len(self.counts.cells), count, size)
        kept = count * size
        bad, mean = (each[:, :kept].reshape(shape).sum(axis=2) for each in (self.counts.bad, self.mean))
        return bad, mean

    def log_ratios(self, hurt: Mask, effect: Numbers | None = None, lasting: int | None = None) -> Numbers:
        """Log-likelihood of each bin as the first in which the cells are hurt, against no harm at all.

        `effect` is the share of the harm that each bin can have, 0 to 1: a change that reaches 5% of the traffic can
        do 5% of it. Harm that is `lasting` so many bins is over then. It cannot begin before the cells have traffic.
        """
        parts, together = self._ratios(hurt, effect)
        summed = np.cumsum((parts + together)[:, ::-1], axis=1)[:, ::-1]
        if lasting is not None:
            over = np.zeros_like(summed)
            over[:, :-lasting] = summed[:, lasting:]
            summed = summed - over
        logs = np.logaddexp.reduce(summed, axis=0) - np.log(len(summed))
        return np.where(np.cumsum(self.counts.total[hurt].sum(axis=0)) > 0, logs, -np.inf)

    def _ratios(self, hurt: Mask, effect: Numbers | None) -> tuple[Numbers, Numbers]:
        """The two parts by factor and bin."""
        factors = 1 / FACTORS if self.counts.is_fewer else FACTORS
        share = np.ones(self.counts.bins) if effect is None else effect
        grown = 1.0 + share[None, :] * (factors[:, None] - 1.0)
        everything = self.mean.sum(axis=0)
        part = self.mean[hurt].sum(axis=0) / everything
        events, bad = self.counts.bad.sum(axis=0), self.counts.bad[hurt].sum(axis=0)
        all_grown = 1.0 + part * (grown - 1.0)
        is_all = bool(hurt.all())
        parts = np.zeros_like(grown) if is_all else bad * np.log(grown) - events * np.log(all_grown)
        together = events * np.log(all_grown) - everything * (all_grown - 1.0)
        return parts / self.dispersion.parts, together / self.dispersion.together


def _level(bad: Numbers, usual: Numbers) -> Numbers:
    """What all cells share in each bin, by the usual, as cells show it that are not looked at."""
    around = np.ones(LEVEL_BINS)
    found, expected = (np.convolve(each.sum(axis=0), around, mode="same") for each in (bad, usual))
    return np.clip((found + LEVEL_EVENTS) / (expected + LEVEL_EVENTS), 1 / MOST_LEVEL, MOST_LEVEL)


def _pearson(blocks: tuple[Numbers, Numbers], *, is_given_total: bool) -> float:
    """Pearson's estimate of a dispersion, drawn to the prior's and at least 1."""
    bad, mean = blocks
    events, everything = bad.sum(axis=0), mean.sum(axis=0)
    if is_given_total:
        free = len(bad) - 1
        expected = mean * np.divide(events, everything, out=np.zeros_like(events), where=everything > 0)
        squares = _squares(bad, expected).sum()
    else:
        free = 1
        squares = _squares(events, everything).sum()
    freedom = free * bad.shape[1]
    known = PRIOR_BLOCKS * max(free, 1)
    return float(max((squares + known * PRIOR_DISPERSION) / (freedom + known), 1.0))


def _squares(found: NDArray[np.float64], expected: NDArray[np.float64]) -> Numbers:
    return np.divide((found - expected) ** 2, expected, out=np.zeros_like(found), where=expected > LEAST_MEAN)
