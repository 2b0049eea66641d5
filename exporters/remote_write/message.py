"""Families as requests of remote write 1.0: protobuf under snappy, each series with the labels of who pushes it.

Prometheus 2.25 and newer, Mimir, Thanos Receive and Cortex take them. https://prometheus.io/docs/specs/prw/remote_write_spec/
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import pyarrow

from midwatch.exposition import Family

CONTENT = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "midwatch",
}
"""Headers of every request, as the specification has them."""

BATCH = 2000
"""Samples of one request, as Prometheus' own `max_samples_per_send` is."""

_STALE = struct.pack("<Q", 0x7FF0000000000002)
"""The NaN that ends a series (Prometheus' value.StaleNaN): a gauge that is no more would be read for five minutes."""

CUMULATIVE = frozenset({"counter", "histogram"})
"""Types of families whose series begin at zero."""

Key = tuple[str, tuple[tuple[str, str], ...]]
"""Name of a series, and its own labels."""


class Series(NamedTuple):
    """One series as it is now: its labels in protobuf, its value, and whether it began at zero."""

    labels: bytes
    value: float
    is_cumulative: bool

    @property
    def digest(self) -> bytes:
        """Eight bytes that tell it from all others."""
        return hashlib.blake2b(self.labels, digest_size=8).digest()


class Request(NamedTuple):
    """A body to be posted, and how many samples are in it."""

    body: bytes
    samples: int


class Labels:
    """Label sets in protobuf, each encoded once as long as it is pushed; `own` are of whoever pushes."""

    def __init__(self, own: Mapping[str, str]) -> None:
        self._own = dict(own)
        self._encoded: dict[Key, bytes] = {}

    def series(self, families: Iterable[Family]) -> dict[Key, Series]:
        """Every series of the families; when a counter began is no series of its own here."""
        found: dict[Key, Series] = {}
        for family in families:
            is_cumulative = family.type in CUMULATIVE
            for sample in family.samples:
                if not (is_cumulative and sample.name.endswith("_created")):
                    key = sample.name, tuple(sample.labels.items())
                    found[key] = Series(self._labels(key), float(sample.value), is_cumulative)
        self._encoded = {key: one.labels for key, one in found.items()}
        return found

    def _labels(self, key: Key) -> bytes:
        encoded = self._encoded.get(key)
        if encoded is None:
            # A label without a value is none to Prometheus; sorted by name, as the specification asks.
            pairs = sorted({**self._own, **dict(key[1]), "__name__": key[0]}.items())
            encoded = b"".join(_field(1, _text(1, name) + _text(2, value)) for name, value in pairs if value)
        return encoded


def requests(series: Iterable[Series], moment: float) -> Iterator[Request]:
    """Requests with the values of series at a moment (seconds since the epoch)."""
    yield from _requests(((one.labels, struct.pack("<d", one.value)) for one in series), moment)


def zeros(series: Iterable[Series], moment: float) -> Iterator[Request]:
    """Requests that say of cumulative series that they were zero at a moment."""
    yield from _requests(((one.labels, bytes(8)) for one in series), moment)


def ends(labels: Iterable[bytes], moment: float) -> Iterator[Request]:
    """Requests that end series."""
    yield from _requests(((one, _STALE) for one in labels), moment)


def _requests(values: Iterable[tuple[bytes, bytes]], moment: float) -> Iterator[Request]:
    time = b"\x10" + _varint(round(moment * 1000))
    parts: list[bytes] = []
    for labels, value in values:
        parts.append(_field(1, labels + _field(2, b"\x09" + value + time)))
        if len(parts) >= BATCH:
            yield _request(parts)
            parts = []
    if parts:
        yield _request(parts)


def _request(parts: list[bytes]) -> Request:
    return Request(pyarrow.compress(b"".join(parts), codec="snappy", asbytes=True), len(parts))


# Protobuf -----------------------------------------------------------------------------------------------------------
#
# WriteRequest {timeseries = 1}, TimeSeries {labels = 1, samples = 2}, Label {name = 1, value = 2},
# Sample {value = 1, timestamp = 2}


def _field(number: int, body: bytes) -> bytes:
    """A field of bytes, a text or a message."""
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
