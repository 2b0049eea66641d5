"""The v1 protocol (TensorFlow Serving, KServe): `instances` and `predictions`, row by row or by column.

By column, `inputs` and `outputs` are an object of named columns, or the rows of the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.events.inference_log import Features, RequestPayload, ResponsePayload
from exporters.events.payloads.answers import answer_of, combined, features_of, fill

PREDICTION_COLUMNS = ("prediction", "predictions", "class", "classes", "label", "labels")
"""Names of the column that says the class, where there is one of them; else it is the first."""


def request(document: Any, names: Sequence[str]) -> RequestPayload | None:
    """A document with `instances`, or `inputs` by column."""
    if type(document) is not dict:
        return None
    instances, inputs = document.get("instances"), document.get("inputs")
    if type(instances) is list:
        return RequestPayload(len(instances), [features_of(instance, names) for instance in instances])
    if instances is not None:
        return RequestPayload(1, [features_of(instances, names)])
    if type(inputs) is list:
        return RequestPayload(len(inputs), [features_of(row, names) for row in inputs])
    if type(inputs) is dict and inputs:
        return _columns(inputs)
    return None


def _columns(inputs: dict[str, Any]) -> RequestPayload:
    count = _length(inputs)
    rows: list[Features] = [{} for _ in range(count)]
    for name, column in inputs.items():
        values = column if type(column) is list else [column]
        if len(values) == count:
            fill(rows, name, [value[0] if type(value) is list and len(value) == 1 else value for value in values])
    return RequestPayload(count, rows)


def _length(columns: dict[str, Any]) -> int:
    return next((len(column) for column in columns.values() if type(column) is list), 1)


def response(document: Any) -> ResponsePayload | None:
    """A document with `predictions`, or `outputs` by column."""
    if type(document) is not dict:
        return None
    for key in ("predictions", "outputs"):
        values = document.get(key)
        if type(values) is list:
            return ResponsePayload([answer_of(value) for value in values])
        if type(values) is dict and values:
            return ResponsePayload(_answers(values))
        if values is not None:
            return ResponsePayload([answer_of(values)])
    return None


def _answers(columns: dict[str, Any]) -> list[Any]:
    if "prediction" in columns and type(columns["prediction"]) is not list:
        return [answer_of(columns)]
    if not any(type(column) is list for column in columns.values()):
        return [(None, None)]
    count = _length(columns)
    ordered = sorted(columns, key=lambda name: name not in PREDICTION_COLUMNS)
    values = [columns[name] for name in ordered if type(columns[name]) is list]
    return combined([list(map(answer_of, column)) for column in values if len(column) == count])
