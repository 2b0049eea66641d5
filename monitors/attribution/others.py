"""How others measure that attributions changed: by the features' order (Clarify), by distributions' distance (Vertex).

Both have fixed thresholds there, and neither says how far calm windows stray; `change` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOWEST_NDCG = 0.90
"""Below it SageMaker Clarify says that attributions have drifted."""
HIGHEST_DIVERGENCE = 0.3
"""Beyond it Vertex AI does, in bits."""


def ndcg(before: Floats, now: Floats) -> float:
    """nDCG of the features' order now against the amounts before, as SageMaker Clarify defines it: 1 is the same order.

    DCG is the sum of amounts before by place now, divided by log2(1 + place), over that of the order before. NaN where
    there was no amount before.
    """
    discount = 1 / np.log2(2 + np.arange(len(before)))
    best = (np.sort(before)[::-1] * discount).sum()
    gained = (before[np.argsort(-now, kind="stable")] * discount).sum()
    return float(gained / best) if best > 0 else float("nan")


def jensen_shannon(before: Floats, now: Floats) -> float:
    """Jensen-Shannon divergence of two histograms in bits, which Vertex alerts on beyond 0.3; NaN if one is empty."""
    if not (before.sum() > 0 and now.sum() > 0):
        return float("nan")
    p, q = before / before.sum(), now / now.sum()
    middle = (p + q) / 2

    def bits(one: Floats) -> float:
        seen = one > 0
        return float((one[seen] * np.log2(one[seen] / middle[seen])).sum())

    return max(0.0, (bits(p) + bits(q)) / 2)
