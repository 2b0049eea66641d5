"""Changes of attributions over autocorrelated rows: how often they are seen, beside nDCG and Jensen-Shannon thresholds.

Thirty features whose amounts fall as 1 / place, 40 earlier windows of 1,000 rows, neighbouring rows correlated at 0.9.
The third and the fourth are twins: their inputs are correlated at 0.99.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import lfilter

from benchmarks.figure import Comparison, Figure
from monitors.attribution import change, judge, others
from monitors.attribution.change import Verdict, Windows
from monitors.attribution.fetch import Asked
from monitors.attribution.others import HIGHEST_DIVERGENCE, LOWEST_NDCG, Floats

FEATURES, WINDOWS, ROWS, CORRELATION = 30, 40, 1000, 0.9
TWINS, ALIKE = (2, 3), 0.99
LOOKS = 400
WEIGHTS = 1 / np.arange(1.0, FEATURES + 1)


def _without(place: int) -> Floats:
    return np.where(np.arange(FEATURES) == place, 0.0, WEIGHTS)


def _swapped(one: int, other: int) -> Floats:
    order = np.arange(FEATURES)
    order[[one, other]] = other, one
    return WEIGHTS[order]


def _taken_over() -> Floats:
    weights = WEIGHTS.copy()
    weights[TWINS[1]] += weights[TWINS[0]]
    weights[TWINS[0]] = 0.0
    return weights


CASES: dict[str, Floats] = {
    "nothing": WEIGHTS,
    "the most important feature is lost": _without(0),
    "the fifth is lost": _without(4),
    "all are halved": WEIGHTS / 2,
    "first and sixth change places": _swapped(0, 5),
    "the fifth has 70%": np.where(np.arange(FEATURES) == 4, 0.7, 1.0) * WEIGHTS,
    "the first changes its sign": np.where(np.arange(FEATURES) == 0, -1.0, 1.0) * WEIGHTS,
    "a twin takes over from its twin": _taken_over(),
}
CALM = ("nothing", "a twin takes over from its twin")
"""Cases in which the model answers as before."""


def run(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """Percent of windows that each method calls changed."""
    runs = 10 if smoke else 200
    rng = np.random.default_rng(20261128)
    rows, alarms = [], {}
    for name, weights in CASES.items():
        found = np.array([_judged(rng, weights) for _ in range(runs)], dtype=float).mean(axis=0) * 100
        rows.append((name, *(f"{share:.0f}" for share in found)))
        alarms[name] = found[0]
    others_say = (f"nDCG < {LOWEST_NDCG:g}", f"Jensen-Shannon > {HIGHEST_DIVERGENCE:g}")
    columns = ("what happened", "ours", "ours without twins", *others_say)
    return [
        *(
            Figure(
                name=f"attributions called changed, of {runs} windows in which happened: {name}",
                target=100.0 if smoke else 8.0,  # 5% and twice its standard error
                measured=float(alarms[name]),
                unit="%",
                better="less",
            )
            for name in CALM
        ),
        Figure(
            name=f"lasting changes said of {LOOKS} unchanged windows in a row",
            target=float(LOOKS) if smoke else 3.0,  # 0.25% of them if windows were independent, and their spread
            measured=float(_said_to_last(rng, LOOKS // 10 if smoke else LOOKS)),
            unit="",
            better="less",
        ),
        Comparison(title="Attributions called changed, % of windows", columns=columns, rows=rows),
    ]


def _judged(rng: np.random.Generator, weights: Floats) -> tuple[bool, ...]:
    reference, rows_before = _windows(rng, WINDOWS, WEIGHTS)
    current, rows_now = _windows(rng, 1, weights)
    names = [f"f{place}" for place in range(FEATURES)]
    said = change.compare(names, reference, current)
    alone = said.verdict is Verdict.CHANGED or bool(said.exchanged)
    order = others.ndcg(reference.amount.mean(axis=0), current.amount[0])
    apart = max(_divergence(rows_before[..., place], rows_now[..., place]) for place in range(FEATURES))
    return said.verdict is Verdict.CHANGED, alone, order < LOWEST_NDCG, apart > HIGHEST_DIVERGENCE


def _said_to_last(rng: np.random.Generator, looks: int) -> int:
    """How often a change is said to last while nothing changes, each window held against the 40 before it."""
    windows, _ = _windows(rng, WINDOWS + judge.NEWEST + looks - 1, WEIGHTS)
    names = tuple(f"f{place}" for place in range(FEATURES))
    seen = [windows.part(slice(place, place + WINDOWS + judge.NEWEST)) for place in range(looks)]
    return sum(judge.over_time(Asked(names=names, windows=one)).lasts for one in seen)


def _windows(rng: np.random.Generator, count: int, weights: Floats) -> tuple[Windows, Floats]:
    noise = rng.standard_normal((count * ROWS + 200, FEATURES))
    inputs = lfilter([np.sqrt(1 - CORRELATION**2)], [1, -CORRELATION], noise, axis=0)[200:]
    inputs[:, TWINS[1]] = ALIKE * inputs[:, TWINS[0]] + np.sqrt(1 - ALIKE**2) * inputs[:, TWINS[1]]
    attributions = (weights * inputs).reshape(count, ROWS, FEATURES)
    rows = np.full(count, float(ROWS))
    return Windows(signed=attributions.mean(axis=1), amount=np.abs(attributions).mean(axis=1), rows=rows), attributions


def _divergence(before: Floats, now: Floats) -> float:
    edges = np.histogram_bin_edges(np.concatenate([before.ravel(), now.ravel()]), bins=10)
    count: Callable[[Floats], Floats] = lambda values: np.histogram(values, edges)[0].astype(float)  # noqa: E731
    return others.jensen_shannon(count(before), count(now))
