"""Classifier two-sample test: can a classifier tell the window's rows from the reference's?

Lopez-Paz, D. & Oquab, M. (2017): Revisiting classifier two-sample tests. ICLR, section 3. The classifier is a linear
discriminant (Fisher 1936) on the features and their products in pairs, so that it sees means, variances and
correlations, and is fitted by one solution of normal equations. It learns on half of the rows; on the other half the
statistic is the area under the ROC curve, whose null distribution is Mann and Whitney's (1947).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import norm, rankdata

from monitors.drift.comparison import Result, RowMethod, clipped
from monitors.drift.embedding import Rows

FLOOR = 0.02
"""Area under the curve beyond a half: 0.1 deviations in 5 of 20 features give about 0.04."""

MOST_FEATURES = 40
"""With more, only the features and their squares are used: the products would outnumber the rows."""

RIDGE = 1e-3

MOST_ROWS = 20_000
"""Rows of a side that are looked at, evenly spread: the other side has no more, and it decides what can be told."""


def prepare(reference: Rows, *, inflation: float = 1.0, seed: int = 0) -> Callable[[Rows], Result]:
    """Nothing is decided by the reference alone."""
    return partial(compare, reference, inflation=inflation, seed=seed)


def compare(reference: Rows, window: Rows, *, inflation: float = 1.0, seed: int = 0) -> Result:
    """Area under the curve on held-out rows; the effect is what it has beyond 0.5. Shapes (n, d) and (m, d)."""
    del seed  # every second row is held out: nothing is drawn
    reference, window = (rows[:: -(-len(rows) // MOST_ROWS) or 1] for rows in (reference, window))
    train = _expanded(reference[::2]), _expanded(window[::2])
    test = _expanded(reference[1::2]), _expanded(window[1::2])
    n, m = len(test[0]), len(test[1])
    if min(n, m, len(train[0]), len(train[1])) < 2:
        return Result(statistic=0.5, p_value=1.0, effect=0.0, reference_size=len(reference), window_size=len(window))
    direction = _discriminant(*train)
    ranks = rankdata(np.concatenate([side @ direction for side in test]))
    area = (float(ranks[n:].sum()) - m * (m + 1) / 2) / (n * m)
    deviation = np.sqrt((n + m + 1) / (12 * n * m) * inflation)
    return Result(
        statistic=area,
        p_value=clipped(float(norm.sf((area - 0.5) / deviation))),
        effect=max(0.0, area - 0.5),
        reference_size=len(reference),
        window_size=len(window),
    )


def _expanded(rows: Rows) -> Rows:
    width = rows.shape[1]
    if width > MOST_FEATURES:
        return np.concatenate([rows, rows**2], axis=1)
    first, second = np.triu_indices(width)
    return np.concatenate([rows, rows[:, first] * rows[:, second]], axis=1)


def _discriminant(one: Rows, other: Rows) -> Rows:
    """Direction that separates the means best, in units of the pooled covariance."""
    means = [side.mean(axis=0) for side in (one, other)]
    scatter = sum((side - mean).T @ (side - mean) for side, mean in zip((one, other), means, strict=True))
    covariance = np.asarray(scatter, dtype=np.float64) / (len(one) + len(other))
    ridge = RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    covariance[np.diag_indices_from(covariance)] += ridge
    solved: Rows = np.linalg.solve(covariance, (means[1] - means[0]).astype(np.float64)).astype(np.float32)
    return solved


METHOD = RowMethod(floor=FLOOR, prepare=prepare)
