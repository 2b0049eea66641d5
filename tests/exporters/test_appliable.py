"""Whatever is durable can be applied: arbitrary frames, odd halves, a changed task; and what is written is bounded."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters import collector
from exporters.events import bodies, bounds, inference_log, ingest, journal, kserve, store
from exporters.events.state import State
from midwatch import metrics
from midwatch.client import events
from midwatch.spec import model as spec

NOW = 1_700_000_000.0
FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

integers = st.integers(-(2**63), 2**64 - 1)
texts = st.text(max_size=12)
numbers = st.floats() | integers
scalars = st.none() | st.booleans() | numbers | texts
values = st.sampled_from(["a", "b", 1, 2.5, True]) | numbers | texts
names = st.sampled_from(["fraud", "price", "other", "unknown"])
ids = st.sampled_from(["1", "2", "3", "4"])
moments = st.sampled_from([NOW, NOW + 1, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00"]) | st.floats() | integers
probabilities = st.none() | st.floats()
fields = st.dictionaries(st.sampled_from(["country", "x", ""]), values, max_size=2)

predictions = st.fixed_dictionaries(
    {
        "event": st.just("prediction"),
        "id": ids,
        "model": names,
        "version": st.sampled_from(["v1", "v2"]),
        "ts": moments,
    },
    optional={
        "prediction": values,
        "score": probabilities,
        "duration_seconds": probabilities,
        "groups": fields,
        "features": fields,
        "outcome": st.sampled_from(["ok", "error"]),
        "trace_id": texts,
    },
)
labels = st.fixed_dictionaries({"event": st.just("label"), "id": ids, "model": names, "label": values, "ts": moments})
envelope = {
    "id": ids,
    "model": names,
    "namespace": st.just("n"),
    "component": st.just(""),
    "ts": st.floats() | integers,
    "trace_id": st.none() | texts,
}
odd_counts = st.integers(0, 3) | integers
requests = st.fixed_dictionaries(
    {"event": st.just("request"), **envelope, "rows": st.lists(fields, max_size=2)},
    optional={"count": odd_counts, "first": odd_counts, "total": odd_counts, "unread": st.sampled_from(["rows", None])},
)
making = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.dictionaries(st.sampled_from(["input", "output", "odd"]), integers, max_size=2),
        "finish_reasons": st.lists(texts, max_size=2),
        "first_token_seconds": probabilities,
        "output_token_seconds": probabilities,
    },
)
responses = st.fixed_dictionaries(
    {
        "event": st.just("response"),
        **envelope,
        "version": st.sampled_from(["v1", ""]),
        "answers": st.none() | st.lists(st.tuples(scalars, probabilities), max_size=3),
    },
    optional={"first": odd_counts, "total": odd_counts, "generation": making},
)
groups = st.lists(predictions | labels | requests | responses | scalars, max_size=8)


def frame(kind: int, body: bytes, at: float) -> journal.Frame:
    return journal.Frame(kind, at, body, journal.Position(1, 0))


def written(state: State) -> bytes:
    return collector.exposed(collector.View(state.totals(), [], ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0)))


@FUZZ
@given(
    groups=st.lists(st.tuples(groups, st.sampled_from([1, 3]), st.sampled_from([0.0, 50.0, 4000.0])), max_size=4),
    tasks=st.sampled_from([("classification", "regression"), ("regression", "classification")]),
)
def test_any_frame_that_can_be_read_is_applied_and_the_state_can_be_written_and_shown(groups, tasks) -> None:
    before, after = (tuple(_model(name, task) for name in ("fraud", "price")) for task in tasks)
    state, again = State(spec.Exporter(), before), State(spec.Exporter(), after)
    for documents, kind, later in groups:
        group = store.read_group(frame(kind, msgspec.msgpack.encode(documents), NOW + later))
        assert len(group.events) + group.unreadable == len(documents)
        state.apply(NOW + later, group.events, loaded=kind == journal.LOADED)
        state.count_unreadable(group.unreadable)
    again.restore_totals(state.totals())
    for kind in ("predictions", "labels", "halves"):
        getattr(again, kind).packed.update(getattr(state, kind).packed)
    truth = [events.Label(id=one, model=model, label=3.0, ts=NOW) for one in "1234" for model in ("fraud", "price")]
    for one in (state, again):
        one.apply(NOW + 4000, truth)
        one.apply(NOW + 10**6, [])
        assert b"NaN" not in written(one)
        assert not math.isnan(sum(series.latency_sum + series.squared for series in one.counters.versions.values()))


def _model(name: str, task: str) -> spec.Model:
    return spec.Model.model_validate({"name": name, "owner": "ml", "task": task, "groups": ["country"]})


@FUZZ
@given(body=st.binary(max_size=60), kind=st.integers(0, 255))
def test_any_bytes_with_a_right_checksum_are_read_as_a_group(body, kind) -> None:
    group = store.read_group(frame(kind, body, NOW))
    State(spec.Exporter()).apply(NOW, group.events)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(
    documents=st.lists(predictions | labels | json_values, max_size=5),
    between=st.sampled_from(["\n", "\n\n", "\r\n", "\n \n"]),
)
def test_any_lines_of_a_body_are_events_or_refused_by_their_line(documents, between) -> None:
    lines = [json.dumps(document) for document in documents]
    body = between.join(lines).encode()
    try:
        items, refused = bodies.decode(body)
    except bodies.BodyError:
        return
    for place, event in items:
        if body.lstrip()[:1] != b"[":
            assert json.loads(body.split(b"\n")[place - 1])["id"] == event.id
    assert len({place for place, _ in items} | {one.line for one in refused}) == len(items) + len(refused)


keys = st.sampled_from(
    ["instances", "inputs", "predictions", "outputs", "data", "choices", "usage", "error", "name", "datatype", "shape"]
)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from(["FP32", "BYTES", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
HEADERS = {
    b"ce-type": b"x.inference.request",
    b"ce-id": b"1",
    b"ce-inferenceservicename": b"price",
    b"ce-time": b"2026-01-01T00:00:00Z",
}


@FUZZ
@given(request=payloads, response=payloads, cut=st.integers(0, 40), tail=st.binary(max_size=8))
def test_any_payload_of_an_inference_is_counted_as_one_or_more_requests(request, response, cut, tail) -> None:
    model = _model("price", "regression")
    known = kserve.Models.of([model])
    state = State(spec.Exporter(), [model])
    for kind, document in ((b"request", request), (b"response", response)):
        body = json.dumps(document).encode()
        body = body[: len(body) - cut] + tail if cut < 10 else body
        halves = kserve.decode(HEADERS | {b"ce-type": b"x.inference." + kind}, body, NOW, known)
        group = store.read_group(frame(journal.EVENTS, msgspec.msgpack.encode(halves), NOW))
        assert group.unreadable == 0
        state.apply(NOW, group.events)
    assert state.dropped["half"]["unusable"] == 0
    assert sum(series.ok + series.errors for series in state.counters.versions.values()) >= 1
    assert written(state)


# One by one ----------------------------------------------------------------------------------------------------------


def half_pair(answers: list, **changes) -> list[inference_log.Half]:
    common = {"id": "k", "model": "price", "namespace": "n", "component": "", "trace_id": None, "ts": NOW} | changes
    return [
        inference_log.RequestHalf(rows=[{}] * len(answers), **common),
        inference_log.ResponseHalf(version="v1", answers=answers, **common),
    ]


def test_a_score_that_is_no_probability_and_a_text_of_a_regression_are_counted_without_them() -> None:
    state = State(spec.Exporter(), [_model("price", "regression")])
    state.apply(NOW, half_pair([(1.5, -5.0), ("high", float("nan"))]))
    labels = [events.Label(id=f"k/{row}", model="price", label=2.0, ts=NOW) for row in range(2)]
    state.apply(NOW, labels)
    series = state.counters.versions["price", "v1"]
    assert (series.ok, series.observed, series.scored, series.absolute) == (2, 1, 0, 0.5)
    assert state.counters.models["price"].unread == {"wrong_type": 1}


def test_predictions_that_wait_while_the_task_changes_are_counted_by_reason(tmp_path: Path) -> None:
    first = store.Store(tmp_path, spec.Exporter(), [_model("price", "classification")])
    waiting = [
        events.Prediction(id=str(number), model="price", version="v1", ts=NOW, prediction=answer)
        for number, answer in enumerate(["high", "low", 3])
    ]
    kept = first.encode(NOW, waiting)
    first.append(kept)
    first.applied(NOW, waiting, len(kept))
    first.close(NOW)
    again = store.Store(tmp_path, spec.Exporter(), [_model("price", "regression")])
    again.state.apply(NOW, [events.Label(id=str(number), model="price", label=2.0, ts=NOW) for number in range(3)])
    assert again.state.dropped["label"] == {"wrong_type": 3}
    assert again.state.counters.models["price"].waiting == 0
    assert b'reason="wrong_type",result="dropped"} 3' in written(again.state)
    again.journal.close()


def test_an_event_that_cannot_be_used_is_counted_and_the_rest_of_its_group_too(caplog) -> None:
    state = State(spec.Exporter())
    given_ = [events.Prediction(id=str(n), model="m", version="v", ts=NOW, prediction="a") for n in range(3)]
    given_[1].ts = "no time"
    state.apply(NOW, [*given_, events.Label(id="1", model="m", label="a", ts=NOW)])
    assert state.accepted["prediction"] == 2
    assert state.dropped["prediction"] == {"unusable": 1}
    assert sum(series.ok for series in state.counters.versions.values()) == 2
    assert state.counters.models["m"].labels_waiting == 1
    assert "cannot be used" in caplog.text


# Through ingestion ---------------------------------------------------------------------------------------------------


def taken(folder: Path, *given_: bytes, models=(), settings: spec.Exporter | None = None) -> list[ingest.Answer]:
    """Answers to bodies that came at once."""
    answers: list[ingest.Answer] = []

    async def run() -> None:
        kept = store.Store(folder, settings or spec.Exporter(), models)
        taking = ingest.Ingest(kept, settings or spec.Exporter(), models, None)
        for body in given_:
            items, refused = bodies.decode(body)
            taking.submit(ingest.Batch(items=items, refused=refused, reply=answers.append, size=len(body)))
        committer = asyncio.create_task(taking.run())
        taking.stop()
        await committer
        kept.close(time.time())

    asyncio.run(run())
    return answers


def body_of(**changes: object) -> bytes:
    event = {"event": "prediction", "id": "i", "model": "m", "version": "v", "ts": time.time(), "prediction": "a"}
    return json.dumps(event | changes).encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prediction": 2**64}, "prediction is an integer of more than 64 bits"),
        ({"prediction": -(2**63) - 1}, "prediction is an integer of more than 64 bits"),
        ({"groups": {"g": 10**400}}, "groups.g is an integer of more than 64 bits"),
        ({"event": "label", "label": 10**30}, "label is an integer of more than 64 bits"),
        ({"trace_id": "t" * 201}, "trace_id has 201 characters; at most 200 are taken"),
        ({"groups": {"g" * 201: "x"}}, "a name in groups has 201 characters; at most 200 are taken"),
        ({"groups": {f"g{n}-{'x' * 100}": "y" * 900 for n in range(300)}}, "at most 262144 are taken"),
    ],
    ids=["prediction", "negative", "group", "label", "trace", "name", "all"],
)
def test_what_is_over_a_limit_is_refused_with_the_limit_and_ends_nothing(tmp_path: Path, changes, says) -> None:
    answers = taken(tmp_path, body_of(**changes), body_of(id="j"))
    assert says in answers[0].refused[0].message
    assert answers[1].accepted == 1


@pytest.mark.parametrize("integer", [2**64 - 1, -(2**63)])
def test_the_widest_integers_are_taken_and_counted_after_a_restart(tmp_path: Path, integer: int) -> None:
    answers = taken(
        tmp_path,
        body_of(prediction=integer, groups={"g": integer}),
        body_of(event="label", label=integer),
    )
    assert [answer.accepted for answer in answers] == [1, 1]
    again = store.Store(tmp_path, spec.Exporter())
    assert again.state.counters.versions["m", "v"].observed == 1
    again.journal.close()


def test_large_bodies_are_not_one_frame(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bounds, "MAX_GROUP_BYTES", 4000)
    answers = taken(tmp_path, *(body_of(id=str(n), groups={"g": "x" * 900}) for n in range(18)))
    assert sum(answer.accepted for answer in answers) == 18
    frames = [
        one for number in journal.segments(tmp_path) for one in journal.read(tmp_path, journal.Position(number, 0))
    ]
    assert all(len(one.body) < 8000 for one in frames)


def test_a_group_that_a_reader_would_refuse_is_split_and_an_event_that_it_would_is_refused(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(journal, "MAX_FRAME", 1500)
    answers = taken(
        tmp_path,
        *(body_of(id=str(n), groups={"g": "x" * 900}) for n in range(3)),
        body_of(groups={"a": "x" * 1000, "b": "x" * 1000}),
    )
    assert [answer.accepted for answer in answers] == [1, 1, 1, 0]
    assert answers[3].refused[0].reason == "too_large"
    assert "at most 1500 are written" in answers[3].refused[0].message
    again = store.Store(tmp_path, spec.Exporter())
    assert again.state.counters.versions["m", "v"].ok == 3
    again.journal.close()


def test_a_snapshot_is_written_in_pieces_that_can_be_read(tmp_path: Path, monkeypatch) -> None:
    """Many large entries that wait are no frame that the next start refuses."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 5000)
    monkeypatch.setattr(journal, "MAX_FRAME", 20_000)
    model = spec.Model.model_validate({"name": "m", "owner": "o", "task": "classification", "classes": ["x" * 100]})
    many = [body_of(event="label", id=str(n), label="x" * 100) for n in range(300)]
    taken(tmp_path, *many, models=[model])
    again = store.Store(tmp_path, spec.Exporter(), [model])
    assert len(again.state.labels) == 300
    again.journal.close()


