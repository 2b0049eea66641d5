"""What is known of the ids of one bucket, and what waits there: retries are dropped and halves are joined.

It does what the exporter's State does with ids, and counts nothing. Spark's state store keeps it: `kept` says how.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import msgspec

from exporters.events import state
from exporters.events.counters import Counters
from exporters.events.inference_log import Half, Joined, RequestHalf
from exporters.events.lateness import Lateness
from exporters.events.reasons import Reason
from exporters.events.recent_ids import Generation, RecentIds
from exporters.events.waiting import Waiting, WaitingHalf, WaitingLabel, WaitingPrediction
from exporters.stream.drift import row_bytes
from exporters.stream.parcels import Arrived, Featured, Finding, Findings, Parcel, Place, Result
from exporters.stream.waits import Fitness, WaitingPredictions
from midwatch.client.events import Prediction
from midwatch.spec import model as spec

CHUNK = 20_000
"""Entries of a part of a snapshot, at most."""

_pack = msgspec.msgpack.Encoder().encode
_decode_half = msgspec.msgpack.Decoder(Half).decode
_decode_waiting_half = msgspec.msgpack.Decoder(WaitingHalf).decode
_FULL: Result = ("dropped", Reason.WAITING_FULL)
_OTHER_MODEL: Result = ("malformed", Reason.OTHER_MODEL)
_DUPLICATE: Result = ("duplicate", Reason.ID)

Keys = bytes
"""64-bit hashes one after the other, in the machine's order of bytes."""


class Ids(msgspec.Struct, array_like=True):
    """Ids to be remembered for as many seconds; `newest` is the latest time of their predictions."""

    horizon: float
    packed: Keys
    newest: float


class Change(msgspec.Struct, array_like=True):
    """What a batch changed in a bucket: ids to remember, and what waits since or waits no longer, by kind.

    `until` is the time (seconds) that the bucket has got to.
    """

    until: float
    ids: list[Ids]
    put: dict[str, tuple[Keys, list[bytes]]]
    gone: dict[str, Keys]
    models: list[str]


class Part(msgspec.Struct, array_like=True):
    """A part of a snapshot: a generation of ids, or entries that wait."""

    until: float
    generation: Generation | None = None
    kind: str = ""
    keys: Keys = b""
    entries: list[bytes] = []
    models: list[str] = []


