"""Events of records: Midwatch's as JSON, or a CloudEvent of an inference log in binary mode, as a topic has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from exporters.events import bodies, kserve
from exporters.events.inference_log import MalformedError
from exporters.events.reasons import Reason
from exporters.events.state import JournalEvent
from midwatch.client.events import Event

Results = Counter[tuple[str, str, str]]
"""How many events were not accepted, by kind, result and reason."""

CE_PREFIX = "ce_"
"""How the names of a CloudEvent's attributes begin in a record's headers (Kafka protocol binding 1.0.2, 3.2.3)."""

_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Record(NamedTuple):
    """One record; `time` is its timestamp in seconds since the epoch, `headers` are as the topic has them."""

    topic: str
    partition: int
    offset: int
    time: float
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


Read = Callable[[Record, Results], Sequence[JournalEvent]]
"""Events of a record; what cannot be read is counted in the results."""


def read_events(record: Record, results: Results) -> Sequence[JournalEvent]:
    """Midwatch's events: one JSON object, an array, or one on each line."""
    if not record.value:
        results["event", "malformed", Reason.INVALID] += 1  # a tombstone: nothing to count
        return ()
    try:
        return (_EVENT.decode(record.value),)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_body(record.value, results)


def _read_body(value: bytes, results: Results) -> Sequence[JournalEvent]:
    try:
        items, refused = bodies.decode(value)
    except bodies.BodyError:
        results["event", "malformed", Reason.NOT_JSON] += 1
        return ()
    for one in refused:
        results["event", "malformed", one.reason] += 1
    if not items and not refused:
        results["event", "malformed", Reason.INVALID] += 1
    return [event for _, event in items]


def cloudevents(models: kserve.Models, limit: int) -> Read:
    """Reader of an inference log's CloudEvents; a payload inflates to at most `limit` bytes."""

    def read(record: Record, results: Results) -> Sequence[JournalEvent]:
        headers = {
            b"ce-" + name[len(CE_PREFIX) :].lower().encode(): value or b""
            for name, value in record.headers
            if name.startswith(CE_PREFIX)
        }
        try:
            return kserve.decode(headers, record.value or b"", record.time, models, limit)
        except MalformedError:
            results["half", "malformed", Reason.INVALID] += 1
            return ()

    return read
