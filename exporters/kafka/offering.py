"""What of a partition's records is to be counted, and when it came: for records that are new, and for those read back.

Both go the same way, with the record's own time as the clock, so that who reads them back decides as it was decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from exporters.events.ingest import Batch
from exporters.events.prepared import Moment
from exporters.events.state import JournalEvent, Key, State, make_keys
from exporters.kafka.records import Read, Record, Results
from midwatch.client.events import Label, Prediction

Check = Callable[[Batch, float], None]
"""Refuses what cannot be taken at a time, and takes away what must not be stored (`Ingest.check`)."""


@dataclass(kw_only=True)
class Offered:
    """Events to be counted with their keys, how many at which time, and what was not accepted."""

    moments: list[Moment] = field(default_factory=list)
    events: list[JournalEvent] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    results: Results = field(default_factory=Results)


def offer(state: State, partition: int, records: Sequence[Record], read: Read, check: Check) -> Offered:
    """Events of records that come after all that a partition's state has."""
    offered = Offered()
    batches = _by_time(state.time, records, read, check, offered.results)
    events = [event for _, batch in batches for event in batch]
    keys = make_keys(events)
    judged = zip(events, keys, state.admit(events, keys), strict=True)
    for time, batch in batches:
        before = len(offered.events)
        for event, key, verdict in islice(judged, len(batch)):
            if verdict is None:
                offered.events.append(event)
                offered.keys.append(key)
            else:
                offered.results[_kind(event), *verdict] += 1
        offered.moments.append(Moment(partition, time, len(offered.events) - before))
    return offered


def _by_time(
    newest: float, records: Sequence[Record], read: Read, check: Check, results: Results
) -> list[tuple[float, Sequence[JournalEvent]]]:
    """Events that may be taken, with the highest whole second of a record up to them."""
    batches: list[tuple[float, list[tuple[int, JournalEvent]]]] = []
    for record in records:
        newest = max(newest, float(math.floor(record.time)))
        if not batches or batches[-1][0] != newest:
            batches.append((newest, []))
        batches[-1][1].extend((record.offset, event) for event in read(record, results))
    return [(time, _checked(items, time, check, results)) for time, items in batches]


def _checked(
    items: list[tuple[int, JournalEvent]], time: float, check: Check, results: Results
) -> Sequence[JournalEvent]:
    if not items:
        return ()
    kind = "half" if _kind(items[0][1]) == "half" else "event"  # a topic has events or halves, and never both
    batch = Batch(items=items, reply=lambda _: None)
    check(batch, time)
    for refused in batch.refused:
        results[kind, "malformed", refused.reason] += 1
    return [event for _, event in batch.items]


def _kind(event: JournalEvent) -> str:
    if isinstance(event, Prediction):
        return "prediction"
    return "label" if isinstance(event, Label) else "half"
