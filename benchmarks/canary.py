"""Canary verdicts: false alarms, misses and time to decide by simulation, beside the rules in use; and their speed.

Sixty minutes, 15 s between looks, 10% of the traffic on the canary, 1% of the requests failing, margins as the platform
file has them by default (tolerated 1.1, unacceptable 1.5, negligible 0.1%) unless a row says otherwise. Every row is
seeded; a run that is not decided counts as not decided, and a median is over all runs.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import beta, mannwhitneyu

from benchmarks.figure import Comparison, Figure
from midwatch import prometheus
from midwatch.ports import free_ports
from midwatch.spec import canary as spec
from monitors.canary import ask, criteria, judge, mannwhitney
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.counts import Counted, Counts, Labelled
from monitors.canary.findings import Verdict
from monitors.canary.question import Question
from monitors.canary.times import moment
from tests.canary.arms import START, Past, prometheus_with, scraped_out_of_phase, with_retries
from tests.conftest import wait_for

STEP, MINUTES, SHARE, BASE = 15.0, 60, 0.1, 0.01
LOOKS = int(MINUTES * 60 / STEP)
LEVEL = math.log(1 / 0.05)
ERRORS = spec.Errors.model_validate({"metric": "errors"})
NEVER = 10_000.0
SEEDS = 70_000
"""Added to every seed: no constant of the judge was chosen on these runs."""


def _requests(generator: np.random.Generator, runs: int, rps: float, share: Floats | float) -> tuple[Floats, Floats]:
    shape = (runs, LOOKS)
    return generator.poisson(rps * STEP * (1 - share), shape), generator.poisson(rps * STEP * share, shape)


def _arms(
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
    baseline, canary = _requests(generator, runs, rps, share)
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


def _bursty(runs: int, *, rps: float, ratio: float = 1.0, seed: int) -> Arms:
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


def _minutes(log_e: Floats, level: float = LEVEL) -> Floats:
    """Minutes until the boundary is reached in each run; `NEVER` where it is not."""
    hit = log_e >= level
    found: Floats = np.where(hit.any(axis=-1), (hit.argmax(axis=-1) + 1) * STEP / 60, NEVER)
    return found


def _fails(arms: Arms, criterion: spec.Counted = ERRORS) -> Floats:
    return _minutes(criteria.log_fail(arms, criterion))


def _passes(arms: Arms, criterion: spec.Counted = ERRORS) -> Floats:
    return _minutes(criteria.log_pass(arms, criterion))


def _margin(**changes: object) -> spec.Errors:
    return spec.Errors.model_validate({"metric": "errors", **changes})


def _percent(minutes: Floats) -> float:
    return float((minutes < NEVER).mean() * 100)


# False alarms and detection ------------------------------------------------------------------------------------------


def _honesty(runs: int) -> list[Figure]:
    """Share of runs that fail without a reason, and that pass with an unacceptable ratio."""
    ramp = np.repeat([0.05, 0.1, 0.25, 0.5], LOOKS // 4)
    drift = BASE * (1 + 3 * np.sin(np.linspace(0, 9, LOOKS)) ** 2)
    strict = _margin(tolerated_ratio=1.0, negligible="0%")
    calm = {f"{rps:g}/s": _arms(runs, rps=rps, seed=1) for rps in (2.0, 50.0, 500.0)}
    calm |= {
        "50/s, weights 5 to 50%": _arms(runs, rps=50, share=ramp, seed=2),
        "50/s, both arms drift 1 to 4%": _arms(runs, rps=50, base=drift, seed=3),
        "50/s, ramp and drift": _arms(runs, rps=50, base=drift, share=ramp, seed=4),
    }
    found = [(f"no change failed, {name}", _fails(arms)) for name, arms in calm.items()]
    found += [(f"the same with no margin, {name}", _fails(arms, strict)) for name, arms in calm.items()]
    equal = _margin(equal_baseline=True, tolerated_ratio=1.0)
    for rps in (50.0, 500.0):
        found.append((f"bursts, equal baseline, {rps:g}/s", _fails(_bursty(runs, rps=rps, seed=5), equal)))
    wide = _margin(tolerated_ratio=1.5, unacceptable_ratio=2.5)
    for rps in (50.0, 500.0):
        arms = _arms(runs, rps=rps, pods=0.2, seed=6)
        found.append((f"20% pod effects, margin 1.5, {rps:g}/s", _fails(arms, wide)))
    found += [(f"ratio 1.5 passed, {rps:g}/s", _passes(_arms(runs, rps=rps, ratio=1.5, seed=7))) for rps in (50, 500)]
    return [_at_most(name, minutes) for name, minutes in found]


def _at_most(name: str, minutes: Floats, target: float = 5.0) -> Figure:
    """Share of runs in which a boundary is reached, with its 95% interval."""
    return _rate(name, int((minutes < NEVER).sum()), len(minutes), target)


def _rate(name: str, hits: int, runs: int, target: float) -> Figure:
    """Share of runs, with its 95% interval (Clopper & Pearson)."""
    low, high = beta.ppf(0.025, hits, runs - hits + 1), beta.ppf(0.975, hits + 1, runs - hits)
    interval = f"95%: {100 * (low if hits else 0.0):.1f} to {100 * (high if hits < runs else 1.0):.1f}"
    share = 100 * hits / runs
    return Figure(name=name, target=target, measured=share, unit="% of runs", better="less", peer=interval)


def _fleets(runs: int) -> list[Figure]:
    """Scrapes out of phase, retried requests: shares of runs that fail or pass wrongly."""
    phases: dict[str, dict[str, Any]] = {
        "1+1 targets, 50/s": {"rps": 50.0},
        "1+1 targets, 500/s": {"rps": 500.0},
        "9+1 pods, 500/s": {"rps": 500.0, "pods": 9},
        "canary every 30 s, 50/s": {"rps": 50.0, "canary_every": 2},
        "10 s at 50%, 50/s": {"rps": 50.0, "seconds": 10.0, "heat": 0.5},
        "10 s at 50%, 500/s": {"rps": 500.0, "seconds": 10.0, "heat": 0.5},
    }
    figures = [
        _at_most(
            f"outages seen out of phase, no change failed, {name}",
            _fails(scraped_out_of_phase(runs=runs, seed=SEEDS + 40, **how)),
        )
        for name, how in phases.items()
    ]
    for tries in (2, 3, 6):
        for rps in (2.0, 50.0, 500.0):
            calm = with_retries(tries, runs=runs, rps=rps, seed=SEEDS + 41)
            bad = with_retries(tries, runs=runs, rps=rps, ratio=1.5, seed=SEEDS + 42)
            name = f"tried {tries} times, {rps:g}/s"
            figures.append(_at_most(f"{name}: no change failed", _fails(calm)))
            figures.append(_at_most(f"{name}: ratio 1.5 passed", _passes(bad)))
    return figures


def _late(runs: int) -> list[Figure]:
    """Median minutes until a version that turns bad after 40 minutes fails; runs that failed before count as never."""
    figures = []
    since = LOOKS * 2 // 3
    for name, rps, ratio, target in (("x1.5, 500/s", 500.0, 1.5, 12.0), ("x5, 50/s", 50.0, 5.0, 3.0)):
        good, bad = (_arms(runs, rps=rps, ratio=times, seed=51) for times in (1.0, ratio))
        late = np.arange(LOOKS) >= since
        arms = replace(
            bad,
            canary_events=np.where(late, bad.canary_events, good.canary_events),
            canary_requests=np.where(late, bad.canary_requests, good.canary_requests),
        )
        figures.append(_median(f"bad after 40 min, {name}: failed", target, _fails(arms) - since * STEP / 60))
    return figures


DELAYS = {"wrong ones late": (2.0, 30.0), "right ones late": (30.0, 2.0)}
"""Mean minutes until a right answer is labelled, and until a wrong one is; exponential."""
MATURITY = {"wrong ones late": 33.0, "right ones late": 85.0}
"""Minutes until 95% of the labels of a model that is wrong in 15% have come."""
HOURS = 2


def _labels(runs: int) -> list[Figure]:
    """Verdicts on accuracy, 15% wrong, when labels of one kind come late: of settled predictions, and as they come."""
    runs = min(runs, 200)
    figures = []
    for name, delays in DELAYS.items():
        said = {ratio: [_accuracy(run, ratio, delays, MATURITY[name]) for run in range(runs)] for ratio in (1.0, 2.0)}
        early = sum(one is not Verdict.INCONCLUSIVE for both in said.values() for one, _ in both)
        figures += [
            _rate(f"{name}: decided before any is old enough", early, 2 * runs, 0),
            _rate(f"{name}: equal failed", sum(one is Verdict.FAIL for _, one in said[1.0]), runs, 5),
            _rate(f"{name}: twice as wrong passed", sum(one is Verdict.PASS for _, one in said[2.0]), runs, 5),
        ]
        found = 100 * sum(one is Verdict.FAIL for _, one in said[2.0]) / runs
        figures.append(_figure(f"{name}: twice as wrong failed", 95, found, "% of runs", "more"))
        others = sum(_as_they_come(run, delays) is not Verdict.INCONCLUSIVE for run in range(runs))
        figures.append(_rate(f"{name}, somebody else's metrics, canary labelled later: decided", others, runs, 5))
    return figures


def _accuracy(run: int, ratio: float, delays: tuple[float, float], maturity: float) -> tuple[Verdict, Verdict]:
    """Verdicts just before the first prediction is old enough, and in the end."""
    generator = np.random.default_rng(SEEDS + 61 + run)
    lag, looks = int(maturity * 60 / STEP), HOURS * 3600 // int(STEP)
    rows: dict[str, Any] = {}
    for arm, rps, wrong in (("baseline", 45.0, 0.15), ("canary", 5.0, 0.15 * ratio)):
        asked = generator.poisson(rps * STEP, looks)
        bad = generator.binomial(asked, wrong)
        in_time = [1 - math.exp(-maturity / delay) for delay in delays]
        right, bad = generator.binomial(asked - bad, in_time[0]), generator.binomial(bad, in_time[1])
        rows[arm] = (
            asked,
            *(np.concatenate([np.zeros(lag, dtype=int), one[:-lag]]) for one in (right + bad, bad, asked)),
        )
    before, after = (
        _judged({arm: [one[:at] for one in each] for arm, each in rows.items()}, lag) for at in (lag, looks)
    )
    return before, after


def _judged(rows: dict[str, list[Ints]], lag: int) -> Verdict:
    """Verdict on the accuracy of requests, labelled, wrong and settled predictions of both arms."""
    (baseline, told, bad, settled), (canary, its_told, its_bad, its_settled) = rows["baseline"], rows["canary"]
    counted = Counted(
        channels=("accuracy",),
        baseline_events=bad[None],
        canary_events=its_bad[None],
        baseline_requests=told,
        canary_requests=its_told,
        labels=Labelled(baseline=told, baseline_of=settled, canary=its_told, canary_of=its_settled),
        lag=lag,
    )
    counts = Counts(
        model="m",
        baseline="v1",
        canary="v2",
        start=START,
        interval=STEP,
        baseline_requests=baseline,
        canary_requests=canary,
        counted={"accuracy": counted},
    )
    return judge.judge(counts, spec.Canary.model_validate({"criteria": [{"metric": "accuracy"}]})).verdict


def _as_they_come(run: int, delays: tuple[float, float]) -> Verdict:
    """An equal canary whose labels take twice as long, after four minutes."""
    generator = np.random.default_rng(SEEDS + 71 + run)
    looks = 16
    rows = {}
    for arm, rps, wrong, slower in (("baseline", 450.0, 0.15, 1.0), ("canary", 50.0, 0.15, 2.0)):
        asked = generator.poisson(rps * STEP, looks)
        age = (looks - np.arange(looks)) * STEP / 60
        bad = generator.binomial(asked, wrong)
        right, bad = (
            generator.binomial(made, 1 - np.exp(-age / (delay * slower)))
            for made, delay in zip((asked - bad, bad), delays, strict=True)
        )
        rows[arm] = [asked, right + bad, bad, asked]
    return _judged(rows, 0)


def _mix(runs: int) -> list[Figure]:
    """Two strata, 1% and 20% of errors, of which the versions get unequal parts (Simpson's paradox)."""
    figures = []
    for rps in (50.0, 500.0):
        calm = _stratified(runs, rps=rps, hard=(0.1, 0.5), ratio=1.0, seed=81)
        bad = _stratified(runs, rps=rps, hard=(0.5, 0.05), ratio=1.5, seed=82)
        wide = {"baseline_limit": "60%"}
        figures += [
            _at_most(f"canary gets more of the difficult, {rps:g}/s: no change failed", _fails(calm, _margin(**wide))),
            _at_most(f"canary gets less of the difficult, {rps:g}/s: ratio 1.5 passed", _passes(bad, _margin(**wide))),
            _median(f"canary gets less of the difficult, {rps:g}/s: ratio 1.5 failed", 70.0 - rps / 10, _fails(bad)),
        ]
    return figures


def _stratified(runs: int, *, rps: float, hard: tuple[float, float], ratio: float, seed: int) -> Arms:
    """Arms with strata; `hard` are the baseline's and the canary's part of the difficult traffic."""
    generator = np.random.default_rng(SEEDS + seed)
    strata = []
    for base, parts in ((0.01, (1 - hard[0], 1 - hard[1])), (0.2, hard)):
        baseline = generator.poisson(rps * STEP * (1 - SHARE) * parts[0], (runs, LOOKS))
        canary = generator.poisson(rps * STEP * SHARE * parts[1], (runs, LOOKS))
        strata.append(
            Arms(
                baseline_events=generator.binomial(baseline, base),
                baseline_requests=baseline,
                canary_events=generator.binomial(canary, base * ratio),
                canary_requests=canary,
            )
        )
    names = ("baseline_events", "baseline_requests", "canary_events", "canary_requests")
    sums = {name: sum(getattr(one, name) for one in strata) for name in names}
    return Arms(**sums, strata=tuple(strata))


def _restarts(runs: int) -> list[Figure]:
    """Equal arms, of which one is answered for by several processes; a crash loop under new names."""
    runs = min(runs, 100)
    decided = sum(_bounced(seed) is not Verdict.INCONCLUSIVE for seed in range(runs))
    passed = sum(_looped(seed) is Verdict.PASS for seed in range(runs))
    hidden = sum(_looped(seed, by_exporter=True) is Verdict.PASS for seed in range(runs))
    return [
        _rate("four processes answer in turn: decided", decided, runs, 0),
        _rate("crash loop under new names: passed", passed, runs, 0),
        _rate("crash loop under new names, requests counted by an exporter: passed", hidden, runs, 0),
    ]


def _asked(past: Past) -> Verdict:
    settings = spec.Canary.model_validate({"criteria": [{"metric": "errors"}]})
    question = Question(model="m", baseline="v1", canary="v2", start=START)
    return ask.ask(past, question, settings, interval=STEP)[1].verdict


def _bounced(seed: int) -> Verdict:
    generator = np.random.default_rng(SEEDS + seed)
    past = Past(START + LOOKS * STEP + 12)
    for version, workers in (("v1", 4), ("v2", 1)):
        for outcome, rate in (("ok", 10.0), ("error", 0.1)):
            rows = np.cumsum(generator.poisson(rate, (workers, LOOKS + 1)), axis=1)
            rows += generator.integers(0, 1200, workers)[:, None]
            answers = rows[generator.integers(0, workers, LOOKS + 1), np.arange(LOOKS + 1)]
            points = [(START + index * STEP, float(value)) for index, value in enumerate(answers)]
            past.add("ml_requests_total", points, model="m", version=version, outcome=outcome)
    return _asked(past)


def _looped(seed: int, *, by_exporter: bool = False) -> Verdict:
    """A canary whose pods end and begin anew; their errors of the last seconds are seen by nobody."""
    generator = np.random.default_rng(SEEDS + seed)
    past = Past(START + LOOKS * STEP + 12)
    lives = [("v1", 0, LOOKS)]
    begin = 1
    while begin < LOOKS - 1:
        end = min(LOOKS, begin + int(generator.integers(4, 20)))
        lives.append(("v2", begin, end))
        begin = end
    if by_exporter:
        for number, (version, first, last) in enumerate(lives):
            points = [(START + at * STEP, 1.0) for at in range(first, last)]
            past.add("ml_build_info", points, model="m", version=version, instance=f"pod-{number}")
        lives = [("v1", 0, LOOKS), ("v2", 1, LOOKS)]
    for number, (version, first, last) in enumerate(lives):
        for outcome, rate in (("ok", 600.0 if version == "v1" else 67.0), ("error", 6.0 if version == "v1" else 0.7)):
            rows = generator.poisson(rate, last - first)
            instance = "exporter" if by_exporter else f"pod-{number}"
            labels = {"model": "m", "version": version, "outcome": outcome, "instance": instance}
            past.grow("ml_requests_total", rows, first=START + first * STEP, **labels)
    return _asked(past)


def _quickness(runs: int) -> list[Figure]:
    """Median minutes to a verdict."""
    scenes = {
        "errors x2, 50/s": (7.0, _arms(runs, rps=50, ratio=2, seed=11)),
        "errors x5, 50/s": (1.0, _arms(runs, rps=50, ratio=5, seed=12)),
        "errors x1.5, 500/s": (3.0, _arms(runs, rps=500, ratio=1.5, seed=13)),
    }
    found = [_median(f"{name}: failed", target, _fails(arms)) for name, (target, arms) in scenes.items()]
    little = _fails(_arms(runs, rps=2, ratio=5, seed=14))
    found.append(_median("errors x5, 2/s: failed", 9.0, little))
    found.append(_figure("errors x5, 2/s: failed at all", 95, _percent(little), "% of runs", "more"))
    found.append(_median("+1 s on 1% of requests, 50/s: failed", 2.0, _slow(runs)))
    for rps, target in ((50, 25.0), (500, 3.0)):
        found.append(_median(f"no change, {rps}/s: passed", target, _passes(_arms(runs, rps=rps, seed=15))))
    return found


def _median(name: str, target: float, minutes: Floats) -> Figure:
    return _figure(f"{name}, median", target, float(np.median(minutes)), "min", "less")


def _figure(name: str, target: float, measured: float, unit: str, better: str) -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better=better)


