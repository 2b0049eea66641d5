"""Events of a request body: NDJSON, a JSON array or one object. A fault of one event leaves the others readable."""

from __future__ import annotations

import msgspec

from exporters.events.reasons import Reason
from midwatch.client.events import Event
from midwatch.errors import MidwatchError

FILE_QUERY = "source=file"
"""Query by which events are taken as those of a file: they may be older, and are remembered longer."""


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken: its place in the body (1-based), a reason from a closed set, and a sentence."""

    line: int
    reason: Reason
    message: str


class BodyError(MidwatchError):
    """A body that holds no readable event at all."""


_LINES: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_ARRAY: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])
_RAW_ARRAY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])

Decoded = tuple[list[tuple[int, Event]], list[Refused]]


def decode(body: bytes) -> Decoded:
    """Read NDJSON, a JSON array or one JSON object: events with their line (or place in the array), and the refused.

    Raises BodyError when an array is not JSON, since then no event in it can be told from the next.
    """
    text = body.lstrip(b" \t\r\n")
    if text[:1] == b"[":
        return _decode_array(text)
    try:
        decoded = _LINES.decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _one_by_one(_lines(body))
    if body.count(b"\n") + (not body.endswith(b"\n")) == len(decoded):
        return list(enumerate(decoded, 1)), []
    numbers = [number for number, _ in _lines(body)]
    if len(numbers) != len(decoded):  # one event over several lines, or several on one
        return list(enumerate(decoded, 1)), []
    return list(zip(numbers, decoded, strict=True)), []


def _lines(body: bytes) -> list[tuple[int, bytes]]:
    """Lines that hold something, each with its number among all of them, as the client counts."""
    return [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]


def _decode_array(body: bytes) -> Decoded:
    try:
        return list(enumerate(_ARRAY.decode(body), 1)), []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        parts = _RAW_ARRAY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(f"the array is not valid JSON: {error}") from error
    return _one_by_one([(number, bytes(part)) for number, part in enumerate(parts, 1)])


def _one_by_one(parts: list[tuple[int, bytes]]) -> Decoded:
    """The slow way, taken only when a body has a fault: find each bad event and keep the good ones."""
    good: list[tuple[int, Event]] = []
    refused = []
    for number, part in parts:
        try:
            good.append((number, _LINES.decode(part)))
        except msgspec.ValidationError as error:
            refused.append(Refused(number, Reason.INVALID, str(error)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append(Refused(number, Reason.NOT_JSON, str(error)))
    return good, refused
