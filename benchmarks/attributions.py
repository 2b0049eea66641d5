"""Changes of attributions over autocorrelated rows: how often they are seen, beside nDCG and Jensen-Shannon thresholds.

Thirty features whose amounts fall as 1 / place, 40 earlier windows of 1,000 rows, neighbouring rows correlated at 0.9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import lfilter

from benchmarks.figure import Comparison, Figure
from monitors.attribution import change
from monitors.attribution.change import Floats, Verdict, Windows

FEATURES, WINDOWS, ROWS, CORRELATION = 30, 40, 1000, 0.9
LOWEST_NDCG = 0.90
"""Below it SageMaker Clarify says that attributions have drifted."""
HIGHEST_DIVERGENCE = 0.3
"""Beyond it Vertex AI does."""
WEIGHTS = 1 / np.arange(1.0, FEATURES + 1)


def _without(place: int) -> Floats:
    return np.where(np.arange(FEATURES) == place, 0.0, WEIGHTS)


def _swapped(one: int, other: int) -> Floats:
    order = np.arange(FEATURES)
    order[[one, other]] = other, one
    return WEIGHTS[order]


CASES: dict[str, Floats] = {
    "nothing": WEIGHTS,
    "the most important feature is lost": _without(0),
    "the fourth is lost": _without(3),
    "all are halved": WEIGHTS / 2,
    "first and sixth change places": _swapped(0, 5),
    "the fourth has 70%": np.where(np.arange(FEATURES) == 3, 0.7, 1.0) * WEIGHTS,
    "the first changes its sign": np.where(np.arange(FEATURES) == 0, -1.0, 1.0) * WEIGHTS,
}


def run(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """Percent of windows that each method calls changed."""
    runs = 10 if smoke else 200
    rng = np.random.default_rng(20261128)
    rows, alarms = [], 0.0
    for name, weights in CASES.items():
        found = np.array([_judged(rng, weights) for _ in range(runs)], dtype=float).mean(axis=0) * 100
        rows.append((name, *(f"{share:.0f}" for share in found)))
        alarms = found[0] if name == "nothing" else alarms
    columns = ("what happened", "ours", f"nDCG < {LOWEST_NDCG:g}", f"Jensen-Shannon > {HIGHEST_DIVERGENCE:g}")
    return [
        Figure(
            name=f"attributions called changed, of {runs} unchanged windows",
            target=100.0 if smoke else 8.0,  # 5% and twice its standard error
            measured=float(alarms),
            unit="%",
            better="less",
        ),
        Comparison(title="Attributions called changed, % of windows", columns=columns, rows=rows),
    ]


def _judged(rng: np.random.Generator, weights: Floats) -> tuple[bool, bool, bool]:
    reference, rows_before = _windows(rng, WINDOWS, WEIGHTS)
    current, rows_now = _windows(rng, 1, weights)
    names = [f"f{place}" for place in range(FEATURES)]
    ours = change.compare(names, reference, current).verdict is Verdict.CHANGED
    order = change.ndcg(reference.amount.mean(axis=0), current.amount[0])
    apart = max(_divergence(rows_before[..., place], rows_now[..., place]) for place in range(FEATURES))
    return ours, order < LOWEST_NDCG, apart > HIGHEST_DIVERGENCE


def _windows(rng: np.random.Generator, count: int, weights: Floats) -> tuple[Windows, Floats]:
    noise = rng.standard_normal((count * ROWS + 200, FEATURES))
    inputs = lfilter([np.sqrt(1 - CORRELATION**2)], [1, -CORRELATION], noise, axis=0)[200:]
    attributions = (weights * inputs).reshape(count, ROWS, FEATURES)
    rows = np.full(count, float(ROWS))
    return Windows(signed=attributions.mean(axis=1), amount=np.abs(attributions).mean(axis=1), rows=rows), attributions


def _divergence(before: Floats, now: Floats) -> float:
    edges = np.histogram_bin_edges(np.concatenate([before.ravel(), now.ravel()]), bins=10)
    count: Callable[[Floats], Floats] = lambda values: np.histogram(values, edges)[0].astype(float)  # noqa: E731
    return change.jensen_shannon(count(before), count(now))
