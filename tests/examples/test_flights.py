"""The flights example is honest: no leak, a fault only where it is said, labels only for flights that landed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path("examples/flights").resolve()


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import data
    import replay

    yield data, replay
    for name in ("data", "replay", "serve", "train"):
        sys.modules.pop(name, None)


def test_nothing_that_is_known_only_after_the_departure_is_a_feature(modules) -> None:
    data, _ = modules
    assert not {"dep_delay", "dep_time", "arr_time", "arr_delay", "air_time", "late"} & set(data.FEATURES)


def test_flights_are_in_order_and_the_replay_starts_after_the_training(modules) -> None:
    data, _ = modules
    table = data.load()
    assert table["departs"].is_monotonic_increasing
    training = table[table["month"].isin(data.TRAINING_MONTHS)]
    assert training["departs"].max() < table[~table["month"].isin(data.TRAINING_MONTHS)]["departs"].min()


def test_flights_that_never_arrived_have_no_label(modules) -> None:
    data, _ = modules
    table = data.load()
    assert 0.02 < table["late"].isna().mean() < 0.04
    assert table[table["landed_minutes"].isna()]["late"].isna().all()


def test_the_fault_is_exactly_within_its_window_and_touches_only_what_has_a_unit(modules) -> None:
    data, replay = modules
    features = dict.fromkeys(data.FEATURES, 10.0)
    assert replay.features_at(features, replay.FAULT[0] - 1e-9) == features
    assert replay.features_at(features, replay.FAULT[1]) == features
    faulty = replay.features_at(features, replay.FAULT[0])
    assert faulty["visib"] == pytest.approx(16.09344)
    touched = {"temp", "wind_speed", "visib", "precip", "distance"}
    assert {name for name in features if faulty[name] != features[name]} == touched
    assert replay.to_metric(dict.fromkeys(data.FEATURES)) == dict.fromkeys(data.FEATURES)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_version_gets_its_share_only_while_it_is_a_canary(modules, version: str) -> None:
    _, replay = modules
    begin, end = replay.CANARIES[version]
    before = {replay.version_at(index, begin - 1e-9) for index in range(100)}
    during = [replay.version_at(index, begin) for index in range(1000)]
    after = {replay.version_at(index, end) for index in range(100)}
    assert before == after == {"v1"}
    assert during.count(version) == pytest.approx(1000 * replay.CANARY_SHARE, abs=5)
