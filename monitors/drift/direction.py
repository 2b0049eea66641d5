"""Which way a feature moved, in words: read beside the effect, never used for a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitors.drift.counts import Counts

BOTH = 0.5
"""When the smaller of the two one-sided distances is this share of the larger, the spread changed, not the level."""


def of_numbers(reference: Counts, window: Counts) -> str:
    """`higher`, `lower`, `wider` or `narrower`; empty when nothing moved."""
    gap = np.cumsum(reference.cells) / reference.total - np.cumsum(window.cells) / window.total
    above, below = float(gap.max()), float(-gap.min())
    if max(above, below) <= 0:
        return ""
    if min(above, below) > BOTH * max(above, below):
        return "wider" if gap.argmax() > gap.argmin() else "narrower"
    return "higher" if above > below else "lower"


def of_categories(names: Sequence[str], reference: Counts, window: Counts) -> str:
    """The category whose share changed most, such as `more JFK (31% to 45%)`."""
    before, now = reference.cells / reference.total, window.cells / window.total
    most = int(np.abs(now - before).argmax())
    if now[most] == before[most]:
        return ""
    name = names[most] if most < len(names) else "new categories"
    return f"{'more' if now[most] > before[most] else 'less'} {name} ({before[most]:.0%} to {now[most]:.0%})"