BOUNDS = np.array([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])


def _slow(runs: int) -> Floats:
    """Minutes until a tail is found: log-normal latencies around 60 ms, of 1% of the canary's a second more."""
    generator = np.random.default_rng(16)
    baseline, canary = _requests(generator, runs, 50.0, SHARE)
    events: dict[str, list[Floats]] = {"baseline": [], "canary": []}
    left = {"baseline": baseline, "canary": canary}
    before = {"baseline": 1.0, "canary": 1.0}
    for bound in BOUNDS:
        for arm in ("baseline", "canary"):
            part = 0.01 if arm == "canary" else 0.0
            slower = (1 - part) * _slower(bound) + part * _slower(bound - 1.0)
            left[arm] = generator.binomial(left[arm], min(1.0, slower / before[arm]) if before[arm] else 0.0)
            before[arm] = slower
            events[arm].append(left[arm])
    arms = Arms(
        baseline_events=np.stack(events["baseline"]),
        baseline_requests=np.broadcast_to(baseline, (len(BOUNDS), *baseline.shape)),
        canary_events=np.stack(events["canary"]),
        canary_requests=np.broadcast_to(canary, (len(BOUNDS), *canary.shape)),
    )
    by_bound = criteria.log_fail(arms, spec.Latency.model_validate({"metric": "latency"}))
    return _minutes(np.logaddexp.reduce(by_bound, axis=0) - math.log(len(BOUNDS)))