class Bucket:
    """Ids and waiting entries of a bucket, one of `buckets` that share what may wait."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model], buckets: int) -> None:
        self._lateness = Lateness(settings, models)
        self._waiting_predictions = WaitingPredictions(Counters(settings.caps, models, settings.personal.hash))
        self._fitness = Fitness(settings, models)
        self._row_of = row_bytes.Packer(row_bytes.watched(models))
        self._retention = settings.label_retention
        self._most = -(-settings.max_waiting // buckets)
        self._most_models = settings.caps.models
        self._models = {model.name: None for model in models}
        self._ids = RecentIds(self._lateness.horizons())
        self._waiting: dict[str, Waiting[Any]] = {
            "prediction": Waiting(WaitingPrediction),
            "label": Waiting(WaitingLabel),
            "half": Waiting(WaitingHalf),
        }
        self._until = 0.0
        self._held = 0
        self._begin()

    def _begin(self) -> None:
        """Begin a batch."""
        self._found: list[Finding] = []
        self._featured: list[Featured] = []
        self._refused: Counter[tuple[str, str, str]] = Counter()
        self._expired: dict[str, list[bytes]] = {}
        self._taken: set[int] = set()
        self._fresh: dict[float, tuple[array[int], float]] = {}
        self._new_ids: dict[float, tuple[array[int], float]] = {}
        self._new_models: list[str] = []
        self._put: dict[str, dict[int, None]] = {kind: {} for kind in self._waiting}
        self._gone: dict[str, array[int]] = {kind: array("Q") for kind in self._waiting}

    # A batch -----------------------------------------------------------------------------------------------------

    def take(self, parcels: Iterable[Parcel]) -> tuple[Findings, list[Featured], Change]:
        """Take the parcels of a batch: what was found, the features of what counts, and what changed here."""
        self._begin()
        read: dict[tuple[str, int], tuple[int, int]] = {}
        events: list[tuple[Place, bool, Arrived]] = []
        for parcel in parcels:
            names = parcel.source, parcel.partition
            until, records = read.get(names, (0, 0))
            read[names] = max(until, parcel.until), records + parcel.records
            for kind, result, reason, count in parcel.refused:
                self._refused[kind, result, reason] += count
            events += [
                ((event.arrived, *names, event.offset, event.row), parcel.is_loaded, event) for event in parcel.events
            ]
        events.sort(key=itemgetter(0))
        for second, run in groupby(events, key=lambda event: event[0][0] // 1000):
            self._pass(float(second))
            self._take_second(float(second), list(run))
        self._pass(float(max((until for until, _ in read.values()), default=0) // 1000))
        return self._findings(read), self._featured, self._change()

    def _pass(self, second: float) -> None:
        """Let what is too old at a time wait no longer, and forget ids."""
        self._until = max(self._until, second)
        self._ids.forget(second)
        for kind, waiting in self._waiting.items():
            limit = second - (state.HALF_SECONDS if kind == "half" else self._retention)
            while expired := waiting.expired(limit):
                self._expired.setdefault(kind, []).extend(self._popped(kind, value) for value in expired)

    def _take_second(self, second: float, events: Sequence[tuple[Place, bool, Arrived]]) -> None:
        self._taken = self._ids.known([event.identity for _, _, event in events])
        self._fresh = {}
        for place, is_loaded, event in events:
            if event.identity in self._taken:
                self._refused[event.kind, *_DUPLICATE] += 1
                continue
            refused = event.unfit or self._take_event(second, place, event)
            if refused is not None:
                self._refused[event.kind, *refused] += 1
                continue
            self._remember(event.identity, event.model, 0.0 if event.kind == "label" else event.ts, is_loaded=is_loaded)
        for horizon, (ids, newest) in self._fresh.items():
            self._ids.extend(ids, horizon, newest)
            known, latest = self._new_ids.get(horizon) or (array("Q"), 0.0)
            self._new_ids[horizon] = known + ids, max(newest, latest)

    def _remember(self, identity: int, model: str, ts: float, *, is_loaded: bool = False) -> None:
        self._taken.add(identity)
        horizon = self._lateness.horizon(model, loaded=is_loaded)
        ids, newest = self._fresh.get(horizon) or (array("Q"), 0.0)
        ids.append(identity)
        self._fresh[horizon] = ids, max(newest, ts)

    def _take_event(self, second: float, place: Place, event: Arrived) -> Result | None:
        if event.kind == "prediction":
            self._take_prediction(place, event)
            return None
        return self._take_label(place, event) if event.kind == "label" else self._take_half(second, place, event)

    def _take_prediction(self, place: Place, event: Arrived) -> None:
        if event.model not in self._models and len(self._models) < self._most_models:
            self._models[event.model] = None
            self._new_models.append(event.model)
        if event.features is not None:
            self._featured.append(Featured(place, event.model, event.version, event.ts, event.features))
        early, has_room = (None, True) if event.waits is None else self._let_wait(event.value, event.waits)
        self._found.append(Finding(place, event.value, event.event, early, has_room=has_room))

    def _let_wait(self, value: int, waits: bytes) -> tuple[bytes | None, bool]:
        """Let a prediction wait: the label that had waited for it, so that it does not; and whether there was room."""
        early = self._pop("label", value)
        if early is not None:
            return early, True
        has_room = len(self._waiting["prediction"]) < self._most
        if has_room:
            self._let(value, "prediction", waits)
        return None, has_room

    def _take_label(self, place: Place, event: Arrived) -> Result | None:
        partner = self._pop("prediction", event.value)
        if partner is None:
            if self._is_of_another_model(event):
                return _OTHER_MODEL
            if len(self._waiting["label"]) >= self._most:
                return _FULL
            self._let(event.value, "label", event.waits or b"")
        self._found.append(Finding(place, event.value, event.event, partner))
        return None

    def _is_of_another_model(self, event: Arrived) -> bool:
        """Whether a label names a model that nobody knows here, and its id waits for a label of one that is known."""
        if event.model in self._models:
            return False
        identifier, waiting = state.rekeyed(event.value, event.model), self._waiting["prediction"].packed
        return any(state.rekeyed(identifier, other) in waiting for other in self._models)

    def _take_half(self, second: float, place: Place, event: Arrived) -> Result | None:
        partner = self._pop("half", event.value)
        if partner is None:
            if len(self._waiting["half"]) >= self._most:
                return _FULL
            self._let(event.value, "half", event.waits or b"")
            self._found.append(Finding(place, event.value, _bare(event.event), is_half=True))
            return None
        half, other = _decode_half(event.event), _decode_waiting_half(partner).half
        request, response = (half, other) if isinstance(half, RequestHalf) else (other, half)
        waited = _pack(WaitingHalf(second, _bare_half(other)))
        finding = Finding(place, event.value, _bare(event.event), waited, is_half=True)
        self._found.append(finding)
        joined = Joined.of(request, response)  # type: ignore[arg-type]
        for prediction, key in zip(joined.predictions, state.make_keys(joined.predictions), strict=True):
            if key[0] in self._taken or self._ids.known([key[0]]):
                finding.known = [*finding.known, key[0]]
                continue
            self._take_joined(second, finding, prediction, key)
            if not joined.unread and (row := self._row_of(prediction)) is not None:
                names = prediction.model, prediction.version
                self._featured.append(Featured(place, *names, prediction.ts, row))  # type: ignore[arg-type]
        return None

    def _take_joined(self, second: float, finding: Finding, prediction: Prediction, key: state.Key) -> None:
        identity, value = key
        self._remember(identity, prediction.model, prediction.ts)  # type: ignore[arg-type]
        waits = self._waiting_predictions.of(second, prediction)
        if waits is None or self._fitness.unfit(prediction, key) or self._fitness.is_sampled_out(prediction.model, key):
            return
        early, has_room = self._let_wait(value, _pack(waits))
        if early is not None:
            finding.early = finding.early | {value: early}
        finding.has_room = finding.has_room and has_room

    # What waits --------------------------------------------------------------------------------------------------

    def _let(self, value: int, kind: str, entry: bytes) -> None:
        self._pop(kind, value)  # of an id that was forgotten: the new entry is the youngest
        self._waiting[kind].packed[value] = entry
        self._put[kind][value] = None
        self._held += len(entry)

    def _pop(self, kind: str, value: int) -> bytes | None:
        return self._popped(kind, value) if value in self._waiting[kind].packed else None

    def _popped(self, kind: str, value: int) -> bytes:
        entry = self._waiting[kind].packed.pop(value)
        self._held -= len(entry)
        if value in self._put[kind]:
            del self._put[kind][value]
        else:
            self._gone[kind].append(value)
        return entry

    # What is told and kept ---------------------------------------------------------------------------------------

    def _findings(self, read: dict[tuple[str, int], tuple[int, int]]) -> Findings:
        oldest = self._waiting["prediction"].oldest()
        return Findings(
            found=self._found,
            expired=self._expired,
            refused=[(*names, count) for names, count in self._refused.items()],
            read=[(*names, *told) for names, told in read.items()],
            waiting={kind: len(entries) for kind, entries in self._waiting.items()},
            held=self._held + 8 * len(self._ids),
            oldest=oldest,
        )

    def _change(self) -> Change:
        return Change(
            until=self._until,
            ids=[Ids(horizon, ids.tobytes(), newest) for horizon, (ids, newest) in self._new_ids.items()],
            put={
                kind: (array("Q", values).tobytes(), [self._waiting[kind].packed[value] for value in values])
                for kind, values in self._put.items()
                if values
            },
            gone={kind: values.tobytes() for kind, values in self._gone.items() if values},
            models=self._new_models,
        )

    def redo(self, change: Change) -> None:
        """Change what an earlier batch changed."""
        for ids in change.ids:
            self._ids.extend(array("Q", ids.packed), ids.horizon, ids.newest)
        self._ids.forget(change.until)
        for kind, keys in change.gone.items():
            for value in array("Q", keys):
                self._held -= len(self._waiting[kind].packed.pop(value))
        for kind, (keys, entries) in change.put.items():
            self._waiting[kind].packed.update(zip(array("Q", keys), entries, strict=True))
            self._held += sum(map(len, entries))
        self._models |= dict.fromkeys(change.models)
        self._until = change.until

    def parts(self) -> Iterator[Part]:
        """Everything that is kept, to be put into an empty bucket again."""
        yield Part(self._until, models=list(self._models))
        for generation in self._ids.generations():
            yield Part(self._until, generation=generation)
        for kind, waiting in self._waiting.items():
            entries = iter(waiting.packed.items())
            while chunk := list(islice(entries, CHUNK)):
                keys = array("Q", [value for value, _ in chunk]).tobytes()
                yield Part(self._until, kind=kind, keys=keys, entries=[entry for _, entry in chunk])

    def restore(self, part: Part) -> None:
        """Put a part back."""
        self._until = part.until
        self._models |= dict.fromkeys(part.models)
        if part.generation is not None:
            self._ids.restore(part.generation, part.until)
        elif part.kind:
            self._waiting[part.kind].packed.update(zip(array("Q", part.keys), part.entries, strict=True))
            self._held += sum(map(len, part.entries))


def _bare(event: msgspec.Raw) -> msgspec.Raw:
    """A half as it is counted, without features."""
    return msgspec.Raw(_pack(_bare_half(_decode_half(event))))


def _bare_half(half: Half) -> Half:
    if not isinstance(half, RequestHalf) or not half.rows:
        return half
    return msgspec.structs.replace(half, rows=[], count=half.size)