def test_names_of_tensors_do_not_multiply_into_the_journal(tmp_path: Path) -> None:
    """A payload of 40 kB must not make a frame of hundreds of megabytes: rows by a name that nobody watches."""
    drift = {"reference": "r.npz", "features": {"x": "numeric"}}
    model = spec.Model.model_validate({"name": "price", "owner": "ml", "task": "regression", "drift": drift})
    kept = store.Store(tmp_path, spec.Exporter(), [model])
    taking = ingest.Ingest(kept, spec.Exporter(), [model], None, clock=lambda: NOW)
    rows = 10_000
    tensors = [{"name": name, "datatype": "BOOL", "shape": [rows], "data": [0] * rows} for name in ("x", "y" * 20_000)]
    body = json.dumps({"inputs": tensors}).encode()
    halves = kserve.decode(HEADERS, body, NOW, kserve.Models.of([model]))
    batch = ingest.Batch(items=[(1, half) for half in halves], reply=lambda _: None)
    taking.submit(batch)
    frames = kept.encode(NOW, [half for _, half in batch.items])
    assert len(frames) < len(body) * 2
    kept.journal.close()


def test_a_half_whose_features_are_too_many_bytes_is_counted_without_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bounds, "MAX_HALF_BYTES", 100)
    drift = {"reference": "r.npz", "features": {"x": "numeric"}}
    model = spec.Model.model_validate({"name": "price", "owner": "ml", "task": "regression", "drift": drift})
    kept = store.Store(tmp_path, spec.Exporter(), [model])
    taking = ingest.Ingest(kept, spec.Exporter(), [model], None, clock=lambda: NOW)
    half = inference_log.RequestHalf(
        id="k", model="price", namespace="", component="", ts=NOW, trace_id=None, rows=[{"x": 1.0}] * 20
    )
    batch = ingest.Batch(items=[(1, half)], reply=lambda _: None)
    taking.submit(batch)
    ((_, stripped),) = batch.items
    assert (stripped.rows, stripped.size) == ([], 20)
    kept.journal.close()


