"""Unequal mixes of traffic: like is compared with like, and the sum where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monitors.canary import ask, counts_file, judge
from monitors.canary.counts import Counts
from monitors.canary.question import Question
from tests.canary.arms import START, STEP, Past, settings

SIZE = 120
END = START + SIZE * STEP
QUESTION = Question(model="fraud", baseline="v1", canary="v2", start=START)
ERRORS = {"metric": "errors", "baseline_limit": "60%"}

EQUAL = {"v1": {"easy": (500, 0.01), "hard": (50, 0.2)}, "v2": {"easy": (30, 0.01), "hard": (30, 0.2)}}
"""Requests in an interval and their share of errors, by version and stratum: the canary gets more of the hard ones."""
WORSE = {"v1": {"easy": (300, 0.01), "hard": (300, 0.2)}, "v2": {"easy": (95, 0.02), "hard": (5, 0.4)}}
"""A canary that is twice as bad with both, and gets nearly none of the hard ones."""


def past(mix: dict[str, dict[str, tuple[int, float]]], *, seed: int = 1) -> Past:
    made, generator = Past(END + 12), np.random.default_rng(seed)
    for version, strata in mix.items():
        for stratum, (rate, errors) in strata.items():
            requests = generator.poisson(rate, SIZE)
            bad = generator.binomial(requests, errors)
            labels = {"model": "fraud", "version": version, "region": stratum}
            made.grow("ml_requests_total", requests - bad, begin=10, outcome="ok", **labels)
            made.grow("ml_requests_total", bad, begin=10, outcome="error", **labels)
    return made


def asked(made: Past, **section: object) -> tuple[Counts, judge.Judgement]:
    return ask.ask(made, QUESTION, settings(ERRORS, **section), interval=STEP)


def test_simpsons_paradox_fails_an_equal_canary_by_its_totals_and_not_by_its_strata() -> None:
    assert asked(past(EQUAL))[1].verdict == "fail"
    said = asked(past(EQUAL), strata="region")[1]
    assert (said.verdict, "within 2 strata" in said.reason) == ("pass", True), said.reason


def test_simpsons_paradox_hides_a_worse_canary_in_its_totals_and_not_in_its_strata() -> None:
    assert asked(past(WORSE))[1].verdict == "pass"
    said = asked(past(WORSE), strata="region")[1]
    assert said.verdict == "fail", said.reason
    interval = said.findings[0].evidence.interval  # type: ignore[union-attr]
    assert interval.low < 2 < interval.high


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"strata": "zone"}, "has no label zone: compared by the sum"),
        (
            {"strata": "region", "max_strata": 2},
            "3 values of region, of which max_strata allows 2: compared by the sum",
        ),
    ],
    ids=["no label", "too many"],
)
def test_the_sum_is_compared_where_strata_cannot_be(section: dict, told: str) -> None:
    mix = {version: {**strata, "rare": (10, 0.01)} for version, strata in EQUAL.items()}
    counts, said = asked(past(mix), **section)
    assert said.verdict == "fail"
    assert any(told in note for note in counts.notes), counts.notes


def test_a_stratum_that_only_the_canary_gets_is_named_and_nothing_passes() -> None:
    for rate, expected in ((60, "inconclusive"), (10, "pass")):
        mix = {"v1": EQUAL["v1"], "v2": {"easy": (400, 0.01), "new": (rate * 4, 0.5)}}
        said = asked(past(mix), strata="region")[1]
        assert said.verdict == expected, said.reason
    mix = {"v1": EQUAL["v1"], "v2": {"easy": (400, 0.01), "new": (240, 0.5)}}
    assert "37% of v2's requests have no like on the baseline (new)" in asked(past(mix), strata="region")[1].reason


def test_latency_and_classes_are_compared_within_strata_too(tmp_path: Path) -> None:
    made, generator = past(EQUAL), np.random.default_rng(3)
    for version, strata in EQUAL.items():
        for stratum, (rate, _) in strata.items():
            labels = {"model": "fraud", "version": version, "region": stratum}
            whole = generator.poisson(rate, SIZE)
            slow = generator.binomial(whole, 0.5 if stratum == "hard" else 0.02)
            for bound, grown in (("0.1", whole - slow), ("+Inf", whole)):
                made.grow("ml_request_duration_seconds_bucket", grown, begin=10, le=bound, **labels)
            name = "fraud" if stratum == "hard" else "fine"
            made.grow("ml_predictions_total", whole, begin=10, predicted=name, **labels)
    criteria = [{"metric": "latency", "unacceptable_ratio": 2}, {"metric": "predictions", "unacceptable_ratio": 2}]
    by_sum = ask.ask(made, QUESTION, settings(*criteria), interval=STEP)[1]
    assert [one.verdict for one in by_sum.findings] == ["fail", "fail"]
    section = settings(*criteria, strata="region")
    given, said = ask.ask(made, QUESTION, section, interval=STEP)
    assert [one.verdict for one in said.findings] == ["pass", "pass"], said.reason
    (tmp_path / "counts.json").write_text(json.dumps(counts_file.document(given, section)))
    again, its_section = counts_file.load(tmp_path / "counts.json")
    assert its_section is not None
    assert judge.judge(again, its_section).reason == said.reason
