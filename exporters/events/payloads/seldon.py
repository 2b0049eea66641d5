"""Seldon Core 1's protocol: `data` with an array or a tensor and the names of its columns, or text, bytes or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.events.inference_log import RequestPayload, ResponsePayload
from exporters.events.payloads.answers import answer_of, features_of
from exporters.events.tensors import flat

_OTHER = ("strData", "binData", "jsonData", "customData")
_FAILED = "FAILURE"


def request(document: Any, names: Sequence[str]) -> RequestPayload | None:
    """Rows of `data`, with the names it gives or the model's; anything else is one row without features."""
    if type(document) is not dict:
        return None
    data = document.get("data")
    if type(data) is dict and (rows := _rows(data)) is not None:
        own = data.get("names")
        columns = own if type(own) is list and all(type(name) is str for name in own) and own else names
        return RequestPayload(len(rows), [features_of(row, columns) for row in rows])
    return RequestPayload(1) if _is_message(document) else None


def response(document: Any) -> ResponsePayload | None:
    """Rows of `data`; a status of failure is an error; the version is a tag of `meta`, where one sets it."""
    if type(document) is not dict or not _is_message(document):
        return None
    status = document.get("status")
    if type(status) is dict and _FAILED in (status.get("status"), status.get("statusCode")):
        return ResponsePayload(None)
    data = document.get("data")
    rows = _rows(data) if type(data) is dict else None
    if rows is None:
        return ResponsePayload([(None, None)], _version(document))
    return ResponsePayload([answer_of(row) for row in rows], _version(document))


def _is_message(document: dict[str, Any]) -> bool:
    if any(key in document for key in _OTHER):
        return True
    data = document.get("data")
    is_data = type(data) is dict and any(key in data for key in ("ndarray", "tensor", "tftensor"))
    return is_data or (type(document.get("status")) is dict and "code" in document["status"])


def _version(document: dict[str, Any]) -> str | None:
    meta = document.get("meta")
    tags = meta.get("tags") if type(meta) is dict else None
    version = tags.get("version") if type(tags) is dict else None
    return str(version) if type(version) in (str, int) and version != "" else None


def _rows(data: dict[str, Any]) -> list[Any] | None:
    array, tensor = data.get("ndarray"), data.get("tensor")
    if type(array) is list:
        return array
    if type(tensor) is not dict or type(tensor.get("values")) is not list:
        return None
    shape, values = tensor.get("shape"), flat(tensor["values"])
    count = shape[0] if type(shape) is list and shape and type(shape[0]) is int else 1
    if count < 1 or len(values) % count:
        return None
    width = len(values) // count
    return [values[start : start + width] for start in range(0, len(values), width)]
