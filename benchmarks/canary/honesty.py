"""False alarms, misses and time to decide, by simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.canary.simulation import (
    BASE,
    LOOKS,
    SEEDS,
    SHARE,
    STEP,
    arms_of,
    at_most,
    bursty,
    fails,
    figure,
    margin,
    median,
    minutes_until,
    passes,
    percent,
    rate_of_runs,
    requests,
    share_slower,
)
from benchmarks.figure import Figure
from midwatch.spec import canary as spec
from monitors.canary import ask, criteria, judge
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.counts import Counted, Counts, Labelled
from monitors.canary.findings import Verdict
from monitors.canary.question import Question
from tests.canary.arms import START, Past, scraped_out_of_phase, with_retries


def false_alarms(runs: int) -> list[Figure]:
    """Share of runs that fail without a reason, and that pass with an unacceptable ratio."""
    ramp = np.repeat([0.05, 0.1, 0.25, 0.5], LOOKS // 4)
    drift = BASE * (1 + 3 * np.sin(np.linspace(0, 9, LOOKS)) ** 2)
    strict = margin(tolerated_ratio=1.0, negligible="0%")
    calm = {f"{rps:g}/s": arms_of(runs, rps=rps, seed=1) for rps in (2.0, 50.0, 500.0)}
    calm |= {
        "50/s, weights 5 to 50%": arms_of(runs, rps=50, share=ramp, seed=2),
        "50/s, both arms drift 1 to 4%": arms_of(runs, rps=50, base=drift, seed=3),
        "50/s, ramp and drift": arms_of(runs, rps=50, base=drift, share=ramp, seed=4),
    }
    found = [(f"no change failed, {name}", fails(arms)) for name, arms in calm.items()]
    found += [(f"the same with no margin, {name}", fails(arms, strict)) for name, arms in calm.items()]
    equal = margin(equal_baseline=True, tolerated_ratio=1.0)
    for rps in (50.0, 500.0):
        found.append((f"bursts, equal baseline, {rps:g}/s", fails(bursty(runs, rps=rps, seed=5), equal)))
    wide = margin(tolerated_ratio=1.5, unacceptable_ratio=2.5)
    for rps in (50.0, 500.0):
        arms = arms_of(runs, rps=rps, pods=0.2, seed=6)
        found.append((f"20% pod effects, margin 1.5, {rps:g}/s", fails(arms, wide)))
    found += [(f"ratio 1.5 passed, {rps:g}/s", passes(arms_of(runs, rps=rps, ratio=1.5, seed=7))) for rps in (50, 500)]
    return [at_most(name, minutes) for name, minutes in found]


def fleets(runs: int) -> list[Figure]:
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
        at_most(
            f"outages seen out of phase, no change failed, {name}",
            fails(scraped_out_of_phase(runs=runs, seed=SEEDS + 40, **how)),
        )
        for name, how in phases.items()
    ]
    for tries in (2, 3, 6):
        for rps in (2.0, 50.0, 500.0):
            calm = with_retries(tries, runs=runs, rps=rps, seed=SEEDS + 41)
            bad = with_retries(tries, runs=runs, rps=rps, ratio=1.5, seed=SEEDS + 42)
            name = f"tried {tries} times, {rps:g}/s"
            figures.append(at_most(f"{name}: no change failed", fails(calm)))
            figures.append(at_most(f"{name}: ratio 1.5 passed", passes(bad)))
    return figures


def late(runs: int) -> list[Figure]:
    """Median minutes until a version that turns bad after 40 minutes fails; runs that failed before count as never."""
    figures = []
    since = LOOKS * 2 // 3
    for name, rps, ratio, target in (("x1.5, 500/s", 500.0, 1.5, 12.0), ("x5, 50/s", 50.0, 5.0, 3.0)):
        good, bad = (arms_of(runs, rps=rps, ratio=times, seed=51) for times in (1.0, ratio))
        late = np.arange(LOOKS) >= since
        arms = replace(
            bad,
            canary_events=np.where(late, bad.canary_events, good.canary_events),
            canary_requests=np.where(late, bad.canary_requests, good.canary_requests),
        )
        figures.append(median(f"bad after 40 min, {name}: failed", target, fails(arms) - since * STEP / 60))
    return figures


DELAYS = {"wrong ones late": (2.0, 30.0), "right ones late": (30.0, 2.0)}
"""Mean minutes until a right answer is labelled, and until a wrong one is; exponential."""
MATURITY = {"wrong ones late": 33.0, "right ones late": 85.0}
"""Minutes until 95% of the labels of a model that is wrong in 15% have come."""
HOURS = 2


def labels(runs: int) -> list[Figure]:
    """Verdicts on accuracy, 15% wrong, when labels of one kind come late: of settled predictions, and as they come."""
    runs = min(runs, 200)
    figures = []
    for name, delays in DELAYS.items():
        said = {ratio: [_accuracy(run, ratio, delays, MATURITY[name]) for run in range(runs)] for ratio in (1.0, 2.0)}
        early = sum(one is not Verdict.INCONCLUSIVE for both in said.values() for one, _ in both)
        figures += [
            rate_of_runs(f"{name}: decided before any is old enough", early, 2 * runs, 0),
            rate_of_runs(f"{name}: equal failed", sum(one is Verdict.FAIL for _, one in said[1.0]), runs, 5),
            rate_of_runs(f"{name}: twice as wrong passed", sum(one is Verdict.PASS for _, one in said[2.0]), runs, 5),
        ]
        found = 100 * sum(one is Verdict.FAIL for _, one in said[2.0]) / runs
        figures.append(figure(f"{name}: twice as wrong failed", 95, found, "% of runs", "more"))
        others = sum(_as_they_come(run, delays) is not Verdict.INCONCLUSIVE for run in range(runs))
        figures.append(
            rate_of_runs(f"{name}, somebody else's metrics, canary labelled later: decided", others, runs, 5)
        )
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


def mix(runs: int) -> list[Figure]:
    """Two strata, 1% and 20% of errors, of which the versions get unequal parts (Simpson's paradox)."""
    figures = []
    for rps in (50.0, 500.0):
        calm = _stratified(runs, rps=rps, hard=(0.1, 0.5), ratio=1.0, seed=81)
        bad = _stratified(runs, rps=rps, hard=(0.5, 0.05), ratio=1.5, seed=82)
        wide = {"baseline_limit": "60%"}
        figures += [
            at_most(f"canary gets more of the difficult, {rps:g}/s: no change failed", fails(calm, margin(**wide))),
            at_most(f"canary gets less of the difficult, {rps:g}/s: ratio 1.5 passed", passes(bad, margin(**wide))),
            median(f"canary gets less of the difficult, {rps:g}/s: ratio 1.5 failed", 70.0 - rps / 10, fails(bad)),
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


def restarts(runs: int) -> list[Figure]:
    """Equal arms, of which one is answered for by several processes; a crash loop under new names."""
    runs = min(runs, 100)
    decided = sum(_bounced(seed) is not Verdict.INCONCLUSIVE for seed in range(runs))
    passed = sum(_looped(seed) is Verdict.PASS for seed in range(runs))
    hidden = sum(_looped(seed, by_exporter=True) is Verdict.PASS for seed in range(runs))
    return [
        rate_of_runs("four processes answer in turn: decided", decided, runs, 0),
        rate_of_runs("crash loop under new names: passed", passed, runs, 0),
        rate_of_runs("crash loop under new names, requests counted by an exporter: passed", hidden, runs, 0),
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


def quickness(runs: int) -> list[Figure]:
    """Median minutes to a verdict."""
    scenes = {
        "errors x2, 50/s": (7.0, arms_of(runs, rps=50, ratio=2, seed=11)),
        "errors x5, 50/s": (1.0, arms_of(runs, rps=50, ratio=5, seed=12)),
        "errors x1.5, 500/s": (3.0, arms_of(runs, rps=500, ratio=1.5, seed=13)),
    }
    found = [median(f"{name}: failed", target, fails(arms)) for name, (target, arms) in scenes.items()]
    little = fails(arms_of(runs, rps=2, ratio=5, seed=14))
    found.append(median("errors x5, 2/s: failed", 9.0, little))
    found.append(figure("errors x5, 2/s: failed at all", 95, percent(little), "% of runs", "more"))
    found.append(median("+1 s on 1% of requests, 50/s: failed", 2.0, _slow(runs)))
    for rps, target in ((50, 25.0), (500, 3.0)):
        found.append(median(f"no change, {rps}/s: passed", target, passes(arms_of(runs, rps=rps, seed=15))))
    return found


BOUNDS = np.array([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])


def _slow(runs: int) -> Floats:
    """Minutes until a tail is found: log-normal latencies around 60 ms, of 1% of the canary's a second more."""
    generator = np.random.default_rng(16)
    baseline, canary = requests(generator, runs, 50.0, SHARE)
    events: dict[str, list[Floats]] = {"baseline": [], "canary": []}
    left = {"baseline": baseline, "canary": canary}
    before = {"baseline": 1.0, "canary": 1.0}
    for bound in BOUNDS:
        for arm in ("baseline", "canary"):
            part = 0.01 if arm == "canary" else 0.0
            slower = (1 - part) * share_slower(bound) + part * share_slower(bound - 1.0)
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
    return minutes_until(np.logaddexp.reduce(by_bound, axis=0) - math.log(len(BOUNDS)))
