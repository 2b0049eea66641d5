"""A verdict for people, as a table with both distributions, and for programs, as one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monitors.drift.counts import Counts, Floats, NumericGrid
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import Finding, Judgement

MOST_ROWS = 40
BARS = " ▁▂▃▄▅▆▇█"
BINS = 16
TAILS = 0.01
"""Share of the reference on each side that the first and the last bar stand for."""


def document(judgement: Judgement) -> dict[str, Any]:
    """Everything that was found."""
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "votes": judgement.votes,
        "quorum": judgement.quorum,
        "votes_needed": judgement.needed,
        "samples": judgement.samples,
        "alpha": judgement.alpha,
        "findings": [_entry(finding) for finding in judgement.findings],
        "kinds": [_entry(finding) for finding in judgement.kinds],
    }


def _entry(finding: Finding) -> dict[str, Any]:
    result = finding.result
    return {
        "feature": finding.feature,
        "method": finding.method,
        "statistic": result.statistic,
        "p_value": result.p_value,
        "effect": result.effect,
        "floor": finding.floor,
        "votes": finding.votes,
        "direction": finding.direction,
        "reference_size": result.reference_size,
        "window_size": result.window_size,
    }


def show(judgement: Judgement, features: Mapping[str, FeatureReference], window: Mapping[str, Counts]) -> None:
    """Print the findings, the one furthest beyond its floor first, with sparklines of reference and window."""
    from rich.console import Console
    from rich.table import Table

    view = Table(title=f"{judgement.verdict.value}: {judgement.reason}", title_justify="left")
    for name in ("feature", "reference", "window", "method", "effect", "floor", "p-value", "vote", "direction"):
        view.add_column(name, justify="right" if name in ("effect", "floor", "p-value") else "left")
    odd = [finding for finding in judgement.kinds if finding.votes]
    ranked = sorted((*odd, *judgement.findings), key=lambda finding: -finding.result.effect / finding.floor)
    drawn: set[str] = set()
    for finding in ranked[:MOST_ROWS]:
        result, name = finding.result, finding.feature
        bars = ("", "") if name in drawn or name not in features else sparklines(features[name], window[name])
        drawn.add(name)
        numbers = (f"{result.effect:.3f}", f"{finding.floor:.3f}", f"{result.p_value:.2g}")
        view.add_row(name, *bars, finding.method, *numbers, "yes" if finding.votes else "", finding.direction)
    Console().print(view)


def sparklines(feature: FeatureReference, window: Counts) -> tuple[str, str]:
    """Both distributions as bars of one scale, over the same bins."""
    _, before, now = histograms(feature, window)
    top = max(before.max(), now.max(), 1e-9)
    first, second = (
        "".join(BARS[int(np.ceil(share / top * (len(BARS) - 1)))] for share in one) for one in (before, now)
    )
    return first, second


def histograms(feature: FeatureReference, window: Counts) -> tuple[list[str], Floats, Floats]:
    """Names of bins, and the share of the values of reference and window in each; shape (bins,)."""
    if isinstance(feature.grid, NumericGrid):
        names, places = _numeric_bins(feature.grid.edges, feature.counts)
    else:
        order = np.argsort(-np.append(feature.counts.cells[:-1], -1), kind="stable")
        places = np.minimum(np.argsort(order), BINS - 1)
        known = [*feature.grid.categories, "other"]
        names = [known[index] for index in order[: BINS - 1]] + ["rest"] * (len(order) >= BINS)
    shares = [
        np.bincount(places, weights=counts.cells, minlength=len(names)) / max(1, counts.total)
        for counts in (feature.counts, window)
    ]
    return names, shares[0], shares[1]


def _numeric_bins(edges: Floats, counts: Counts) -> tuple[list[str], Any]:
    """Bins of equal width between the tails, by the cell's edge; what is beyond falls into the first and the last."""
    if not len(edges):
        return ["none"], np.zeros(1, dtype=np.int64)
    shares = np.cumsum(counts.cells)[1::2] / max(1, counts.total)
    low, high = edges[np.searchsorted(shares, [TAILS, 1 - TAILS]).clip(0, len(edges) - 1)]
    bounds = np.linspace(low, high, BINS - 1)
    edge_of_cell = np.append(np.repeat(edges, 2), np.inf)
    names = [f"{bound:.4g}" for bound in bounds] + [f"> {high:.4g}"]
    return names, np.searchsorted(bounds, edge_of_cell, side="left")
