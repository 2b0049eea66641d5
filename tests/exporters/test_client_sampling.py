"""Which predictions are explained: by id, within a budget, and never in the way of the prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from midwatch.client import AttributionSample, EventLog, Label, Prediction
from midwatch.client.sampling import Sampled
from tests.exporters.fake_exporter import Exporter

IDS = [f"r-{number}" for number in range(4000)]


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    running = Exporter()
    yield running
    running.close()


def prediction(identity: str) -> Prediction:
    return Prediction(id=identity, model="m", version="v1", ts=1.0, prediction="late")


def sent(exporter: Exporter) -> dict[str, Any]:
    """Attributions of each event that was kept, by its id."""
    return {event["id"]: event.get("attributions") for body in exporter.bodies for event in body}


def test_a_share_of_the_ids_is_explained_and_replicas_agree_which() -> None:
    decided = [[sample.decide(one) for one in IDS] for sample in (AttributionSample(0.05), AttributionSample(0.05))]
    assert decided[0] == decided[1]
    assert 150 < decided[0].count(Sampled.EXPLAINED) < 250  # 200, and 3.6 of its standard errors
    larger = AttributionSample(0.2)
    kept = [one for one, what in zip(IDS, decided[0], strict=True) if what is Sampled.EXPLAINED]
    assert {larger.decide(one) for one in kept} == {Sampled.EXPLAINED}


@pytest.mark.parametrize(("share", "what"), [(0, Sampled.NOT_SAMPLED), (1, Sampled.EXPLAINED)])
def test_none_and_all_are_shares(share: float, what: Sampled) -> None:
    sample = AttributionSample(share)
    assert {sample.decide(one) for one in IDS} == {what}


def test_more_than_the_budget_of_a_second_is_left_out() -> None:
    now = [100.0]
    sample = AttributionSample(1, per_second=10, clock=lambda: now[0])
    assert Counter(sample.decide(one) for one in IDS[:50]) == {Sampled.EXPLAINED: 10, Sampled.OVER_BUDGET: 40}
    now[0] += 0.25
    assert Counter(sample.decide(one) for one in IDS[:50])[Sampled.EXPLAINED] == 2
    now[0] += 3600
    assert Counter(sample.decide(one) for one in IDS[:50])[Sampled.EXPLAINED] == 10


def test_a_budget_of_less_than_one_a_second_lets_one_through_in_its_time() -> None:
    now = [0.0]
    sample = AttributionSample(1, per_second=0.1, clock=lambda: now[0])
    decided = []
    for _ in range(40):
        decided.append(sample.decide("r"))
        now[0] += 1
    assert 4 <= decided.count(Sampled.EXPLAINED) <= 5


@pytest.mark.parametrize(("share", "per_second"), [(-0.1, None), (5, None), (float("nan"), None), (0.1, 0), (0.1, -1)])
def test_what_is_no_share_or_budget_is_refused(share: float, per_second: float | None) -> None:
    with pytest.raises(ValueError, match=r"share|budget"):
        AttributionSample(share, per_second=per_second)


def test_attributions_are_computed_for_the_sampled_only_and_sent_with_them(exporter: Exporter) -> None:
    computed = []

    def explain(identity: str) -> dict[str, Any]:
        computed.append(identity)
        return {"age": np.float32(0.5), "debt": -1}

    with EventLog(exporter.url, attribution_sample=AttributionSample(0.1)) as log:
        for identity in IDS[:500]:
            assert log.send(prediction(identity), attributions=lambda identity=identity: explain(identity))
    stats = log.stats
    explained = {identity: found for identity, found in sent(exporter).items() if found}
    assert list(explained) == computed
    assert 20 < len(computed) < 100
    assert explained[computed[0]] == {"age": 0.5, "debt": -1}
    kept = {"explained": len(computed), "not_sampled": 500 - len(computed), "over_budget": 0, "failed": 0}
    assert (stats.acknowledged, stats.attributions) == (500, kept)


def test_without_a_sample_all_are_explained_that_offer_it(exporter: Exporter) -> None:
    with EventLog(exporter.url) as log:
        log.send(prediction("a"), attributions=lambda: {"age": 1.0})
        log.send(prediction("b"))
        log.send(Label(id="a", model="m", label=True, ts=1.0), attributions=lambda: {"age": 1.0})
    assert sent(exporter)["b"] is None
    assert log.stats.attributions["explained"] == 1


@pytest.mark.parametrize(
    "explain",
    [
        lambda: 1 / 0,
        lambda: {"age": float("nan")},
        lambda: {"age": "much"},
        lambda: None,
        dict,
        lambda: {"age": -1.1e15},
        lambda: {"a" * 201: 1.0},
        lambda: {"\ud800": 1.0},
        lambda: {f"feature_{place}": 1.0 for place in range(10_001)},
    ],
    ids=["it raises", "NaN", "text", "nothing", "none", "too much", "a long name", "a broken name", "too many"],
)
def test_a_prediction_goes_out_without_attributions_that_fail(explain: Any, exporter: Exporter) -> None:
    with EventLog(exporter.url) as log:
        assert log.send(prediction("a"), attributions=explain)
    assert sent(exporter) == {"a": None}
    assert (log.stats.acknowledged, log.stats.attributions["failed"]) == (1, 1)


def test_the_event_that_is_handed_in_stays_as_it_is(exporter: Exporter) -> None:
    event = prediction("a")
    with EventLog(exporter.url) as log:
        log.send(event, attributions=lambda: {"age": 1.0})
    assert event.attributions == {}
    assert sent(exporter) == {"a": {"age": 1.0}}