def _slower(bound: float) -> float:
    """Share of log-normal latencies (median 60 ms, log deviation 0.7) above a bound in seconds."""
    return 1.0 if bound <= 0 else 0.5 * math.erfc(math.log(bound / 0.06) / 0.7 / math.sqrt(2))


# Other rules ---------------------------------------------------------------------------------------------------------


def _rates(arms: Arms, per: int) -> tuple[Floats, Floats]:
    """Error shares of both arms by `per` intervals: what a PromQL ratio of rates gives."""
    sides = []
    for events, requests in (
        (arms.baseline_events, arms.baseline_requests),
        (arms.canary_events, arms.canary_requests),
    ):
        shape = (events.shape[0], LOOKS // per, per)
        total = requests.reshape(shape).sum(-1)
        sides.append(np.divide(events.reshape(shape).sum(-1), total, out=np.zeros(total.shape), where=total > 0))
    return sides[0], sides[1]


FIRST_LOOK = 5
"""Minutes before the rules on minute samples look for the first time."""


def _p_values(baseline: Floats, canary: Floats) -> Floats:
    """One-sided Mann-Whitney p-values of the minute samples so far, shape (runs, minutes)."""
    found = np.ones(baseline.shape)
    for minute in range(FIRST_LOOK, MINUTES + 1):
        sides = (canary[:, :minute], baseline[:, :minute])
        found[:, minute - 1] = mannwhitneyu(*sides, alternative="greater", axis=1, method="asymptotic").pvalue
    return found


def _kayenta(arms: Arms, every: int) -> Floats:
    """Kayenta's judge on minute samples of the whole time so far, every so many minutes; only increases count."""
    rule = mannwhitney.Rule(direction="increase")
    baseline, canary = _rates(arms, int(60 / STEP))
    # Its interval lies above 0 only where the test at its confidence rejects: elsewhere there is no need to invert it.
    worth = _p_values(baseline, canary) < (1 - rule.confidence) / 2 * 1.01
    found = np.full(len(baseline), NEVER)
    for run in range(len(baseline)):
        for minute in range(max(FIRST_LOOK, every), MINUTES + 1, every):
            if not worth[run, minute - 1]:
                continue
            said = mannwhitney.classify(baseline[run, :minute], canary[run, :minute], rule)
            if said.label is mannwhitney.Label.HIGH:
                found[run] = minute
                break
    return found


def _plain(arms: Arms, every: int) -> Floats:
    """A one-sided Mann-Whitney test at 5% on minute samples, at every look."""
    hit = _p_values(*_rates(arms, int(60 / STEP)))[:, every - 1 :: every] < 0.05
    found: Floats = np.where(hit.any(axis=-1), (hit.argmax(axis=-1) + 1) * float(every), NEVER)
    return found


def _threshold(arms: Arms, every: int) -> Floats:
    """Argo Rollouts' usual condition: more than twice the baseline's share over 5 minutes, in 3 looks in a row."""
    window = int(300 / STEP)

    def rolling(values: Floats) -> Floats:
        total = np.cumsum(values, axis=-1)
        found: Floats = total[:, window - 1 :] - np.pad(total, ((0, 0), (1, 0)))[:, :-window]
        return found

    baseline = rolling(arms.baseline_events) / np.maximum(rolling(arms.baseline_requests), 1)
    canary = rolling(arms.canary_events) / np.maximum(rolling(arms.canary_requests), 1)
    looks = (canary > 2 * baseline)[:, :: int(every * 60 / STEP)]
    held = looks[:, 2:] & looks[:, 1:-1] & looks[:, :-2]
    found: Floats = np.where(held.any(axis=-1), 5 + (held.argmax(axis=-1) + 2) * float(every), NEVER)
    return found


RULES: dict[str, tuple[Callable[[Arms, int], Floats], int]] = {
    "Kayenta, every 5 min": (_kayenta, 5),
    "Kayenta, every min": (_kayenta, 1),
    "Mann-Whitney, every min": (_plain, 1),
    'threshold "> 2x"': (_threshold, 1),
}


def _compared(runs: int, progress: Callable[[str], None]) -> Comparison:
    """All rules on the same runs."""
    scenes = {
        "no change, 2/s": _arms(runs, rps=2, seed=21),
        "no change, 50/s": _arms(runs, rps=50, seed=22),
        "no change, 500/s": _arms(runs, rps=500, seed=23),
        "x2, 50/s": _arms(runs, rps=50, ratio=2, seed=24),
        "x5, 50/s": _arms(runs, rps=50, ratio=5, seed=25),
        "x5, 2/s": _arms(runs, rps=2, ratio=5, seed=26),
        "x1.5, 500/s": _arms(runs, rps=500, ratio=1.5, seed=27),
    }
    rows = []
    for name, arms in scenes.items():
        progress(name)
        minutes = [_fails(arms), *(rule(arms, every) for rule, every in RULES.values())]
        rows.append([name, *(_cell(one) for one in minutes)])
    title = f"canary: failed, and median minutes where most runs fail ({runs} runs each, the same for all rules)"
    return Comparison(title=title, columns=["", "midwatch, every 15 s", *RULES], rows=rows)


def _cell(minutes: Floats) -> str:
    failed, median = _percent(minutes), float(np.median(minutes))
    return f"{failed:.1f}%" + (f", {median:g} min" if median < NEVER else "")


# Speed ---------------------------------------------------------------------------------------------------------------

HISTOGRAMS = [f"stage{index}_seconds" for index in range(10)]
BUCKETS = np.geomspace(0.001, 10, 14)


def _past(size: int) -> Past:
    """Two versions at 500/s with ten histograms of fifteen buckets."""
    past = Past(START + size * STEP)
    generator = np.random.default_rng(SEEDS + 31)
    for version, rps in (("v1", 450.0), ("v2", 50.0)):
        requests = generator.poisson(rps * STEP, size)
        labels = {"model": "fraud", "version": version}
        past.grow("ml_requests_total", requests, outcome="ok", **labels)
        for name in HISTOGRAMS:
            for bound in BUCKETS:
                slower = generator.binomial(requests, _slower(bound))
                past.grow(f"{name}_bucket", requests - slower, le=f"{bound:g}", **labels)
            past.grow(f"{name}_bucket", requests, le="+Inf", **labels)
    return past


def _criteria() -> list[dict[str, object]]:
    return [{"metric": "latency", "name": f"stage-{i}", "histogram": name} for i, name in enumerate(HISTOGRAMS)]


def _speed(*, smoke: bool) -> list[Figure]:
    """Seconds to a verdict from a real Prometheus, called as a function and asked for at the gate."""
    size = 24 if smoke else LOOKS
    settings = spec.Canary.model_validate({"criteria": _criteria()})
    question = Question(model="fraud", baseline="v1", canary="v2", start=START, end=START + size * STEP)
    with tempfile.TemporaryDirectory() as name, prometheus_with(_past(size), Path(name)) as url:
        client = prometheus.Client(url)
        times = []
        for _ in range(2 if smoke else 6):
            begun = time.perf_counter()
            counts, said = ask.ask(client, question, settings, interval=STEP)
            times.append(time.perf_counter() - begun)
        if len(counts.counted) != len(HISTOGRAMS) or counts.baseline_requests.size != size:
            raise RuntimeError(f"the verdict is not of {len(HISTOGRAMS)} criteria: {said.reason}")
        with _gate(url, Path(name)) as gate:
            one = [_answered(gate, size) for _ in range(2 if smoke else 40)]
            with ThreadPoolExecutor(8) as pool:
                many = list(pool.map(lambda _: _answered(gate, size), range(8 if smoke else 160)))
    with tempfile.TemporaryDirectory() as name, _hanging() as url, _gate(url, Path(name)) as gate:
        hanging = [_answered(gate, size)[0] for _ in range(1 if smoke else 5)]
    undecided = sum(why for _, why in (*one, *many))
    return [
        _figure("verdict from Prometheus, 60 min x 10 criteria x 15 buckets, slowest", 1, max(times[1:]), "s", "less"),
        _figure("the same at the gate, slowest", 1, max(took for took, _ in one), "s", "less"),
        _figure("the same at the gate, 8 at once, slowest", 1, max(took for took, _ in many), "s", "less"),
        _figure(f"of these {len(one) + len(many)}, without an answer in time", 0, undecided, "answers", "less"),
        _figure("the gate while Prometheus hangs, slowest", 1, max(hanging), "s", "less"),
    ]


@contextmanager
def _gate(prometheus_url: str, folder: Path) -> Iterator[str]:
    """URL of a gate as a process."""
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "prometheus": {"url": prometheus_url},
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [
            {"name": "fraud", "owner": "ml", "task": "classification", "canary": {"criteria": _criteria()}},
        ],
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    (port,) = free_ports()
    command = [sys.executable, "-P", "-m", "midwatch", "canary", "gate", "-f", str(folder / "platform.yaml")]
    command += ["--listen", f"127.0.0.1:{port}", "--audit", str(folder / "audit.jsonl")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answered(gate: str, size: int) -> tuple[float, bool]:
    """Seconds to an answer, and whether it was given up for time."""
    times = {"start": moment(START), "end": moment(START + size * STEP)}
    body = json.dumps({"model": "fraud", "baseline": "v1", "canary": "v2", **times}).encode()
    begun = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{gate}/verdict", body), timeout=30) as response:
        said = json.load(response)
    return time.perf_counter() - begun, "answer" in said["reason"] or "busy" in said["reason"]


@contextmanager
def _hanging() -> Iterator[str]:
    """URL of something that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _whole() -> list[Figure]:
    """One run of everything: real Prometheus, model servers under load, a good canary and a bad one at the gate."""
    command = [sys.executable, "-P", "-m", "midwatch", "up", "-f", "examples/flights/platform.yaml"]
    done = subprocess.run([*command, "--duration", "60s", "--json"], capture_output=True, check=False)
    said = {one["canary"]: one for one in json.loads(done.stdout)["canaries"]}
    right = sum(said[name]["verdict"] == verdict for name, verdict in (("v3", "pass"), ("v2", "fail")))
    return [
        _figure("flights, real servers: right verdicts on a good and a bad canary", 2, right, "verdicts", "more"),
        _figure("flights: the good one passed after", 60, said["v3"]["decided_after_seconds"] or NEVER, "s", "less"),
        _figure("flights: the bad one failed after", 60, said["v2"]["decided_after_seconds"] or NEVER, "s", "less"),
    ]


def run(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """Every figure, and the table of rules."""
    runs = 20 if smoke else 1000
    found: list[Figure | Comparison] = [
        *_honesty(runs),
        *_fleets(runs),
        *_labels(runs),
        *_mix(runs),
        *_restarts(runs),
        *_quickness(runs),
        *_late(runs),
        *_speed(smoke=smoke),
    ]
    if not smoke:
        found += _whole()
    found.append(_compared(10 if smoke else 400, lambda name: print(f"  rules: {name}", file=sys.stderr)))
    return found
