"""What the exporter knows: a fold over the journal's frames. Counters to publish, and what waits for its other half.

`admit` says which events of a group may be written to the journal; `apply` takes a written group. Applying the same
frames in the same order gives the same state, so a restart continues every counter where the last acknowledged event
left it. Whatever a frame holds is applied: what cannot be used is counted by reason and logged, and ends nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import xxhash

from exporters.events.counters import Counters, NoDifferenceError, is_number
from exporters.events.inference_log import Half, Joined, RequestHalf, ResponseHalf
from exporters.events.journal_time import Reading
from exporters.events.lateness import Lateness
from exporters.events.reasons import Reason, Unread
from exporters.events.recent_ids import RecentIds
from exporters.events.series import ModelSeries, Series
from exporters.events.settling import Progress, Settled, Settling
from exporters.events.waiting import Names, Waiting, WaitingHalf, WaitingLabel, WaitingPrediction, WaitingPredictions
from midwatch.client.events import Label, Prediction, Value
from midwatch.metrics import OTHER
from midwatch.spec import model as spec

HALF_SECONDS = 300.0
"""How long one half of an inference log waits for the other: they are sent within one request."""

JournalEvent = Prediction | Label | Half
"""What a frame of the journal holds."""

Key = tuple[int, int]
"""64-bit hashes of an event: of what makes it the same one, and of the id under which its other half waits.

An id belongs to a model: a hash is that of the id, combined with that of the model. So what an earlier release kept
under the hash of the id alone is put under this one when it is read, and `_earlier` finds what is only remembered.
Two in ten million ids collide once in 400,000 tries. A kind is a prefix, not a seed: XXH3 of a short text under one
seed often equals that of another text under another seed.
"""

_log = logging.getLogger(__name__)
_digest = xxhash.xxh3_64_intdigest
_DUPLICATE = ("duplicate", Reason.ID)
_KINDS = {Prediction: "prediction", Label: "label", RequestHalf: "half", ResponseHalf: "half"}
_WAITING_FULL = ("dropped", Reason.WAITING_FULL)


class Totals(msgspec.Struct):
    """Everything of the state that is small: a snapshot's head; what is published has no `progress`."""

    series: list[Series] = []
    models: list[ModelSeries] = []
    accepted: dict[str, int] = {}
    folded: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    corruptions: int = 0
    names: list[Names] = []
    clock: Reading | None = None
    settled: list[tuple[str, str, Settled]] = []
    maturities: dict[str, float] = {}
    progress: dict[str, Progress] = {}


_pack = msgspec.msgpack.Encoder().encode


