"""Maximum mean discrepancy of all features together, with a permutation test.

Gretton, A. et al. (2012): A kernel two-sample test. JMLR 13, 723-773: the squared discrepancy (equation 5, V-statistic)
with a Gaussian kernel whose width is the median distance (section 8). With weights 1/n for reference rows and -1/m for
the window's, it is w' K w; a permutation only permutes w, so one pass over the kernel matrix, block by block and above
the diagonal only, serves all permutations at once. Nothing larger than a block is ever held.

Beyond 1 / (permutations + 1) the p-value is the tail of a Pearson type III distribution with the mean, variance and
skewness of the permuted statistics (Josse, J., Pagès, J. & Husson, F. (2008): Testing the significance of the RV
coefficient. CSDA 53(1), 82-91).

More than WHOLE rows on a side: random Fourier features (Rahimi, A. & Recht, B. (2007): Random features for large-scale
kernel machines. NIPS) give the discrepancy of all rows in linear time, as the squared distance of two mean vectors. Its
null distribution is a weighted sum of chi-squared variables, the weights being the eigenvalues of the features'
covariance; again the Pearson type III distribution with its first three moments is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import pearson3, skew
from threadpoolctl import threadpool_limits

from monitors.drift.comparison import Result, RowMethod, clipped
from monitors.drift.embedding import Rows
from monitors.drift.moments import CalmMeans

LARGE = 0.75
"""What two deviations of a single feature come to, as of the other methods; of many features they come to less."""

FLOOR = 0.01
"""Discrepancy (not squared, between 0 and 1.42) that counts: 0.1 deviations in 5 of 20 features give about 0.03."""

PERMUTATIONS = 100
BLOCK = 512
"""Rows of a block: kernel, distances and product of two blocks stay in a core's cache."""

WHOLE = 20_000
"""Rows of a side up to which every pair is looked at."""

FEATURES = 128
"""Random features of the linear-time estimate; its standard error is about 1/sqrt(FEATURES) of the discrepancy."""

CHUNK = 1 << 15

MEDIAN_ROWS = 500
"""Rows that the median distance is taken over."""


def prepare(
    reference: Rows, *, inflation: float = 1.0, seed: int = 0, calm: CalmMeans | None = None
) -> Callable[[Rows], Result]:
    """Nothing is decided by the reference alone."""
    del calm  # it has no terms
    return partial(compare, reference, inflation=inflation, seed=seed)


def compare(reference: Rows, window: Rows, *, inflation: float = 1.0, seed: int = 0) -> Result:
    """Discrepancy between rows of shapes (n, d) and (m, d); the statistic is squared and net of what chance gives."""
    n, m = len(reference), len(window)
    both = np.concatenate([reference, window])
    width = _median_distance(both, seed)
    if width == 0 or min(n, m) < 2:
        return Result(statistic=0.0, p_value=1.0, effect=0.0, reference_size=n, window_size=m)
    if max(n, m) > WHOLE:
        return _linear_time(reference, window, width, inflation, seed)
    forms = _quadratic_forms((both / np.float32(width)).astype(np.float32), _weights(n, m, seed))
    observed, permuted = float(forms[0]), forms[1:]
    usual = float(permuted.mean())
    net = observed - usual * inflation
    p_value = _tail(observed / inflation, permuted)
    return Result(statistic=net, p_value=p_value, effect=float(np.sqrt(max(0.0, net))), reference_size=n, window_size=m)


def _median_distance(rows: Rows, seed: int) -> float:
    few = rows[np.random.default_rng(seed).choice(len(rows), min(MEDIAN_ROWS, len(rows)), replace=False)]
    distances = pdist(few)
    distances = distances[distances > 0]
    return float(np.median(distances)) if len(distances) else 0.0


def _weights(n: int, m: int, seed: int) -> Rows:
    """The observed weights and their permutations, as columns; shape (n + m, 1 + PERMUTATIONS)."""
    observed = np.concatenate([np.full(n, 1 / n, np.float32), np.full(m, -1 / m, np.float32)])
    generator = np.random.default_rng(seed)
    return np.stack([observed, *(generator.permutation(observed) for _ in range(PERMUTATIONS))], axis=1)


def _quadratic_forms(rows: Rows, weights: Rows) -> Any:
    """w' K w for every column w, K the Gaussian kernel exp(-|x - y|^2 / 2); shape (1 + PERMUTATIONS,)."""
    squares = (rows * rows).sum(axis=1) / 2
    starts = range(0, len(rows), BLOCK)
    pairs = [(first, second) for first in starts for second in starts if first <= second]

    def part(pair: tuple[int, int]) -> Any:
        one, other = (slice(start, start + BLOCK) for start in pair)
        kernel = rows[one] @ rows[other].T
        kernel -= squares[one, None]
        kernel -= squares[None, other]
        np.exp(kernel, out=kernel)
        form = np.einsum("ij,ij->j", weights[one], kernel @ weights[other], dtype=np.float64)
        return form if pair[0] == pair[1] else 2 * form

    return _added(part, pairs)


def _added(part: Callable[[Any], Any], items: Iterable[Any]) -> Any:
    """Sum of the parts, a thread per core; the threads of the matrix library would be in each other's way."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(part, items))


def _linear_time(reference: Rows, window: Rows, width: float, inflation: float, seed: int) -> Result:
    n, m = len(reference), len(window)
    generator = np.random.default_rng(seed)
    waves = (generator.normal(size=(reference.shape[1], FEATURES)) / width).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, FEATURES).astype(np.float32)

    def features(rows: Rows) -> Rows:
        angles = rows @ waves
        angles += phases
        waved: Rows = np.sqrt(np.float32(2 / FEATURES)) * np.cos(angles, out=angles)
        return waved

    def mean(rows: Rows) -> Any:
        starts = range(0, len(rows), CHUNK)
        return _added(lambda at: features(rows[at : at + CHUNK]).sum(axis=0, dtype=np.float64), starts) / len(rows)

    gap = mean(reference) - mean(window)
    weights = np.linalg.eigvalsh(np.cov(features(reference[:WHOLE]), rowvar=False)).clip(0) * (1 / n + 1 / m)
    usual = float(weights.sum()) * inflation
    observed = float(gap @ gap)
    deviation = np.sqrt(2 * (weights**2).sum()) * inflation
    skewness = 8 * (weights**3).sum() / (2 * (weights**2).sum()) ** 1.5
    p_value = clipped(float(pearson3.sf(observed, skewness, usual, deviation)))
    net = observed - usual
    return Result(statistic=net, p_value=p_value, effect=float(np.sqrt(max(0.0, net))), reference_size=n, window_size=m)


def _tail(observed: float, permuted: Any) -> float:
    """P-value: counted while permutations reach the statistic, else from their Pearson type III tail."""
    reached = int((permuted >= observed).sum())
    if reached > 0 or permuted.std() == 0:
        return (reached + 1) / (len(permuted) + 1)
    fitted = pearson3.sf(observed, max(0.1, float(skew(permuted))), permuted.mean(), permuted.std(ddof=1))
    return clipped(min(float(fitted), 1 / (len(permuted) + 1)))


METHOD = RowMethod(floor=FLOOR, prepare=prepare, large=LARGE)
