from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from monitors.explainer import permutations
from monitors.explainer.explanation import Floats, Stopped
from monitors.explainer.permutations import Background, Limits

FEATURES, ROWS = 5, 20
FOREVER = float("inf")


def curved(rows: Any) -> Floats:
    """A model whose features act together, in threes as well: antithetic pairs alone are not exact for it."""
    values = np.asarray(rows, dtype=float)
    together = values[:, 0] * values[:, 1] * values[:, 3] + values[:, 3] ** 2 * values[:, 0]
    return together + 2 * np.tanh(values[:, 2]) + 0.3 * values[:, 4]


def drawn() -> tuple[Any, Background]:
    rng = np.random.default_rng(1)
    rows, row = rng.normal(size=(ROWS, FEATURES)), rng.normal(size=FEATURES) + 1
    return row, Background(rows=rows, answers=curved(rows))


def by_every_coalition(row: Any, background: Background, ask: Any = curved) -> Floats:
    """Shapley's definition, over all coalitions."""

    def worth(known: tuple[int, ...]) -> float:
        rows = background.rows.copy()
        rows[:, list(known)] = row[list(known)]
        return float(ask(rows).mean())

    found = np.zeros(FEATURES)
    for feature in range(FEATURES):
        others = [one for one in range(FEATURES) if one != feature]
        for size in range(FEATURES):
            weight = math.factorial(size) * math.factorial(FEATURES - 1 - size) / math.factorial(FEATURES)
            for known in itertools.combinations(others, size):
                found[feature] += weight * (worth((*known, feature)) - worth(known))
    return found


def sampled(draws: int, seed: int, ask: Any = curved) -> permutations.Explanation:
    row, background = drawn()
    limits = Limits(precision=0.0, until=FOREVER, clock=lambda: 0.0, most_draws=draws)
    return permutations.explain(ask, row, background, limits, seed)


@pytest.mark.parametrize("draws", [16, 30, 64], ids=["part of a pass", "a pass and a half", "three passes"])
def test_standard_errors_are_the_spread_of_repeated_explanations(draws: int) -> None:
    found = [sampled(draws, seed) for seed in range(300)]
    spread = np.std([one.attributions for one in found], axis=0)
    told = np.sqrt(np.mean([np.square(one.standard_errors) for one in found], axis=0))
    unmet = drawn()[1].answers.std() / draws * max(0.0, 1 - draws / ROWS)  # of rows like none that was drawn
    assert told == pytest.approx(np.hypot(spread, unmet), rel=0.2)


def test_attributions_are_shapley_values_within_their_errors() -> None:
    row, background = drawn()
    truth = by_every_coalition(row, background)
    off = [(one.attributions - truth) / one.standard_errors for one in (sampled(50, seed) for seed in range(100))]
    assert np.mean(np.abs(off) < 1.96) == pytest.approx(0.95, abs=0.03)
    assert np.abs(np.mean(off, axis=0)).max() < 0.35  # the mean of 100 is within 3.5 of its own errors


def of_a_rare_class(rows: Any) -> Floats:
    """One or zero, and one for a few rows of the background alone."""
    return (np.asarray(rows)[:, 0] > 2).astype(float)


def of_a_rare_score(rows: Any) -> Floats:
    """The same with something small of another feature, by which the usual answers vary."""
    return 10 * of_a_rare_class(rows) + 0.01 * np.asarray(rows)[:, 1]


@pytest.mark.parametrize("model", [of_a_rare_class, of_a_rare_score])
def test_what_few_rows_of_the_background_make_is_in_the_error_until_they_are_drawn(model: Any) -> None:
    rows = np.random.default_rng(5).normal(size=(100, FEATURES))
    background = Background(rows=rows, answers=model(rows))
    assert 2 <= of_a_rare_class(rows).sum() <= 3
    row = np.full(FEATURES, -0.5)
    shares = np.array(
        [-10 * of_a_rare_class(rows).mean(), 0.01 * (row[1] - rows[:, 1].mean()), *[0.0] * (FEATURES - 2)]
    )
    truth = shares if model is of_a_rare_score else np.array([shares[0] / 10, *[0.0] * (FEATURES - 1)])
    for most_draws in (4, 16, 10_000):
        limits = Limits(precision=0.05, until=FOREVER, clock=lambda: 0.0, most_draws=most_draws)
        found = [permutations.explain(model, row, background, limits, seed) for seed in range(60)]
        within = [np.abs(one.attributions - truth) <= 2 * np.asarray(one.standard_errors) + 1e-9 for one in found]
        assert np.mean(within, axis=0).min() > 0.85
        assert max(one.additivity_error for one in found) < 1e-9
    assert {one.stopped for one in found} == {Stopped.PRECISE}
    assert np.abs([one.attributions - truth for one in found]).max() < 0.01


def of_a_rare_rule(rows: Any) -> Floats:
    """What a few rows have of another rule than the others, whose answers vary as much."""
    values = np.asarray(rows, dtype=float)
    return np.where(values[:, 0] > 1.65, 5 + values[:, 1], values[:, 2])


def test_a_rule_that_few_rows_have_is_rarely_missed_by_what_is_called_precise() -> None:
    rng, off = np.random.default_rng(3), []
    for seed in range(25):
        rows, row = rng.normal(size=(100, FEATURES)), rng.normal(size=FEATURES)
        background = Background(rows=rows, answers=of_a_rare_rule(rows))
        limits = Limits(precision=0.05, until=FOREVER, clock=lambda: 0.0)
        found = permutations.explain(of_a_rare_rule, row, background, limits, seed)
        truth = by_every_coalition(row, background, of_a_rare_rule)
        off.append(np.abs(found.attributions - truth).max() / np.ptp([*truth, 0.0]))
    assert np.mean(np.array(off) > 3 * 0.05) < 0.1


