"""Shapley values by paired permutations, with a standard error that is one. Pure arithmetic over a function of rows.

A permutation turns a row of the background into the explained row, feature by feature; what the answer changes by is
the feature's contribution. It is walked forwards and backwards (antithetic pairs: Mitchell, Cooper, Frank, Holmes,
"Sampling Permutations for Shapley Value Estimation", JMLR 2022), so a pair costs 2 F rows, and its observation is
d = (forward + backward) / 2: both walks are one, for they depend on each other.

A draw is a background row with two pairs. The background's rows are used up before one comes again, so that which rows
were drawn matters less the more of them were, and not at all after all were: their part of the variance has the
correction for a finite population (Cochran, "Sampling Techniques", 2.6). The two pairs of a draw tell that part from
the part of the permutations. The answers to the background rows are known, and so is their mean, the base. They are a
control variate (regression estimator: Cochran, 7.3), which makes the attributions add up to the answer less the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitors.explainer.explanation import Explanation, Floats, Rows, Stopped

PAIRS = 2
"""Pairs of a draw."""
FIRST_DRAWS = 4
"""Draws before the first look at the time: with three, two of them the regression's, nothing is left for an error."""
LEAST_DRAWS = 32
"""A standard error of fewer draws is nothing to stop by: of a tenth of the background, 16 draws meet no row in one of
five explanations, 32 in one of thirty."""
REPRESENTED = 0.25
"""Share of the background answers' variance that the draws' has to have: of 16 usual ones fewer than 0.2% have less."""
MOST_DRAWS = 10_000
MOST_CELLS = 4_000_000
"""Values of the rows that the model is asked for at once, and of the contributions that are kept: 32 MB each."""

Ask = Callable[[Rows], Floats]
"""The model's answers to rows."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """Rows that stand for a feature that is not known, and the model's answers to them."""

    rows: Rows
    answers: Floats

    @property
    def base(self) -> float:
        """Mean of the answers."""
        return float(self.answers.mean())


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When to stop: `precision` is the greatest standard error by the span of the attributions; `clock` is in seconds,
    and `until` is a time of it."""

    precision: float
    until: float
    clock: Callable[[], float]
    most_draws: int = MOST_DRAWS


def explain(ask: Ask, row: Rows, background: Background, limits: Limits, seed: int) -> Explanation:
    """Explain the answer to one row: draws are doubled until all is precise enough or the next take too long.

    The same seed draws the same. A batch may take longer than those before: whoever waits needs a limit of their own.
    """
    draws = _draws(np.random.default_rng(seed), len(background.rows), row.size)
    seen = Draws(contributions=np.empty((0, PAIRS, row.size)), answers=np.empty(0))
    most = min(limits.most_draws, max(FIRST_DRAWS, MOST_CELLS // (PAIRS * row.size)))
    batch, prediction, begun = FIRST_DRAWS, float("nan"), limits.clock()
    while True:
        taken = [next(draws) for _ in range(batch)]
        contributions, prediction = _walk(ask, row, background.rows, taken)
        seen = seen.with_more(contributions, background.answers[[index for index, _ in taken]])
        estimate, errors = estimated(seen, background)
        is_precise = seen.count >= LEAST_DRAWS and _is_precise(estimate, errors, limits.precision)
        now = limits.clock()
        batch = 0 if is_precise else _affordable(seen.count, now - begun, limits.until - now, most)
        if not batch:
            return Explanation(
                attributions=estimate,
                base=background.base,
                prediction=prediction,
                stopped=Stopped.PRECISE if is_precise else Stopped.BUDGET,
                standard_errors=errors,
                samples=seen.count * PAIRS,
                rows_asked=seen.count * PAIRS * 2 * row.size,
            )


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What was seen: contributions by draw, pair and feature, and the answers to the draws' background rows."""

    contributions: Floats
    answers: Floats

    @property
    def count(self) -> int:
        """How many draws."""
        return len(self.answers)

    def with_more(self, contributions: Floats, answers: Floats) -> Draws:
        """These, and others after them."""
        return Draws(
            contributions=np.concatenate([self.contributions, contributions]),
            answers=np.concatenate([self.answers, answers]),
        )


Orders = list[npt.NDArray[np.intp]]


