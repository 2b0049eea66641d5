"""Events of a request body: NDJSON, a JSON array or one object. A fault of one event leaves the others readable.

Reading a body with faults takes no more memory than the body has, and ends when it has too many: text that is no NDJSON
has a fault on each of its lines, of which a body may have millions.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator

import msgspec

from exporters.events.reasons import Reason
from midwatch.client.events import Event
from midwatch.errors import MidwatchError

FILE_QUERY = "source=file"
"""Query by which events are taken as those of a file: they may be older, and are remembered longer."""

MAX_FAULTS = 1000
"""A body with more faults is refused as a whole: it is something else than events."""


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken: its place in the body (1-based), a reason from a closed set, and a sentence."""

    line: int
    reason: Reason
    message: str


class BodyError(MidwatchError):
    """A body that holds no readable event at all."""


_LINES: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_ARRAY: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])
_ELEMENT = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\r\n]*")

Decoded = tuple[list[tuple[int, Event]], list[Refused]]


def decode(body: bytes) -> Decoded:
    """Read NDJSON, a JSON array or one JSON object: events with their line (or place in the array), and the refused.

    Raises BodyError when an array is not JSON, since then no event in it can be told from the next, and when there are
    more than MAX_FAULTS faults.
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


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, each with its number among all of them, as the client counts."""
    return ((number, line) for number, line in enumerate(io.BytesIO(body), 1) if line.strip())


def _decode_array(body: bytes) -> Decoded:
    try:
        return list(enumerate(_ARRAY.decode(body), 1)), []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _one_by_one(enumerate(_elements(body.decode()), 1))
    except (ValueError, RecursionError) as error:
        raise BodyError(f"the array is not valid JSON: {error}") from error


def _elements(text: str) -> Iterator[bytes]:
    """The elements of an array one after the other, as they are written; ValueError where it is not JSON."""
    separator, position = ",", _after_space(text, 1)
    if text[position : position + 1] == "]":
        separator, position = "]", position + 1
    while separator == ",":
        _, end = _ELEMENT.raw_decode(text, position)
        yield text[position:end].encode()
        position = _after_space(text, end)
        separator, position = text[position : position + 1], _after_space(text, position + 1)
    if separator != "]" or position < len(text):
        raise ValueError(f"no comma and no end at character {position}")


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _one_by_one(parts: Iterable[tuple[int, bytes]]) -> Decoded:
    """The slow way, taken only when a body has a fault: find each bad event and keep the good ones."""
    good: list[tuple[int, Event]] = []
    refused: list[Refused] = []
    for number, part in parts:
        try:
            good.append((number, _LINES.decode(part)))
        except msgspec.ValidationError as error:
            refused.append(Refused(number, Reason.INVALID, str(error)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append(Refused(number, Reason.NOT_JSON, str(error)))
        if len(refused) > MAX_FAULTS:
            first = f"the first, at {refused[0].line}: {refused[0].message}"
            raise BodyError(f"more than {MAX_FAULTS} faults, so nothing of the body was kept; {first}")
    return good, refused
