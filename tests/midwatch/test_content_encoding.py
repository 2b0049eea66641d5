"""Content codings: every member is read, a cut stream is refused whole, and nothing inflates beyond its limit."""

from __future__ import annotations

import gzip
import zlib

import pytest

from midwatch import content_encoding

LINE = b'{"event":"label"}\n'


def flushed_without_an_end(text: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    return stream.compress(text) + stream.flush(zlib.Z_FULL_FLUSH)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (gzip.compress(LINE) + gzip.compress(LINE), b"gzip"),
        (gzip.compress(LINE) + gzip.compress(b"") + gzip.compress(LINE), b"x-gzip"),
        (gzip.compress(LINE * 2) + bytes(8), b"gzip"),
        (gzip.compress(gzip.compress(LINE) + gzip.compress(LINE)), b"gzip, GZIP"),
        (zlib.compress(LINE * 2), b"deflate"),
        (zlib.compress(LINE * 2)[2:-4], b"deflate"),
        (LINE * 2, b"identity"),
        (LINE * 2, b""),
    ],
    ids=["members", "empty member", "padded", "twice", "zlib", "bare deflate", "identity", "empty header"],
)
def test_what_a_coding_holds_is_read_whole(body: bytes, header: bytes) -> None:
    assert content_encoding.decoded(body, header, 1000) == LINE * 2


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (gzip.compress(LINE * 99)[:-1], b"gzip"),
        (gzip.compress(LINE * 99)[:30], b"gzip"),
        (gzip.compress(LINE) + gzip.compress(LINE)[:-8], b"gzip"),
        (flushed_without_an_end(LINE), b"gzip"),
        (gzip.compress(LINE) + b"junk", b"gzip"),
        (gzip.compress(LINE)[:-8] + bytes(8), b"gzip"),
        (LINE, b"gzip"),
        (b"", b"gzip"),
        (zlib.compress(LINE)[:-1], b"deflate"),
        (zlib.compress(LINE) + b"junk", b"deflate"),
        (b"", b"deflate"),
    ],
    ids=[  # what gzip makes has the time in it, and two workers that collect must name a test alike
        "cut by a byte",
        "cut in its data",
        "a later member cut",
        "flushed without an end",
        "followed by junk",
        "wrong checksum",
        "no gzip",
        "empty gzip",
        "zlib cut",
        "zlib with junk",
        "empty deflate",
    ],
)
def test_a_broken_stream_is_refused_whole(body: bytes, header: bytes) -> None:
    with pytest.raises(content_encoding.EncodingError):
        content_encoding.decoded(body, header, 100_000)


@pytest.mark.parametrize("header", [b"br", b"zstd", b"gzip, br", b"gzip, gzip, gzip"])
def test_other_codings_are_named_as_such(header: bytes) -> None:
    with pytest.raises(content_encoding.UnknownEncodingError, match=r"\w"):
        content_encoding.decoded(gzip.compress(LINE), header, 100_000)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (gzip.compress(bytes(10**7)), b"gzip"),
        (gzip.compress(bytes(600)) * 2, b"gzip"),
        (gzip.compress(gzip.compress(bytes(10**7))), b"gzip, gzip"),
        (gzip.compress(b"") * (content_encoding.MAX_MEMBERS + 1), b"gzip"),
        (zlib.compress(bytes(10**7)), b"deflate"),
    ],
    ids=["bomb", "together", "bomb in a coding", "members", "deflate"],
)
def test_nothing_inflates_beyond_its_limit(body: bytes, header: bytes) -> None:
    with pytest.raises(content_encoding.InflatedSizeError):
        content_encoding.decoded(body, header, 1000)