def _draws(rng: np.random.Generator, rows: int, features: int) -> Iterator[tuple[int, Orders]]:
    """Draws without end: the place of a background row, each before any comes again, and orders of the features."""
    while True:
        for index in rng.permutation(rows):
            yield int(index), [rng.permutation(features) for _ in range(PAIRS)]


def _walk(ask: Ask, row: Rows, background: Rows, taken: list[tuple[int, Orders]]) -> tuple[Floats, float]:
    """Contributions by draw, pair and feature, and the answer to the row."""
    features = row.size
    orders = [(background[index], order) for index, pairs in taken for order in pairs]
    at_once = max(1, MOST_CELLS // (2 * features * features))
    parts = [
        ask(np.concatenate([_steps(row, start, order) for start, order in orders[first : first + at_once]]))
        for first in range(0, len(orders), at_once)
    ]
    answers = np.concatenate(parts).astype(np.float64).reshape(len(orders), 2 * features)
    contributions = np.empty((len(orders), features))
    for line, (found, (_, order)) in enumerate(zip(answers, orders, strict=True)):
        forward = np.diff(found[: features + 1])
        backward = np.diff(np.concatenate([found[:1], found[features + 1 :], found[features : features + 1]]))[::-1]
        contributions[line, order] = (forward + backward) / 2
    return contributions.reshape(len(taken), PAIRS, features), float(answers[0, features])


def _steps(row: Rows, start: Rows, order: npt.NDArray[np.intp]) -> Rows:
    """Rows of a pair: the background's, the way to the explained row and that, and what the way back has between."""
    features = len(order)
    place = np.empty(features, dtype=np.intp)
    place[order] = np.arange(features)
    steps = np.arange(features + 1)[:, np.newaxis]
    forward = np.where(place < steps, row, start)
    backward = np.where(place >= features - steps[1:features], row, start)
    return np.concatenate([forward, backward])


def estimated(seen: Draws, background: Background) -> tuple[Floats, Floats]:
    """Attributions and their standard errors.

    A whole pass over the background has no error of which rows were drawn; of a pass that has begun, the part of the
    rows that it has drawn. That the draws' mean answer is off the base adds to it, as to a regression's value there
    (Draper, Smith, "Applied Regression Analysis", 3.1). Rows of a kind that n draws have not met may be 1 / n of those
    that were not drawn, and add as much as the answers vary by: nothing that was seen tells of it, so it is in every
    error. Where the draws lack the rows that the answers vary by, such as a few of a rare class, nobody knows whose the
    distance to the base is: it is an error of every feature.
    """
    rows = len(background.rows)
    draws, means = seen.count, seen.contributions.mean(axis=1)
    mean, off = means.mean(axis=0), seen.answers - seen.answers.mean()
    spread, away = float(off @ off), float(seen.answers.mean()) - background.base
    has_slope = spread > np.finfo(float).tiny
    slopes = off @ (means - mean) / spread if has_slope else np.full_like(mean, -1 / mean.size)
    left = means - mean - np.outer(off, slopes)
    of_draws = (left * left).sum(axis=0) / (draws - 1 - has_slope)
    of_orders = seen.contributions.var(axis=1, ddof=1).mean(axis=0) / PAIRS
    of_rows = np.maximum(of_draws - of_orders, 0.0)
    begun = draws % rows
    share = begun * (1 - begun / rows) / draws**2 + (away * away / spread if has_slope else 0.0)
    lacking = away if spread / draws < REPRESENTED * float(background.answers.var()) else 0.0
    unmet = float(background.answers.std()) / draws * max(0.0, 1 - draws / rows)
    return mean - slopes * away, np.sqrt(of_orders / draws + of_rows * share + lacking**2 + unmet**2)


def _is_precise(attributions: Floats, errors: Floats, precision: float) -> bool:
    """Whether the greatest error is small by the attributions' span (Covert, Lee, AISTATS 2021), or is rounding."""
    rounding = 1e-9 * (1.0 + float(np.abs(attributions).sum()))
    return float(errors.max()) <= max(precision * float(np.ptp(np.append(attributions, 0.0))), rounding)


def _affordable(done: int, spent: float, left: float, most: int) -> int:
    """Draws of the next batch: as many again, or what there is time for by what those before took."""
    by_time = done if spent <= 0 else int(done * max(left, 0.0) / spent)
    return min(done, by_time if left > 0 else 0, most - done)
