"""Classifier two-sample test: can a classifier tell the window's rows from the reference's?

Lopez-Paz, D. & Oquab, M. (2017): Revisiting classifier two-sample tests. ICLR, section 3. The classifiers are linear
discriminants (Fisher 1936) on the features and their products in pairs, so that they see means, variances and
correlations, and each is fitted by one solution of normal equations: one on everything, and one on the few terms whose
means differ by more than the largest of so many does by chance (Donoho, D. L. & Johnstone, I. M. (1994): Ideal spatial
adaptation by wavelet shrinkage. Biometrika 81(3), 425-455), which a single correlation is not drowned in.

They learn on half of the rows. On the other half two things are asked of each: the area under the ROC curve, whose null
distribution is Mann and Whitney's (1947), and how many of the window's rows are beyond nearly all of the reference's
(Fisher's exact test), because few rows of a new sort hardly move an area. The last question needs no learning: does the
mean of one term differ by more than those of calm windows do (monitors.drift.moments)? It is the one that sees a
correlation in rows that come in runs. The smallest p-value counts, times the number of questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, norm, rankdata

from monitors.drift import moments
from monitors.drift.comparison import Result, RowMethod, clipped
from monitors.drift.embedding import Rows
from monitors.drift.moments import CalmMeans

FLOOR = 0.02
"""Area under the curve beyond a half: 0.1 deviations in 5 of 20 features give about 0.04."""

LARGE = 0.42
"""The mean of normal rows moved by two deviations."""

BEYOND = 0.005
"""Share of the reference's rows that score as high as those of a new sort do."""

QUESTIONS = 5
"""Two classifiers, and two questions of each; and whether one term differs."""

MOST_FEATURES = 40
"""With more, only the features and their squares are used: the products would outnumber the rows."""

RIDGE = 1e-3

Scores = NDArray[np.floating[Any]]

MOST_ROWS = 20_000
"""Rows of a side that are looked at, evenly spread: the other side has no more, and it decides what can be told."""


def prepare(
    reference: Rows, *, inflation: float = 1.0, seed: int = 0, calm: CalmMeans | None = None
) -> Callable[[Rows], Result]:
    """Nothing is decided by the reference alone."""
    return partial(compare, reference, inflation=inflation, seed=seed, calm=calm)


def terms(reference: Rows) -> Callable[[Rows], Rows]:
    """What turns rows into terms; see `comparison.RowMethod`."""
    return _expansion(_looked_at(reference)[::2])


def axes(width: int, term: int) -> list[int]:
    """Axes that a term is made of, of so many; none of the one that is made of all."""
    if term < width:
        return [term]
    if width > MOST_FEATURES:
        return [term - width] if term < 2 * width else []
    first, second = np.triu_indices(width)
    return [int(first[term - width]), int(second[term - width])]


