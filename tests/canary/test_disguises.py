"""Counters that are not what they seem: several processes at one address, pods that die under new names, servers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from midwatch.serving import Profile
from midwatch.spec import canary as spec
from monitors.canary import ask, gauges, judge
from monitors.canary.counts import Samples
from monitors.canary.question import Question
from tests.canary.arms import START, STEP, Past, counts, settings, simulated

SIZE = 120
END = START + SIZE * STEP
QUESTION = Question(model="fraud", baseline="v1", canary="v2", start=START)


def grown(past: Past, version: str, *, rate: int = 600, errors: float = 0.01, seed: int = 1, **labels: str) -> None:
    generator = np.random.default_rng(seed)
    requests = generator.poisson(rate, SIZE + 10)
    bad = generator.binomial(requests, errors)
    for outcome, counted in (("ok", requests - bad), ("error", bad)):
        past.grow(
            "ml_requests_total",
            counted,
            first=START - 10 * STEP,
            begin=1000,
            model="fraud",
            version=version,
            outcome=outcome,
            **labels,
        )


def judged(past: Past, question: Question = QUESTION, **more: object) -> judge.Judgement:
    return ask.ask(past, question, settings({"metric": "errors", "negligible": "0.5%"}, **more), interval=STEP)[1]


# Several processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["v1", "v2"])
def test_an_arm_that_several_processes_answer_for_is_undecided_and_names_multiprocess_mode(arm: str) -> None:
    past = Past(END + 12)
    for seed, version in enumerate(("v1", "v2")):
        grown(past, version, seed=seed)
    generator = np.random.default_rng(3)
    times = [START + STEP * (index - 10) for index in range(SIZE + 11)]
    workers = generator.integers(0, 1200, 4)[:, None] + np.cumsum(generator.poisson(10, (4, len(times))), axis=1)
    answers = workers[generator.integers(0, 4, len(times)), np.arange(len(times))].astype(float)
    past.add("ml_requests_total", list(zip(times, answers, strict=True)), model="fraud", version=arm, outcome="ok")
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "PROMETHEUS_MULTIPROC_DIR" in said.reason
    assert "crash loop" in said.reason
    assert "was restarted" not in said.reason


def test_a_single_restart_is_not_taken_for_several_processes() -> None:
    past = Past(END + 12)
    for seed, version in enumerate(("v1", "v2")):
        grown(past, version, seed=seed)
    for key, points in past.series.items():
        if dict(key)["version"] == "v1":
            past.series[key] = [
                (at, value - (points[70][1] if index > 70 else 0)) for index, (at, value) in enumerate(points)
            ]
    said = judged(past)
    assert said.verdict == "pass"


# Pods under new names -----------------------------------------------------------------------------------------------


def with_pods(lives: list[tuple[int, int]]) -> Past:
    """A canary whose pods live from one interval to another, each under its own name."""
    past = Past(END + 12)
    grown(past, "v1")
    generator = np.random.default_rng(5)
    for number, (first, last) in enumerate(lives):
        for outcome, rate in (("ok", 100), ("error", 1)):
            past.grow(
                "ml_requests_total",
                generator.poisson(rate, last - first),
                first=START + first * STEP,
                model="fraud",
                version="v2",
                outcome=outcome,
                instance=f"pod-{number}:1",
            )
    return past


def test_a_crash_loop_under_new_names_never_passes() -> None:
    edges = [*range(1, SIZE, 12), SIZE]
    said = judged(with_pods([*pairwise(edges)]))
    assert said.verdict != "pass"
    assert "pods ended and others began" in said.reason


def test_a_pod_that_just_ended_is_seen_once_another_has_begun() -> None:
    said = judged(with_pods([(1, SIZE - 2), (SIZE - 2, SIZE)]))
    assert (said.verdict, "1 of the canary's pods ended" in said.reason) == ("inconclusive", True), said.reason
    assert "up to about 10" in said.reason, said.reason


def test_a_crash_loop_is_seen_also_where_the_requests_are_counted_by_an_exporter() -> None:
    past = Past(END + 12)
    for seed, version in enumerate(("v1", "v2")):
        grown(past, version, seed=seed)
    assert judged(past).verdict == "pass"
    for number, first in enumerate(range(1, SIZE, 12)):
        points = [(START + (first + index) * STEP, 1.0) for index in range(11)]
        past.add("ml_build_info", points, model="fraud", version="v2", instance=f"pod-{number}:1")
    said = judged(past)
    assert (said.verdict, "pods ended and others began" in said.reason) == ("inconclusive", True), said.reason


def test_a_new_kind_of_answer_after_a_pod_was_taken_away_is_no_new_pod() -> None:
    past = Past(END + 12)
    grown(past, "v1")
    for pod, last in (("a:1", 60), ("b:1", SIZE)):
        rows = np.random.default_rng(3).poisson(100, last)
        past.grow("ml_requests_total", rows, model="fraud", version="v2", outcome="ok", instance=pod)
    late = np.random.default_rng(4).poisson(1, SIZE - 70)
    labels = {"model": "fraud", "version": "v2", "outcome": "error", "reason": "new", "instance": "b:1"}
    past.grow("ml_requests_total", late, first=START + 70 * STEP, **labels)
    assert "pods ended" not in judged(past).reason


def test_pods_that_are_added_are_no_crash_loop() -> None:
    said = judged(with_pods([(1, SIZE), (40, SIZE), (80, SIZE)]))
    assert said.verdict == "pass", said.reason


# Other servers -------------------------------------------------------------------------------------------------------


def test_a_model_servers_own_counters_are_compared() -> None:
    for ratio, expected in ((1.0, "pass"), (5.0, "fail")):
        past = Past(END + 12)
        generator = np.random.default_rng(4)
        for version, share in (("v1", 0.01), ("v2", 0.01 * ratio)):
            for name, rate in (("nv_success", 600 * (1 - share)), ("nv_failure", 600 * share)):
                rows = generator.poisson(rate, SIZE + 10)
                past.grow(name, rows, first=START - 10 * STEP, begin=50, model="served", version=version)
        served = Profile(
            requests=('nv_success{model="served"}', 'nv_failure{model="served"}'),
            failures=('nv_failure{model="served"}',),
        )
        said = judged(past, replace(QUESTION, served=served), source="servers")
        assert (said.verdict, said.findings[0].evidence is None) == (expected, False), said.reason


def test_a_server_that_counts_no_failures_has_no_errors_to_compare() -> None:
    past = Past(END + 12)
    for version in ("v1", "v2"):
        past.grow("asked_total", [600] * (SIZE + 10), first=START - 10 * STEP, begin=5, version=version)
    said = judged(past, replace(QUESTION, served=Profile(requests=("asked_total",))), source="servers")
    assert (said.verdict, "does not count failures" in said.reason) == ("inconclusive", True), said.reason


# Gauges --------------------------------------------------------------------------------------------------------------


def gauge(baseline: list[float], canary: list[float], **more: object) -> judge.Finding:
    criterion = {"metric": "gauge", "name": "g", "series": "g", "direction": "increase", **more}
    section = settings(criterion)
    given = counts(simulated(), counted={}, gauges={"g": Samples(baseline=tuple(baseline), canary=tuple(canary))})
    only = [one for one in section.criteria if isinstance(one, spec.Gauge)]
    return gauges.judge(only, given, section.score)[0][0]


NAN = float("nan")


@pytest.mark.parametrize(
    ("baseline", "canary", "verdict", "told"),
    [
        ([0.0], [30.0], "inconclusive", "too few for"),
        ([1.0, 2.0], [1000.0, 1.0], "inconclusive", "too few for"),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], "inconclusive", "too few for"),
        ([10.0, 11.0, *[NAN] * 28], [*range(10, 40)], "inconclusive", "2 of 30 samples, 50% are needed"),
        ([1.0] * 30, [2.0] * 6, "inconclusive", "the canary has 6 of 30 samples"),
        ([math.inf] * 30, [1.0] * 30, "inconclusive", "30 of the baseline's samples are infinite"),
        ([1.0] * 30, [1.0] * 29 + [1e300], "inconclusive", "1 of the canary's samples are infinite, or beyond 1e+150"),
        ([1.0] * 10, [100.0] * 7 + [1.0] * 3, "inconclusive", "size is not known"),
        ([0.0] * 6, [0.0, 1.0, 2.0, 1.0, 0.0, 0.0], "inconclusive", "a shift by 2 for the worse is not excluded"),
        ([0.0] * 30, [0.0] * 28 + [1.0, 2.0], "pass", "Pass"),
        ([100.0] * 6, [100.0, 101.0, 102.0, 101.0, 100.0, 100.0], "pass", "Pass"),
        ([1.0, 2.0, 3.0, 2.0, 1.0, 3.0], [1.0, 3.0, 2.0, 2.0, 1.0, 3.0], "pass", "equal"),
        ([1.0, 2.0, 3.0, 2.0, 1.0, 3.0], [11.0, 12.0, 13.0, 12.0, 11.0, 13.0], "fail", "High"),
    ],
    ids=[
        "one sample",
        "two",
        "four",
        "mostly missing",
        "shorter",
        "infinite",
        "immense",
        "a certain shift of unknown size",
        "a possible shift from nothing",
        "two of thirty from nothing",
        "a possible shift within the tolerance",
        "equal",
        "worse",
    ],
)
def test_too_little_of_a_gauge_is_undecided(baseline: list, canary: list, verdict: str, told: str) -> None:
    found = gauge(baseline, canary)
    assert (found.verdict, told in found.reason) == (verdict, True), found.reason


def test_a_clean_baseline_can_fail_a_canary_where_missing_samples_count_as_zero() -> None:
    assert gauge([NAN] * 12, [3.0, 4.0, 5.0] * 4, nan="replace").verdict == "fail"
    assert gauge([NAN] * 12, [NAN] * 12, nan="replace").verdict == "inconclusive"
    assert gauge([0.0] * 12, [NAN] * 12, nan="replace").verdict == "inconclusive"


def test_a_gauge_that_cannot_be_compared_does_not_hide_another_that_fails() -> None:
    section = settings(*({"metric": "gauge", "name": name, "series": name} for name in ("odd", "worse")))
    odd = Samples(baseline=(math.inf,) * 6, canary=(1.0,) * 6)
    worse = Samples(baseline=(1.0, 2.0, 3.0, 2.0, 1.0, 3.0), canary=(11.0, 12.0, 13.0, 12.0, 11.0, 13.0))
    given = counts(simulated(), counted={}, gauges={"odd": odd, "worse": worse})
    assert judge.judge(given, section).verdict == "fail"


def test_an_effect_on_a_baseline_of_zero_is_critical_whatever_the_score() -> None:
    section = settings(
        *({"metric": "gauge", "name": f"g{index}", "series": "g"} for index in range(19)),
        {"metric": "gauge", "name": "k", "series": "k", "critical_effect": {"increase": 1.2}},
    )
    same = Samples(baseline=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0), canary=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    worse = Samples(baseline=(0.0,) * 6, canary=(3.0, 4.0, 3.0, 4.0, 3.0, 5.0))
    given = counts(simulated(), counted={}, gauges={**{f"g{index}": same for index in range(19)}, "k": worse})
    said = judge.judge(given, section)
    assert (said.verdict, "critical: k" in said.reason) == ("fail", True), said.reason
