"""JSON documents of a payload: one, or those of a stream; what is compressed is inflated within a bound."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from exporters.events.inference_log import UnreadableError
from exporters.events.reasons import Unread
from midwatch import content_encoding

_PLAIN_JSON = json.JSONDecoder()
_JSON = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_STREAM_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How a line of a stream of server-sent events begins."""


class Stream(list[Any]):
    """Documents of an answer that was sent piece by piece, in their order."""


def inflated(body: bytes, limit: int) -> bytes:
    """A body without its gzip coding, which nothing but its first bytes tells."""
    if body.startswith(_ZSTD_MAGIC):
        raise UnreadableError(Unread.ENCODING, "zstd is not read")
    if not body.startswith(content_encoding.GZIP_MAGIC):
        return body
    try:
        return content_encoding.inflated(body, limit)
    except content_encoding.InflatedSizeError as error:
        raise UnreadableError(Unread.TOO_LARGE, str(error)) from error
    except content_encoding.EncodingError as error:
        raise UnreadableError(Unread.ENCODING, str(error)) from error


def parse(body: bytes) -> Any:
    """A JSON document, or the `Stream` of several: server-sent events, or a document a line."""
    if body.lstrip()[:6].startswith(_STREAM_FIELDS):
        return Stream(_events(body))
    try:
        return _JSON.decode(body)
    except (ValueError, RecursionError) as error:
        lines = body.split(b"\n", 1)[0].strip()
        if lines.startswith(b"{") and lines.endswith(b"}"):
            try:
                return Stream(_JSON.decode_lines(body))
            except (ValueError, RecursionError):
                pass
        if b"NaN" in body or b"Infinity" in body:
            return _JSON.decode(without_nan(body))
        raise UnreadableError(Unread.NOT_JSON, f"not JSON: {error}") from error


def without_nan(body: bytes) -> bytes:
    """JSON with null for NaN and infinities, which many servers write though JSON has none (RFC 8259, 6)."""
    try:
        document = json.loads(body, parse_constant=lambda _: None)
        return _encode(document)
    except (ValueError, OverflowError, RecursionError) as error:
        raise UnreadableError(Unread.NOT_JSON, f"not JSON: {error}") from error


def split_binary(body: bytes) -> tuple[bytes, bytes]:
    """The JSON document of a body, and the tensors in binary behind it.

    The length of the document is in an HTTP header of the inference, which the logger does not pass on; but JSON says
    itself where it ends.
    """
    # Latin-1 maps each byte to one character, and no byte of a UTF-8 sequence looks like a quote or a bracket.
    try:
        _, end = _PLAIN_JSON.raw_decode(body.decode("latin-1"))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(Unread.NOT_JSON, f"not JSON: {error}") from error
    return body[:end], body[end:]


def _events(body: bytes) -> list[Any]:
    """Documents of server-sent events (WHATWG HTML, 9.2.6); `[DONE]` and other texts are none."""
    documents = []
    data: list[bytes] = []
    for line in [*body.splitlines(), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
        elif not line and data:
            text = b"\n".join(data)
            data = []
            if text.startswith((b"{", b"[{")):
                documents.append(_event(text))
    return documents


def _event(text: bytes) -> Any:
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return _JSON.decode(without_nan(text))


def number(value: Any) -> float | None:
    """A number of a document that is none of the odd ones, or None."""
    if type(value) in (int, float) and math.isfinite(value) and value >= 0:
        return float(value)
    return None
