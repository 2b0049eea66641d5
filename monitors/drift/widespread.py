"""A change of many features, each too small to be told by itself.

The squared distances of all features, each in units of what calm windows have, are added; calm windows say how far such
a sum strays, with the features' dependence on each other in it. Its null distribution is that of a sum of dependent
chi-squared variables over an estimate of it: F, with Satterthwaite's degrees of freedom (Satterthwaite, F. E. (1946):
An approximate distribution of estimates of variance components. Biometrics Bulletin 2(6), 110-114; Thomas, D. R. & Rao,
J. N. K. (1987): Small-sample comparisons of level and power for simple goodness-of-fit statistics under cluster
sampling. JASA 82(398), 630-636).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import f as fisher

from monitors.drift import seasons
from monitors.drift.comparison import FeatureMethod, Result, clipped
from monitors.drift.counts import Counts, Floats
from monitors.drift.reference import COMPARISONS, FeatureReference

FEATURE = "many features"
"""What a finding of it is about."""

NAMED = 3
"""Features that are named: those that strayed most."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Result over features, the effect it needs, and the least one that would have been seen; `most` strayed most."""

    result: Result
    floor: float
    smallest: float
    most: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Strayed:
    """Of a feature: the window's squared distance and effect, and those of calm windows; in units of their mean."""

    now: float
    calm: Floats
    effect: float
    calm_effects: Floats
    freedom: int
    sizes: tuple[int, int]


def compare(
    name: str, reference: Mapping[str, FeatureReference], window: Mapping[str, Counts], phase: int | None, level: float
) -> Change | None:
    """With a method, of those features that it can compare; None where fewer than two have enough calm windows."""
    method = COMPARISONS[name]
    found = {
        feature: strayed
        for feature in sorted(window)
        if reference[feature].kind in method.features
        and (strayed := _strayed(name, method, reference[feature], window[feature], phase)) is not None
    }
    if len(found) < 2:
        return None
    sums = np.nanmean([one.calm for one in found.values()], axis=0)
    freedom = min(one.freedom for one in found.values())
    parts = seasons.parts(sums)
    now = float(np.mean([one.now for one in found.values()])) * (freedom - 2) / freedom
    usual = fisher.isf(level, parts, parts * freedom) * freedom / (freedom - 2)
    effect = float(np.mean([one.effect for one in found.values()]))
    calm = np.nanmean([one.calm_effects for one in found.values()], axis=0)
    floor = max(method.floor, float(np.nanmax(calm)))
    seen = [one.effect * (usual / max(one.now, 1e-12)) ** (0.5 / method.power) for one in found.values()]
    result = Result(
        statistic=now,
        p_value=clipped(float(fisher.sf(now, parts, parts * freedom))),
        effect=effect,
        reference_size=max(one.sizes[0] for one in found.values()),
        window_size=max(one.sizes[1] for one in found.values()),
    )
    most = sorted(found, key=lambda feature: -found[feature].now)[:NAMED]
    return Change(result=result, floor=floor, smallest=max(floor, float(np.mean(seen))), most=tuple(most))


def _strayed(
    name: str, method: FeatureMethod, feature: FeatureReference, window: Counts, phase: int | None
) -> _Strayed | None:
    """Of a feature, on the bins that its calm windows are kept on."""
    kept = feature.seasons
    if kept is None or name not in kept.strayed or not window.total:
        return None
    whole = Counts(cells=kept.rows[phase] if _has(kept, phase) else kept.rows.sum(axis=0))
    if kept.cycle is not seasons.Cycle.NONE and not _has(kept, phase):
        return None
    usual = float(np.nanmean(kept.strayed[name]))
    if not whole.total or not usual > 0:
        return None
    inflation = kept.inflations.bins if method.bins else kept.inflations.distance
    longer = inflation.of(window.total) / inflation.of(kept.inflations.window)
    effect = method.compare(whole, feature.on_bins(window), 1.0).effect
    n, m = whole.total, window.total
    return _Strayed(
        now=seasons.distance(method, effect, n, m) / usual / longer,
        calm=kept.strayed[name] / usual,
        effect=effect,
        calm_effects=seasons.effects(method, kept.strayed[name] * longer, n, m),
        freedom=kept.freedom,
        sizes=(n, m),
    )


def _has(kept: seasons.Seasons, phase: int | None) -> bool:
    return phase is not None and 0 <= phase < len(kept.rows) and bool(kept.rows[phase].sum())
