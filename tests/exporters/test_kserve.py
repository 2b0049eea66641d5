"""Inference logs: both halves and what their headers say, how they join, and what is refused."""

from __future__ import annotations

import gzip
import json
import struct

import msgspec
import pytest

from exporters.events import inference_log, kserve

REQUEST = {
    b"ce-type": b"org.kubeflow.serving.inference.request",
    b"ce-id": b"abc",
    b"ce-inferenceservicename": b"iris",
    b"ce-namespace": b"prod",
    b"ce-component": b"predictor",
    b"ce-endpoint": b"canary",
    b"ce-time": b"2026-01-01T00:00:00Z",
}
RESPONSE = REQUEST | {
    b"ce-type": b"org.kubeflow.serving.inference.response",
    b"ce-time": b"2026-01-01T00:00:00.250Z",
}
MODELS = kserve.Models(
    names={"iris-v2-isvc": "iris"}, features={"iris": ["a", "b"]}, classes={"judge": frozenset({"yes", "no"})}
)


def halves(request: object, response: object, **headers: bytes) -> tuple[list, list]:
    extra = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (request, response)]
    first = kserve.decode(REQUEST | extra, bodies[0], 0.0, MODELS)
    second = kserve.decode(RESPONSE | extra, bodies[1], 0.0, MODELS)
    return first, second


def whole(request: object, response: object, **headers: bytes) -> inference_log.Joined:
    (first,), (second,) = halves(request, response, **headers)
    assert first.key == second.key
    return inference_log.Joined.of(first, second)


def joined(request: object, response: object, **headers: bytes) -> list:
    return whole(request, response, **headers).predictions


def test_one_row_of_v1_is_one_prediction_with_the_events_id_and_latency() -> None:
    (made,) = joined({"instances": [[1, 2.5]]}, {"predictions": ["setosa"]})
    assert (made.id, made.model, made.version, made.prediction) == ("abc", "iris", "canary", "setosa")
    assert made.features == {"a": 1, "b": 2.5}
    assert made.duration_seconds == pytest.approx(0.25)


def test_rows_of_a_batch_are_numbered() -> None:
    made = joined({"instances": [{"x": 1}, {"x": None}]}, {"predictions": [[0.2, 0.8], [0.9, 0.1]]})
    assert [(one.id, one.prediction, one.score) for one in made] == [("abc/0", 1, 0.8), ("abc/1", 0, 0.1)]
    assert made[1].features == {"x": None}


def test_v2_tensors_give_features_by_name_and_the_version_of_the_response() -> None:
    request = {
        "inputs": [
            {"name": "age", "datatype": "INT64", "shape": [2], "data": [30, 40]},
            {"name": "city", "datatype": "BYTES", "shape": [2, 1], "data": ["ber", "nyc"]},
        ]
    }
    output = {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [0.1, 0.9, 0.7, 0.3]}
    made = joined(request, {"model_version": "7", "outputs": [output]})
    assert [one.features for one in made] == [{"age": 30, "city": "ber"}, {"age": 40, "city": "nyc"}]
    assert [(one.version, one.prediction) for one in made] == [("7", 1), ("7", 0)]


