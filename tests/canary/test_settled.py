"""Accuracy of predictions of equal age: labels that come late, either way round, mislead no verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midwatch.spec import canary as spec
from monitors.canary import ask, counts_file, judge
from monitors.canary.counts import Counts
from monitors.canary.question import Question
from tests.canary.arms import START, STEP, Past, counted, counts, settings, simulated

SIZE = 40
END = START + SIZE * STEP
QUESTION = Question(model="fraud", baseline="v1", canary="v2", start=START)
BEFORE = 120
"""Intervals before the start, in which only the baseline served."""


def labelled(
    past: Past, *, wrong: dict[str, float], delay: dict[str, int], maturity: int | None, seed: int = 1
) -> None:
    """Counters of both versions as the exporter publishes them; delays and maturity in intervals."""
    generator = np.random.default_rng(seed)
    first = START - BEFORE * STEP
    for version, rate in (("v1", 400), ("v2", 100)):
        asked = generator.poisson(rate, BEFORE + SIZE)
        asked[: BEFORE if version == "v2" else 0] = 0
        bad = generator.binomial(asked, wrong[version])
        begin = 1000 if version == "v1" else 0
        labels = {"model": "fraud", "version": version}
        past.grow("ml_requests_total", asked, first=first, begin=begin, outcome="ok", **labels)
        past.grow("ml_predictions_total", asked, first=first, begin=begin, predicted="fraud", **labels)
        results = {"right": asked - bad, "wrong": bad}
        unlabelled = np.zeros_like(asked)
        for result, made in results.items():
            actual = {"right": "fraud", "wrong": "fine"}[result]
            come = _later(made, delay[result])
            past.grow("ml_outcomes_total", come, first=first, begin=begin, predicted="fraud", actual=actual, **labels)
            in_time = made if maturity is None or delay[result] <= maturity else np.zeros_like(made)
            unlabelled = unlabelled + made - in_time
            if maturity is not None:
                pair = {"predicted": "fraud", "actual": actual}
                past.grow(
                    "ml_settled_outcomes_total", _later(in_time, maturity), first=first, begin=begin, **pair, **labels
                )
                where = {"predicted": "fraud", "result": result}
                past.grow(
                    "ml_settled_predictions_total",
                    _later(in_time, maturity),
                    first=first,
                    begin=begin,
                    **where,
                    **labels,
                )
        if maturity is not None:
            where = {"predicted": "fraud", "result": "unlabelled"}
            past.grow(
                "ml_settled_predictions_total",
                _later(unlabelled, maturity),
                first=first,
                begin=begin,
                **where,
                **labels,
            )
        young = int(asked[-maturity:].sum() if maturity else asked.sum())
        past.add("ml_unsettled_predictions", [(END, float(young))], **labels)
    if maturity is not None:
        past.add("ml_label_maturity_seconds", [(END, maturity * STEP)], model="fraud")


def _later(made: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros(by, dtype=np.int64), made[: made.size - by]])


WRONG_LATE = {"right": 1, "wrong": 20}
RIGHT_LATE = {"right": 20, "wrong": 1}


@pytest.mark.parametrize("delay", [WRONG_LATE, RIGHT_LATE], ids=["wrong ones late", "right ones late"])
@pytest.mark.parametrize(("wrong", "expected"), [(0.1, "pass"), (0.3, "fail")], ids=["equal", "worse"])
def test_late_labels_do_not_mislead_once_predictions_are_old_enough(delay: dict, wrong: float, expected: str) -> None:
    past = Past(END + 12)
    labelled(past, wrong={"v1": 0.1, "v2": wrong}, delay=delay, maturity=20)
    said = _judged(past)[1]
    assert said.verdict == expected, said.reason


@pytest.mark.parametrize("delay", [WRONG_LATE, RIGHT_LATE], ids=["wrong ones late", "right ones late"])
def test_before_they_are_old_enough_the_verdict_says_how_many_wait_and_until_when(delay: dict) -> None:
    past = Past(END + 12)
    labelled(past, wrong={"v1": 0.1, "v2": 0.1 if delay is RIGHT_LATE else 0.3}, delay=delay, maturity=60)
    given, said = _judged(past)
    assert said.verdict == "inconclusive"
    waiting = int(given.canary_requests.sum())
    assert f"accuracy: {waiting:,} predictions of v2 wait until they are 15m old" in said.reason
    assert "the first are from 2026-01-05T00:15:00Z on, all by 2026-01-05T00:25:00Z" in said.reason


def test_a_maturity_that_is_not_known_leaves_accuracy_undecided_and_names_the_key() -> None:
    past = Past(END + 12)
    labelled(past, wrong={"v1": 0.1, "v2": 0.3}, delay=WRONG_LATE, maturity=None)
    said = _judged(past)[1]
    assert (said.verdict, "no label_maturity is written" in said.reason) == ("inconclusive", True), said.reason


def test_a_warm_up_sets_its_predictions_aside_when_they_are_settled() -> None:
    past = Past(END + 12)
    labelled(past, wrong={"v1": 0.1, "v2": 0.1}, delay=WRONG_LATE, maturity=20)
    warm = settings({"metric": "accuracy"}, warm_up="2m")
    given, said = ask.ask(past, QUESTION, warm, interval=STEP)
    evidence = said.findings[0].evidence
    assert evidence is not None
    assert evidence.canary_requests == given.counted["accuracy"].canary_requests[28:].sum() > 0


def test_arms_whose_settled_predictions_differ_in_labels_are_undecided() -> None:
    past = Past(END + 12)
    labelled(past, wrong={"v1": 0.1, "v2": 0.4}, delay={"right": 1, "wrong": 25}, maturity=20)
    said = _judged(past)[1]
    assert said.verdict == "inconclusive"
    assert "labels have come for 60" in said.reason


def test_the_counts_of_a_verdict_give_it_again(tmp_path: Path) -> None:
    past = Past(END + 12)
    labelled(past, wrong={"v1": 0.1, "v2": 0.1}, delay=WRONG_LATE, maturity=30)
    given, said = _judged(past)
    (tmp_path / "counts.json").write_text(json.dumps(counts_file.document(given, settings({"metric": "accuracy"}))))
    again, its_settings = counts_file.load(tmp_path / "counts.json")
    assert its_settings is not None
    assert counts_file.document(again, its_settings) == counts_file.document(given, its_settings)
    assert judge.judge(again, its_settings).reason == said.reason


# Labels of others, that nobody settles ------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["actual", "predicted", "all"])
@pytest.mark.parametrize("late", ["v1", "v2"])
def test_labels_of_others_that_come_later_on_one_arm_are_undecided(of: str, late: str) -> None:
    past = Past(END + 12)
    generator = np.random.default_rng(4)
    for version, rate in (("v1", 900), ("v2", 100)):
        labels = {"model": "fraud", "version": version}
        asked = generator.poisson(rate, SIZE)
        come = generator.binomial(asked, 0.7 if version == late else 1.0)
        wrong = generator.binomial(come, 0.1)
        past.grow("ml_requests_total", asked, begin=10, outcome="ok", **labels)
        past.grow("ml_predictions_total", asked, begin=10, predicted="fraud", **labels)
        past.grow("ml_outcomes_total", come - wrong, begin=10, predicted="fraud", actual="fraud", **labels)
        past.grow("ml_outcomes_total", wrong, begin=10, predicted="fraud", actual="fine", **labels)
    criterion = {"metric": "outcomes", "name": "wrong", "predicted": "fraud", "actual": "fine", "of": of}
    said = ask.ask(past, QUESTION, settings(criterion), interval=STEP)[1]
    assert (said.verdict, "labels have come for" in said.reason) == ("inconclusive", True), said.reason


@pytest.mark.parametrize("wrong_events", [0, 4, 200])
def test_counts_of_which_one_arm_is_labelled_less_are_undecided_whatever_they_say(wrong_events: int) -> None:
    arms = simulated(base=0.15, intervals=8, rps=500)
    late = counted(arms, "accuracy")
    told = np.rint(arms.canary_requests * 0.7).astype(np.int64)
    given: Counts = counts(
        arms,
        counted={
            "accuracy": replace(late, canary_requests=told, canary_events=np.full((1, 8), wrong_events)),
        },
    )
    said = judge.judge(given, settings({"metric": "accuracy"}))
    assert said.verdict == "inconclusive"


def _judged(past: Past) -> tuple[Counts, judge.Judgement]:
    section: spec.Canary = settings({"metric": "accuracy"})
    return ask.ask(past, QUESTION, section, interval=STEP)
