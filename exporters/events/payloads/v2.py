"""The v2 protocol (Open Inference Protocol: Triton, KServe, MLServer): tensors in JSON, or in binary behind it.

A v2 input with one value per row gives the feature of its name; the columns of a single matrix get the model's feature
names, if there are as many. With several outputs the first gives the prediction, and the first that has a score gives
the score; whatever else (images, embeddings) is a row without features or class.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from exporters.events.class_names import TEXT
from exporters.events.inference_log import (
    Answer,
    Features,
    RequestPayload,
    ResponsePayload,
    UnreadableError,
    ensure_rows,
)
from exporters.events.payloads import generation
from exporters.events.payloads.answers import answer_of, combined, fill
from exporters.events.reasons import Unread
from exporters.events.tensors import Tensor, values_of, with_binary

GENERATED_OUTPUTS = frozenset({"text_output", "generated_text", "output_text", "OUTPUT_TEXT", "OUTPUT_0_TEXT"})
"""Names of outputs with generated text (Triton's vLLM and TensorRT-LLM backends): never a class, however short."""

MAX_WIDTH = 100_000
"""Values of a row that may be a vector of probabilities; more are an image or the like."""


def tensor_request(tensors: list[Tensor], binary: bytes, names: Sequence[str] | None) -> RequestPayload:
    """Rows of the inputs; their features unless `names` is None."""
    count = tensors[0].rows
    ensure_rows(count)
    if names is None:
        return RequestPayload(count)
    rows: list[Features] = [{} for _ in range(count)]
    for tensor, chunk in with_binary(tensors, binary):
        if tensor.rows != count:
            continue
        width = math.prod(tensor.shape[1:])
        if width == 1:
            fill(rows, tensor.name, values_of(tensor, chunk, count))
        elif len(tensors) == 1 and width == len(names):
            values = values_of(tensor, chunk, count * width)
            for column, name in enumerate(names):
                fill(rows, name, values[column::width])
    return RequestPayload(count, rows)


def tensor_response(
    tensors: list[Tensor], binary: bytes, version: str | int | None, classes: Collection[str]
) -> ResponsePayload:
    """Answers of the outputs; a generated text is one of the model's `classes`, or text."""
    count = tensors[0].rows
    ensure_rows(count)
    by_name: dict[str, list[Any]] = {}
    columns: list[list[Answer]] = []
    for tensor, chunk in with_binary(tensors, binary):
        if tensor.rows != count:
            continue
        if math.prod(tensor.shape[1:]) > MAX_WIDTH:
            _ensure_sent(tensor, chunk)
            columns.append([(None, None)] * count)
            continue
        rows = _row_values(tensor, chunk)
        if tensor.name in GENERATED_OUTPUTS:
            columns.append([(row if row in classes else TEXT, None) for row in map(_stripped, rows)])
        else:
            columns.append([answer_of(row) for row in rows])
            by_name[tensor.name] = rows
    made = generation.of_outputs(by_name)
    return ResponsePayload(combined(columns), None if version in (None, "") else str(version), made)


def _ensure_sent(tensor: Tensor, chunk: bytes) -> None:
    """UnreadableError when a tensor that is not looked into claims more rows than anything was sent for."""
    sent = len(chunk) if tensor.data is None else len(tensor.data)
    if tensor.rows > max(1, sent):
        raise UnreadableError(Unread.TENSOR, f"a tensor of shape {tensor.shape} has {sent} elements or bytes")


def _row_values(tensor: Tensor, chunk: bytes) -> list[Any]:
    width = math.prod(tensor.shape[1:])
    values = values_of(tensor, chunk, tensor.rows * width)
    return values if width == 1 else [values[start : start + width] for start in range(0, len(values), width)]


def _stripped(value: Any) -> Any:
    return value.strip() if type(value) is str else None
