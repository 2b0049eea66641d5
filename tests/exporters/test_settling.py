"""Predictions are settled at an equal age: which labels count, when, once, and over restarts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from exporters.events.settling import COHORTS, LEAST_LABELS
from exporters.events.state import Totals
from exporters.events.store import Store
from midwatch.spec import load
from midwatch.spec import model as spec
from tests.exporters.test_state import NOW, VERSION, commit, generate, label, prediction, value

MATURITY = 320.0
BEYOND = MATURITY + MATURITY / COHORTS + 2


def models(**more: object) -> tuple[spec.Model, ...]:
    given = {"name": "fraud", "owner": "ml", "task": "classification", "positive": "fraud", "groups": ["country"]}
    return (spec.Model.model_validate({**given, **more}),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state", spec.Exporter(), models(label_maturity="320s"))
    yield made
    made.journal.close()


def settled(store: Store, predicted: str = "fraud", version: str = "v1") -> tuple[float | None, ...]:
    where = {"model": "fraud", "version": version, "predicted": predicted}
    results = ("right", "wrong", "unlabelled")
    return tuple(value(store.state, "ml_settled_predictions_total", **where, result=one) for one in results)


def test_a_prediction_is_settled_once_it_is_old_enough_and_not_before(store: Store) -> None:
    given = [prediction("a"), prediction("b"), prediction("c", prediction="fine", groups={"country": "de"})]
    commit(store, [*given, prediction("d", version="v2")])
    commit(store, [label("a"), label("b", "fine"), label("c", "fraud")], NOW + 100)
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="fraud") == 1
    assert settled(store) == (None, None, None)
    assert value(store.state, "ml_unsettled_predictions", **VERSION) == 3
    commit(store, [], NOW + MATURITY)
    assert settled(store) == (None, None, None)
    assert not store.state.has_expired(NOW + MATURITY)
    assert store.state.has_expired(NOW + BEYOND)
    commit(store, [], NOW + BEYOND)
    assert settled(store) == (1, 1, 0)
    assert settled(store, "fine") == (0, 1, 0)
    assert settled(store, version="v2") == (0, 0, 1)
    assert value(store.state, "ml_unsettled_predictions", **VERSION) == 0
    assert value(store.state, "ml_label_maturity_seconds", model="fraud") == MATURITY
    where = {**VERSION, "attribute": "country", "group": "de", "predicted": "fine", "actual": "fraud"}
    assert value(store.state, "ml_settled_group_outcomes_total", **where) == 1
    assert value(store.state, "ml_settled_scored_outcomes_total", **VERSION, bin="0.9") == 3
    assert value(store.state, "ml_settled_scored_positives_total", **VERSION, bin="0.9") == 2


def test_groups_are_counted_with_the_prediction_and_settled_with_a_label_or_without(store: Store) -> None:
    groups = {"groups": {"country": "de"}}
    commit(store, [prediction("a", **groups), prediction("b", **groups), prediction("c", groups={"country": "no"})])
    commit(store, [label("a")], NOW + 100)
    where = {**VERSION, "attribute": "country", "group": "de", "predicted": "fraud"}
    assert value(store.state, "ml_group_predictions_total", **where) == 2
    assert value(store.state, "ml_settled_group_predictions_total", **where) is None
    commit(store, [], NOW + BEYOND)
    assert value(store.state, "ml_group_predictions_total", **where) == 2
    assert value(store.state, "ml_settled_group_predictions_total", **where) == 2
    assert value(store.state, "ml_settled_group_outcomes_total", **where, actual="fraud") == 1


def test_intersections_that_promises_compare_are_counted_beside_their_attributes(tmp_path: Path) -> None:
    promise = {"attribute": "country", "crossed_with": "age", "measure": "accuracy_parity", "difference": "5%"}
    declared = models(label_maturity="320s", groups=["country", "age"], fairness=[promise])
    made = Store(tmp_path / "state", spec.Exporter(), declared)
    commit(made, [prediction("a", groups={"country": "de", "age": "young"}), prediction("b", groups={"age": "old"})])
    commit(made, [label("a")], NOW + 100)
    where = {**VERSION, "attribute": "country×age", "group": "de×young", "predicted": "fraud"}  # noqa: RUF001
    assert value(made.state, "ml_group_predictions_total", **where) == 1
    assert value(made.state, "ml_group_outcomes_total", **where, actual="fraud") == 1
    alone = {**VERSION, "attribute": "age", "group": "old", "predicted": "fraud"}
    assert value(made.state, "ml_group_predictions_total", **alone) == 1
    made.journal.close()


def test_a_label_after_its_prediction_was_settled_counts_as_late(store: Store) -> None:
    commit(store, [prediction("a"), prediction("b")])
    commit(store, [label("a")], NOW + MATURITY)
    commit(store, [label("b", "fine")], NOW + MATURITY + 0.5)
    commit(store, [prediction("c")], NOW + BEYOND)
    commit(store, [label("c"), prediction("d")], NOW + 3 * BEYOND)
    assert settled(store) == (1, 0, 2)
    assert value(store.state, "ml_late_labels_total", **VERSION, result="wrong") == 1
    assert value(store.state, "ml_late_labels_total", **VERSION, result="right") == 1
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="fraud") == 2


def test_retries_settle_nothing_twice(store: Store) -> None:
    for time in (NOW, NOW + 5, NOW + 200):
        commit(store, [prediction("a"), prediction("b"), label("early")], time)
        commit(store, [label("a"), prediction("early")], time + 1)
    commit(store, [], NOW + 2 * BEYOND)
    assert settled(store) == (2, 0, 1)


def totals(store: Store) -> Totals:
    return msgspec.msgpack.decode(store.state.totals(), type=Totals)


@pytest.mark.parametrize("snapshot", [True, False], ids=["from a snapshot", "from the journal"])
@pytest.mark.parametrize("stated", ["5m", None], ids=["stated", "learned"])
def test_what_is_settled_is_the_same_over_restarts_at_any_moment(
    tmp_path: Path, snapshot: bool, stated: str | None
) -> None:
    described = models(label_maturity=stated) if stated else models()
    draws = random.Random(7)
    groups: dict[int, list] = {}
    for number in range(400):
        at = draws.randrange(600)
        groups.setdefault(at, []).append(prediction(f"p{number}", version=draws.choice(["v1", "v2"])))
        if draws.random() < 0.98:
            told = label(f"p{number}", draws.choice(["fraud", "fraud", "fine"]))
            groups.setdefault(at + round(draws.expovariate(1 / 60)), []).append(told)
    stores = [Store(tmp_path / name, spec.Exporter(), described) for name in ("whole", "broken")]
    for step, at in enumerate(sorted(groups)):
        for one in stores:
            commit(one, groups[at], NOW + at)
        if step % 60 == 50:
            stores[1].close(NOW + at, snapshot=lambda: snapshot)
            stores[1] = Store(tmp_path / "broken", spec.Exporter(), described)
            assert totals(stores[0]) == totals(stores[1])
    for one in stores:
        commit(one, [], NOW + 3000)
    assert totals(stores[0]) == totals(stores[1])
    lines = [line for line in generate(stores[0].state).splitlines() if line.startswith("ml_settled_predictions_total")]
    assert sum(float(line.split()[-1]) for line in lines) > 390
    for one in stores:
        one.journal.close()


OF_ERRORS = {
    "attribute": "region",
    "measure": "within_bound_parity",
    "difference": "5%",
    "error_bound": 100,
    "public": True,
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label_maturity": "2d"}, "label_maturity: predictions are given up after 1d, before they are that old"),
        ({"label_maturity": "1h", "task": "regression"}, "label_maturity: amounts are neither right nor wrong"),
        ({"label_maturity": "1d"}, ""),
        ({"label_maturity": "1h", "task": "regression", "groups": ["region"], "fairness": [OF_ERRORS]}, ""),
    ],
    ids=["longer than they are kept", "amounts", "as long", "amounts of which groups are compared"],
)
def test_a_maturity_that_cannot_be_is_named(tmp_path: Path, make_document, changes: dict, told: str) -> None:
    model = {"name": "fraud", "owner": "ml", "task": "classification", **changes}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(models=[model]), sort_keys=False))
    problems = [str(one) for one in load.read(file).problems]
    assert bool(problems) == bool(told), problems
    assert all(told in one for one in problems)


# A maturity that is not stated ---------------------------------------------------------------------------------------


def labelled(store: Store, count: int, delay: float, *, start: float, wrong: bool = False) -> None:
    names = [f"{start}-{number}" for number in range(count)]
    commit(store, [prediction(name) for name in names], start)
    commit(store, [label(name, "fine" if wrong else "fraud") for name in names], start + delay)


def learned(store: Store) -> float | None:
    return value(store.state, "ml_label_maturity_seconds", model="fraud")


def test_a_maturity_is_learned_from_the_delays_of_labels(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(), models())
    labelled(store, LEAST_LABELS - 1, 60, start=NOW)
    commit(store, [prediction("one")], NOW + 70)
    assert learned(store) is None
    labelled(store, 60, 90, start=NOW + 100)
    commit(store, [], NOW + 200)
    assert 90 <= learned(store) <= 110
    assert settled(store) == (LEAST_LABELS + 59, 0, 1)
    store.journal.close()


def test_quick_labels_alone_tell_no_maturity_while_others_may_still_come(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(), models())
    commit(store, [prediction(f"slow-{number}") for number in range(20)], NOW)
    labelled(store, 180, 120, start=NOW)
    commit(store, [], NOW + 1000)
    assert learned(store) is None
    assert settled(store) == (None, None, None)
    commit(store, [label(f"slow-{number}", "fine") for number in range(20)], NOW + 1800)
    commit(store, [], NOW + 1802)
    assert 1800 <= learned(store) <= 2200
    commit(store, [], NOW + 2400)
    assert settled(store) == (180, 20, 0)
    store.journal.close()


def test_where_many_labels_never_come_it_is_known_once_predictions_are_given_up(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(label_retention=3600.0), models())
    commit(store, [prediction(f"never-{number}") for number in range(300)], NOW)
    labelled(store, 200, 120, start=NOW)
    commit(store, [], NOW + 3599)
    assert learned(store) is None
    commit(store, [], NOW + 3601)
    assert 120 <= learned(store) <= 145
    assert settled(store) == (200, 0, 300)
    store.journal.close()


def test_predictions_of_a_model_that_nobody_labels_are_settled_once_they_are_given_up(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(label_retention=3600.0), models())
    for hour in range(20):
        commit(store, [prediction(f"never-{hour}")], NOW + 1800 * hour)
    assert not store.state.has_expired(NOW + 1800 * 19)
    assert learned(store) is None
    assert settled(store) == (0, 0, 17)
    assert value(store.state, "ml_unsettled_predictions", **VERSION) == 3
    assert len(store.state.settling.progress["fraud"].cohorts) == 3
    store.journal.close()


def test_a_clock_that_is_set_back_settles_each_prediction_once(store: Store) -> None:
    commit(store, [prediction("a")], NOW)
    commit(store, [prediction("b")], NOW + BEYOND)
    commit(store, [prediction("c")], NOW - 1000)
    commit(store, [label("c"), label("b")], NOW + BEYOND + 1)
    commit(store, [prediction("d")], NOW + 3 * BEYOND)
    assert settled(store) == (1, 0, 2)
    assert value(store.state, "ml_late_labels_total", **VERSION, result="right") == 1


def test_amounts_and_texts_are_not_settled_as_right_or_wrong(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(), models(label_maturity="10s"))
    commit(store, [prediction("n", model="price", prediction=4.5), prediction("t", prediction="a long text " * 9)])
    commit(store, [label("n", 5.0, model="price"), label("t", "another long text " * 9)], NOW + 1)
    commit(store, [], NOW + 60)
    text = generate(store.state)
    assert 'ml_settled_predictions_total{model="price"' not in text
    assert settled(store, "text") == (0, 0, 1)
    store.journal.close()