def test_binary_tensors_are_read_behind_the_json() -> None:
    tensor = {"name": "m", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    body = json.dumps({"inputs": [tensor]}).encode() + struct.pack("<2f", 1.5, float("nan"))
    (made,) = joined(body, {"predictions": [3]})
    assert made.features == {"a": 1.5, "b": None}


def test_an_error_answer_is_an_error() -> None:
    (made,) = joined({"instances": [1]}, {"error": "boom"})
    assert (made.outcome, made.prediction) == ("error", None)


def test_the_trace_goes_along() -> None:
    parent = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    assert joined({"instances": [1]}, {"predictions": [1]}, ce_traceparent=parent)[0].trace_id == "a" * 32


def test_ids_of_a_batch_beyond_ten_thousand_rows_go_on_over_its_parts() -> None:
    count = 2 * inference_log.PART_ROWS + 1
    first, second = halves({"instances": [[1, 2]] * count}, {"predictions": list(range(count))})
    assert len(first) == len(second) == 3
    made = [
        prediction
        for pair in zip(first, second, strict=True)
        for prediction in inference_log.Joined.of(*pair).predictions
    ]
    assert [(one.id, one.prediction) for one in made] == [(f"abc/{row}", row) for row in range(count)]
    assert made[-1].features == {"a": 1, "b": 2}
    assert len({half.key for half in first}) == 3


def test_rows_that_differ_make_one_request_without_a_class() -> None:
    made = whole({"instances": [1, 2]}, {"predictions": [1]})
    (one,) = made.predictions
    assert (one.id, one.prediction, one.features, made.unread) == ("abc", None, {}, ["rows_differ"])
    assert one.duration_seconds == pytest.approx(0.25)


@pytest.mark.parametrize("sides", [("request", "response"), ("response", "request")], ids="-".join)
def test_rows_that_differ_beyond_a_part_make_one_request_too(sides) -> None:
    many = 2 * inference_log.PART_ROWS
    counts = dict(zip(sides, (many, 3), strict=True))
    first, second = halves({"instances": [1] * counts["request"]}, {"predictions": [1] * counts["response"]})
    made = [inference_log.Joined.of(*pair) for pair in zip(first, second, strict=False)]
    assert [len(part.predictions) for part in made] == [1]
    assert made[0].predictions[0].id == "abc"
    more, fewer = halves({"instances": [1] * many}, {"predictions": [1] * (many - 1)})
    made = [inference_log.Joined.of(*pair) for pair in zip(more, fewer, strict=True)]
    assert [len(part.predictions) for part in made] == [1, 0]


def test_more_rows_than_an_inference_may_have_are_one_request() -> None:
    (first,) = kserve.decode(REQUEST, json.dumps({"instances": [0] * (inference_log.MAX_ROWS + 1)}).encode(), 0.0)
    assert first.unread == "rows"
    (first,) = kserve.decode(
        REQUEST, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1000000000],"data":[]}]}', 0.0
    )
    assert first.unread == "rows"


def test_a_model_is_known_by_the_name_it_has_at_the_server() -> None:
    (made,) = joined({"instances": [[1, 2]]}, {"predictions": [1]}, ce_inferenceservicename=b"iris-v2-isvc")
    assert (made.model, made.features) == ("iris", {"a": 1, "b": 2})


def test_headers_are_percent_decoded_as_cloud_events_has_them() -> None:
    annotations = b"%7B%22app.kubernetes.io/version%22:%20%222026-07%20r%C3%A9sum%C3%A9%22%7D"
    (made,) = joined(
        {"instances": [1]}, {"predictions": [1]}, ce_annotations=annotations, ce_inferenceservicename=b"caf%C3%A9"
    )
    assert (made.model, made.version) == ("café", "2026-07 résumé")


@pytest.mark.parametrize("header", [b"{", b"%7B%22a%22:1%7D", b"[1]", b"\xff"])
def test_annotations_and_metadata_that_cannot_be_read_lose_no_inference(header: bytes) -> None:
    metadata = header + b"raceparent"
    (made,) = joined({"instances": [1]}, {"predictions": [1]}, ce_annotations=header, ce_metadata=metadata)
    assert (made.version, made.trace_id) == ("canary", None)


def test_a_version_longer_than_a_name_is_none() -> None:
    output = {"name": "y", "datatype": "INT64", "shape": [1], "data": [1]}
    (made,) = joined({"instances": [1]}, {"model_version": "9" * 5000, "outputs": [output]})
    assert made.version == "canary"


def test_the_halves_that_seldons_executor_logs_join_by_their_request_id() -> None:
    common = {b"ce-inferenceservicename": b"iris", b"ce-requestid": b"puid", b"ce-modelid": b"classifier"}
    request = common | {b"ce-type": b"io.seldon.serving.inference.request", b"ce-id": b"one"}
    response = common | {b"ce-type": b"io.seldon.serving.inference.response", b"ce-id": b"two"}
    (first,) = kserve.decode(request, b'{"data":{"names":["a","b"],"ndarray":[[1,2]]}}', 1.0, MODELS)
    (second,) = kserve.decode(response, b'{"data":{"names":["p"],"ndarray":[["setosa"]]},"meta":{}}', 1.5, MODELS)
    assert first.key == second.key
    (made,) = inference_log.Joined.of(first, second).predictions
    assert (made.id, made.prediction, made.features) == ("puid", "setosa", {"a": 1, "b": 2})