def test_errors_of_few_draws_are_not_none_where_these_were_all_alike() -> None:
    """Answers of two values whose rule is of three features: four draws often see one change alone."""

    def odd(rows: Any) -> Floats:
        return (np.sign(np.asarray(rows)[:, :3]).prod(axis=1) > 0).astype(float)

    rows = np.random.default_rng(5).normal(size=(100, FEATURES))
    background = Background(rows=rows, answers=odd(rows))
    limits = Limits(precision=0.05, until=0.0, clock=lambda: 0.0)
    found = [permutations.explain(odd, np.ones(FEATURES), background, limits, seed) for seed in range(50)]
    assert {one.stopped for one in found} == {Stopped.BUDGET}
    assert min(np.min(one.standard_errors) for one in found if one.standard_errors is not None) > 0.1


def test_base_and_attributions_are_the_answer_whatever_was_drawn() -> None:
    row, _ = drawn()
    found = [sampled(draws, 3) for draws in (4, 7, 20, 33)]
    assert max(one.additivity_error for one in found) < 1e-12
    assert {one.prediction for one in found} == {float(curved(row[np.newaxis])[0])}


def test_a_model_that_changed_after_the_start_does_not_add_up() -> None:
    changed = sampled(32, 1, ask=lambda rows: curved(rows) + 0.5 * np.asarray(rows)[:, 0])
    assert changed.additivity_error > 1e-3


def test_sampling_ends_when_every_error_is_small() -> None:
    row, background = drawn()
    limits = Limits(precision=0.05, until=FOREVER, clock=lambda: 0.0)
    found = permutations.explain(curved, row, background, limits, 1)
    assert found.stopped is Stopped.PRECISE
    assert found.standard_errors is not None
    assert found.standard_errors.max() <= 0.05 * np.ptp([*found.attributions, 0])
    assert found.rows_asked == found.samples * 2 * FEATURES


def test_sampling_ends_when_the_time_is_spent_and_says_so() -> None:
    row, background = drawn()
    now, asked = [0.0], []

    def slow(rows: Any) -> Floats:
        now[0] += 0.001 * len(rows)
        asked.append(len(rows))
        return curved(rows)

    found = permutations.explain(slow, row, background, Limits(precision=1e-9, until=1.0, clock=lambda: now[0]), 1)
    assert found.stopped is Stopped.BUDGET
    assert sum(asked) == found.rows_asked
    assert 0.9 < now[0] <= 1.0


def test_a_model_that_is_too_slow_for_the_budget_is_asked_once() -> None:
    row, background = drawn()
    now = [0.0]

    def slow(rows: Any) -> Floats:
        now[0] += 5.0
        return curved(rows)

    found = permutations.explain(slow, row, background, Limits(precision=0.01, until=1.0, clock=lambda: now[0]), 1)
    assert (found.stopped, now[0]) == (Stopped.BUDGET, 5.0)
    assert found.standard_errors is not None and np.isfinite(found.standard_errors).all()


def test_many_features_are_asked_for_in_parts() -> None:
    rows = np.random.default_rng(1).normal(size=(3, 600))
    asked = []

    def model(wanted: Any) -> Floats:
        asked.append(np.asarray(wanted).size)
        return np.asarray(wanted).sum(axis=1)

    limits = Limits(precision=1.0, until=0.0, clock=lambda: 1.0)
    background = Background(rows=rows, answers=rows.sum(axis=1))
    found = permutations.explain(model, np.ones(600), background, limits, 1)
    assert max(asked) <= permutations.MOST_CELLS < sum(asked)
    assert found.attributions == pytest.approx(1 - rows.mean(axis=0), abs=2)
    assert found.additivity_error < 1e-9


def test_the_same_seed_draws_the_same() -> None:
    assert (sampled(20, 5).attributions == sampled(20, 5).attributions).all()


def test_a_feature_that_the_model_does_not_use_has_nothing() -> None:
    found = sampled(16, 1, ask=lambda rows: np.asarray(rows)[:, 0])
    assert (found.attributions[1:] == pytest.approx(0)) and found.standard_errors is not None


def test_a_model_of_one_feature_is_explained_exactly() -> None:
    rows = np.arange(4.0)[:, np.newaxis]
    limits = Limits(precision=0.05, until=FOREVER, clock=lambda: 0.0)
    background = Background(rows=rows, answers=rows[:, 0])
    found = permutations.explain(lambda asked: asked[:, 0], np.array([9.0]), background, limits, 1)
    assert found.attributions == pytest.approx([7.5])
    assert found.standard_errors == pytest.approx([0])


def test_rows_with_text_are_mixed_as_they_are() -> None:
    rows = np.array([["a", 1.0], ["b", 2.0], ["a", 3.0]], dtype=object)

    def model(asked: Any) -> Floats:
        return np.array([(one == "b") + value for one, value in asked], dtype=float)

    limits = Limits(precision=0.05, until=FOREVER, clock=lambda: 0.0)
    background = Background(rows=rows, answers=model(rows))
    found = permutations.explain(model, np.array(["b", 4.0], dtype=object), background, limits, 1)
    assert found.attributions == pytest.approx([2 / 3, 2], abs=0.1)
