"""Reading a payload of any protocol: the tensors of v2 and the rows of v1 at once, the others where they are not it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from exporters.events.inference_log import RequestPayload, ResponsePayload, UnreadableError
from exporters.events.payloads import document, llm, seldon, v1, v2
from exporters.events.payloads.answers import answer_of, features_of
from exporters.events.reasons import Unread
from exporters.events.tensors import Tensor


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


def read_request(body: bytes, names: Sequence[str] | None, limit: int) -> RequestPayload:
    """Rows of a request; UnreadableError when nothing of it can be told. It inflates to at most `limit` bytes.

    `names` are those of the model's features in their order, or None when nobody asks for features.
    """
    body = document.inflated(body, limit)
    payload, binary = _typed(_REQUEST, body)
    if payload is not None and payload.instances is not None:
        rows = [] if names is None else [features_of(instance, names) for instance in payload.instances]
        return RequestPayload(len(payload.instances), rows)
    if payload is not None and payload.inputs:
        return v2.tensor_request(payload.inputs, binary, names)
    parsed = document.parse(body)
    for protocol in (llm, seldon, v1):
        if (made := protocol.request(parsed, names or ())) is not None:
            return made if names is not None else RequestPayload(made.size)
    raise UnreadableError(Unread.PROTOCOL, "the request is of no known protocol")


def read_response(body: bytes, classes: Collection[str], limit: int) -> ResponsePayload:
    """Answers of a response; UnreadableError when nothing of it can be told. `classes` are those of the model."""
    body = document.inflated(body, limit)
    payload, binary = _typed(_RESPONSE, body)
    if payload is not None and payload.error is not None:
        return ResponsePayload(None)
    if payload is not None and payload.predictions is not None:
        return ResponsePayload([answer_of(value) for value in payload.predictions])
    if payload is not None and payload.outputs:
        return v2.tensor_response(payload.outputs, binary, payload.model_version, classes)
    parsed = document.parse(body)
    for made in (llm.response(parsed, classes), seldon.response(parsed), v1.response(parsed)):
        if made is not None:
            return made
    if type(parsed) is dict and parsed.get("error") is not None:
        return ResponsePayload(None)
    raise UnreadableError(Unread.PROTOCOL, "the response is of no known protocol")


def _typed(decoder: msgspec.json.Decoder[Any], body: bytes) -> tuple[Any, bytes]:
    """A document of v1 by rows or of v2, and its tensors in binary; None when it is neither."""
    try:
        return decoder.decode(body), b""
    except msgspec.ValidationError:
        return None, b""
    except RecursionError as error:
        raise UnreadableError(Unread.NOT_JSON, "nested too deeply") from error
    except ValueError:
        pass
    binary = b""
    if b"binary_data_size" in body:
        body, binary = document.split_binary(body)
    elif b"NaN" not in body and b"Infinity" not in body:
        return None, b""
    try:
        return decoder.decode(_plain(body)), binary
    except msgspec.ValidationError:
        return None, b""


def _plain(body: bytes) -> bytes:
    return document.without_nan(body) if b"NaN" in body or b"Infinity" in body else body
