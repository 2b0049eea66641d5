"""Inference logs: both protocols, both halves, and what is refused."""

from __future__ import annotations

import json
import struct

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
NAMES = {"iris": ["a", "b"]}


def joined(request: object, response: object, **headers: bytes) -> list:
    extra = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (request, response)]
    first = kserve.decode(REQUEST | extra, bodies[0], 0.0, NAMES)
    second = kserve.decode(RESPONSE | extra, bodies[1], 0.0, NAMES)
    assert first.key == second.key
    return inference_log.join(first, second)  # type: ignore[arg-type]


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


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({b"ce-type": b"something.else"}, b"{}"),
        ({b"ce-id": b""}, b"{}"),
        ({b"ce-time": b"yesterday"}, b'{"instances":[1]}'),
        ({b"ce-time": b"2026-01-01T00:00:00"}, b'{"instances":[1]}'),
        ({}, b"{"),
        ({}, b"{}"),
        ({}, b'{"instances":[]}'),
        ({}, b'{"instances":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        ({}, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[1]}]}'),
        ({}, b'{"inputs":[{"name":"x","datatype":"FP99","shape":[1],"parameters":{"binary_data_size":4}}]}1234'),
        ({}, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1000000],"data":[1]}]}'),
        ({}, b"\xff"),
    ],
    ids=[
        "type",
        "no id",
        "time",
        "no zone",
        "no json",
        "nothing",
        "no rows",
        "deep",
        "shape",
        "datatype",
        "rows",
        "utf-8",
    ],
)
def test_what_is_no_inference_log_is_refused_with_a_reason(headers, body: bytes) -> None:
    with pytest.raises(inference_log.MalformedError, match=r"\w"):
        kserve.decode(REQUEST | headers, body, 0.0)


def test_halves_of_different_sizes_do_not_join() -> None:
    with pytest.raises(inference_log.MalformedError, match="2 rows and its response 1"):
        joined({"instances": [1, 2]}, {"predictions": [1]})
