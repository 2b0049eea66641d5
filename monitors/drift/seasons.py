"""Calm windows of the reference by their phase: the hour of the day or of the week, or the day of the week.

A window is compared with the reference's windows of its own phase where there are enough of them, and with what those
differ by among themselves: what the night does at night is no drift, and what it does by day is. Phases are those of
UTC. Without times every window has the same phase, which is right for windows that go through the whole cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import f as fisher

from monitors.drift import calibration
from monitors.drift.calibration import Inflations
from monitors.drift.comparison import FeatureMethod
from monitors.drift.counts import Counts, Floats, Integers

FEWEST_WINDOWS = 8
"""Of each phase; as many as a variance is taken from anywhere else."""

MOST_WINDOWS = 200
"""Windows whose deviations are kept, from all over the reference."""

CONFIDENCE = 1.645
"""Of the upper bound of what calm windows' distances vary by, in standard errors: 95%."""

HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
FIRST_WEEKDAY = 3
"""The first of January 1970 was a Thursday, the third day after Monday."""


class Cycle(StrEnum):
    """What windows of the same phase have in common."""

    NONE = "none"
    DAY_OF_WEEK = "day of the week"
    HOUR_OF_DAY = "hour of the day"
    HOUR_OF_WEEK = "hour of the week"

    def phases(self, times: Floats) -> Integers:
        """Of times in seconds since the epoch; shape (n,).

        >>> Cycle.HOUR_OF_DAY.phases(np.array([0.0, 7200.0, 90000.0])).tolist()
        [0, 2, 1]
        """
        hour = (times // HOUR).astype(np.int64) % 24
        day = ((times // DAY).astype(np.int64) + FIRST_WEEKDAY) % 7
        return {
            Cycle.NONE: np.zeros(len(times), np.int64),
            Cycle.DAY_OF_WEEK: day,
            Cycle.HOUR_OF_DAY: hour,
            Cycle.HOUR_OF_WEEK: 24 * day + hour,
        }[self]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Calm windows of a table: the one that each row is in (-1: none), and the phase of each.

    `size` is the rows of the usual one, `seconds` how long each is; 0 where they were cut by rows.
    """

    of_rows: Integers
    phases: Integers
    size: int
    cycle: Cycle = Cycle.NONE
    seconds: float = 0.0


def by_rows(rows: int, size: int) -> Windows:
    """Windows of so many rows, one after the other."""
    whole = rows // size
    of_rows = np.arange(rows, dtype=np.int32) // size
    of_rows[whole * size :] = -1
    return Windows(of_rows=of_rows, phases=np.zeros(whole, np.int64), size=size)


def by_times(times: Floats, seconds: float) -> Windows:
    """Windows of so many seconds, from times in seconds since the epoch (NaN: none); shape (rows,).

    The first and the last are left out, because the table begins and ends within them. The cycle is the finest one that
    has enough windows of each phase.
    """
    known = ~np.isnan(times)
    numbers = np.full(len(times), -1, dtype=np.int64)
    numbers[known] = times[known] // seconds
    present, counted = np.unique(numbers[known], return_counts=True)
    whole = present[1:-1]
    places = np.searchsorted(whole, numbers).clip(0, max(0, len(whole) - 1))
    of_rows = np.where(whole[places] == numbers, places, -1) if len(whole) else np.full(len(times), -1)
    middles: Floats = np.asarray((whole + 0.5) * seconds, dtype=np.float64)
    cycle = _cycle(middles, seconds)
    size = int(np.median(counted[1:-1])) if len(whole) else 1
    return Windows(
        of_rows=of_rows.astype(np.int32), phases=cycle.phases(middles), size=size, cycle=cycle, seconds=seconds
    )


def _cycle(middles: Floats, seconds: float) -> Cycle:
    finer = [Cycle.HOUR_OF_WEEK, Cycle.HOUR_OF_DAY] if seconds < DAY else [Cycle.DAY_OF_WEEK] if seconds < WEEK else []
    for cycle in finer:
        if len(middles) and np.unique(cycle.phases(middles), return_counts=True)[1].min() >= FEWEST_WINDOWS:
            return cycle
    return Cycle.NONE


@dataclass(frozen=True, kw_only=True)
class Seasons:
    """Calm windows of one feature, on a few bins.

    `rows` are those of each phase in each bin, shape (phases, bins). `inflations` say what windows of a phase vary by;
    `calm` is the largest effect by method that is beyond that; `strayed` has by method, of each window, the squared
    distance from its phase in units of independent rows (NaN where it had no value). `freedom` is how many of those
    are beyond what the phases' own distributions take.
    """

    rows: Integers
    inflations: Inflations
    calm: Mapping[str, float]
    strayed: Mapping[str, Floats]
    freedom: int
    cycle: Cycle

    def spread_p_value(self, method: FeatureMethod, name: str, effect: float, n: int, m: int, scale: float) -> float:
        """How likely a window of m rows strays so far from n, by what calm windows differ by; of all kinds of season.

        Their mean square is an estimate, so the tail is that of F (Satterthwaite, as in `widespread`). `scale` is the
        inflation of m rows over that of a calm window.
        """
        strayed, usual = self._usual(name, scale)
        if not usual > 0:
            return 0.0  # none of them strays at all
        count = parts(strayed)
        return float(fisher.sf(distance(method, effect, n, m) / usual, count, count * self.freedom))

    def spread_effect(self, method: FeatureMethod, name: str, p_value: float, n: int, m: int, scale: float) -> float:
        """The inverse."""
        strayed, usual = self._usual(name, scale)
        if not usual > 0:
            return 0.0
        count = parts(strayed)
        most = np.array(fisher.isf(p_value, count, count * self.freedom) * usual)
        return float(effects(method, most, n, m))

    def _usual(self, name: str, scale: float) -> tuple[Floats, float]:
        """Distances of calm windows in units of their mean, and that mean."""
        found = self.strayed[name]
        mean = float(np.nanmean(found))
        return (found / mean if mean > 0 else found), mean * scale


def fit(bins: Integers, count: int, windows: Windows, methods: Mapping[str, FeatureMethod]) -> Seasons | None:
    """From the bin of each row (below `count`; -1 is missing); None with too few windows to tell what they vary by."""
    kept = (bins >= 0) & (windows.of_rows >= 0)
    cells = windows.of_rows[kept].astype(np.int64) * count + bins[kept]
    table = np.bincount(cells, minlength=len(windows.phases) * count).reshape(-1, count)
    told = table.sum(axis=1) > 0
    phases = windows.phases[told]
    freedom = int(told.sum()) - len(np.unique(phases))
    if freedom < FEWEST_WINDOWS - 1:
        return None
    rows = np.zeros((int(windows.phases.max()) + 1, count), dtype=np.int64)
    np.add.at(rows, windows.phases, table)
    inflations = calibration.inflations_of(table[told], phases, windows.size)
    chosen = calibration.spread(len(table), MOST_WINDOWS)
    strayed, calm = {}, {}
    for name, method in methods.items():
        found = np.full(len(chosen), np.nan)
        results = []
        for place, window in enumerate(chosen):
            if told[window]:
                whole, part = Counts(cells=rows[windows.phases[window]]), Counts(cells=table[window])
                inflation = (inflations.bins if method.bins else inflations.distance).of(part.total)
                results.append(method.compare(whole, part, inflation))
                found[place] = distance(method, results[-1].effect, whole.total, part.total, is_part=True)
        strayed[name] = found
        calm[name] = calibration.calm_floor(results, len(results))
    return Seasons(
        rows=rows,
        inflations=inflations,
        calm=calm,
        strayed=strayed,
        freedom=min(freedom, len(chosen)),
        cycle=windows.cycle,
    )


def distance(method: FeatureMethod, effect: float, n: int, m: int, *, is_part: bool = False) -> float:
    """Squared distance that an effect of m rows from n is, in units of independent rows; or of m rows that are part
    of the n."""
    scale = 1 / m - 1 / n if is_part else 1 / m + 1 / n
    return float(effect ** (2 * method.power) / scale) if scale > 0 else float("nan")


def effects(method: FeatureMethod, distances: Floats, n: int, m: int) -> Floats:
    """Effects of m rows from n that such squared distances are."""
    return np.asarray((distances * (1 / m + 1 / n)) ** (0.5 / method.power), dtype=np.float64)


def parts(sums: Floats) -> float:
    """Independent parts that a sum of squares is worth, at least one, from those of calm windows, whose mean is one.

    Fewer make longer tails, so the upper bound of what the sums vary by is taken.
    """
    told = sums[~np.isnan(sums)]
    found = 2 / max(float(np.var(told, ddof=1)), 1e-12)
    error = np.sqrt((2 + 12 / max(1.0, found)) / len(told))  # of a variance of chi-squared variables, relative
    return float(max(1.0, found / (1 + CONFIDENCE * error)))
