"""The fold: what is counted, what waits, what is a duplicate, and that a restart changes nothing."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import parser as openmetrics

from exporters import collector
from exporters.events import checks, inference_log, journal
from exporters.events import store as store_module
from exporters.events.state import State, Totals
from exporters.events.store import Store
from midwatch import exposition, metrics
from midwatch.client import events
from midwatch.spec import model as spec

NOW = 1_700_000_000.0
_numbers = itertools.count()


def prediction(identifier: str | None = None, **changes) -> events.Prediction:
    values = {
        "model": "fraud",
        "version": "v1",
        "ts": NOW,
        "prediction": "fraud",
        "score": 0.8,
        "duration_seconds": 0.02,
    }
    return events.Prediction(id=identifier or f"id-{next(_numbers)}", **(values | changes))


def label(identifier: str, value="fraud", **changes) -> events.Label:
    return events.Label(**({"id": identifier, "model": "fraud", "label": value, "ts": NOW + 60} | changes))


def commit(store: Store, kept: list, time: float = NOW) -> list:
    verdicts = store.state.admit(kept)
    good = [event for event, verdict in zip(kept, verdicts, strict=True) if verdict is None]
    frame = store.encode(time, good)
    store.append(frame)
    store.applied(time, good, len(frame))
    return verdicts


def view(state: State) -> collector.View:
    return collector.View(state.totals(), [], ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0))


def value(state: State, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(collector.StateCollector(lambda: view(state)))
    return registry.get_sample_value(name, labels)


VERSION = {"model": "fraud", "version": "v1"}


@pytest.fixture
def store(tmp_path: Path, make_platform):
    made = Store(tmp_path / "state", spec.Exporter(), make_platform().models)
    yield made
    made.journal.close()


def test_a_label_after_its_prediction_becomes_an_outcome(store: Store) -> None:
    commit(store, [prediction("a"), prediction("b", prediction="fine", score=0.1)])
    commit(store, [label("a"), label("b", "fraud")])
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="fraud") == 1
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fine", actual="fraud") == 1
    assert value(store.state, "ml_label_delay_seconds_sum", model="fraud") == 120
    assert value(store.state, "midwatch_exporter_predictions_waiting", model="fraud") == 0


def test_a_label_before_its_prediction_waits_for_it(store: Store) -> None:
    commit(store, [label("a")])
    assert value(store.state, "midwatch_exporter_labels_waiting", model="fraud") == 1
    commit(store, [prediction("a")])
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="fraud") == 1
    assert value(store.state, "midwatch_exporter_labels_waiting", model="fraud") == 0


def test_label_and_prediction_in_one_group_join(store: Store) -> None:
    commit(store, [label("a"), prediction("a"), prediction("b"), label("b")])
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="fraud") == 2


def test_the_same_event_again_is_a_duplicate_also_within_a_group_and_after_the_join(store: Store) -> None:
    assert commit(store, [prediction("a"), prediction("a")]) == [None, ("duplicate", "id")]
    commit(store, [label("a")])
    assert commit(store, [label("a"), prediction("a")]) == [("duplicate", "id")] * 2
    assert value(store.state, "ml_requests_total", **VERSION, outcome="ok") == 1


def test_a_label_of_a_model_that_nobody_knows_is_refused_and_the_prediction_waits_on(store: Store) -> None:
    commit(store, [prediction("a")])
    assert commit(store, [label("a", model="other-model")]) == [("malformed", "other_model")]
    assert value(store.state, "midwatch_exporter_predictions_waiting", model="fraud") == 1


def test_an_id_belongs_to_a_model(store: Store) -> None:
    both = [prediction("a"), prediction("a", model="chained", prediction="b")]
    assert commit(store, both) == [None, None]
    assert commit(store, both) == [("duplicate", "id")] * 2
    assert commit(store, [label("a", model="chained"), label("b", model="chained")]) == [None, None]
    assert commit(store, [prediction("b", model="chained"), prediction("b"), label("a"), label("a")])[:3] == [None] * 3
    for model, predicted in (("fraud", "fraud"), ("chained", "b"), ("chained", "fraud")):
        where = {"model": model, "version": "v1", "predicted": predicted, "actual": "fraud"}
        assert value(store.state, "ml_outcomes_total", **where) == 1
    assert value(store.state, "midwatch_exporter_predictions_waiting", model="fraud") == 1


def test_an_error_is_a_request_that_waits_for_no_label(store: Store) -> None:
    commit(store, [prediction("a", outcome="error", prediction=None)])
    assert value(store.state, "ml_requests_total", **VERSION, outcome="error") == 1
    assert value(store.state, "midwatch_exporter_predictions_waiting", model="fraud") == 0


def test_groups_and_calibration_are_counted_for_what_the_platform_names(store: Store) -> None:
    commit(store, [prediction("a", groups={"country": "de", "email": "x@y"}), label("a")])
    group = {"attribute": "country", "group": "de", "predicted": "fraud", "actual": "fraud"}
    assert value(store.state, "ml_group_outcomes_total", **VERSION, **group) == 1
    assert value(store.state, "ml_scored_outcomes_total", **VERSION, bin="0.9") == 1
    assert value(store.state, "ml_scored_positives_total", **VERSION, bin="0.9") == 1
    assert value(store.state, "ml_score_sum_total", **VERSION, bin="0.9") == 0.8
    assert "email" not in generate(store.state)


def generate(state: State) -> str:
    written = collector.exposed(view(state))
    assert written == exposition.render(collector.families(view(state))), "whether or not families are made"
    return written.decode()


def test_a_regression_sums_its_errors(store: Store) -> None:
    commit(store, [prediction("a", model="price", prediction=10.0), prediction("b", model="price", prediction=4)])
    commit(store, [label("a", 13, model="price"), label("b", 3.0, model="price")])
    where = {"model": "price", "version": "v1"}
    assert value(store.state, "ml_absolute_error_total", **where) == 4
    assert value(store.state, "ml_squared_error_total", **where) == 10
    assert value(store.state, "ml_errors_observed_total", **where) == 2


def test_errors_are_counted_by_the_bounds_that_are_promised_and_so_they_are_after_a_restart(
    tmp_path: Path, make_platform
) -> None:
    near = {"name": "near", "sli": {"absolute_error": {"within": 2.5}}, "objective": "90%"}
    price = {"name": "price", "owner": "ml", "task": "regression", "slos": [near]}
    models = make_platform(models=[price]).models
    first = Store(tmp_path, spec.Exporter(), models)
    for name, actual in (("a", 12.5), ("b", 7.4), ("c", 10)):
        commit(first, [prediction(name, model="price", prediction=10, score=None)])
        commit(first, [label(name, actual, model="price")])
    first.journal.close()
    where = {"model": "price", "version": "v1", "bound": "2.5"}
    second = Store(tmp_path, spec.Exporter(), models)
    assert value(second.state, "ml_errors_bounded_total", **where, within="yes") == 2
    assert value(second.state, "ml_errors_bounded_total", **where, within="no") == 1
    second.journal.close()


def test_what_a_declared_regression_cannot_count_is_refused(tmp_path: Path, make_platform) -> None:
    models = make_platform(models=[{"name": "price", "owner": "ml", "task": "regression"}]).models
    store = Store(tmp_path, spec.Exporter(), models)
    answers = commit(store, [prediction(model="price", prediction="high"), label("x", "high", model="price")])
    assert answers == [("malformed", "wrong_type")] * 2
    store.journal.close()


def test_a_thousand_versions_fold_into_other_and_are_counted(store: Store) -> None:
    commit(store, [prediction(version=f"v{number}") for number in range(1000)])
    versions = {version for _, version in store.state.counters.versions}
    assert len(versions) == spec.Caps().versions + 1
    assert value(store.state, "ml_requests_total", model="fraud", version="other", outcome="ok") == 980
    assert value(store.state, "midwatch_exporter_folded_total", label="version") == 980


def test_classes_groups_and_models_fold_too_but_declared_models_never(tmp_path: Path, make_platform) -> None:
    caps = spec.Caps(models=2, classes=3, groups=2)
    store = Store(tmp_path, spec.Exporter(caps=caps), make_platform().models)
    commit(store, [prediction(model=f"m{number}") for number in range(5)] + [prediction("z", model="fraud")])
    assert set(store.state.counters.models) == {"m0", "m1", "other", "fraud"}
    commit(store, [prediction(f"p{n}", prediction=f"c{n}", groups={"country": f"g{n}"}) for n in range(6)])
    commit(store, [label(f"p{n}", f"c{n}") for n in range(6)])
    assert "other" in store.state.counters.versions["fraud", "v1"].predicted
    assert set(store.state.counters.versions["fraud", "v1"].groups["country"]) == {"g0", "g1", "other"}
    store.journal.close()


def test_what_waits_too_long_expires_and_is_counted(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(label_retention=100.0))
    commit(store, [prediction("a"), label("b")])
    assert not store.state.has_expired(NOW + 99)
    assert store.state.has_expired(NOW + 101)
    commit(store, [], NOW + 101)
    assert value(store.state, "midwatch_exporter_predictions_expired_total", model="fraud") == 1
    assert value(store.state, "midwatch_exporter_labels_orphaned_total", model="other") in (None, 1)
    assert not store.state.predictions
    assert not store.state.labels
    store.journal.close()


def test_an_id_is_forgotten_only_after_its_events_would_be_too_old(tmp_path: Path) -> None:
    settings = spec.Exporter(remember=100.0, future=10.0)
    store = Store(tmp_path, settings)
    event = prediction("a", ts=NOW + 10)
    commit(store, [event])
    last_accepted = NOW + 10 + 100  # by its ts
    commit(store, [prediction(ts=NOW)], last_accepted - 1)
    assert store.state.admit([event]) == [("duplicate", "id")]
    assert (
        checks.refusal(event, now=last_accepted + 1, oldest=last_accepted + 1 - 100, newest=last_accepted)[0]
        == "too_old"
    )
    store.journal.close()


def test_sampling_keeps_a_share_for_labels_and_drops_the_labels_of_the_rest(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(sample=Decimal("0.25")))
    commit(store, [prediction(f"s{number}") for number in range(2000)])
    answers = commit(store, [label(f"s{number}") for number in range(2000)])
    joined = value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="fraud")
    assert 400 < joined < 600
    assert answers.count(("dropped", "sampled_out")) == 2000 - joined
    assert value(store.state, "midwatch_exporter_sampled_out_total", model="fraud") == 2000 - joined
    assert value(store.state, "ml_requests_total", **VERSION, outcome="ok") == 2000
    store.journal.close()


def test_no_more_than_the_cap_waits(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter(max_waiting=3))
    commit(store, [prediction() for _ in range(5)])
    assert len(store.state.predictions) == 3
    full = {"kind": "prediction", "result": "dropped", "reason": "waiting_full"}
    assert value(store.state, "midwatch_exporter_events_total", **full) == 2
    store.journal.close()


def halves(identifier: str) -> tuple[inference_log.RequestHalf, inference_log.ResponseHalf]:
    common = {"id": identifier, "model": "fraud", "namespace": "n", "component": "predictor", "trace_id": None}
    request = inference_log.RequestHalf(ts=NOW, rows=[{"x": 1.0}], **common)
    return request, inference_log.ResponseHalf(ts=NOW + 0.2, version="v1", answers=[("fraud", 0.9)], **common)


@pytest.mark.parametrize("order", [0, 1], ids=["request first", "response first"])
def test_two_halves_of_an_inference_log_make_one_prediction(store: Store, order: int) -> None:
    pair = halves("k")[:: 1 if order == 0 else -1]
    for half in (*pair, pair[0]):
        commit(store, [half])
    assert value(store.state, "ml_requests_total", **VERSION, outcome="ok") == 1
    assert value(store.state, "ml_request_duration_seconds_sum", **VERSION) == pytest.approx(0.2)
    assert not store.state.halves


def test_a_half_without_the_other_is_dropped_and_counted(store: Store) -> None:
    commit(store, [halves("k")[0]])
    commit(store, [], NOW + 1000)
    missing = {"kind": "half", "result": "dropped", "reason": "other_half_missing"}
    assert value(store.state, "midwatch_exporter_events_total", **missing) == 1


def random_events(seed: int, count: int) -> list:
    source = random.Random(seed)
    made = []
    for number in range(count):
        identifier = f"r{seed}-{source.randrange(count)}"
        if source.random() < 0.6:
            made.append(prediction(identifier, prediction=source.choice("abc"), version=source.choice(["v1", "v2"])))
        else:
            made.append(label(identifier, source.choice("abc")))
        if number % 9 == 0:
            made.extend(halves(f"h{seed}-{source.randrange(count)}")[source.randrange(2) :][:1])
    return made


@pytest.mark.parametrize("with_snapshot", [False, True], ids=["from the journal", "from a snapshot and the journal"])
def test_a_restart_gives_exactly_the_same_state(tmp_path: Path, make_platform, with_snapshot: bool) -> None:
    models = make_platform().models
    store = Store(tmp_path, spec.Exporter(), models)
    stream = random_events(1, 3000)
    for start in range(0, len(stream), 70):
        commit(store, stream[start : start + 70], NOW + start)
        if with_snapshot and start == 1400:
            store.snapshot(NOW + start)
    store.close(NOW, snapshot=lambda: False)
    again = Store(tmp_path, spec.Exporter(), models)
    before, after = (msgspec.msgpack.decode(one.state.totals(), type=Totals) for one in (store, again))
    assert after == before
    assert again.state.predictions.packed == store.state.predictions.packed
    assert again.state.labels.packed == store.state.labels.packed
    assert again.state.halves.packed == store.state.halves.packed
    assert all(verdict is not None for verdict in again.state.admit(stream) if verdict != ("malformed", "other_model"))
    again.journal.close()


def test_a_damaged_tail_is_recovered_up_to_and_said(tmp_path: Path, caplog) -> None:
    store = Store(tmp_path, spec.Exporter())
    for number in range(10):
        commit(store, [prediction(f"t{number}")])
    segment = journal.segment_path(tmp_path, store.journal.end.segment)
    store.journal.close()
    content = bytearray(segment.read_bytes())
    content[-5] ^= 0xFF
    segment.write_bytes(content)
    again = Store(tmp_path, spec.Exporter())
    assert value(again.state, "ml_requests_total", **VERSION, outcome="ok") == 9
    assert "tail is damaged" in caplog.text
    assert len(list(tmp_path.glob("*.damaged"))) == 1
    assert commit(again, [prediction("t9")]) == [None]
    again.journal.close()
    third = Store(tmp_path, spec.Exporter())
    assert value(third.state, "ml_requests_total", **VERSION, outcome="ok") == 10
    assert value(third.state, "midwatch_exporter_journal_corruptions_total") == 1
    third.journal.close()


@pytest.mark.parametrize("cut", [1, 5, 16, 30])
def test_a_torn_last_frame_is_not_a_lost_one_before_it(tmp_path: Path, cut: int) -> None:
    store = Store(tmp_path, spec.Exporter())
    commit(store, [prediction("a")])
    commit(store, [prediction("b")])
    segment = journal.segment_path(tmp_path, store.journal.end.segment)
    store.journal.close()
    os.truncate(segment, segment.stat().st_size - cut)
    again = Store(tmp_path, spec.Exporter())
    assert value(again.state, "ml_requests_total", **VERSION, outcome="ok") == 1
    again.journal.close()


def test_what_waits_is_the_same_after_a_restart_however_it_is_packed(tmp_path: Path, make_platform) -> None:
    models = make_platform(
        models=[{"name": "fraud", "owner": "ml", "task": "classification", "groups": ["country"]}]
    ).models
    given = [
        prediction("scored"),
        prediction("plain", score=None, version="v2"),
        prediction("grouped", groups={"country": "de"}),
        prediction("number", model="price", prediction=4.5),
    ]
    store = Store(tmp_path, spec.Exporter(), models)
    commit(store, given)
    store.close(NOW)
    again = Store(tmp_path, spec.Exporter(), models)
    commit(again, [prediction("later", version="v3")])
    again.close(NOW, snapshot=lambda: False)
    third = Store(tmp_path, spec.Exporter(), models)
    assert commit(third, [label("scored", model="unknown")]) == [("malformed", "other_model")]
    labels = [label(name) for name in ("scored", "plain", "grouped", "later")] + [label("number", 5.0, model="price")]
    assert commit(third, labels) == [None] * 5
    for version in ("v2", "v3"):
        where = {"model": "fraud", "version": version, "predicted": "fraud", "actual": "fraud"}
        assert value(third.state, "ml_outcomes_total", **where) == 1
    assert value(third.state, "ml_scored_outcomes_total", **VERSION, bin="0.9") == 2
    assert value(third.state, "ml_scored_outcomes_total", model="fraud", version="v2", bin="0.9") is None
    assert value(third.state, "ml_absolute_error_total", model="price", version="v1") == 0.5
    assert value(third.state, "midwatch_exporter_predictions_waiting", model="fraud") == 0
    third.journal.close()


def test_damage_before_the_last_segment_refuses_to_start(tmp_path: Path) -> None:
    first = Store(tmp_path, spec.Exporter())
    commit(first, [prediction("a"), prediction("b")])
    segment = journal.segment_path(tmp_path, first.journal.end.segment)
    first.journal.close()
    second = Store(tmp_path, spec.Exporter())
    commit(second, [prediction("c")])
    second.journal.close()
    content = bytearray(segment.read_bytes())
    content[40] ^= 0xFF
    segment.write_bytes(content)
    with pytest.raises(journal.JournalError, match=r"damaged at byte \d+, and later segments exist"):
        Store(tmp_path, spec.Exporter())


def test_a_damaged_snapshot_refuses_to_start(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter())
    commit(store, [prediction("a")])
    store.close(NOW)
    snapshot = next(tmp_path.glob("snapshot-*.log"))
    snapshot.write_bytes(snapshot.read_bytes()[:-3])
    with pytest.raises(journal.JournalError, match="damaged"):
        Store(tmp_path, spec.Exporter())


def test_two_exporters_never_share_a_state_folder(store: Store) -> None:
    with pytest.raises(journal.JournalError, match="in use by another exporter"):
        Store(store.directory, spec.Exporter())


def test_a_folder_that_cannot_be_tidied_after_a_snapshot_is_said_to_be_so(store: Store, monkeypatch, caplog) -> None:
    def gone(_: int) -> None:
        raise OSError("the folder is gone")

    monkeypatch.setattr(store.journal, "drop_before", gone)
    store.snapshot(NOW)
    store._join_snapshot()
    assert "the folder is gone" in caplog.text


def test_a_reader_follows_over_segments_and_is_told_of_a_gap(tmp_path: Path) -> None:
    store = Store(tmp_path, spec.Exporter())
    commit(store, [prediction("a")])
    first = list(journal.follow(tmp_path, journal.Position(0, 0)))
    place = tmp_path / "drift" / "position.json"
    place.parent.mkdir()
    place.write_text(json.dumps({"segment": 1, "offset": first[-1].end.offset}))
    store.snapshot(NOW)
    commit(store, [prediction("b")])
    second = list(journal.follow(tmp_path, first[-1].end))
    assert len(first) == len(second) == 1
    place.unlink()  # a segment is kept for a reader only
    store.close(NOW)
    with pytest.raises(journal.GapError):
        list(journal.follow(tmp_path, journal.Position(1, 5)))


def test_the_exposition_is_what_the_client_library_writes(store: Store) -> None:
    commit(store, [prediction("a", version='quo"te\\\n'), label("a"), prediction("b", duration_seconds=1e9 / 3e9)])
    commit(store, [prediction("c", model="price", prediction=1e7), label("c", 0.1, model="price")])
    registry = CollectorRegistry()
    registry.register(collector.StateCollector(lambda: view(store.state)))
    assert generate(store.state).encode() == generate_latest(registry)


def test_a_latency_bucket_links_to_its_newest_trace_where_the_format_can(store: Store) -> None:
    slow, newer = "a" * 32, "b" * 32
    for number, (seconds, trace) in enumerate([(0.3, slow), (0.301, newer), (0.01, "not a trace"), (0.02, None)]):
        commit(store, [prediction(str(number), duration_seconds=seconds, trace_id=trace)])
    families = collector.families(view(store.state))
    accepted = exposition.accepted(b"application/openmetrics-text;version=1.0.0,text/plain")
    text = collector.exposed(view(store.state), accepted)
    assert text == exposition.render(families, accepted)
    parsed = {family.name: family for family in openmetrics.text_string_to_metric_families(text.decode())}
    assert set(parsed) == {family.name for family in families}
    linked = [sample for sample in parsed["ml_request_duration_seconds"].samples if sample.exemplar]
    assert [(one.labels["le"], one.exemplar.labels, one.exemplar.value) for one in linked] == [
        ("0.5", {"trace_id": newer}, 0.301)
    ]
    assert newer not in generate(store.state)
    for refused in (b"text/plain", b"application/openmetrics-text; version=1.0.0; q=0.0, text/plain", b""):
        assert exposition.accepted(refused) == exposition.CONTENT_TYPE
    restored = msgspec.msgpack.decode(store.state.totals(), type=Totals)
    assert restored.series[0].exemplars == store.state.counters.versions["fraud", "v1"].exemplars


def test_two_exporters_add_up_when_clients_send_by_id(tmp_path: Path) -> None:
    stream = [event for event in random_events(3, 1000) if not isinstance(event, inference_log.Half)]
    alone = Store(tmp_path / "alone", spec.Exporter())
    commit(alone, stream)
    pair = [Store(tmp_path / name, spec.Exporter()) for name in "ab"]
    for index, store in enumerate(pair):
        commit(store, [event for event in stream if hash(event.id) % 2 == index])
    both = [store.state.counters.versions["fraud", "v1"].outcomes for store in pair]
    for predicted, actuals in alone.state.counters.versions["fraud", "v1"].outcomes.items():
        for actual, count in actuals.items():
            assert sum(part.get(predicted, {}).get(actual, 0) for part in both) == count
    for store in (alone, *pair):
        store.journal.close()


def test_scores_say_how_many_predictions_are_expected_to_be_right_before_any_label(store: Store) -> None:
    commit(
        store, [prediction("a", score=0.8), prediction("b", prediction="fine", score=0.1), prediction("c", score=None)]
    )
    assert value(store.state, "ml_expected_correct_total", **VERSION) == pytest.approx(0.8 + 0.9)
    assert value(store.state, "ml_expected_observed_total", **VERSION) == 2


def test_the_state_that_release_0_1_0_wrote_is_opened_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(Path(__file__).parent / "state-0.1.0", folder)
    store = Store(folder, spec.Exporter())
    kserve_prediction = value(store.state, "ml_requests_total", **VERSION, outcome="ok")
    assert kserve_prediction == 3, "two events, and one whose halves stand on both sides of the snapshot"
    assert value(store.state, "ml_requests_total", model="fraud", version="v2", outcome="error") == 1
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="true", actual="true") == 1
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="false", actual="true") == 1
    assert value(store.state, "midwatch_exporter_predictions_waiting", model="fraud") == 1
    assert value(store.state, "midwatch_exporter_labels_waiting", model="fraud") == 1
    assert (len(store.state.halves), store.state.corruptions) == (1, 0)
    assert commit(store, [prediction("a")]) == [("duplicate", "id")]
    commit(store, [label("k1", "true"), prediction("early", prediction="true")])
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="true", actual="true") == 3
    store.journal.close()


def test_a_state_whose_ids_belonged_to_no_model_and_whose_segments_have_no_links_is_opened_and_goes_on(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(Path(__file__).parent / "state-without-links", folder)
    store = Store(folder, spec.Exporter())
    assert value(store.state, "ml_requests_total", **VERSION, outcome="ok") == 4
    retried = [prediction(name) for name in ("a", "b", "c", "k1")] + [label("a", "true"), label("early", "true")]
    assert commit(store, retried) == [("duplicate", "id")] * 6
    assert commit(store, [prediction("c", model="chained")]) == [None]
    late = [label("num", 5.0, model="price"), label("c", "true"), label("k1", "true"), prediction("early")]
    assert commit(store, late) == [None] * 4
    assert value(store.state, "ml_absolute_error_total", model="price", version="v1") == 0.5
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="true", actual="true") == 4
    assert value(store.state, "ml_outcomes_total", **VERSION, predicted="fraud", actual="true") == 1
    store.close(NOW)
    again = Store(folder, spec.Exporter())
    assert commit(again, [*retried, late[1], prediction("early")]) == [("duplicate", "id")] * 8
    again.journal.close()


@pytest.mark.parametrize(("waiting", "most"), [(0, 50), (400, 100)], ids=["few wait", "many wait"])
def test_a_restart_replays_no_more_events_than_a_snapshot_waits_for(
    tmp_path: Path, make_platform, monkeypatch, waiting: int, most: int
) -> None:
    monkeypatch.setattr(store_module, "SNAPSHOT_EVENTS", 50)
    store = Store(tmp_path, spec.Exporter(), make_platform().models)
    commit(store, [prediction() for _ in range(waiting)])
    for _ in range(60):
        together = [prediction() for _ in range(10)]
        commit(store, [*together, *(label(event.id) for event in together)])
        store._join_snapshot()
    store.journal.close()
    applied = []
    real = State.apply

    def apply(self: State, time: float, kept: list, **more: object) -> None:
        applied.append(kept)
        real(self, time, kept, **more)

    monkeypatch.setattr(State, "apply", apply)
    again = Store(tmp_path, spec.Exporter(), make_platform().models)
    again.journal.close()
    assert sum(map(len, applied)) <= most + 20
    assert again.state.totals() == store.state.totals()


def test_a_snapshot_is_begun_where_nobody_waits_for_it(tmp_path: Path, make_platform, monkeypatch) -> None:
    """On the committer's thread, before a group is written: beginning one waits for the disk several times."""
    monkeypatch.setattr(store_module, "SNAPSHOT_EVENTS", 5)
    store = Store(tmp_path, spec.Exporter(), make_platform().models)
    began = []
    monkeypatch.setattr(store, "snapshot", lambda time: began.append((time, len(store.state.predictions))))
    kept = [prediction() for _ in range(10)]
    frame = store.encode(NOW, kept)
    store.append(frame)
    store.applied(NOW, kept, len(frame))
    assert began == []
    store.append(store.encode(NOW + 1, [prediction()]))
    assert began == [(NOW, 10)], "everything before the group, and nothing of it"
    store.journal.close()
