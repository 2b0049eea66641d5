"""False alarms and power of "did it help?" and of regressions over a history, by simulation with fixed seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.canary.simulation import rate_of_runs
from benchmarks.figure import Figure
from midwatch.spec.promotion import Better
from monitors.loop import better
from monitors.loop.better import Role, Verdict
from monitors.loop.paired import Pairs
from monitors.regression import change

LOOKS, STEP = 60, 200
"""Looks at rows that come in: 12,000 in the end, as a day's labels do."""
ALPHA = 0.05


def run(*, smoke: bool) -> Sequence[Figure]:
    """Every figure."""
    runs = 10 if smoke else 200
    return [*_helped(runs), *_regressed(runs)]


# Did it help? ------------------------------------------------------------------------------------------------------


def _helped(runs: int) -> list[Figure]:
    found = []
    for differ in (0.02, 0.1, 0.4):
        said = [_first(differ / 2, differ / 2, seed) for seed in range(runs)]
        wrong = sum(verdict in (Verdict.BETTER, Verdict.WORSE) for verdict, _ in said)
        name = f"equal versions that differ on {differ:.0%} of rows, called better or worse at any of {LOOKS} looks"
        found.append(rate_of_runs(name, wrong, runs, 100 * ALPHA))
    for only_new, only_old, wanted in (
        (0.06, 0.04, Verdict.BETTER),
        (0.055, 0.045, Verdict.BETTER),
        (0.02, 0.08, Verdict.WORSE),
    ):
        said = [_first(only_new, only_old, 1000 + seed) for seed in range(runs)]
        hits = [rows for verdict, rows in said if verdict is wanted]
        name = f"{only_new - only_old:+.0%} where 10% differ: {wanted.value} within {LOOKS * STEP:,} rows"
        median = f"median {np.median(hits):,.0f} rows" if hits else "never"
        measured = 100 * len(hits) / runs
        found.append(Figure(name=name, target=50, measured=measured, unit="% of runs", better="more", peer=median))
    return found


def _first(only_new: float, only_old: float, seed: int) -> tuple[Verdict, int]:
    """The first verdict better or worse while rows come in, and after how many rows; else the last one."""
    drawn = np.random.default_rng(seed).choice(3, size=LOOKS * STEP, p=[1 - only_new - only_old, only_new, only_old])
    new, old = np.cumsum(drawn == 1), np.cumsum(drawn == 2)
    verdict = Verdict.UNKNOWN
    for rows in range(STEP, LOOKS * STEP + 1, STEP):
        pairs = Pairs(rows=rows, only_new=int(new[rows - 1]), only_old=int(old[rows - 1]))
        verdict = better.of_pairs("drifted", pairs, Role.SUPERIOR, Better(), ALPHA).verdict
        if verdict in (Verdict.BETTER, Verdict.WORSE):
            return verdict, rows
    return verdict, LOOKS * STEP


# Regressions -------------------------------------------------------------------------------------------------------

Draw = Callable[[np.random.Generator, int], change.Floats]
HISTORIES: dict[str, Draw] = {
    "log-normal, 10%": lambda generator, count: 600 * np.exp(generator.normal(0, 0.1, count)),
    "log-normal, 50%": lambda generator, count: 600 * np.exp(generator.normal(0, 0.5, count)),
    "heavy tails (Pareto 1.5)": lambda generator, count: 600 * (1 + generator.pareto(1.5, count)),
    "ties (5 values)": lambda generator, count: 600.0 + 60 * generator.integers(0, 5, count),
}
FIRST, LAST = 12, 40
"""Trainings from which on somebody looks after each, and how many there are."""


LENGTHS = range(9, 61)
"""Trainings of the histories whose level is simulated; 9 are the fewest that decide anything at 1%."""


def _regressed(runs: int) -> list[Figure]:
    found = [_level(10 * runs)]
    for name, draw in HISTORIES.items():
        # With ties every look has permutations of its own, which takes fifty times as long.
        looks = np.array([_alarms(draw, seed) for seed in range(runs if "ties" in name else 5 * runs)])
        found.append(_rate_of_looks(f"no change, {name}: called regressed at a look", looks, 1.0))
        ever = int(looks.any(axis=1).sum())
        found.append(rate_of_runs(f"the same, ever in {LAST - FIRST + 1} looks", ever, len(looks), 29.0))
    for factor in (1.5, 2.0):
        delays = [_delay(factor, seed) for seed in range(runs)]
        known = [delay for delay in delays if delay is not None]
        name = f"times {factor:g} from the 20th training on, spread 10%: found within 6 trainings"
        share = 100 * sum(delay <= 6 for delay in known) / runs
        peer = f"median {np.median(known):g} trainings" if known else "never"
        found.append(Figure(name=name, target=90, measured=share, unit="% of runs", better="more", peer=peer))
    return found


def _level(series: int) -> Figure:
    """How often values without ties, whatever their distribution, show a change: ranks are all that is looked at."""
    generator = np.random.default_rng(1)
    levels = {}
    for count in LENGTHS:
        drawn = generator.permuted(np.tile(np.arange(1.0, count + 1), (series, 1)), axis=1)
        said = [change.find(values, worse_is_higher=True, tolerated=1e-9, alpha=0.01) for values in drawn]
        levels[count] = 100 * sum(one.p_value is not None and one.p_value <= 0.01 for one in said) / series
    worst = max(levels, key=lambda count: levels[count])
    name = f"no change, nothing tolerated: a change shown at a look, mean of {LENGTHS[0]} to {LENGTHS[-1]} trainings"
    mean = float(np.mean(list(levels.values())))
    peer = f"most of {worst}: {levels[worst]:.2f}, {series:,} each"
    return Figure(name=name, target=1.0, measured=mean, unit="% of looks", better="less", peer=peer)


def _rate_of_looks(name: str, looks: NDArray[np.bool_], target: float) -> Figure:
    """Share of looks, with its 95% interval by the spread between runs: looks at one history are not independent."""
    by_run = 100 * looks.mean(axis=1)
    half = 1.96 * float(by_run.std(ddof=1)) / math.sqrt(len(by_run))
    mean = float(by_run.mean())
    peer = f"95%: {max(0.0, mean - half):.2f} to {mean + half:.2f}"
    return Figure(name=name, target=target, measured=mean, unit="% of looks", better="less", peer=peer)


def _find(values: change.Floats) -> bool:
    said = change.find(values, worse_is_higher=True, tolerated=0.2, alpha=0.01)
    return said.verdict is change.Verdict.REGRESSED


def _alarms(draw: Draw, seed: int) -> list[bool]:
    values = draw(np.random.default_rng(seed), LAST)
    return [_find(values[:count]) for count in range(FIRST, LAST + 1)]


def _delay(factor: float, seed: int) -> int | None:
    values = HISTORIES["log-normal, 10%"](np.random.default_rng(seed), 32)
    values[20:] *= factor
    return next((count - 20 for count in range(21, 33) if _find(values[:count])), None)
