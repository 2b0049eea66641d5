"""A verdict for people, as a table with both distributions, and for programs, as one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monitors.drift import joint
from monitors.drift.counts import Counts, Floats, NumericGrid
from monitors.drift.kinds import ODD
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import Finding, Judgement

MOST_ROWS = 40
BARS = " ▁▂▃▄▅▆▇█"
BINS = 12
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
    """Print a line per feature, the one furthest beyond its floor first: both distributions, effects, who votes."""
    from rich.table import Table

    from midwatch import tables

    rows: dict[str, list[Finding]] = {}
    for finding in ranked(judgement):
        rows.setdefault(finding.feature, []).append(finding)
    together = rows.pop(joint.FEATURE, [])
    methods = list(dict.fromkeys(finding.method for finding in judgement.findings if finding not in together))
    view = Table(title=f"{judgement.verdict.value}: {judgement.reason}", title_justify="left", caption_justify="left")
    for name in ("feature", "reference", "window"):
        view.add_column(name, no_wrap=True)
    for method in methods:
        view.add_column(method, justify="right", no_wrap=True)
    view.add_column("drift")
    for name, found in list(rows.items())[:MOST_ROWS]:
        bars = sparklines(features[name], window[name]) if name in features else ("", "")
        effects = {finding.method: _effect(finding) for finding in found}
        said = [_said(finding) for finding in found if finding.votes]
        view.add_row(name, *bars, *(effects.get(one, "") for one in methods), ", ".join(dict.fromkeys(said)))
    view.caption = "Effects; * votes for drift. " + _left_out(len(rows))
    if together:
        effects_together = (f"{finding.method} {_effect(finding).strip()}" for finding in together)
        view.caption = f"{joint.FEATURE}: {', '.join(effects_together)}\n{view.caption}"
    tables.show(view)


def _effect(finding: Finding) -> str:
    return f"{finding.result.effect:.3f}{'*' if finding.votes else ' '}"


def _said(finding: Finding) -> str:
    return f"{finding.method.replace('_', ' ')}: {finding.direction}" if finding.method in ODD else finding.direction


def _left_out(rows: int) -> str:
    return f"{rows - MOST_ROWS} features more in --json." if rows > MOST_ROWS else "--json has p-values and floors."


def ranked(judgement: Judgement) -> list[Finding]:
    """Findings of the methods, and those kinds of drift that were found, the one furthest beyond its floor first."""
    odd = (finding for finding in judgement.kinds if finding.votes)
    return sorted((*odd, *judgement.findings), key=lambda finding: -finding.result.effect / finding.floor)


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
