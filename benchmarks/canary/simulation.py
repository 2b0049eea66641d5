"""Simulated arms of a canary, when a boundary is reached in them, and the figures that are told of it.

Sixty minutes, 15 s between looks, 10% of the traffic on the canary, 1% of the requests failing, margins as the platform
file has them by default (tolerated 1.1, unacceptable 1.5, negligible 0.1%) unless a row says otherwise. Every row is
seeded; a run that is not decided counts as not decided, and a median is over all runs.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import beta

from benchmarks.figure import Figure
from midwatch.spec import canary as spec
from monitors.canary import criteria
from monitors.canary.arms import Arms, Floats

STEP, MINUTES, SHARE, BASE = 15.0, 60, 0.1, 0.01
LOOKS = int(MINUTES * 60 / STEP)
LEVEL = math.log(1 / 0.05)
ERRORS = spec.Errors.model_validate({"metric": "errors"})
NEVER = 10_000.0
SEEDS = 70_000
"""Added to every seed: no constant of the judge was chosen on these runs."""


def requests(generator: np.random.Generator, runs: int, rps: float, share: Floats | float) -> tuple[Floats, Floats]:
    shape = (runs, LOOKS)
    return generator.poisson(rps * STEP * (1 - share), shape), generator.poisson(rps * STEP * share, shape)


def arms_of(
    runs: int,
    *,
    rps: float,
    ratio: float = 1.0,
    share: Floats | float = SHARE,
    base: Floats | float = BASE,
    pods: float = 0.0,
    seed: int,
) -> Arms:
    """Independent requests; `pods` is the relative deviation of a lasting effect that each pod has of its own.

    The canary is one pod, the baseline the mean of nine.
    """
    generator = np.random.default_rng(SEEDS + seed)
    baseline, canary = requests(generator, runs, rps, share)
    # Log-normal with mean 1, so that "no change" means no change on average.
    spread = math.sqrt(math.log1p(pods**2))
    own = np.exp(generator.normal(-(spread**2) / 2, spread, (runs, 1)))
    others = np.exp(generator.normal(-(spread**2) / 2, spread, (runs, 9))).mean(axis=1, keepdims=True)
    return Arms(
        baseline_events=generator.binomial(baseline, np.minimum(1.0, base * others)),
        baseline_requests=baseline,
        canary_events=generator.binomial(canary, np.minimum(1.0, base * ratio * own)),
        canary_requests=canary,
    )


def bursty(runs: int, *, rps: float, ratio: float = 1.0, seed: int) -> Arms:
    """Arms of equal size whose error rates vary by arm and interval with a coefficient of variation of 1."""
    generator = np.random.default_rng(SEEDS + seed)
    baseline, canary = (generator.poisson(rps * STEP * SHARE, (runs, LOOKS)) for _ in range(2))
    heat = generator.gamma(1.0, 1.0, (2, runs, LOOKS))
    return Arms(
        baseline_events=generator.binomial(baseline, np.minimum(1.0, BASE * heat[0])),
        baseline_requests=baseline,
        canary_events=generator.binomial(canary, np.minimum(1.0, BASE * ratio * heat[1])),
        canary_requests=canary,
    )


def minutes_until(log_e: Floats, level: float = LEVEL) -> Floats:
    """Minutes until the boundary is reached in each run; `NEVER` where it is not."""
    hit = log_e >= level
    found: Floats = np.where(hit.any(axis=-1), (hit.argmax(axis=-1) + 1) * STEP / 60, NEVER)
    return found


def fails(arms: Arms, criterion: spec.Counted = ERRORS) -> Floats:
    return minutes_until(criteria.log_fail(arms, criterion))


def passes(arms: Arms, criterion: spec.Counted = ERRORS) -> Floats:
    return minutes_until(criteria.log_pass(arms, criterion))


def margin(**changes: object) -> spec.Errors:
    return spec.Errors.model_validate({"metric": "errors", **changes})


def percent(minutes: Floats) -> float:
    return float((minutes < NEVER).mean() * 100)


def share_slower(bound: float) -> float:
    """Share of log-normal latencies (median 60 ms, log deviation 0.7) above a bound in seconds."""
    return 1.0 if bound <= 0 else 0.5 * math.erfc(math.log(bound / 0.06) / 0.7 / math.sqrt(2))


def at_most(name: str, minutes: Floats, target: float = 5.0) -> Figure:
    """Share of runs in which a boundary is reached, with its 95% interval."""
    return rate_of_runs(name, int((minutes < NEVER).sum()), len(minutes), target)


def rate_of_runs(name: str, hits: int, runs: int, target: float) -> Figure:
    """Share of runs, with its 95% interval (Clopper & Pearson)."""
    low, high = beta.ppf(0.025, hits, runs - hits + 1), beta.ppf(0.975, hits + 1, runs - hits)
    interval = f"95%: {100 * (low if hits else 0.0):.1f} to {100 * (high if hits < runs else 1.0):.1f}"
    share = 100 * hits / runs
    return Figure(name=name, target=target, measured=share, unit="% of runs", better="less", peer=interval)


def median(name: str, target: float, minutes: Floats) -> Figure:
    return figure(f"{name}, median", target, float(np.median(minutes)), "min", "less")


def figure(name: str, target: float, measured: float, unit: str, better: str) -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better=better)
