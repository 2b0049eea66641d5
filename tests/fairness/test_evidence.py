"""Evidence keeps its promises: its expectation under the limit, its false alarms, its power, and nearest rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from monitors.fairness import evidence, intervals, projection
from monitors.fairness.projection import Difference, Floats, Limit, Ratio

RATES = st.floats(1e-4, 1 - 1e-4)
EVENTS = st.integers(1, 10_000)
LIMITS = st.one_of(
    st.builds(Difference, st.floats(-0.4, 0.4), st.booleans()), st.builds(Ratio, st.floats(0.3, 3.0), st.booleans())
)


@given(events=st.tuples(EVENTS, EVENTS), rates=st.tuples(RATES, RATES), limit=LIMITS)
def test_no_rates_on_the_edge_are_nearer_than_the_projected_ones(
    events: tuple[int, int], rates: tuple[float, float], limit: Limit
) -> None:
    n, t = np.array(events, dtype=float), np.array(rates)

    def distance(pair: np.ndarray) -> float:
        return float((n * projection.divergence(t, pair)).sum())

    edge = limit.edge(n, t)
    assert abs(limit.excess(edge)) < 1e-9
    if isinstance(limit, Difference):
        span, at = (max(0.0, -limit.most), min(1.0, 1 - limit.most)), lambda rate: np.array([rate + limit.most, rate])
    else:
        span, at = (0.0, min(1.0, 1 / limit.factor)), lambda rate: np.array([rate, rate * limit.factor])
    best = minimize_scalar(lambda rate: distance(at(rate)), bounds=span, method="bounded", options={"xatol": 1e-12})
    assert distance(edge) <= best.fun + 1e-6 * max(1.0, best.fun)


@given(
    events=st.tuples(st.integers(1, 20), st.integers(1, 20)), learned=st.tuples(RATES, RATES), true=RATES, limit=LIMITS
)
def test_the_expectation_of_a_block_is_at_most_one_on_the_edge_of_the_limit(
    events: tuple[int, int], learned: tuple[float, float], true: float, limit: Limit
) -> None:
    n, t = np.array(events, dtype=float), np.array(learned)
    q = projection.project(n, t, limit)
    edge = limit.edge(n, np.array([true, true]))
    assert ((edge >= 0) & (edge <= 1)).all()
    logs = n * np.log(edge * t / q + (1 - edge) * (1 - t) / (1 - q))
    assert logs.sum() <= 1e-7


def _blocks(rng: np.random.Generator, runs: int, rates: tuple[float, float], sizes: tuple[int, int], blocks: int):
    events = np.broadcast_to(np.array(sizes, dtype=float)[None, :, None], (runs, 2, blocks)).copy()
    return events, rng.binomial(events.astype(int), np.array(rates)[None, :, None]).astype(float)


def _nats(events: Floats, hits: Floats, limit: Limit, recent: int | None = None) -> Floats:
    """Nats of counts of (runs, 2, blocks): each run has a pair of its own."""
    pairs = np.arange(2 * len(events)).reshape(-1, 2)
    by_group = (counts.reshape(-1, counts.shape[-1]) for counts in (events, hits))
    return evidence.nats(*by_group, pairs, limit, recent)


@pytest.mark.parametrize("sizes", [(30, 30), (48, 12), (99, 1)], ids=str)
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_rates_on_the_limit_are_called_unfair_in_at_most_alpha_of_the_runs(sizes: tuple[int, int], rate: float) -> None:
    events, hits = _blocks(np.random.default_rng(5), 200, (rate + 0.05, rate), sizes, 150)
    course = np.cumsum(_nats(events, hits, Difference(0.05)), axis=-1)
    assert (course.max(axis=-1) >= math.log(20)).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_a_gap_of_ten_points_is_shown_within_the_blocks_that_were_simulated() -> None:
    events, hits = _blocks(np.random.default_rng(6), 200, (0.3, 0.2), (50, 10), 300)
    course = np.cumsum(_nats(events, hits, Difference(0.05)), axis=-1)
    assert (course.max(axis=-1) >= math.log(20)).mean() > 0.95


def test_the_detector_hears_a_late_change_that_the_whole_history_does_not() -> None:
    rng = np.random.default_rng(8)
    calm, apart = _blocks(rng, 100, (0.3, 0.3), (50, 50), 200), _blocks(rng, 100, (0.3, 0.15), (50, 50), 60)
    events, hits = (np.concatenate(pair, axis=-1) for pair in zip(calm, apart, strict=True))
    whole = np.cumsum(_nats(events, hits, Difference(0.05)), axis=-1).max(axis=-1)
    lately = evidence.detector(_nats(events, hits, Difference(0.05), evidence.RECENT_BLOCKS))
    assert (whole >= math.log(20)).mean() < 0.2
    assert (lately >= math.log(1000)).mean() > 0.95
    before = evidence.detector(_nats(*calm, Difference(0.05), evidence.RECENT_BLOCKS))
    assert (before >= math.log(1000)).mean() == 0


@pytest.mark.parametrize("sizes", [(10, 10), (50, 50), (500, 100)], ids=str)
def test_the_detector_falls_silent_when_the_groups_have_been_alike_for_as_long_as_it_learns(
    sizes: tuple[int, int],
) -> None:
    rng = np.random.default_rng(10)
    apart, alike = (_blocks(rng, 50, rates, sizes, 40) for rates in ((0.5, 0.2), (0.35, 0.35)))
    during = evidence.detector(_nats(*apart, Difference(0.05), evidence.RECENT_BLOCKS))
    assert (during >= math.log(1000)).mean() > 0.95
    events, hits = (np.concatenate(pair, axis=-1) for pair in zip(apart, alike, strict=True))
    afterwards = evidence.detector(_nats(events, hits, Difference(0.05), evidence.RECENT_BLOCKS))
    assert (afterwards >= math.log(1000)).mean() < 0.05


def test_a_block_without_events_of_a_group_says_nothing() -> None:
    events, hits = (
        np.array([[[50.0, 50.0, 50.0], [50.0, 0.0, 50.0]]]),
        np.array([[[40.0, 40.0, 40.0], [5.0, 0.0, 5.0]]]),
    )
    nats = _nats(events, hits, Difference(0.05))
    assert nats[0, 0] == 0, "nothing was learned yet"
    assert nats[0, 1] == 0
    assert nats[0, 2] > 0


def test_intervals_hold_the_true_rates_at_every_look() -> None:
    events, hits = _blocks(np.random.default_rng(9), 150, (0.3, 0.2), (40, 10), 60)
    totals, right = np.moveaxis(np.cumsum(events, -1), 1, -1), np.moveaxis(np.cumsum(hits, -1), 1, -1)
    gaps, ratios = intervals.difference(totals, right, 0.05), intervals.ratio(totals, right, 0.05)
    for ends, true in ((gaps, 0.1), (ratios, 2 / 3)):
        missed = ((ends[..., 0] > true) | (ends[..., 1] < true)).any(axis=-1)
        assert missed.mean() <= 0.05


def test_intervals_have_the_widths_of_the_prior_posterior_ratio() -> None:
    events = np.array([1000.0, 1000.0])
    assert intervals.difference(events, 0.3 * events, 0.05) == pytest.approx([-0.0932, 0.0932], abs=1e-4)
    assert intervals.ratio(events, 0.3 * events, 0.05) == pytest.approx([0.7315, 1.3671], abs=1e-4)
    nothing = intervals.rate(np.array([0.0]), np.array([0.0]), 0.05)
    assert nothing == pytest.approx(np.array([[0.0, 1.0]]))


def test_how_much_alike_events_are_is_told_of_blocks_that_have_some_and_of_enough_of_them() -> None:
    rng = np.random.default_rng(11)
    events = np.full((3, 400), 50.0)
    rates = np.stack([np.full(400, 0.4), rng.beta(4, 6, size=400), rng.beta(4, 6, size=400)])
    hits = rng.binomial(50, rates).astype(float)
    events[2, 8:], hits[2, 8:] = 0.0, 0.0
    alone, together, few = evidence.dispersion(events, hits)
    assert alone == pytest.approx(1.0, abs=0.2)
    assert together > 3
    assert few > 1.5
    assert evidence.dispersion(events[1, :1], hits[1, :1]) == 1.0, "of one block nothing is told"
    gaps = np.repeat([1.0, 0.0], 400)[rng.permutation(800)].astype(bool)
    spread = np.zeros((2, 800))
    spread[0, gaps], spread[1, gaps] = events[1], hits[1]
    assert evidence.dispersion(*spread) == pytest.approx(together), "blocks without events are stepped over"
