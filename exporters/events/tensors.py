"""Tensors of the v2 inference protocol, in JSON and in its binary extension: their elements, in row-major order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from exporters.events.inference_log import MalformedError

_PLAIN_JSON = json.JSONDecoder()

_NUMPY_TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


class _Parameters(msgspec.Struct):
    binary_data_size: int = 0


class Tensor(msgspec.Struct):
    """An input or an output; its elements are in `data`, or behind the document."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: _Parameters | None = None

    @property
    def rows(self) -> int:
        """Size of its first dimension."""
        return self.shape[0] if self.shape else 1


def parse(decoder: msgspec.json.Decoder[Any], body: bytes) -> tuple[Any, bytes]:
    """Read the JSON document of a body, and return what stands behind it (v2's binary tensor extension).

    The length of the document is in an HTTP header of the inference, which the logger does not pass on; but JSON says
    itself where it ends.
    """
    try:
        return decoder.decode(body), b""
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"binary_data_size" not in body:
            raise
    # Latin-1 maps each byte to one character, and no byte of a UTF-8 sequence looks like a quote or a bracket.
    _, end = _PLAIN_JSON.raw_decode(body.decode("latin-1"))
    return decoder.decode(body[:end]), body[end:]


def with_binary(tensors: list[Tensor], binary: bytes) -> Iterator[tuple[Tensor, bytes]]:
    """Pair each tensor with its part of the binary data, which ends with the last tensor's."""
    if not binary:
        yield from ((tensor, b"") for tensor in tensors)
        return
    sizes = [tensor.parameters.binary_data_size if tensor.parameters else 0 for tensor in tensors]
    start = len(binary) - sum(sizes)
    if start < 0 or min(sizes) < 0:
        raise MalformedError(f"the tensors claim {sum(sizes)} bytes of binary data and {len(binary)} came")
    for tensor, size in zip(tensors, sizes, strict=True):
        yield tensor, binary[start : start + size]
        start += size


def values_of(tensor: Tensor, binary: bytes, count: int) -> list[Any]:
    """Elements of a tensor in row-major order, of which there have to be `count`."""
    values = _flat(tensor.data) if tensor.data is not None else _unpack(tensor, binary)
    if len(values) != count or not values:
        raise MalformedError(f"tensor {tensor.name} has {len(values)} elements, which is not its shape {tensor.shape}")
    return values


def _flat(data: list[Any]) -> list[Any]:
    """Elements of a list that may be nested like the tensor."""
    while data and type(data[0]) is list:
        if any(type(part) is not list for part in data):
            raise MalformedError("tensor data is nested unevenly")
        data = list(chain.from_iterable(data))
    return data


def _unpack(tensor: Tensor, binary: bytes) -> list[Any]:
    """Elements of a tensor in binary: little-endian, row-major; BYTES with a 4-byte length before each.

    NaN and infinities, which JSON cannot say, are None.
    """
    if tensor.datatype == "BYTES":
        return _unpack_bytes(binary)
    kind = _NUMPY_TYPES.get(tensor.datatype)
    if kind is None:
        raise MalformedError(f"tensor {tensor.name} has datatype {tensor.datatype}, which cannot be read as binary")
    import numpy as np

    array = np.frombuffer(binary, dtype=kind)
    values: list[Any] = array.tolist()
    return values if np.isfinite(array).all() else [value if math.isfinite(value) else None for value in values]


def _unpack_bytes(binary: bytes) -> list[str]:
    values, start = [], 0
    while start < len(binary):
        end = start + 4 + int.from_bytes(binary[start : start + 4], "little")
        if end > len(binary):
            raise MalformedError("a BYTES element is longer than its tensor")
        values.append(binary[start + 4 : end].decode())
        start = end
    return values
