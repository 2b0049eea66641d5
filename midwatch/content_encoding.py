"""Content codings of HTTP bodies (RFC 9110, 8.4): gzip with all its members, and deflate. Inflation is bounded.

A body that ends before its stream does is refused as a whole: nobody can tell what the missing part held.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

from midwatch.errors import MidwatchError

ACCEPTED = "gzip, deflate"
"""For the Accept-Encoding header of an answer to a coding that is not read (RFC 9110, 12.5.3)."""

GZIP_MAGIC = b"\x1f\x8b"

MAX_CODINGS = 2
"""A body is compressed once; some proxies do it again. Each coding inflates up to the limit."""

MAX_MEMBERS = 100_000
"""Members of one gzip body: opening a stream takes 2 microseconds, and the service waits for it."""

FEED = 4096
"""Bytes given to a stream at a time: what is left of them at its end is copied, and members may be tiny."""

_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window bits by which zlib knows the format."""


class EncodingError(MidwatchError):
    """A body whose coding is broken."""


class UnknownEncodingError(EncodingError):
    """A coding that is not read here."""


class InflatedSizeError(EncodingError):
    """A body that would become larger than the limit."""


def decoded(body: bytes, header: bytes, limit: int) -> bytes:
    """A body without the codings that its Content-Encoding header lists.

    >>> import gzip
    >>> decoded(gzip.compress(b"a") + gzip.compress(b"b"), b"gzip", 10)
    b'ab'
    """
    codings = [coding for coding in re.split(rb"[\s,]+", header.strip().lower()) if coding not in (b"", b"identity")]
    if len(codings) > MAX_CODINGS:
        raise UnknownEncodingError(f"{len(codings)} content codings; at most {MAX_CODINGS} are read")
    for coding in reversed(codings):
        if coding in (b"gzip", b"x-gzip"):
            body = inflated(body, limit)
        elif coding == b"deflate":
            body = _deflated(body, limit)
        else:
            name = coding.decode("ascii", "replace")
            raise UnknownEncodingError(f"content coding {name!r} is not read; send {ACCEPTED} or none")
    return body


def inflated(body: bytes, limit: int) -> bytes:
    """Content of all members of a gzip body (RFC 1952, 2.2); zeros may pad its end."""
    parts: list[bytes] = []
    room, start, members = limit, 0, 0
    while start < len(body) and (not members or body[start] or body[start:].strip(b"\0")):
        members += 1
        if members > MAX_MEMBERS:
            raise InflatedSizeError(f"over {MAX_MEMBERS} gzip members")
        part, start = _stream(body, start, _GZIP, room)
        parts.append(part)
        room -= len(part)
    if not members:
        raise EncodingError("not gzip: the body is empty")
    return b"".join(parts)


def is_gzip_accepted(header: bytes) -> bool:
    """Whether an Accept-Encoding header takes gzip: named, or by `*`, and with a weight that is not 0.

    >>> [is_gzip_accepted(one) for one in (b"gzip", b"br, GZIP;q=0.5", b"*", b"gzip;q=0, *", b"identity", b"")]
    [True, True, True, False, False, False]
    """
    weights: dict[bytes, float] = {}
    for entry in header.lower().split(b","):
        coding, _, parameter = entry.partition(b";")
        weights[coding.strip()] = _weight(parameter)
    return weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0))) > 0


def _weight(parameter: bytes) -> float:
    """A quality value (RFC 9110, 12.4.2); 0 for what is none, since an answer without a coding can always be read."""
    name, _, value = parameter.partition(b"=")
    if not name.strip():
        return 1.0
    try:
        return float(value) if name.strip() == b"q" else 0.0
    except ValueError:
        return 0.0


def gzipped(pieces: Iterable[bytes], level: int = 1) -> bytes:
    """One gzip member of joined pieces. Other threads run meanwhile.

    Level 1 makes 1.7 MB of a scrape's 54 MB in 0.07 s; level 6 makes 1.4 MB in 0.25 s.
    """
    stream = zlib.compressobj(level, wbits=_GZIP)
    return b"".join([*(stream.compress(piece) for piece in pieces), stream.flush()])


def _deflated(body: bytes, limit: int) -> bytes:
    """Content of a deflate body: a zlib stream, or the bare one that some clients send."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    text, end = _stream(body, 0, _ZLIB if is_zlib else _RAW, limit)
    if end != len(body):
        raise EncodingError("something stands behind the end of the deflate stream")
    return text


def _stream(body: bytes, start: int, window_bits: int, limit: int) -> tuple[bytes, int]:
    """Content of one stream, of at most `limit` bytes, and where it ends in the body."""
    stream = zlib.decompressobj(wbits=window_bits)
    parts: list[bytes] = []
    size = 0
    view = memoryview(body)
    try:
        while not stream.eof:
            chunk: bytes | memoryview = stream.unconsumed_tail
            if not chunk:
                chunk = view[start : start + FEED]
                start += len(chunk)
                if not chunk:
                    raise EncodingError("the compressed stream has no end: part of the body is missing")
            part = stream.decompress(chunk, limit - size + 1)
            size += len(part)
            if size > limit:
                raise InflatedSizeError(f"over {limit} bytes inflated")
            parts.append(part)
    except zlib.error as error:
        raise EncodingError(f"the body is not what its content coding says: {error}") from error
    return b"".join(parts), start - len(stream.unused_data)
