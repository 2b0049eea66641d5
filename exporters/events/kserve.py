"""KServe's inference log: CloudEvents in binary mode, read as the two halves of an inference.

Reading HTTP, keeping a half until the other one comes, and personal fields are left to the server and the state.

KServe's agent (pkg/logger of kserve/kserve) posts one CloudEvent for the request and one for the response, with the
same `ce-id`; the event types still say `org.kubeflow`. What follows from its source:

- A response is logged only when the model answered 200, so a request without a response is a failure, a lost event
  or a logger in mode `request`; nobody can tell which. Such halves are counted as expired, never as errors: take the
  availability of a KServe model from its server's own metrics. Only an `error` key in a 200 answer is an error here.
- `ce-time` is when the agent sent the event. It differs from the request's arrival and the answer's departure by the
  wait in the agent's queue; the difference of the two is the latency.
- There is no model version. In this order: `model_version` of a v2 response; the annotation
  `app.kubernetes.io/version`, where the logger's `metadataAnnotations` lists it; `ce-endpoint` (`default` or
  `canary`, empty in recent releases); else `default`.
- The model is the InferenceService. Transformer and predictor each log on their own: enable the logger on one.

Features: an object instance (v1) keeps its keys; the columns of a list instance (v1) or of a single matrix (v2) get the
model's feature names, if there are as many; a v2 input with one value per row gives the feature of its name. Whatever
else (images, texts to be embedded) counts as a prediction without features.

Prediction: a scalar is itself. A vector of probabilities gives the index of its maximum, and as score, when there are
two classes, the probability of class 1. An object gives its `prediction` and `score`. Other vectors have no class.
With several v2 outputs the first gives the prediction and the first that has a score gives the score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec

from exporters.events.inference_log import (
    Answer,
    Features,
    Half,
    MalformedError,
    RequestHalf,
    ResponseHalf,
    ensure_rows,
)
from exporters.events.tensors import Tensor, parse, values_of, with_binary

REQUEST_TYPE = b"org.kubeflow.serving.inference.request"
RESPONSE_TYPE = b"org.kubeflow.serving.inference.response"
VERSION_ANNOTATION = "app.kubernetes.io/version"
DEFAULT_VERSION = "default"

PROBABILITY_TOLERANCE = 0.01
"""How far from 1 a vector of probabilities may add up to: half precision, rounded for the answer."""


class _Request(msgspec.Struct):
    instances: list[Any] | None = None
    inputs: list[Tensor] | None = None


class _Response(msgspec.Struct):
    predictions: list[Any] | None = None
    outputs: list[Tensor] | None = None
    model_version: str | int | None = None
    error: Any = None


_REQUEST = msgspec.json.Decoder(_Request)
_RESPONSE = msgspec.json.Decoder(_Response)
_ANNOTATIONS = msgspec.json.Decoder(dict[str, str])
_METADATA = msgspec.json.Decoder(dict[str, list[str]] | None)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

_SCALARS = frozenset({str, int, float, bool, type(None)})
_NUMBERS = frozenset({int, float})


def decode(
    headers: Mapping[bytes, bytes],
    body: bytes,
    received: float,
    feature_names: Mapping[str, Sequence[str]] | None = None,
) -> Half:
    """Read one logged request or response; MalformedError if it is neither.

    `headers` have lower-case names. `received` (seconds since the epoch) stands in for a missing `ce-time`.
    `feature_names` names the columns of list instances and matrices, by model.
    """
    try:
        kind = headers.get(b"ce-type")
        if kind == REQUEST_TYPE:
            return _decode_request(headers, body, received, feature_names or {})
        if kind == RESPONSE_TYPE:
            return _decode_response(headers, body, received)
        if kind is None:
            raise MalformedError("there is no ce-type header; send CloudEvents in binary mode")
        raise MalformedError(f"ce-type {kind.decode()} is not an inference request or response")
    except MalformedError:
        raise
    except RecursionError as error:
        raise MalformedError("the payload is nested too deeply") from error
    except ValueError as error:
        raise MalformedError(str(error)) from error


# Headers -----------------------------------------------------------------------------------------------------------


def _envelope(headers: Mapping[bytes, bytes], received: float) -> dict[str, Any]:
    return {
        "id": _required(headers, b"ce-id"),
        "model": _required(headers, b"ce-inferenceservicename"),
        "namespace": headers.get(b"ce-namespace", b"").decode(),
        "component": headers.get(b"ce-component", b"").decode(),
        "ts": _timestamp(headers, received),
        "trace_id": _trace_id(headers),
    }


def _required(headers: Mapping[bytes, bytes], name: bytes) -> str:
    value = headers.get(name)
    if not value:
        raise MalformedError(f"there is no {name.decode()} header")
    return value.decode()


def _timestamp(headers: Mapping[bytes, bytes], received: float) -> float:
    text = headers.get(b"ce-time")
    if not text:
        return received
    moment = datetime.fromisoformat(text.decode())
    if moment.tzinfo is None:
        raise MalformedError(f"ce-time {text.decode()} has no time zone")
    return moment.timestamp()


def _trace_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Trace id of a W3C traceparent, from the tracing extension or from `metadataHeaders: [Traceparent]`."""
    traceparent = headers.get(b"ce-traceparent", b"").decode()
    metadata = headers.get(b"ce-metadata", b"")
    if not traceparent and b"raceparent" in metadata:
        values = _METADATA.decode(metadata) or {}
        traceparent = "".join(
            chain.from_iterable(value for name, value in values.items() if name.lower() == "traceparent")
        )
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return match[1] if match else None