class State:
    """The fold. `accepted` and `dropped` count events by kind.

    One that is `part_of` another counts into the other's counters: what waits, and which ids are known, is its own.
    """

    def __init__(
        self,
        settings: spec.Exporter,
        models: Sequence[spec.Model] = (),
        *,
        part_of: State | None = None,
        is_fixed: bool = False,
    ) -> None:
        self._settings = settings
        self._kept_share = int(settings.sample * 2**64)
        self.lateness = Lateness(settings, models)
        self.counters: Counters = (
            part_of.counters if part_of else Counters(settings.caps, models, settings.personal.hash)
        )
        self.predictions = WaitingPredictions()
        self.labels = Waiting(WaitingLabel)
        self.halves = Waiting(WaitingHalf)
        self.recent_ids = RecentIds(self.lateness.horizons())
        self.earlier_ids = RecentIds(self.lateness.horizons())
        """Ids without their model, of a snapshot that an earlier release wrote."""
        self.time = 0.0
        self.clock: Reading | None = None
        added_to = part_of.settling if part_of else None
        self.settling: Settling = Settling(settings, models, is_fixed=is_fixed, added_to=added_to)
        self.accepted: Counter[str] = part_of.accepted if part_of else Counter()
        self.dropped: dict[str, Counter[str]] = part_of.dropped if part_of else _no_drops()
        self.corruptions = 0
        self._has_regressions = any(model.task == "regression" for model in models)
        self._swept = 0.0

    # Before the journal ------------------------------------------------------------------------------------------

    def admit(
        self, events: Sequence[JournalEvent], keys: Sequence[Key] | None = None
    ) -> list[tuple[str, Reason] | None]:
        """For each event: None to write it, or a result (`duplicate`, `malformed`, `dropped`) and its reason.

        `keys` are those of the events, where they have been made already.
        """
        keys = make_keys(events) if keys is None else keys
        taken = self._taken(events, keys)
        answers: list[tuple[str, Reason] | None] = []
        for event, (identity, value) in zip(events, keys, strict=True):
            if identity in taken:
                answers.append(_DUPLICATE)
                continue
            kind = type(event)
            if kind is Prediction:
                answer = self._unfit_prediction(event) if self._has_regressions else None  # type: ignore[arg-type]
            elif kind is Label:
                answer = self._unfit_label(event, value)  # type: ignore[arg-type]
            else:
                answer = _WAITING_FULL if len(self.halves) >= self._settings.max_waiting else None
            if answer is None:
                taken.add(identity)
            answers.append(answer)
        return answers

    def _taken(self, events: Sequence[JournalEvent], keys: Sequence[Key]) -> set[int]:
        """Identities that have been counted."""
        identities = [identity for identity, _ in keys]
        taken = self.recent_ids.known(identities)
        if len(self.earlier_ids):
            earlier = [_earlier(event, identity) for event, identity in zip(events, identities, strict=True)]
            known = self.earlier_ids.known(earlier)
            taken.update(new for new, old in zip(identities, earlier, strict=True) if old in known)
        return taken

    def _unfit_prediction(self, event: Prediction) -> tuple[str, Reason] | None:
        is_fit = event.outcome != "ok" or self._is_fit(event.model, event.prediction)
        return None if is_fit else ("malformed", Reason.WRONG_TYPE)

    def _unfit_label(self, label: Label, value: int) -> tuple[str, Reason] | None:
        if self._has_regressions and not self._is_fit(label.model, label.label):
            return "malformed", Reason.WRONG_TYPE
        if self.is_sampled_out(label.model, value):
            return "dropped", Reason.SAMPLED_OUT
        if value in self.predictions.packed or self._folded(label.model, value) in self.predictions.packed:
            return None
        if self._is_of_another_model(label.model, value):
            return "malformed", Reason.OTHER_MODEL
        return _WAITING_FULL if len(self.labels) >= self._settings.max_waiting else None

    def is_sampled_out(self, model: str, value: int) -> bool:
        """Whether no label of an id is taken: by the hash of the id alone, so that a share is the same one for every
        model and in every release.
        """
        return self._kept_share < 2**64 and rekeyed(value, model) >= self._kept_share

    def _folded(self, model: str, value: int) -> int:
        """Hash of an id where an earlier release kept it for a model that is counted as `other`."""
        return rekeyed(rekeyed(value, model), OTHER) if self.counters.known_model(model) == OTHER else value

    def _is_of_another_model(self, model: str, value: int) -> bool:
        """Whether a label names a model that nobody knows, and its id waits for a label of one that is known."""
        if model in self.counters.models or model in self.counters.declared:
            return False
        identifier = rekeyed(value, model)
        return any(rekeyed(identifier, other) in self.predictions.packed for other in self.counters.models)

    def _is_fit(self, model: str, value: Value | None) -> bool:
        """Whether a value can be the answer of a model: a regression's has to be a number."""
        declared = self.counters.declared.get(model)
        return declared is None or declared.task != "regression" or is_number(value)

    # After the journal -------------------------------------------------------------------------------------------

    def apply(
        self, time: float, events: Sequence[JournalEvent], *, loaded: bool = False, keys: Sequence[Key] | None = None
    ) -> None:
        """Take a group that was written at `time`; one that was loaded from a file is remembered longer."""
        self.time = max(self.time, time)
        self._expire(time)
        keys = make_keys(events) if keys is None else keys
        self._remember(events, keys, loaded=loaded)
        predictions = labels = 0
        unusable: list[JournalEvent] = []
        for event, (_, value) in zip(events, keys, strict=True):
            kind = type(event)
            try:
                if type(event.ts) is not float:
                    raise TypeError(f"the time of an event is {event.ts!r}, and not seconds")
                if kind is Prediction:
                    predictions += 1
                    self._predict(time, event, value)  # type: ignore[arg-type]
                elif kind is Label:
                    labels += 1
                    self._label(time, event, value)  # type: ignore[arg-type]
                else:
                    self.accepted["half"] += 1
                    self._half(time, event, value)  # type: ignore[arg-type]
            except Exception as error:  # it is durable: every restart would meet it again
                if not unusable:
                    _log.error("an event of the journal cannot be used and is not counted", exc_info=error)
                unusable.append(event)
        self._count_accepted(predictions, labels)
        for event in unusable:
            self.dropped[_KINDS[type(event)]][Reason.UNUSABLE] += 1

    def count_unreadable(self, events: int) -> None:
        """Count events of a frame that is whole but does not say what an event is."""
        if events:
            _log.error("%d events of the journal cannot be read and are not counted", events)
            self.dropped["event"][Reason.UNREADABLE] += events

    def _remember(self, events: Sequence[JournalEvent], keys: Sequence[Key], *, loaded: bool) -> None:
        if loaded or not self.lateness.is_by_model:
            horizon = self.lateness.horizon("", loaded=loaded)
            self.recent_ids.extend([identity for identity, _ in keys], horizon, _newest(events))
            return
        for event, (identity, _) in zip(events, keys, strict=True):
            self.recent_ids.extend((identity,), self.lateness.horizon(event.model), _newest((event,)))

    def _count_accepted(self, predictions: int, labels: int) -> None:
        for kind, count in (("prediction", predictions), ("label", labels)):
            if count:
                self.accepted[kind] += count

    def _predict(self, time: float, event: Prediction, value: int) -> Series:
        series = self.counters.count_request(event)
        if event.attributions:
            self.counters.count_attributions(series, event.attributions, self.counters.explained_groups(event))
        if event.rank is not None and event.outcome == "ok" and event.model in self.counters.promised:
            declared = self.counters.declared[event.model]
            self.counters.count_rank(series, self.counters.published_groups(declared, event.groups), event.rank)
        # The answer of an inference log may have no class: that is a request, and nothing to compare.
        if event.outcome == "ok" and event.prediction is not None:
            predicted = self.counters.count_prediction(series, event, event.prediction)
            self._wait(time, event, value, series, predicted)
        return series

    def _wait(self, time: float, event: Prediction, value: int, series: Series, predicted: Value) -> None:
        model = self.counters.models[series.model]
        declared = self.counters.declared.get(event.model)
        groups = self.counters.published_groups(declared, event.groups) if declared and event.groups else None
        entry = WaitingPrediction(time, event.ts, series.model, series.version, predicted, event.score, groups)  # type: ignore[arg-type]
        counted: Mapping[str, str] = {}
        scored: Mapping[str, str] = {}
        if groups and self.settling.settles(entry):
            counted = self.counters.count_groups(series, groups, predicted)
            if event.score is not None and series.model in self.counters.promised:
                scored = self.counters.scored_groups(series, groups)
        if value in self.labels.packed and (early := self.labels.pop(value)) is not None:
            self.counters.models[self.counters.known_model(early.model)].labels_waiting -= 1
            self._predict_settling(series, entry, counted, scored)
            self._settle(entry, early.label, early.ts, time)
            return
        if self.is_sampled_out(event.model, value):
            model.sampled_out += 1
        elif not self._has_room(value):
            self.dropped["prediction"][Reason.WAITING_FULL] += 1
        else:
            self.predictions.put(value, entry)
            self._predict_settling(series, entry, counted, scored)
            model.waiting += 1

    def _has_room(self, value: int) -> bool:  # noqa: ARG002 - where predictions wait elsewhere, it depends on which
        """Whether one more prediction may wait, which has this hash."""
        return len(self.predictions) < self._settings.max_waiting

    def _label(self, time: float, event: Label, value: int) -> None:
        entry = self.predictions.pop(value) or self.predictions.pop(self._folded(event.model, value))
        if entry is None:
            self.counters.admit_model(event.model).labels_waiting += 1
            self.labels.put(value, WaitingLabel(time, event.ts, event.model, event.label))  # type: ignore[arg-type]
        else:
            self.counters.models[entry.model].waiting -= 1
            self._settle(entry, event.label, event.ts, time)  # type: ignore[arg-type]

    def _predict_settling(
        self, series: Series, entry: WaitingPrediction, groups: Mapping[str, str], scored: Mapping[str, str]
    ) -> None:
        """Let a prediction be settled under the class that it is counted under: `other` without room for its own."""
        if type(entry.predicted) is str and entry.predicted not in series.predicted:
            entry = msgspec.structs.replace(entry, predicted=OTHER)
        self.settling.predict(entry, groups, scored)

    def _settle(self, entry: WaitingPrediction, actual: Value, ts: float, time: float) -> None:
        try:
            outcome = self.counters.count_outcome(entry, actual, ts)
        except NoDifferenceError:
            self.dropped["label"][Reason.WRONG_TYPE] += 1
        else:
            self.settling.label(entry, outcome, time)

    def _half(self, time: float, half: Half, value: int) -> None:
        other = self.halves.pop(value)
        if other is None:
            self.halves.put(value, WaitingHalf(time, half))
            return
        request, response = (half, other.half) if isinstance(half, RequestHalf) else (other.half, half)
        joined = Joined.of(request, response)  # type: ignore[arg-type]
        keys = make_keys(joined.predictions)
        known = self._taken(joined.predictions, keys)
        series = None
        unread = joined.unread
        for prediction, (identity, key) in zip(joined.predictions, keys, strict=True):
            if identity not in known:
                self.recent_ids.extend((identity,), self.lateness.horizon(prediction.model), _newest((prediction,)))
                self.accepted["prediction"] += 1
                if prediction.prediction is not None and not self._is_fit(prediction.model, prediction.prediction):
                    prediction.prediction = None
                    unread = unread or [Unread.WRONG_TYPE]
                series = self._predict(time, prediction, key)
        if series is not None:
            self.counters.count_unread(series.model, unread)
            if joined.generation is not None:
                self.counters.count_generation(series, joined.generation)

    # Retention ---------------------------------------------------------------------------------------------------

    def wall(self, time: float) -> float:
        """What the wall clock said when it was a moment of the journal's time, by its last reading."""
        return time if self.clock is None else time - self.clock.at + self.clock.wall

    def _expire(self, time: float) -> None:
        now = self.wall(time)
        self.recent_ids.forget(time, now)
        self.earlier_ids.forget(time, now)
        self.settling.settle(time, self.counters.models)
        if 0 <= time - self._swept < 1:  # looking for the oldest entry passes over every deleted one
            return
        self._swept = time
        limit = time - self._settings.label_retention
        for prediction in self.predictions.pop_expired(limit):
            model = self.counters.models[prediction.model]
            model.waiting -= 1
            model.expired += 1
        for label in self.labels.pop_expired(limit):
            model = self.counters.models[self.counters.known_model(label.model)]
            model.labels_waiting -= 1
            model.orphaned += 1
        for entry in self.halves.pop_expired(time - HALF_SECONDS):
            # The first part of an inference says that its rows differ; the others have no part to join then.
            self.dropped["half"][Reason.OTHER_HALF_MISSING] += not entry.half.first

    def has_expired(self, time: float) -> bool:
        """Whether anything has waited too long: then an empty group is worth writing."""
        limit = time - self._settings.label_retention
        ages = (
            (self.predictions.oldest(), limit),
            (self.labels.oldest(), limit),
            (self.halves.oldest(), time - HALF_SECONDS),
        )
        is_old = any(received is not None and received < least for received, least in ages)
        return is_old or self.settling.is_due(time, self.counters.models)

    def oldest_waiting(self) -> float | None:
        """When the prediction that waits longest came."""
        return self.predictions.oldest()

    def halves_waiting(self) -> int:
        """Halves of inference logs that wait for the other one."""
        return len(self.halves)

    # Snapshots ---------------------------------------------------------------------------------------------------

    def totals(self) -> bytes:
        """The small part of the state, packed."""
        return _pack(self._totals(progress=self.settling.progress, names=self.predictions.names))

    def published(self) -> bytes:
        """What is published of it, packed."""
        return _pack(self.live())

    def live(self) -> Totals:
        """What is published of it as it is: the next group changes what is counted in it."""
        return self._totals(progress={}, names=[])

    def _totals(self, *, progress: dict[str, Progress], names: list[Names]) -> Totals:
        return Totals(
            series=list(self.counters.versions.values()),
            models=list(self.counters.models.values()),
            accepted=dict(self.accepted),
            folded=dict(self.counters.folded),
            dropped={kind: dict(counts) for kind, counts in self.dropped.items()},
            corruptions=self.corruptions,
            names=names,
            clock=self.clock,
            settled=self.settling.settled(),
            maturities=self.settling.maturities(),
            progress=progress,
        )

    def restore_totals(self, packed: bytes) -> None:
        """Take the small part back."""
        totals = msgspec.msgpack.decode(packed, type=Totals)
        self.counters.restore(totals.series, totals.models, totals.folded)
        self.accepted = Counter(totals.accepted)
        self.dropped = _no_drops() | {kind: Counter(counts) for kind, counts in totals.dropped.items()}
        self.corruptions = totals.corruptions
        self.predictions.restore(totals.names)
        self.clock = totals.clock
        self.settling.restore(totals.settled, totals.progress)