def test_an_error_in_one_group_is_a_503_for_it_and_not_the_end(tmp_path: Path, monkeypatch) -> None:
    kinds = iter([RuntimeError("nobody foresaw this")])
    admit = State.admit

    def once(self, *arguments):
        if error := next(kinds, None):
            raise error
        return admit(self, *arguments)

    monkeypatch.setattr(State, "admit", once)
    monkeypatch.setattr(ingest, "MAX_GROUP", 1)
    answers = taken(tmp_path, body_of(id="1"), body_of(id="2"))
    assert "unexpected error" in answers[0].error
    assert answers[1].accepted == 1


@pytest.mark.parametrize(
    ("seconds", "reason"), [(-3601.0, "too_old"), (301.0, "in_future"), (-3599.0, None), (299.0, None)]
)
@pytest.mark.parametrize("kind", [b"request", b"response"])
def test_an_inference_log_is_held_to_the_times_of_a_prediction(tmp_path: Path, kind, seconds, reason) -> None:
    kept = store.Store(tmp_path, spec.Exporter())
    taking = ingest.Ingest(kept, spec.Exporter(), (), None, clock=lambda: NOW)
    headers = {name: value for name, value in HEADERS.items() if name != b"ce-time"}
    headers[b"ce-type"] = b"x.inference." + kind
    body = b'{"instances":[1],"predictions":[1]}'
    batch = ingest.Batch(
        items=[(1, half) for half in kserve.decode(headers, body, NOW + seconds)], reply=lambda _: None
    )
    taking.submit(batch)
    assert [str(one.reason) for one in batch.refused] == [reason] * (reason is not None)
    assert taking.results["half", "malformed", reason] == (reason is not None)
    kept.journal.close()