def _version(headers: Mapping[bytes, bytes], model_version: str | int | None) -> str:
    if model_version not in (None, ""):
        return str(model_version)
    annotations = headers.get(b"ce-annotations")
    annotated = _ANNOTATIONS.decode(annotations).get(VERSION_ANNOTATION) if annotations else None
    return annotated or headers.get(b"ce-endpoint", b"").decode() or DEFAULT_VERSION


# Requests ----------------------------------------------------------------------------------------------------------


def _decode_request(
    headers: Mapping[bytes, bytes], body: bytes, received: float, feature_names: Mapping[str, Sequence[str]]
) -> RequestHalf:
    envelope = _envelope(headers, received)
    payload, binary = parse(_REQUEST, body)
    names = feature_names.get(envelope["model"], ())
    if payload.instances is not None:
        ensure_rows(len(payload.instances))
        rows = [_instance_features(instance, names) for instance in payload.instances]
    elif payload.inputs:
        rows = _tensor_features(payload.inputs, binary, names)
    else:
        raise MalformedError("the request has neither instances (v1) nor inputs (v2)")
    return RequestHalf(rows=rows, **envelope)


def _instance_features(instance: Any, names: Sequence[str]) -> Features:
    if type(instance) is dict:
        return {name: value for name, value in instance.items() if type(value) in _SCALARS}
    values = instance if type(instance) is list else [instance]
    if len(values) != len(names):
        return {}
    return {name: value for name, value in zip(names, values, strict=True) if type(value) in _SCALARS}


def _tensor_features(tensors: list[Tensor], binary: bytes, names: Sequence[str]) -> list[Features]:
    count = tensors[0].rows
    ensure_rows(count)
    rows: list[Features] = [{} for _ in range(count)]
    for tensor, chunk in with_binary(tensors, binary):
        if tensor.rows != count:
            continue
        width = math.prod(tensor.shape[1:])
        if width == 1:
            _fill(rows, tensor.name, values_of(tensor, chunk, count))
        elif len(tensors) == 1 and width == len(names):
            values = values_of(tensor, chunk, count * width)
            for column, name in enumerate(names):
                _fill(rows, name, values[column::width])
    return rows


def _fill(rows: list[Features], name: str, values: list[Any]) -> None:
    for row, value in zip(rows, values, strict=True):
        if type(value) in _SCALARS:
            row[name] = value


# Responses ---------------------------------------------------------------------------------------------------------


def _decode_response(headers: Mapping[bytes, bytes], body: bytes, received: float) -> ResponseHalf:
    envelope = _envelope(headers, received)
    payload, binary = parse(_RESPONSE, body)
    answers: list[Answer] | None
    if payload.error is not None:
        answers = None
    elif payload.predictions is not None:
        ensure_rows(len(payload.predictions))
        answers = [_answer(value) for value in payload.predictions]
    elif payload.outputs:
        answers = _tensor_answers(payload.outputs, binary)
    else:
        raise MalformedError("the response has neither predictions (v1) nor outputs (v2) nor an error")
    return ResponseHalf(version=_version(headers, payload.model_version), answers=answers, **envelope)


def _answer(value: Any) -> Answer:
    """Prediction and score of one row of a response."""
    kind = type(value)
    if kind is list and len(value) == 1:
        value, kind = value[0], type(value[0])
    if kind in _SCALARS:
        return value, None
    if kind is dict:
        prediction, score = value.get("prediction"), value.get("score")
        return prediction if type(prediction) in _SCALARS else None, float(score) if type(score) in _NUMBERS else None
    if _are_probabilities(value):
        return value.index(max(value)), float(value[1]) if len(value) == 2 else None
    return None, None


def _are_probabilities(values: list[Any]) -> bool:
    return (
        len(values) > 1
        and all(type(value) in _NUMBERS and 0 <= value <= 1 for value in values)
        and abs(sum(values) - 1) <= PROBABILITY_TOLERANCE
    )


def _tensor_answers(tensors: list[Tensor], binary: bytes) -> list[Answer]:
    count = tensors[0].rows
    ensure_rows(count)
    columns = [
        [_answer(row) for row in _row_values(tensor, chunk)]
        for tensor, chunk in with_binary(tensors, binary)
        if tensor.rows == count
    ]
    return [
        (answers[0][0], next((score for _, score in answers if score is not None), None))
        for answers in zip(*columns, strict=True)
    ]


def _row_values(tensor: Tensor, chunk: bytes) -> list[Any]:
    width = math.prod(tensor.shape[1:])
    values = values_of(tensor, chunk, tensor.rows * width)
    return values if width == 1 else [values[start : start + width] for start in range(0, len(values), width)]