def _looked_at(rows: Rows) -> Rows:
    return rows[:: -(-len(rows) // MOST_ROWS) or 1]


def compare(
    reference: Rows, window: Rows, *, inflation: float = 1.0, seed: int = 0, calm: CalmMeans | None = None
) -> Result:
    """Area under the curve on held-out rows, of the classifier that tells them best. Shapes (n, d) and (m, d).

    The effect is what the area has beyond 0.5, or twice the share of the window's rows that hardly a reference row is
    like, where that is more.
    """
    del seed  # every second row is held out: nothing is drawn
    reference, window = _looked_at(reference), _looked_at(window)
    sides = reference[::2], window[::2], reference[1::2], window[1::2]
    if min(map(len, sides)) < 2:
        return Result(statistic=0.5, p_value=1.0, effect=0.0, reference_size=len(reference), window_size=len(window))
    expand = _expansion(sides[0])
    learnt, other, *held_out = map(expand, sides)
    chosen = _telling(learnt, other)
    answers = []
    for terms in [np.arange(learnt.shape[1]), *([chosen] if len(chosen) else [])]:
        direction = _discriminant(learnt[:, terms], other[:, terms])
        before, now = (side[:, terms] @ direction for side in held_out)
        answers += _asked(before, now, inflation)
    answers += _of_one_term(held_out[0], np.concatenate([other, held_out[1]]), inflation, calm, reference.shape[1])
    best = min(answers, key=lambda answer: answer.p_value)
    return Result(
        statistic=best.area,
        p_value=clipped(QUESTIONS * best.p_value),
        effect=best.effect,
        reference_size=len(reference),
        window_size=len(window),
        by_calm_windows=best.term is not None,
        term=best.term,
    )


@dataclass(frozen=True)
class _Answer:
    """P-value and effect of a question, and the area under the curve beside it; the term that it is about."""

    p_value: float
    effect: float
    area: float
    term: int | None = None


def _asked(before: Scores, now: Scores, inflation: float) -> list[_Answer]:
    """Both questions, of the scores of the held-out rows."""
    n, m = len(before), len(now)
    ranks = rankdata(np.concatenate([before, now]))
    area = (float(ranks[n:].sum()) - m * (m + 1) / 2) / (n * m)
    deviation = np.sqrt((n + m + 1) / (12 * n * m) * inflation)
    by_area = _Answer(float(norm.sf((area - 0.5) / deviation)), max(0.0, area - 0.5), area)
    limit = np.quantile(before, 1 - BEYOND)
    odd = [float((side > limit).sum()) / inflation for side in (before, now)]
    sizes = [max(1, round(size / inflation)) for size in (n, m)]
    counts = [min(size, math.floor(count)) for size, count in zip(sizes, odd, strict=True)]
    tail = hypergeom.sf(counts[1] - 1, sum(sizes), sum(counts), sizes[1])
    share = max(0.0, float((now > limit).mean()) - BEYOND)
    return [by_area, _Answer(float(tail), 2 * share, area)]


def _of_one_term(before: Rows, now: Rows, inflation: float, calm: CalmMeans | None, features: int) -> list[_Answer]:
    """Whether the mean of one differs; not asked where rows come in runs and it is not known what that does."""
    if calm is None and inflation > 1:
        return []
    most = moments.compare(before, now, calm, features)
    return [] if most is None else [_Answer(most.p_value, most.area, 0.5 + most.area, most.term)]


def _telling(one: Rows, other: Rows) -> Any:
    """Terms whose means differ by more than the largest of so many does by chance."""
    gap = other.mean(axis=0) - one.mean(axis=0)
    deviation = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    distance = np.abs(gap) / np.where(deviation > 0, deviation, np.inf)
    return np.flatnonzero(distance > np.sqrt(2 * np.log(max(2, one.shape[1]))))


def _expansion(learnt: Rows) -> Callable[[Rows], Rows]:
    """Features and their products; of very many features their squares, and how far a row is from all of them."""
    width = learnt.shape[1]
    if width <= MOST_FEATURES:
        first, second = np.triu_indices(width)
        return lambda rows: np.concatenate([rows, rows[:, first] * rows[:, second]], axis=1)
    centre = learnt.mean(axis=0)
    whitening = np.linalg.inv(np.linalg.cholesky(_ridged(np.cov(learnt, rowvar=False))))

    def expanded(rows: Rows) -> Rows:
        distance = ((rows - centre) @ whitening.T.astype(np.float32)) ** 2
        return np.concatenate([rows, rows**2, np.sqrt(distance.sum(axis=1, keepdims=True))], axis=1)

    return expanded


def _ridged(covariance: Any) -> Any:
    covariance[np.diag_indices_from(covariance)] += RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    return covariance


def _discriminant(one: Rows, other: Rows) -> Rows:
    """Direction that separates the means best, in units of the pooled covariance."""
    means = [side.mean(axis=0) for side in (one, other)]
    scatter = sum((side - mean).T @ (side - mean) for side, mean in zip((one, other), means, strict=True))
    covariance = np.asarray(scatter, dtype=np.float64) / (len(one) + len(other))
    solved: Rows = np.linalg.solve(_ridged(covariance), (means[1] - means[0]).astype(np.float64)).astype(np.float32)
    return solved


def smallest(n: int, m: int, inflation: float, level: float) -> float:
    """Least area beyond a half of m rows from n, half of which are held out, that is significant."""
    held, others = max(1, n // 2), max(1, m // 2)
    deviation = np.sqrt((held + others + 1) / (12 * held * others) * inflation)
    return float(norm.isf(level / QUESTIONS) * deviation)


METHOD = RowMethod(floor=FLOOR, prepare=prepare, smallest=smallest, large=LARGE, terms=terms, axes=axes)
