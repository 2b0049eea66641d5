"""Inference logs as CloudEvents in binary mode (KServe, Seldon), read as the two halves of an inference.

Reading HTTP, keeping a half until the other one comes, and personal fields are left to the server and the state; what
stands in a payload to `payloads`.

KServe's agent (pkg/logger of kserve/kserve) posts one CloudEvent for the request and one for the response, with the
same `ce-id`; the event types still say `org.kubeflow`. Seldon's executor (executor/logger of SeldonIO/seldon-core)
gives each event an id of its own, and both the same `ce-requestid`. What follows from their sources:

- A response is logged only when the model answered 200, so a request without a response is a failure, a lost event
  or a logger in mode `request`; nobody can tell which. Such halves are counted as expired, never as errors: take the
  availability of a KServe model from its server's own metrics. Only an `error` key in a 200 answer is an error here.
- `ce-time` is when the agent sent the event. It differs from the request's arrival and the answer's departure by the
  wait in the agent's queue; the difference of the two is the latency.
- There is no model version. In this order: `model_version` of a v2 response (a tag `version` of Seldon); the annotation
  `app.kubernetes.io/version`, where the logger's `metadataAnnotations` lists it; `ce-endpoint` (`default` or
  `canary`, empty in recent releases); else `default`.
- The model is the InferenceService, or the one that the platform file says is `served_as` it. Transformer and predictor
  each log on their own: enable the logger on one.
- Nothing is retried, so nothing is refused but what names no inference: a payload that cannot be read makes one
  request without class and features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from urllib.parse import unquote

import msgspec

from exporters.events import payloads
from exporters.events.inference_log import Envelope, Half, MalformedError, ResponsePayload, UnreadableError
from exporters.events.reasons import Unread
from midwatch.spec import model as spec

REQUEST_TYPE = b".inference.request"
RESPONSE_TYPE = b".inference.response"
"""How the types end: `org.kubeflow.serving` stands before it, or `io.seldon.serving`."""

VERSION_ANNOTATION = "app.kubernetes.io/version"
DEFAULT_VERSION = "default"
MAX_NAME = 200
"""Characters of ids, models and versions, as in events."""

MAX_PAYLOAD = 16 * 2**20

_ANNOTATIONS = msgspec.json.Decoder(dict[str, str])
_METADATA = msgspec.json.Decoder(dict[str, list[str]] | None)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Models:
    """What the platform file says about models: their names by those at the server, features in order, and classes."""

    names: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, models: Sequence[spec.Model]) -> Models:
        """Of the models of a platform file."""
        return cls(
            names={model.served_as: model.name for model in models if model.served_as}
            | {model.name: model.name for model in models},
            features={model.name: list(model.drift.features) for model in models if model.drift},
            classes={model.name: model.class_names for model in models if model.classes},
        )


_NO_MODELS = Models()
_UNREADABLE = (UnreadableError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
"""What a payload that nobody foresaw may raise: it makes one request, like any that cannot be read."""


def decode(
    headers: Headers, body: bytes, received: float, models: Models = _NO_MODELS, limit: int = MAX_PAYLOAD
) -> list[Half]:
    """Halves of one logged request or response; MalformedError if its headers name no inference.

    `headers` have lower-case names. `received` (seconds since the epoch) stands in for a missing `ce-time`. A payload
    inflates to at most `limit` bytes.
    """
    kind = headers.get(b"ce-type")
    if kind is None:
        raise MalformedError("there is no ce-type header; send CloudEvents in binary mode")
    if kind.endswith(REQUEST_TYPE):
        return _decode_request(_envelope(headers, received, models), body, models, limit)
    if kind.endswith(RESPONSE_TYPE):
        return _decode_response(_envelope(headers, received, models), headers, body, models, limit)
    raise MalformedError(f"ce-type {_text(kind)[:MAX_NAME]} is not an inference request or response")


def _decode_request(envelope: Envelope, body: bytes, models: Models, limit: int) -> list[Half]:
    try:
        payload = payloads.read_request(body, models.features.get(envelope.model), limit)
        return [*envelope.request(payload)]
    except _UNREADABLE as error:
        return [*envelope.unread_request(_reason(error))]


def _decode_response(envelope: Envelope, headers: Headers, body: bytes, models: Models, limit: int) -> list[Half]:
    try:
        payload = payloads.read_response(body, models.classes.get(envelope.model, ()), limit)
        return [*envelope.response(payload, _version(headers, payload))]
    except _UNREADABLE as error:
        return [*envelope.unread_response(_reason(error), _version(headers))]


def _reason(error: Exception) -> Unread:
    """Why a payload was not read; what no module foresaw is not of its protocol."""
    return error.reason if isinstance(error, UnreadableError) else Unread.PROTOCOL


# Headers -----------------------------------------------------------------------------------------------------------


def _envelope(headers: Headers, received: float, models: Models) -> Envelope:
    served_as = _required(headers, b"ce-inferenceservicename")
    return Envelope(
        id=_required(headers, b"ce-requestid" if headers.get(b"ce-requestid") else b"ce-id"),
        model=models.names.get(served_as, served_as),
        namespace=_text(headers.get(b"ce-namespace", b""))[:MAX_NAME],
        component=_text(headers.get(b"ce-component") or headers.get(b"ce-modelid", b""))[:MAX_NAME],
        ts=_timestamp(headers, received),
        trace_id=_trace_id(headers),
    )


def _text(value: bytes) -> str:
    """Value of a CloudEvents header, whose odd characters are percent-encoded UTF-8 (HTTP binding 1.0.2, 3.1.3.2)."""
    if b"%" in value:
        return unquote(value.decode("utf-8", "replace"))
    return value.decode("utf-8", "replace") if value else ""


def _required(headers: Headers, name: bytes) -> str:
    value = _text(headers.get(name, b""))
    if not value:
        raise MalformedError(f"there is no {name.decode()} header")
    if len(value) > MAX_NAME:
        raise MalformedError(f"the {name.decode()} header has {len(value)} characters, more than {MAX_NAME}")
    return value


def _timestamp(headers: Headers, received: float) -> float:
    text = _text(headers.get(b"ce-time", b""))
    if not text:
        return received
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedError(f"ce-time {text[:MAX_NAME]} is no time of RFC 3339") from error
    if moment.tzinfo is None:
        raise MalformedError(f"ce-time {text} has no time zone")
    return moment.timestamp()


def _trace_id(headers: Headers) -> str | None:
    """Trace id of a W3C traceparent, from the tracing extension or from `metadataHeaders: [Traceparent]`."""
    traceparent = _text(headers.get(b"ce-traceparent", b""))
    metadata = headers.get(b"ce-metadata", b"")
    if not traceparent and not metadata:
        return None
    if not traceparent and b"raceparent" in metadata:
        try:
            values = _METADATA.decode(_text(metadata)) or {}
        except msgspec.MsgspecError:
            return None
        traceparent = "".join(
            chain.from_iterable(value for name, value in values.items() if name.lower() == "traceparent")
        )
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return match[1] if match else None


def _version(headers: Headers, payload: ResponsePayload | None = None) -> str:
    candidates = (payload.version if payload else None, _annotated(headers), _text(headers.get(b"ce-endpoint", b"")))
    return next((version for version in candidates if version and len(version) <= MAX_NAME), DEFAULT_VERSION)


def _annotated(headers: Headers) -> str | None:
    annotations = headers.get(b"ce-annotations")
    try:
        return _ANNOTATIONS.decode(_text(annotations)).get(VERSION_ANNOTATION) if annotations else None
    except msgspec.MsgspecError:
        return None
