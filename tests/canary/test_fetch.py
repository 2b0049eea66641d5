"""Counts from series: each request once, and whatever is odd about the series keeps a canary from passing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from midwatch import prometheus, serving
from midwatch.prometheus import Line
from monitors.canary import ask, document, fetch, judge, native
from monitors.canary.question import Question
from tests.canary.arms import START, STEP, Past, prometheus_with, settings

SIZE = 80
END = START + SIZE * STEP
LOOSE = {"metric": "errors", "negligible": "2%"}
QUESTION = Question(model="fraud", baseline="v1", canary="v2", start=START)


def calm(*, seed: int = 1, canary_errors: float = 0.002, **canary: str) -> Past:
    """Two healthy versions on one exporter, scraped since long before."""
    generator = np.random.default_rng(seed)
    past = Past(END + 12)
    for version, rate in (("v1", 600), ("v2", 100)):
        requests = generator.poisson(rate, SIZE + 10)
        errors = generator.binomial(requests, 0.002 if version == "v1" else canary_errors)
        for outcome, grown in (("ok", requests - errors), ("error", errors)):
            labels = {"model": "fraud", "version": version, "outcome": outcome, **(canary if version == "v2" else {})}
            past.grow("ml_requests_total", grown, first=START - 10 * STEP, begin=1000, **labels)
    return past


def judged(past: Past, *criteria: dict, question: Question = QUESTION, **more: object) -> judge.Judgement:
    return ask.ask(past, question, settings(*(criteria or (LOOSE,)), **more), interval=STEP)[1]


def series(past: Past, **labels: str) -> list[tuple[float, float]]:
    (found,) = (points for key, points in past.series.items() if labels.items() <= dict(key).items())
    return found


def test_a_healthy_canary_passes_and_a_sick_one_fails() -> None:
    assert judged(calm()).verdict == "pass"
    assert judged(calm(canary_errors=0.05)).verdict == "fail"


def test_each_request_is_counted_once_from_the_start_to_the_last_whole_interval() -> None:
    past = calm()
    counts = fetch.fetch(past, QUESTION, settings(LOOSE), interval=STEP)
    for version, got in (("v1", counts.baseline_requests), ("v2", counts.canary_requests)):
        for_all = [series(past, version=version, outcome=outcome) for outcome in ("ok", "error")]
        wanted = sum(dict(points)[END] - dict(points)[START] for points in for_all)
        assert got.sum() == wanted
    assert counts.baseline_requests.size == SIZE
    assert counts.end == END


def test_the_same_data_gives_the_same_bytes_whoever_asks_and_when() -> None:
    past, question = calm(), Question(model="fraud", baseline="v1", canary="v2", start=START, end=END - 100)
    documents = []
    for now in (END + 12, END + 5000):
        past.now = now
        counts, said = ask.ask(past, question, settings(LOOSE), interval=STEP)
        documents.append(document.document(counts, settings(LOOSE), said))
    assert documents[0] == documents[1]


def test_an_analysis_begins_with_the_canarys_first_traffic_after_it_was_idle() -> None:
    past = calm()
    for outcome in ("ok", "error"):
        points = series(past, version="v2", outcome=outcome)
        times = [at for at, _ in points]
        early = [(START - 7200 + STEP * index, 5.0 * index) for index in range(10)]  # an earlier try, long ago
        idle = [(START - 3600 + 60.0 * index, 45.0) for index in range(60)]
        points[:] = early + idle + [(at, value - 1000 + 45) for at, value in points if at >= START]
        assert times
    first = Question(model="fraud", baseline="v1", canary="v2")
    counts = fetch.fetch(past, first, settings(LOOSE), interval=STEP)
    assert START - STEP <= counts.start <= START + STEP
    assert counts.canary_requests.sum() > 5000


@pytest.mark.parametrize("hours", [0.25, 2])
def test_a_pass_of_an_earlier_try_is_not_given_again_while_a_new_one_has_no_traffic(hours: float) -> None:
    past, first = calm(), Question(model="fraud", baseline="v1", canary="v2")
    for version, rate in (("v1", 600.0), ("v2", 0.0)):  # the exporter still counts for the version that was taken back
        for outcome in ("ok", "error"):
            points, growth = series(past, version=version, outcome=outcome), rate * (outcome == "ok")
            at, value = points[-1]
            points += [(at + STEP * index, value + growth * index) for index in range(1, round(hours * 240) + 1)]
    past.now = END + 12
    assert judged(past, question=first).verdict == "pass"
    past.now = END + hours * 3600
    again = judged(past, question=first)
    assert (again.verdict, "has received no traffic since" in again.reason) == ("inconclusive", True)
    assert judged(past, question=QUESTION).verdict == "pass"  # a start that is asked for says which try


def test_failures_that_are_counted_apart_and_were_long_ago_do_not_begin_a_try() -> None:
    past, names = Past(END + 12), ("answered_total", "failed_total")
    for version in ("v1", "v2"):
        for name, growth in zip(names, (50, 0), strict=True):
            earlier = [(START - 7200 + STEP * index, 0.0 if index < 2 else 7.0) for index in range(480)]
            now = [(START + STEP * index, 7.0 + growth * index) for index in range(SIZE + 1)]
            past.add(name, earlier + now, model="fraud", version=version)
    selectors = tuple(f'{name}{{model="fraud"}}' for name in names)
    profile = serving.Profile(requests=selectors, failures=selectors[1:])
    question = Question(model="fraud", baseline="v1", canary="v2", served=profile)
    counts = fetch.fetch(past, question, settings(LOOSE, source="servers"), interval=STEP)
    assert START - STEP <= counts.start <= START + STEP


def test_arms_are_told_apart_by_a_pod_template_hash_or_by_own_selectors() -> None:
    past = calm()
    for key, points in list(past.series.items()):
        labels = dict(key)
        pods = "5d4f" if labels["version"] == "v1" else "77c9"
        past.series[tuple(sorted({**labels, "version": "latest", "pods": pods, "job": f"j-{pods}"}.items()))] = points
        del past.series[key]
    question = Question(model="fraud", baseline="5d4f", canary="77c9", start=START)
    assert judged(past, question=question, label="pods").verdict == "pass"
    own = {"baseline": 'job="j-{baseline}"', "canary": 'job="j-{canary}"'}
    assert judged(past, question=question, selectors=own).verdict == "pass"
    assert judged(past, question=question).verdict == "inconclusive"


# What is odd ---------------------------------------------------------------------------------------------------------


def test_a_counter_reset_is_counted_from_zero_for_all_counters_of_the_target() -> None:
    past = calm()
    before = fetch.fetch(past, QUESTION, settings(LOOSE), interval=STEP)
    for outcome in ("ok", "error"):
        points = series(past, version="v1", outcome=outcome)
        base = dict(points)[START + 20 * STEP]
        # Restarted just after a scrape: what it counts afterwards begins at 0.
        points[:] = [(at, value if at <= START + 20 * STEP else value - base) for at, value in points]
    past.now = END + 12
    counts = fetch.fetch(past, QUESTION, settings(LOOSE), interval=STEP)
    assert (counts.baseline_requests == before.baseline_requests).all()
    assert any("reset" in note for note in counts.notes)
    assert judged(past).verdict == "pass"


def test_a_reset_shows_in_counters_that_do_not_fall_by_it() -> None:
    past = Past(END)
    times = [START + STEP * index for index in range(4)]
    past.add("ml_requests_total", list(zip(times, [100, 200, 90, 180], strict=True)), version="v1", outcome="ok")
    past.add("ml_requests_total", list(zip(times, [1, 2, 3, 4], strict=True)), version="v1", outcome="error")
    for key, points in list(past.series.items()):
        past.series[tuple(sorted({**dict(key), "model": "fraud"}.items()))] = points
        del past.series[key]
    counts = fetch.fetch(past, QUESTION, settings(LOOSE), interval=STEP)
    assert counts.counted["errors"].baseline_events[0, :3].tolist() == [1, 3, 1]
    assert counts.baseline_requests[:3].tolist() == [101, 93, 91]


def test_a_canary_that_restarts_does_not_pass() -> None:
    past = calm()
    for outcome in ("ok", "error"):
        points = series(past, version="v2", outcome=outcome)
        points[:] = [(at, value if at < START + 600 else value - 1000 - at + START + 600) for at, value in points]
        points[:] = [(at, max(0.0, value)) for at, value in points]
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "restarted" in said.reason


def test_a_series_that_is_born_is_counted_from_zero_and_one_of_unknown_past_is_not() -> None:
    past = calm()
    ok, errors = (series(past, version="v2", outcome=outcome) for outcome in ("ok", "error"))
    ok[:] = [(at, value - 1000) for at, value in ok if at > START + 300]
    errors[:] = [(at, 3.0) for at, _ in errors if at > START + 600]
    counts = fetch.fetch(past, QUESTION, settings(LOOSE), interval=STEP)
    assert counts.counted["errors"].canary_events.sum() == 3
    fresh = calm()  # Prometheus itself began with the analysis
    for points in fresh.series.values():
        points[:] = [(at, value) for at, value in points if at > START]
    counts = fetch.fetch(fresh, QUESTION, settings(LOOSE), interval=STEP)
    assert counts.baseline_requests[0] == 0
    assert counts.baseline_requests.sum() < 600 * SIZE * 1.1


def test_a_gap_loses_nothing_and_many_gaps_keep_from_passing() -> None:
    past, whole = calm(), fetch.fetch(calm(), QUESTION, settings(LOOSE), interval=STEP)
    for points in past.series.values():
        points[:] = [(at, value) for at, value in points if not START + 300 < at < START + 600]
    counts = fetch.fetch(past, QUESTION, settings(LOOSE), interval=STEP)
    assert counts.baseline_requests.sum() == whole.baseline_requests.sum()
    for key, points in past.series.items():
        if dict(key)["version"] == "v2":
            points[:] = points[::3]
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "samples in only" in said.reason


def test_a_version_that_vanishes_does_not_pass() -> None:
    past = calm()
    for key, points in past.series.items():
        if dict(key)["version"] == "v2":
            points[:] = [(at, value) for at, value in points if at < END - 20 * STEP]
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "v2 has vanished" in said.reason


def test_a_target_scraped_twice_is_refused() -> None:
    past = calm()
    for key, points in list(past.series.items()):
        past.series[tuple(sorted({**dict(key), "job": "again"}.items()))] = points
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "scraped twice" in said.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -5.0], ids=["nan", "infinite", "negative"])
def test_a_value_that_is_no_count_keeps_from_passing(value: float) -> None:
    past = calm()
    points = series(past, version="v2", outcome="ok")
    points[30] = (points[30][0], value)
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "no counts" in said.reason or "restarted" in said.reason


def test_counters_of_something_else_than_events_are_refused() -> None:
    past = calm()
    points = series(past, version="v2", outcome="ok")
    points[:] = [(at, value + 0.5 * index) for index, (at, value) in enumerate(points)]
    said = judged(past)
    assert said.verdict == "inconclusive"
    assert "whole events" in said.reason


def test_selectors_that_match_nothing_or_both_arms_are_named() -> None:
    nothing = judged(calm(), selectors={"baseline": 'version="v1"', "canary": 'version="v9"'})
    assert (nothing.verdict, "no series match" in nothing.reason) == ("inconclusive", True)
    both = judged(calm(), selectors={"baseline": 'version="v1"', "canary": 'job="j"'})
    assert (both.verdict, "both arms" in both.reason) == ("inconclusive", True)
    unknown = judged(calm(), question=Question(model="fraud", baseline="v1", canary="v7"))
    assert (unknown.verdict, "v7 has not received traffic" in unknown.reason) == ("inconclusive", True)


def test_a_canary_without_traffic_or_too_little_is_inconclusive_with_what_is_missing() -> None:
    past = calm()
    for outcome in ("ok", "error"):
        points = series(past, version="v2", outcome=outcome)
        points[:] = [(at, 1000.0) for at, _ in points]
    assert "v2 has not received traffic" in judged(past).reason
    few = judged(calm(), min_requests=1_000_000)
    assert (few.verdict, "too little traffic" in few.reason) == ("inconclusive", True)
    idle = calm()
    for outcome in ("ok", "error"):
        points = series(idle, version="v1", outcome=outcome)
        points[:] = [(at, 1000.0) for at, _ in points]
    assert "v1 receives no traffic" in judged(idle).reason


def test_a_clock_that_is_wrong_does_not_decide() -> None:
    later = Question(model="fraud", baseline="v1", canary="v2", start=END + 3600)
    assert "not yet" in judged(calm(), question=later).reason
    ancient = Question(model="fraud", baseline="v1", canary="v2", start=0.0)
    assert "31d are not analysed" in judged(calm(), question=ancient).reason
    past = calm()
    past.now = START + 3  # Prometheus' clock stepped back
    assert (said := judged(past)).verdict == "inconclusive", said.reason


def test_labels_are_escaped() -> None:
    past = calm()
    judged(past, question=Question(model="fraud", baseline='v"1\\', canary="v2", start=START))
    assert any('version="v\\"1\\\\"' in selector for selector in past.asked)


# Histograms ----------------------------------------------------------------------------------------------------------


def histogram(past: Past, version: str, bounds: list[float], slow: float, **more: str) -> None:
    generator = np.random.default_rng(len(bounds) + len(version))
    requests = generator.poisson(600 if version == "v1" else 100, SIZE)
    slower = generator.binomial(requests, slow)
    for bound in [*bounds, math.inf]:
        grown = requests if bound >= 0.5 else requests - slower
        le = "+Inf" if math.isinf(bound) else f"{bound:g}"
        past.grow("ml_request_duration_seconds_bucket", grown, model="fraud", version=version, le=le, **more)


@pytest.mark.parametrize(
    ("bounds", "verdict", "told"),
    [
        ([0.1, 0.25, 0.5], "fail", ""),
        ([0.25, 0.5, 2.5], "fail", "common boundaries"),
        ([0.2, 0.3], "inconclusive", "no boundary in common: baseline 0.1, 0.25, 0.5; canary 0.2, 0.3"),
    ],
    ids=["the same", "some in common", "none in common"],
)
def test_histograms_are_compared_at_their_common_boundaries(bounds: list[float], verdict: str, told: str) -> None:
    past = calm()
    histogram(past, "v1", [0.1, 0.25, 0.5], 0.01)
    histogram(past, "v2", bounds, 0.05)
    latency = {"metric": "latency", "negligible": "2%"}
    counts, said = ask.ask(past, QUESTION, settings(latency), interval=STEP)
    assert said.verdict == verdict
    assert told in said.reason + " ".join(counts.notes)
    if verdict == "fail":
        (finding,) = said.findings
        assert finding.evidence is not None
        assert finding.evidence.channel in ("> 0.1 s", "> 0.25 s")


def test_native_histograms_are_counted_at_powers_of_two() -> None:
    def sample(count: int) -> dict:
        return {"count": str(count), "sum": "1", "buckets": [[0, "0.5", "1", str(count - 1)], [0, "1", "2", "1"]]}

    line = Line(labels={"version": "v1"}, points=(), histograms=((START, sample(10)), (START + 1, sample(20))))
    expanded = {one.labels["le"]: one.points for one in native.to_classic([line])}
    assert expanded["1"] == ((START, 9.0), (START + 1, 19.0))
    assert expanded["2"] == expanded["+Inf"] == ((START, 10.0), (START + 1, 20.0))
    assert "0.707107" not in expanded  # inside a bucket: it cannot be counted
    assert expanded["0.5"] == ((START, 0.0), (START + 1, 0.0))


class _Native(Past):
    """Answers with native histograms, as Prometheus 2.40 and later write them."""

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        lines = super().samples(selector, start=start, end=end)
        if not str(selector).startswith("ml_request_duration_seconds{"):
            return lines
        return [
            Line(
                labels=line.labels,
                points=(),
                histograms=tuple(
                    (
                        at,
                        {
                            "count": f"{value:g}",
                            "sum": "0",
                            "buckets": [
                                [0, "0.0625", "0.125", f"{value - value // self.slow[line.labels['version']]:g}"],
                                [0, "1", "2", f"{value // self.slow[line.labels['version']]:g}"],
                            ],
                        },
                    )
                    for at, value in line.points
                ),
            )
            for line in lines
        ]


def test_latency_is_judged_from_native_histograms_where_there_are_no_classic_ones() -> None:
    past = _Native(END + 12)
    past.series = calm().series
    past.slow = {"v1": 200, "v2": 20}
    for version, rate in (("v1", 600), ("v2", 100)):
        grown = [rate] * SIZE
        past.grow("ml_request_duration_seconds", grown, model="fraud", version=version)
    said = judged(past, {"metric": "latency"})
    assert said.verdict == "fail"
    assert "latency > 0.1" in said.reason or "latency > 1" in said.reason or "latency > 0.7" in said.reason


# Other criteria ------------------------------------------------------------------------------------------------------


def outcomes(past: Past, version: str, wrong: float) -> None:
    generator = np.random.default_rng(9)
    labels = {"model": "fraud", "version": version}
    for actual, many in (("fraud", 30), ("good", 300)):
        told = generator.poisson(many if version == "v1" else many / 6, SIZE)
        false = generator.binomial(told, wrong)
        other = "good" if actual == "fraud" else "fraud"
        past.grow("ml_outcomes_total", told - false, predicted=actual, actual=actual, **labels)
        past.grow("ml_outcomes_total", false, predicted=other, actual=actual, **labels)


def predictions(past: Past, version: str, more: float) -> None:
    generator = np.random.default_rng(9)
    for predicted, many in (("fraud", 30 * more), ("good", 300)):
        grown = generator.poisson(many if version == "v1" else many / 6, SIZE)
        past.grow("ml_predictions_total", grown, model="fraud", version=version, predicted=predicted)


@pytest.mark.parametrize(
    "criterion",
    [
        {"metric": "accuracy"},
        {"metric": "outcomes", "name": "false-alarms", "predicted": "fraud", "actual": "good"},
        {"metric": "outcomes", "name": "misses", "predicted": "good", "actual": "fraud", "unacceptable_ratio": 2},
    ],
    ids=["accuracy", "false positives", "false negatives"],
)
def test_labelled_outcomes_are_compared(criterion: dict) -> None:
    for wrong, expected in ((0.1, "pass"), (0.3, "fail")):
        past = calm()
        outcomes(past, "v1", 0.1)
        outcomes(past, "v2", wrong)
        assert judged(past, criterion).verdict == expected


def test_predicted_classes_are_compared() -> None:
    for more, expected in ((1.0, "pass"), (2.2, "fail")):
        past = calm()
        predictions(past, "v1", 1.0)
        predictions(past, "v2", more)
        assert judged(past, {"metric": "predictions"}).verdict == expected


def test_own_counters_are_compared_and_the_complement_of_good_ones() -> None:
    past = calm()
    generator = np.random.default_rng(3)
    for version, rate in (("v1", 0.2), ("v2", 0.1)):
        total = generator.poisson(500, SIZE)
        sold = generator.binomial(total, rate)
        past.grow("visits_total", total, version=version)
        past.grow("orders_total", sold, version=version, kind="paid")
    rises = {"metric": "counters", "name": "orders", "total": "visits_total", "events": 'orders_total{kind="paid"}'}
    assert judged(past, {**rises, "direction": "decrease"}).verdict == "fail"
    assert judged(past, rises).verdict == "pass"
    lost = {"metric": "counters", "name": "lost", "total": "visits_total", "good": 'orders_total{kind="paid"}'}
    assert judged(past, {**lost, "tolerated_ratio": 1.01, "unacceptable_ratio": 1.2}).verdict == "fail"
    past.grow("more_total", [1000] * SIZE, version="v2")
    more = judged(past, {"metric": "counters", "name": "more", "total": "visits_total", "events": "more_total"})
    assert (more.verdict, "counts more than" in more.reason) == ("inconclusive", True)


def test_gauges_are_judged_once_their_window_is_over() -> None:
    past = calm()
    generator = np.random.default_rng(8)
    for version, mean in (("v1", 10.0), ("v2", 20.0)):
        points = [(START + STEP * index, float(generator.normal(mean, 1))) for index in range(SIZE)]
        past.add("memory_bytes", points, version=version)
    gauge = {"metric": "gauge", "name": "memory", "series": "memory_bytes", "window": "10m"}
    assert judged(past, gauge).verdict == "fail"
    early = judged(past, {**gauge, "window": "2h"})
    assert (early.verdict, "judged once" in early.reason) == ("inconclusive", True)
    missing = judged(past, {**gauge, "series": "nothing", "nan": "replace"})
    assert (missing.verdict, "nothing is known" in missing.reason) == ("inconclusive", True)


# A real Prometheus ---------------------------------------------------------------------------------------------------


def test_a_real_prometheus_gives_the_same_counts_and_the_same_verdict(tmp_path: Path) -> None:
    past = calm(canary_errors=0.02)
    histogram(past, "v1", [0.1, 0.25, 0.5], 0.01)
    histogram(past, "v2", [0.1, 0.25, 0.5], 0.01)
    criteria = settings({"metric": "errors"}, {"metric": "latency"})
    question = Question(model="fraud", baseline="v1", canary="v2", start=START, end=END)
    with prometheus_with(past, tmp_path) as url:
        client = prometheus.Client(url)
        real, said = ask.ask(client, question, criteria, interval=STEP)
        again = document.document(*_replayed(client, question, criteria))
    made_up, expected = ask.ask(past, question, criteria, interval=STEP)
    assert (real.canary_requests == made_up.canary_requests).all()
    assert (real.counted["latency"].baseline_events == made_up.counted["latency"].baseline_events).all()
    assert (said.verdict, said.reason) == (expected.verdict, expected.reason)
    assert said.verdict == "fail"
    assert again == document.document(real, criteria, said)


def _replayed(client: prometheus.Client, question: Question, criteria: object) -> tuple:
    counts, said = ask.ask(client, question, criteria, interval=STEP)
    return counts, criteria, said


def test_an_answer_that_may_be_partial_is_inconclusive() -> None:
    class Partial(Past):
        def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
            raise prometheus.PartialError(str(selector), "the answer may be partial: a store is down")

    past = Partial(END + 12)
    past.series = calm().series
    said = judged(past)
    assert (said.verdict, "a store is down" in said.reason) == ("inconclusive", True)


def test_a_prometheus_that_is_down_is_inconclusive() -> None:
    client = prometheus.Client("http://127.0.0.1:1", timeout=0.2, retries=0)
    _, said = ask.ask(client, QUESTION, settings(LOOSE), interval=STEP)
    assert (said.verdict, "no answer" in said.reason) == ("inconclusive", True)
