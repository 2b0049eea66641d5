"""Both distributions of a feature over the same bins, to be drawn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from monitors.drift.counts import Counts, Floats, NumericGrid
from monitors.drift.reference import FeatureReference

BARS = " ▁▂▃▄▅▆▇█"
DRAWN_BINS = 12
TAILS = 0.01
"""Share of the reference on each side that the first and the last bar stand for."""


def sparklines(feature: FeatureReference, window: Counts) -> tuple[str, str]:
    """Both distributions as bars of one scale, over the same bins."""
    _, before, now = histograms(feature, window)
    top = max(before.max(), now.max(), 1e-9)
    first, second = (
        "".join(BARS[int(np.ceil(share / top * (len(BARS) - 1)))] for share in shares) for shares in (before, now)
    )
    return first, second


def histograms(feature: FeatureReference, window: Counts) -> tuple[list[str], Floats, Floats]:
    """Names of bins, and the share of the values of reference and window in each; shape (bins,)."""
    if isinstance(feature.grid, NumericGrid):
        names, places = _numeric_bins(feature.grid.edges, feature.counts)
    else:
        order = np.argsort(-np.append(feature.counts.cells[:-1], -1), kind="stable")
        places = np.minimum(np.argsort(order), DRAWN_BINS - 1)
        known = [*feature.grid.categories, "other"]
        names = [known[index] for index in order[: DRAWN_BINS - 1]] + ["rest"] * (len(order) >= DRAWN_BINS)
    shares = [
        np.bincount(places, weights=counts.cells, minlength=len(names)) / max(1, counts.total)
        for counts in (feature.counts, window)
    ]
    return names, shares[0], shares[1]


def _numeric_bins(edges: Floats, counts: Counts) -> tuple[list[str], Any]:
    """Bins of equal width between the tails, by the cell's edge; what is beyond falls into the first and the last."""
    finite = edges[np.isfinite(edges)]
    if not len(finite):
        return ["none"], np.zeros(2 * len(edges) + 1, dtype=np.int64)
    shares = np.cumsum(counts.cells)[1::2] / max(1, counts.total)
    tails = edges[np.searchsorted(shares, [TAILS, 1 - TAILS]).clip(0, len(edges) - 1)]
    low, high = tails.clip(finite[0], finite[-1])
    bounds = np.unique(np.linspace(low, high, DRAWN_BINS - 1))
    edge_of_cell = np.append(np.repeat(edges, 2), np.inf)
    return _names(bounds), np.searchsorted(bounds, edge_of_cell, side="left")


def _names(bounds: Floats) -> list[str]:
    """Of the bins between bounds, in as few digits as tell the bounds apart."""
    written = ([f"{bound:.{digits}g}" for bound in bounds] for digits in (4, 6, 9, 12, 17))
    texts = next(one for one in written if len(set(one)) == len(bounds))
    return [f"≤ {texts[0]}", *(f"{low} to {high}" for low, high in pairwise(texts)), f"> {texts[-1]}"]
