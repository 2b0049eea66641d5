"""Is the new version less fair? False fails and passes of the gap between groups, and minutes to decide, by simulation.

An hour of 20 requests/s, a fifth of them the canary's, looks every 15 s; the margins are those of the platform file:
2 points more are tolerated, 10 are unacceptable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.canary.simulation import LEVEL, LOOKS, SEEDS, STEP, at_most, median, minutes_until
from benchmarks.figure import Figure
from midwatch.spec import canary as spec
from monitors.canary import fairness_gap
from monitors.canary.arms import Floats
from monitors.canary.counts import Counted
from monitors.canary.criteria import Evidence

RPS, SHARE = 20.0, 0.2
CRITERION = spec.Fairness.model_validate(
    {"metric": "fairness", "attribute": "group", "measure": "demographic_parity", "positive": "yes", "min_events": 11}
)
EQUAL: dict[str, tuple[Sequence[float], Sequence[float], Sequence[float]]] = {
    "50/50, alike": ((0.5, 0.5), (0.4, 0.4), (0.4, 0.4)),
    "80/20, unfair alike": ((0.8, 0.2), (0.5, 0.3), (0.5, 0.3)),
    "99/1, unfair alike": ((0.99, 0.01), (0.5, 0.3), (0.5, 0.3)),
    "80/20, 1% selected": ((0.8, 0.2), (0.01, 0.01), (0.01, 0.01)),
    "80/20, two points more": ((0.8, 0.2), (0.5, 0.3), (0.51, 0.29)),
    "80/20, the other way round": ((0.8, 0.2), (0.5, 0.3), (0.3, 0.5)),
    "8 groups, unfair alike": ((0.125,) * 8, (0.3, 0.35, 0.4, 0.45) * 2, (0.3, 0.35, 0.4, 0.45) * 2),
}
"""Sizes of the groups, and their rates on the baseline and on the canary."""


def fairness(runs: int) -> list[Figure]:
    """Share of runs that fail or pass wrongly, and minutes until they are decided."""
    found = []
    for place, (name, (mix, baseline, canary)) in enumerate(EQUAL.items()):
        fails, _ = _decided(_runs(runs if len(mix) < 3 else max(4, runs // 10), mix, baseline, canary, seed=place))
        found.append(at_most(f"no less fair failed, {name}", fails))
    fails, _ = _decided(_runs(runs, (0.8, 0.2), (0.4, 0.4), (0.4, 0.4), seed=20, alike=20))
    found.append(at_most("no less fair failed, 80/20, selected by twenties", fails))
    _, passes = _decided(_runs(runs, (0.8, 0.2), (0.5, 0.3), (0.55, 0.25), seed=21))
    found.append(at_most("ten points more passed, 80/20", passes))
    _, passes = _decided(_runs(runs, (0.8, 0.2), (0.5, 0.3), (0.5, 0.3), seed=22))
    found.append(median("pass of a version that is as unfair, 80/20", 15.0, passes))
    for more, target in ((0.1, 20.0), (0.2, 8.0)):
        fails, _ = _decided(_runs(runs, (0.8, 0.2), (0.5, 0.4), (0.5 + more / 2, 0.4 - more / 2), seed=23))
        found.append(median(f"fail of {more * 100:g} points more, 80/20", target, fails))
    return found


def _decided(runs: Sequence[Evidence]) -> tuple[Floats, Floats]:
    """Minutes until each run fails, and until it passes."""
    fails, passes = (np.array([getattr(one, name) for one in runs]) for name in ("log_fail", "log_pass"))
    return minutes_until(fails, LEVEL), minutes_until(passes, LEVEL)


def _runs(
    runs: int,
    mix: Sequence[float],
    baseline: Sequence[float],
    canary: Sequence[float],
    *,
    seed: int,
    alike: int = 1,
) -> list[Evidence]:
    """Evidence of runs; `alike` requests at a time come out the same."""
    generator = np.random.default_rng(SEEDS + 1000 + seed)
    found = []
    for _ in range(runs):
        groups = {}
        for place, (part, *rates) in enumerate(zip(mix, baseline, canary, strict=True)):
            sizes = [generator.poisson(RPS * STEP * of * part / alike, LOOKS) for of in (1 - SHARE, SHARE)]
            hits = [generator.binomial(size, rate)[None] for size, rate in zip(sizes, rates, strict=True)]
            groups[f"group-{place}"] = Counted(
                channels=("fairness",),
                baseline_events=alike * hits[0],
                canary_events=alike * hits[1],
                baseline_requests=alike * sizes[0],
                canary_requests=alike * sizes[1],
            )
        every = list(groups.values())
        whole = Counted(
            channels=("fairness",),
            baseline_events=np.sum([one.baseline_events for one in every], axis=0),
            canary_events=np.sum([one.canary_events for one in every], axis=0),
            baseline_requests=np.sum([one.baseline_requests for one in every], axis=0),
            canary_requests=np.sum([one.canary_requests for one in every], axis=0),
            groups=groups,
        )
        found.append(fairness_gap.weigh(CRITERION, whole, false_alarm=0.05, false_pass=0.05))
    return found
