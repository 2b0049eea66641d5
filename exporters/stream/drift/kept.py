"""The judge's state as small pieces with names: a transaction writes those that have changed since the one before.

A window's closed panes never change, so a batch writes its open ones, compressed: most of their cells are empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
import pyarrow
import xxhash

from exporters.drift import state
from exporters.drift.published import Entry
from exporters.drift.windows import SavedPane, SavedStream
from midwatch.errors import MidwatchError

_HEAD, _STREAM, _PANE, _ENTRY = "head", "stream", "pane", "entry"
_ORDER = "order"

Name = tuple[str, ...]
"""A kind of piece, and what it is of."""


class DamagedError(MidwatchError):
    """Pieces that do not belong together, or cannot be read."""


class _Stream(msgspec.Struct, array_like=True):
    """A stream without its panes, and the names of those in order."""

    reference: str
    after: float
    open: list[Name]
    closed: list[Name]


Changes = dict[bytes, bytes | None]
"""Pieces to write, by name as bytes; None is one that is no more."""

_encode = msgspec.msgpack.Encoder().encode
_decode_name = msgspec.msgpack.Decoder(Name).decode
_decode_head = msgspec.msgpack.Decoder(state.Head).decode
_decode_stream = msgspec.msgpack.Decoder(_Stream).decode
_decode_pane = msgspec.msgpack.Decoder(SavedPane).decode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_order = msgspec.msgpack.Decoder(list[Name]).decode


class Kept:
    """Knows which pieces are written, by their digests."""

    def __init__(self) -> None:
        self._written: dict[bytes, bytes] = {}
        self._next: dict[bytes, bytes] = {}

    def changes(self, saved: state.Saved) -> Changes:
        """What has to be written so that the pieces are this state; `written` says that it was."""
        changed: Changes = {}
        self._next = {}
        for name, body in _pieces(saved):
            key = _encode(name)
            digest = xxhash.xxh3_128_digest(body)
            self._next[key] = digest
            if self._written.get(key) != digest:
                changed[key] = _packed(body)
        return changed | {key: None for key in self._written if key not in self._next}

    def written(self) -> None:
        """The changes that were asked for last are durable."""
        self._written = self._next

    def restore(self, pieces: Mapping[bytes, bytes]) -> state.Saved:
        """The state of pieces; one of none where there are none. DamagedError when they are not whole."""
        try:
            plain = {_decode_name(key): _unpacked(body) for key, body in pieces.items()}
            saved = _saved(plain)
        except (msgspec.MsgspecError, KeyError, OSError, ValueError) as error:
            raise DamagedError(f"drift windows in the sink cannot be read: {error!r}") from error
        self._written = {_encode(name): xxhash.xxh3_128_digest(body) for name, body in plain.items()}
        return saved


def _packed(body: bytes) -> bytes:
    return len(body).to_bytes(8, "little") + bytes(pyarrow.compress(body, codec="zstd", asbytes=True))


def _unpacked(body: bytes) -> bytes:
    size = int.from_bytes(body[:8], "little")
    return bytes(pyarrow.decompress(body[8:], size, codec="zstd", asbytes=True))


def _pieces(saved: state.Saved) -> Iterator[tuple[Name, bytes]]:
    yield (_HEAD,), _encode(saved.head)
    for model, version, stream in saved.streams:
        panes: list[list[Name]] = []
        seen: Counter[float] = Counter()
        for held in (stream.open, stream.closed):
            panes.append([])
            for pane in held:
                # Two panes of a count can begin at one time.
                name = (_PANE, model, version, repr(pane.start), str(seen[pane.start]))
                seen[pane.start] += 1
                panes[-1].append(name)
                yield name, _encode(pane)
        yield (_STREAM, model, version), _encode(_Stream(stream.reference, stream.after, *panes))
    entries = list(saved.entries)
    for entry in entries:
        yield (_ENTRY, *entry.subject), _encode(entry)
    yield (_ORDER,), _encode([(_ENTRY, *entry.subject) for entry in entries])


def _saved(pieces: Mapping[Name, bytes]) -> state.Saved:
    if not pieces:
        return state.Saved()
    streams: Iterable[state.Stream] = [
        (name[1], name[2], _restored(_decode_stream(body), pieces))
        for name, body in pieces.items()
        if name[0] == _STREAM
    ]
    entries = [_decode_entry(pieces[name]) for name in _decode_order(pieces[_ORDER,])]
    return state.Saved(_decode_head(pieces[_HEAD,]), streams, entries)


def _restored(stream: _Stream, pieces: Mapping[Name, bytes]) -> SavedStream:
    opened, closed = ([_decode_pane(pieces[name]) for name in names] for names in (stream.open, stream.closed))
    return SavedStream(stream.reference, stream.after, opened, closed)