@pytest.mark.parametrize(
    "headers",
    [
        {b"ce-type": b"something.else"},
        {b"ce-type": b"io.seldon.serving.feedback"},
        {b"ce-id": b""},
        {b"ce-id": b"x" * 201},
        {b"ce-inferenceservicename": b""},
        {b"ce-time": b"yesterday"},
        {b"ce-time": b"2026-01-01T00:00:00"},
    ],
    ids=["type", "feedback", "no id", "long id", "no model", "time", "no zone"],
)
def test_what_names_no_inference_is_refused_with_a_reason(headers) -> None:
    with pytest.raises(inference_log.MalformedError, match=r"\w"):
        kserve.decode(REQUEST | headers, b'{"instances":[1]}', 0.0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not_json"),
        (b"", "not_json"),
        (b"{}", "protocol"),
        (b"[1]", "protocol"),
        (b'"text"', "protocol"),
        (b'{"instances":[]}', "rows"),
        (b'{"instances":' + b"[" * 5000 + b"]" * 5000 + b"}", "not_json"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[1]}]}', "tensor"),
        (
            b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":5}}]}\x09aaaa',
            "tensor",
        ),
        (b'{"inputs":[{"name":"x","datatype":"FP99","shape":[1],"parameters":{"binary_data_size":4}}]}1234', "tensor"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":3}}]}123', "tensor"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-1],"data":[1]}]}', "rows"),
        (b"\xff", "not_json"),
        (gzip.compress(b'{"instances":[[1,2]]}')[:-9], "encoding"),
        (gzip.compress(b" " * (kserve.MAX_PAYLOAD + 1)), "too_large"),
        (b"\x28\xb5\x2f\xfd....", "encoding"),
        (b'{"instances":[NaN', "not_json"),
        (b'data: {"choices": [NaN, }\n\n', "not_json"),
        (b'{"instances":["\\ud800", NaN]}', "not_json"),
    ],
)
def test_a_payload_that_cannot_be_read_is_one_request_with_a_latency_and_the_answers_class(body, reason) -> None:
    made = whole(body, {"predictions": ["setosa"]})
    (one,) = made.predictions
    assert (one.id, one.features, one.prediction, made.unread) == ("abc", {}, "setosa", [reason])
    made = whole({"instances": [[1, 2], [3, 4]]}, body)
    assert [(one.id, one.prediction, one.outcome) for one in made.predictions] == [("abc", None, "ok")]
    assert made.predictions[0].duration_seconds == pytest.approx(0.25)
    assert len(made.unread) == 1


ODD = [None, True, 10**400, -1, 1e308, "", "x" * 300, [], [[]], {}, {"a": [10**400]}, [None, {}], {"index": {}}]


@pytest.mark.parametrize(
    "key", ["predictions", "outputs", "usage", "choices", "data", "error", "timings", "eval_duration"]
)
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_whatever_stands_in_a_payload_it_makes_a_half(key: str, odd: object) -> None:
    for document in ({key: odd}, {key: {key: odd}}, {key: [odd, 1]}, {"choices": [{key: odd}], "usage": {key: odd}}):
        requests = (document, {"inputs": odd, "data": {"tensor": odd}}, {"instances": [odd, [odd, 1], {"a": odd}]})
        made = [kserve.decode(RESPONSE, json.dumps(document).encode(), 0.0, MODELS)]
        made += [kserve.decode(REQUEST, json.dumps(request).encode(), 0.0, MODELS) for request in requests]
        assert [len(parts) for parts in made] == [1, 1, 1, 1]
        msgspec.msgpack.encode(made)  # so that it can be written to the journal
