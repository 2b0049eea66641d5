"""Prediction and label events: their shape, what makes one acceptable, and reading many of them from a request body."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from midwatch.errors import MidwatchError

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Value = str | bool | int | float
Moment = float | datetime
"""Seconds since the epoch, or RFC 3339 text with a time zone; seconds once accepted."""


class Prediction(msgspec.Struct, tag_field="event", tag="prediction", omit_defaults=True, kw_only=True):
    """One answer of a model. `score` is its probability of the positive class; an error has no prediction."""

    id: Text
    model: Text
    version: Text
    ts: Moment
    duration_seconds: Annotated[float, msgspec.Meta(ge=0, le=86400)] | None = None
    outcome: Literal["ok", "error"] = "ok"
    prediction: Value | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    features: dict[str, Value | None] = {}
    groups: dict[str, Value] = {}
    trace_id: str | None = None


class Label(msgspec.Struct, tag_field="event", tag="label", omit_defaults=True, kw_only=True):
    """What turned out to be true for the prediction of this id."""

    id: Text
    model: Text
    label: Value
    ts: Moment


Event = Prediction | Label


MIN_KEY = 16
"""Bytes of the shortest key that is not quickly guessed."""


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken: its place in the body (1-based), a reason from a closed set, and a sentence."""

    line: int
    reason: str
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
        lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
        return _one_by_one(lines)
    return list(enumerate(decoded, 1)), []


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
            refused.append(Refused(number, "invalid", str(error)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append(Refused(number, "not_json", str(error)))
    return good, refused


def refusal(event: Event, *, now: float, oldest: float, newest: float) -> tuple[str, str] | None:
    """Reason and sentence why an event cannot be taken at `now`, or None; sets its `ts` to seconds.

    A prediction older than `oldest` is refused because its id may have been forgotten, and counting it twice could not
    be ruled out.
    """
    ts = event.ts
    if type(ts) is not float:
        if not isinstance(ts, datetime):
            ts = float(ts)
        elif ts.tzinfo is None:
            return "no_time_zone", f"ts {ts.isoformat()} has no time zone"
        else:
            ts = ts.timestamp()
        event.ts = ts
    if ts > newest:
        return "in_future", f"ts is {ts - now:.0f} s in the future"
    if type(event) is Prediction:
        if ts < oldest:
            return "too_old", f"ts is {now - ts:.0f} s ago; ids are remembered for {now - oldest:.0f} s"
        if event.prediction is None and event.outcome == "ok":
            return "no_prediction", "outcome is ok, and there is no prediction"
    elif ts < 0:
        return "too_old", "ts is before 1970"
    return None


class Privacy:
    """Drops or keyed-hashes the named fields of features and groups before anything is stored."""

    def __init__(self, *, drop: frozenset[str], hashed: frozenset[str], key: bytes) -> None:
        self._drop, self._hashed = drop, hashed
        self._key = key

    def apply(self, event: Event) -> None:
        """Rewrite the event in place."""
        if type(event) is Prediction and (self._drop or self._hashed):
            event.features = self.fields(event.features)
            event.groups = self.fields(event.groups)

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields without those to drop, and with hashes for those to hash."""
        return {
            name: self._hash(value) if name in self._hashed else value
            for name, value in fields.items()
            if name not in self._drop
        }

    def _hash(self, value: Any) -> str:
        return hashlib.blake2b(str(value).encode(), key=self._key[:64], digest_size=12).hexdigest()


def read_key(path: Path) -> bytes:
    """Secret key of the hash of personal fields; MidwatchError when it cannot be read or is too short to hide them."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise MidwatchError(f"{path}: {error.strerror}; the key of personal fields cannot be read") from error
    if len(key) < MIN_KEY:
        raise MidwatchError(f"{path}: {len(key)} bytes; the key of personal fields needs at least {MIN_KEY}")
    return key


def class_name(value: Value) -> str:
    """Label value of a predicted or actual class.

    >>> class_name(True), class_name(3.0), class_name("late")
    ('true', '3', 'late')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