def _no_drops() -> dict[str, Counter[str]]:
    return {kind: Counter() for kind in ("prediction", "label", "half", "event")}


def rekeyed(value: int, model: str) -> int:
    """Hash of an id of a model, from that of the id alone, or the other way about."""
    return value ^ _digest(model.encode())


def _earlier(event: JournalEvent, identity: int) -> int:
    """The identity that an earlier release gave an event."""
    return identity if isinstance(event, Half) else rekeyed(identity, event.model)


def _newest(events: Sequence[JournalEvent]) -> float:
    """The latest time of predictions: as long as one of that time is taken, their ids have to be remembered."""
    times = [event.ts for event in events if type(event) is not Label and type(event.ts) is float]
    return max(times, default=0.0)


def make_keys(events: Sequence[JournalEvent]) -> list[Key]:
    """Keys of events."""
    made = []
    models: dict[str, int] = {}
    for event in events:
        kind = type(event)
        model = models.get(event.model)
        if model is None:
            model = models[event.model] = _digest(event.model.encode())
        if kind is Prediction:
            value = _digest(event.id.encode()) ^ model
            made.append((value, value))
        elif kind is Label:
            identifier = event.id.encode()
            made.append((_digest(b"\0label\0" + identifier) ^ model, _digest(identifier) ^ model))
        else:
            key = event.key.encode()  # type: ignore[union-attr]
            side = b"\0request\0" if kind is RequestHalf else b"\0response\0"
            made.append((_digest(side + key), _digest(key)))
    return made
