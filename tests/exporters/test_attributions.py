"""Attributions of features are counted as sums that add up, under a bounded number of names, and only where asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters import collector
from exporters.events.series_sizes import SERIES_OF_FEATURE
from exporters.events.store import Store
from midwatch import metrics
from midwatch.client.events import Prediction
from midwatch.spec import model as spec
from tests.exporters.test_state import NOW, VERSION, commit, prediction, value


def models(**explanations: Any) -> tuple[spec.Model, ...]:
    given = {"name": "fraud", "owner": "ml", "task": "classification", "explanations": explanations}
    return (spec.Model.model_validate(given),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state", spec.Exporter(), models())
    yield made
    made.journal.close()


def explained(store: Store, name: str, feature: str) -> float | None:
    return value(store.state, f"ml_attribution_{name}_total", **VERSION, feature=feature)


def test_what_a_feature_adds_and_takes_are_two_sums_that_never_fall(store: Store) -> None:
    commit(store, [prediction("a", attributions={"age": 2.0, "amount": -0.5}), prediction("b")])
    commit(store, [prediction("c", attributions={"age": -1.0, "amount": -3.0})])
    assert value(store.state, "ml_explained_predictions_total", **VERSION) == 2
    assert [explained(store, name, "age") for name in ("added", "taken", "squares")] == [2.0, 1.0, 5.0]
    assert [explained(store, name, "amount") for name in ("added", "taken", "squares")] == [0.0, 3.5, 9.25]


def test_places_are_by_the_amount_whatever_its_sign(store: Store) -> None:
    commit(store, [prediction("a", attributions={"age": 2.0, "amount": -3.0, "hour": 0.0})])
    commit(store, [prediction("b", attributions={"age": 2.0, "amount": -1.0, "hour": 0.0})])
    view = collector.View(store.state.totals(), [], ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0))
    buckets = {}
    for family in text_string_to_metric_families(collector.exposed(view).decode()):
        for sample in family.samples:
            if sample.labels.get("feature") == "age" and sample.name == "ml_attribution_place_bucket":
                buckets[sample.labels["le"]] = sample.value
    assert (buckets["1.0"], buckets["2.0"], buckets["+Inf"]) == (1, 2, 2)


def test_features_beyond_their_number_are_other_and_texts_are_no_names(tmp_path: Path) -> None:
    made = Store(tmp_path / "state", spec.Exporter(), models(features=2))
    commit(made, [prediction("a", attributions={"age": 1.0, "jane@example.com": 2.0, "hour": 3.0, "day": 4.0})])
    assert set(made.state.counters.versions["fraud", "v1"].explained.features) <= {
        "day",
        "hour",
        "age",
        "text",
        "other",
    }
    assert explained(made, "added", "other") is not None
    assert explained(made, "added", "jane@example.com") is None
    total = sum(explained(made, "added", name) or 0.0 for name in ("day", "hour", "age", "text", "other"))
    assert total == 10.0
    made.journal.close()


def test_features_of_one_prediction_begin_no_more_series_than_there_is_room_for(tmp_path: Path) -> None:
    caps = spec.Exporter(caps=spec.Caps(series=1000))
    made = Store(tmp_path / "state", caps, models(features=300))
    commit(made, [prediction("a", attributions={f"f{number}": 1.0 for number in range(300)})])
    counters = made.state.counters
    features = counters.versions["fraud", "v1"].explained.features
    assert "other" in features
    assert len(features) <= 1000 // SERIES_OF_FEATURE + 2, "one that began with room, and `other`"
    assert sum(explained(made, "added", name) or 0.0 for name in features) == 300.0
    made.journal.close()


def test_without_the_section_nothing_of_them_is_kept(tmp_path: Path) -> None:
    silent = spec.Model.model_validate({"name": "fraud", "owner": "ml", "task": "classification"})
    made = Store(tmp_path / "state", spec.Exporter(), (silent,))
    commit(made, [prediction("a", attributions={"age": 1.0})])
    assert value(made.state, "ml_requests_total", **VERSION, outcome="ok") == 1
    assert explained(made, "added", "age") is None
    made.journal.close()


def test_counts_go_on_after_a_restart(tmp_path: Path) -> None:
    made = Store(tmp_path / "state", spec.Exporter(), models())
    commit(made, [prediction("a", attributions={"age": 1.5})])
    made.snapshot(NOW)
    made._join_snapshot()
    commit(made, [prediction("b", attributions={"age": -0.5})])
    made.journal.close()
    again = Store(tmp_path / "state", spec.Exporter(), models())
    assert [explained(again, name, "age") for name in ("added", "taken", "squares")] == [1.5, 0.5, 2.5]
    assert again.state.counters.series == made.state.counters.series
    again.journal.close()


@pytest.mark.parametrize("amount", [1e16, -1e300])
def test_amounts_whose_sums_would_be_no_numbers_are_refused(amount: float) -> None:
    from exporters.events import bounds

    event = Prediction(id="a", model="fraud", version="v1", ts=NOW, attributions={"age": amount})
    found = bounds.problem(event)
    assert found is not None
    assert "attributions.age" in found[1]


def test_too_many_attributions_are_refused_with_the_limit() -> None:
    from exporters.events import bounds

    many = {f"f{number}": 1.0 for number in range(bounds.MAX_ATTRIBUTIONS + 1)}
    found = bounds.problem(Prediction(id="a", model="fraud", version="v1", ts=NOW, attributions=many))
    assert found is not None
    assert str(bounds.MAX_ATTRIBUTIONS) in found[1]


def test_an_event_with_attributions_is_read_as_json() -> None:
    line = b'{"event":"prediction","id":"a","model":"m","version":"v","ts":1.0,"attributions":{"age":1}}'
    read = msgspec.json.decode(line, type=Prediction)
    assert read.attributions == {"age": 1.0}


# By group -------------------------------------------------------------------------------------------------------------


def by_group(tmp_path: Path, caps: spec.Caps | None = None, **explanations: Any) -> Store:
    (model,) = models(**explanations)
    promise = {"attribute": "age", "measure": "demographic_parity", "ratio": "80%", "public": True}
    given = {"groups": ["age", "region"], "positive": "yes", "fairness": [promise]}
    declared = spec.Model.model_validate({**model.model_dump(by_alias=True, exclude_unset=True), **given})
    return Store(tmp_path / "state", spec.Exporter(caps=caps or spec.Caps()), (declared,))


def of_group(store: Store, name: str, group: str, **labels: str) -> float | None:
    return value(store.state, f"ml_group_{name}_total", **VERSION, attribute="age", group=group, **labels)


def test_attributions_are_summed_by_the_groups_of_promises_where_that_is_asked_for(tmp_path: Path) -> None:
    made = by_group(tmp_path, by_group=True)
    groups = {"age": "young", "region": "north"}
    commit(made, [prediction("a", attributions={"income": 2.0, "hour": -0.5}, groups=groups)])
    commit(made, [prediction("b", attributions={"income": -1.0}, groups=groups | {"age": "old"})])
    commit(made, [prediction("c", attributions={"income": 4.0})])
    assert of_group(made, "explained_predictions", "young") == of_group(made, "explained_predictions", "old") == 1
    sums = [of_group(made, f"attribution_{name}", "young", feature="hour") for name in ("added", "taken", "squares")]
    assert sums == [0.0, 0.5, 0.25]
    assert of_group(made, "attribution_taken", "old", feature="income") == 1.0
    assert set(made.state.counters.versions["fraud", "v1"].group_attributions) == {"age"}
    made.journal.close()


def test_attributions_are_not_summed_by_group_without_being_asked_for(tmp_path: Path) -> None:
    made = by_group(tmp_path)
    commit(made, [prediction("a", attributions={"income": 2.0}, groups={"age": "young"})])
    assert of_group(made, "explained_predictions", "young") is None
    assert made.state.counters.versions["fraud", "v1"].group_attributions == {}
    made.journal.close()


def test_groups_of_attributions_begin_no_more_series_than_there_is_room_for(tmp_path: Path) -> None:
    made = by_group(tmp_path, spec.Caps(series=1000), features=50, by_group=True)
    for number in range(20):
        groups = {"age": f"g{number}"}
        commit(made, [prediction(f"p{number}", attributions={f"f{place}": 1.0 for place in range(50)}, groups=groups)])
    counters = made.state.counters
    published = counters.versions["fraud", "v1"].group_attributions["age"]
    assert metrics.OTHER in published
    assert sum(3 * len(features) + 1 for features in published.values()) < 1000
    counters.restore(list(counters.versions.values()), list(counters.models.values()), dict(counters.folded))
    assert counters.series <= 1000 + 1 + 3 * 52
    made.journal.close()
