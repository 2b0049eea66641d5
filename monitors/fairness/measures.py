"""What is compared between groups, from counts: fairlearn's names and values, without its rows.

Sources: Dwork et al. 2012 (demographic parity), Hardt, Price, Srebro 2016 (equal opportunity, equalised odds),
Chouldechova 2017 (predictive parity), 29 CFR 1607.4(D) (four fifths of the highest group's rate), Singh, Joachims 2018
(exposure). A rate without events is NaN: nobody knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monitors.fairness.projection import Floats


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Counts by group, each an array over the same groups: positive or not as predicted, right or wrong as labelled."""

    true_positives: Floats
    false_positives: Floats
    false_negatives: Floats
    true_negatives: Floats

    @property
    def labelled(self) -> Floats:
        """Predictions with a label."""
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives


@dataclass(frozen=True, kw_only=True)
class Share:
    """A rate by group: `hits` of `events`."""

    events: Floats
    hits: Floats

    @property
    def rates(self) -> Floats:
        """Rate of each group."""
        with np.errstate(invalid="ignore", divide="ignore"):
            rates: Floats = np.where(self.events > 0, self.hits / self.events, np.nan)
        return rates


def selection(cells: Cells) -> Share:
    """Predicted positive, of all: demographic parity."""
    return Share(events=cells.labelled, hits=cells.true_positives + cells.false_positives)


def true_positive(cells: Cells) -> Share:
    """Predicted positive, of those that are: equal opportunity."""
    return Share(events=cells.true_positives + cells.false_negatives, hits=cells.true_positives)


def false_positive(cells: Cells) -> Share:
    """Predicted positive, of those that are not: with the one above, equalised odds."""
    return Share(events=cells.false_positives + cells.true_negatives, hits=cells.false_positives)


def precision(cells: Cells) -> Share:
    """Positive, of those predicted so: predictive parity."""
    return Share(events=cells.true_positives + cells.false_positives, hits=cells.true_positives)


def accuracy(cells: Cells) -> Share:
    """Predicted as labelled, of all."""
    return Share(events=cells.labelled, hits=cells.true_positives + cells.true_negatives)


MEASURES: dict[str, tuple[Callable[[Cells], Share], ...]] = {
    "demographic_parity": (selection,),
    "equal_opportunity": (true_positive,),
    "equalized_odds": (true_positive, false_positive),
    "predictive_parity": (precision,),
    "accuracy_parity": (accuracy,),
}
"""The rates that each measure holds equal; the worst of them counts."""


def difference(rates: Floats) -> float:
    """Highest minus lowest rate of the groups that have one: fairlearn's `between_groups`."""
    known = rates[~np.isnan(rates)]
    return float(known.max() - known.min()) if known.size > 1 else float("nan")


def ratio(rates: Floats) -> float:
    """Lowest over highest rate; NaN where every rate is 0."""
    known = rates[~np.isnan(rates)]
    return float(known.min() / known.max()) if known.size > 1 and known.max() > 0 else float("nan")


def difference_to(overall: float, rates: Floats) -> float:
    """Greatest distance of a group's rate from that of all together: fairlearn's `to_overall`."""
    known = rates[~np.isnan(rates)]
    return float(np.abs(known - overall).max()) if known.size else float("nan")


def ratio_to(overall: float, rates: Floats) -> float:
    """Least ratio between a group's rate and that of all together, the lower over the higher."""
    known = rates[~np.isnan(rates)]
    if not known.size or overall <= 0:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(np.minimum(known / overall, overall / known).min())


def to_best(rates: Floats) -> Floats:
    """Each group's rate over the highest: what four fifths are said of."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Floats = rates / np.nanmax(rates) if np.isfinite(rates).any() else np.full_like(rates, np.nan)
    return shares


def measured_difference(name: str, cells: Cells) -> float:
    """The measure as a difference, such as `equalized_odds_difference`."""
    return max(difference(of(cells).rates) for of in MEASURES[name])


def measured_ratio(name: str, cells: Cells) -> float:
    """The measure as a ratio, such as `demographic_parity_ratio`."""
    return min(ratio(of(cells).rates) for of in MEASURES[name])


def calibration_gaps(scored: Floats, positives: Floats, score_sums: Floats) -> Floats:
    """Expected calibration error of each group, from counts of shape (groups, score bins).

    Mean over bins, weighted by predictions, of |share of positives - mean score| (Naeini et al. 2015).
    """
    total = scored.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps: Floats = np.abs(positives - score_sums).sum(axis=-1) / np.where(total > 0, total, np.nan)
    return gaps


def mean_errors(observed: Floats, absolute: Floats) -> Floats:
    """Mean absolute error of each group of a regression."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = np.where(observed > 0, absolute / observed, np.nan)
    return means


def exposure(ranks: Floats) -> Floats:
    """Attention that places in a ranking get, from 1 at the top: 1 / log2(1 + rank)."""
    attention: Floats = 1 / np.log2(1 + ranks)
    return attention


def exposure_shares(exposed: Floats) -> Floats:
    """Share of all exposure that each group gets, from its sum by group."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Floats = exposed / exposed.sum() if exposed.size else exposed
    return shares
