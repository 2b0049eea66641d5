"""Tensors of the v2 inference protocol, in JSON and in its binary extension: their elements, in row-major order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from exporters.events.inference_log import UnreadableError
from exporters.events.reasons import Unread

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
    "BF16": "<u2",
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


def with_binary(tensors: list[Tensor], binary: bytes) -> Iterator[tuple[Tensor, bytes]]:
    """Pair each tensor with its part of the binary data, which ends with the last tensor's."""
    if not binary:
        yield from ((tensor, b"") for tensor in tensors)
        return
    sizes = [tensor.parameters.binary_data_size if tensor.parameters else 0 for tensor in tensors]
    start = len(binary) - sum(sizes)
    if start < 0 or min(sizes) < 0:
        raise UnreadableError(
            Unread.TENSOR, f"the tensors claim {sum(sizes)} bytes of binary data and {len(binary)} came"
        )
    for tensor, size in zip(tensors, sizes, strict=True):
        yield tensor, binary[start : start + size]
        start += size


def values_of(tensor: Tensor, binary: bytes, count: int) -> list[Any]:
    """Elements of a tensor in row-major order, of which there have to be `count`."""
    values = flat(tensor.data) if tensor.data is not None else _unpack(tensor, binary)
    if len(values) != count or not values:
        text = f"a tensor has {len(values)} elements, which is not its shape {tensor.shape}"
        raise UnreadableError(Unread.TENSOR, text)
    return values


def flat(data: list[Any]) -> list[Any]:
    """Elements of a list that may be nested like the tensor."""
    while data and type(data[0]) is list:
        if any(type(part) is not list for part in data):
            raise UnreadableError(Unread.TENSOR, "tensor data is nested unevenly")
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
        raise UnreadableError(Unread.TENSOR, f"a tensor has datatype {tensor.datatype}, which cannot be read as binary")
    import numpy as np

    if len(binary) % np.dtype(kind).itemsize:
        raise UnreadableError(Unread.TENSOR, f"{len(binary)} bytes are no tensor of {tensor.datatype}")
    array = np.frombuffer(binary, dtype=kind)
    if tensor.datatype == "BF16":  # the upper half of an FP32
        array = (array.astype("<u4") << 16).view("<f4")
    values: list[Any] = array.tolist()
    return values if np.isfinite(array).all() else [value if math.isfinite(value) else None for value in values]


def _unpack_bytes(binary: bytes) -> list[str | bytes]:
    """Elements of BYTES: text where it is text, else the bytes (an image, say) as they are."""
    values: list[str | bytes] = []
    start = 0
    while start < len(binary):
        end = start + 4 + int.from_bytes(binary[start : start + 4], "little")
        if end > len(binary):
            raise UnreadableError(Unread.TENSOR, "a BYTES element is longer than its tensor")
        element = binary[start + 4 : end]
        try:
            values.append(element.decode())
        except UnicodeDecodeError:
            values.append(element)
        start = end
    return values
