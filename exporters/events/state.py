"""What the exporter knows: a fold over the journal's frames. Counters to publish, and what waits for its other half.

`admit` says which events of a group may be written to the journal; `apply` takes a written group. Applying the same
frames in the same order gives the same state, so a restart continues every counter where the last acknowledged event
left it. Nothing here does input or output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import xxhash

from exporters.events.counters import Counters, ModelSeries, Series, is_number
from exporters.events.inference_log import Half, Joined, RequestHalf
from exporters.events.lateness import Lateness
from exporters.events.reasons import Reason
from exporters.events.recent_ids import RecentIds
from exporters.events.settling import Progress, Settled, Settling
from exporters.events.waiting import Names, Waiting, WaitingHalf, WaitingLabel, WaitingPrediction, WaitingPredictions
from midwatch.client.events import Label, Prediction, Value
from midwatch.spec import model as spec

HALF_SECONDS = 300.0
"""How long one half of an inference log waits for the other: they are sent within one request."""

JournalEvent = Prediction | Label | Half
"""What a frame of the journal holds."""

Key = tuple[int, int]
"""64-bit hashes of an event: of what makes it the same one, and of the id under which its other half waits.

Two in ten million ids collide once in 400,000 tries. A kind is a prefix, not a seed: XXH3 of a short text under one
seed often equals that of another text under another seed.
"""

_digest = xxhash.xxh3_64_intdigest
_DUPLICATE = ("duplicate", Reason.ID)
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
    settled: list[tuple[str, str, Settled]] = []
    maturities: dict[str, float] = {}
    progress: dict[str, Progress] = {}


_pack = msgspec.msgpack.Encoder().encode


class State:
    """The fold. `accepted` and `dropped` count events by kind."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        self._settings = settings
        self._kept_share = int(settings.sample * 2**64)
        self.lateness = Lateness(settings, models)
        self.counters = Counters(settings.caps, models, settings.personal.hash)
        self.predictions = WaitingPredictions()
        self.labels = Waiting(WaitingLabel)
        self.halves = Waiting(WaitingHalf)
        self.recent_ids = RecentIds(self.lateness.horizons())
        self.settling = Settling(settings, models)
        self.accepted: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {"prediction": Counter(), "label": Counter(), "half": Counter()}
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
        taken = self.recent_ids.known([identity for identity, _ in keys])
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

    def _unfit_prediction(self, event: Prediction) -> tuple[str, Reason] | None:
        is_fit = event.outcome != "ok" or self._is_fit(event.model, event.prediction)
        return None if is_fit else ("malformed", Reason.WRONG_TYPE)

    def _unfit_label(self, label: Label, value: int) -> tuple[str, Reason] | None:
        if self._has_regressions and not self._is_fit(label.model, label.label):
            return "malformed", Reason.WRONG_TYPE
        if value >= self._kept_share:
            return "dropped", Reason.SAMPLED_OUT
        record = self.predictions.packed.get(value)
        if record is None:
            return _WAITING_FULL if len(self.labels) >= self._settings.max_waiting else None
        if not self.predictions.is_of(record, self.counters.known_model(label.model)):
            return "malformed", Reason.OTHER_MODEL
        return None

    def _is_fit(self, model: str, value: Value | None) -> bool:
        """Whether a value can be the answer of a model: a regression's has to be a number."""
        declared = self.counters.declared.get(model)
        return declared is None or declared.task != "regression" or is_number(value)

    # After the journal -------------------------------------------------------------------------------------------

    def apply(
        self, time: float, events: Sequence[JournalEvent], *, loaded: bool = False, keys: Sequence[Key] | None = None
    ) -> None:
        """Take a group that was written at `time`; one that was loaded from a file is remembered longer."""
        self._expire(time)
        keys = make_keys(events) if keys is None else keys
        self._remember(events, keys, loaded=loaded)
        predictions = labels = 0
        for event, (_, value) in zip(events, keys, strict=True):
            kind = type(event)
            if kind is Prediction:
                predictions += 1
                self._predict(time, event, value)  # type: ignore[arg-type]
            elif kind is Label:
                labels += 1
                self._label(time, event, value)  # type: ignore[arg-type]
            else:
                self.accepted["half"] += 1
                self._half(time, event, value)  # type: ignore[arg-type]
        self._count_accepted(predictions, labels)

    def _remember(self, events: Sequence[JournalEvent], keys: Sequence[Key], *, loaded: bool) -> None:
        if loaded or not self.lateness.is_by_model:
            horizon = self.lateness.horizon("", loaded=loaded)
            self.recent_ids.extend([identity for identity, _ in keys], horizon)
            return
        for event, (identity, _) in zip(events, keys, strict=True):
            self.recent_ids.extend((identity,), self.lateness.horizon(event.model))

    def _count_accepted(self, predictions: int, labels: int) -> None:
        for kind, count in (("prediction", predictions), ("label", labels)):
            if count:
                self.accepted[kind] += count

    def _predict(self, time: float, event: Prediction, value: int) -> Series:
        series = self.counters.count_request(event)
        # The answer of an inference log may have no class: that is a request, and nothing to compare.
        if event.outcome == "ok" and event.prediction is not None:
            predicted = self.counters.count_prediction(series, event, event.prediction)
            self._wait(time, event, value, series, predicted)
        return series

    def _wait(self, time: float, event: Prediction, value: int, series: Series, predicted: Value) -> None:
        model = self.counters.models[series.model]
        declared = self.counters.declared.get(event.model)
        groups = self._published_groups(declared, event.groups) if declared and event.groups else None
        entry = WaitingPrediction(time, event.ts, series.model, series.version, predicted, event.score, groups)  # type: ignore[arg-type]
        if value in self.labels.packed and (early := self.labels.pop(value)) is not None:
            label_model = self.counters.known_model(early.model)
            self.counters.models[label_model].labels_waiting -= 1
            if label_model == series.model:
                self.settling.predict(entry)
                self.settling.label(entry, self.counters.count_outcome(entry, early.label, early.ts), time)
                return
            self.dropped["label"][Reason.OTHER_MODEL] += 1
        if value >= self._kept_share:
            model.sampled_out += 1
        elif len(self.predictions) >= self._settings.max_waiting:
            self.dropped["prediction"][Reason.WAITING_FULL] += 1
        else:
            self.predictions.put(value, entry)
            self.settling.predict(entry)
            model.waiting += 1

    def _published_groups(self, model: spec.Model, groups: dict[str, Value]) -> dict[str, Value]:
        published = self.counters.published_group
        return {name: published(name, groups[name]) for name in model.groups if name in groups}

    def _label(self, time: float, event: Label, value: int) -> None:
        entry = self.predictions.pop(value)
        if entry is None:
            self.counters.admit_model(event.model).labels_waiting += 1
            self.labels.put(value, WaitingLabel(time, event.ts, event.model, event.label))  # type: ignore[arg-type]
        elif entry.model != self.counters.known_model(event.model):  # both came in one group
            self.predictions.put(value, entry)
            self.dropped["label"][Reason.OTHER_MODEL] += 1
        else:
            self.counters.models[entry.model].waiting -= 1
            outcome = self.counters.count_outcome(entry, event.label, event.ts)  # type: ignore[arg-type]
            self.settling.label(entry, outcome, time)

    def _half(self, time: float, half: Half, value: int) -> None:
        other = self.halves.pop(value)
        if other is None:
            self.halves.put(value, WaitingHalf(time, half))
            return
        request, response = (half, other.half) if isinstance(half, RequestHalf) else (other.half, half)
        joined = Joined.of(request, response)  # type: ignore[arg-type]
        keys = make_keys(joined.predictions)
        known = self.recent_ids.known([identity for identity, _ in keys])
        series = None
        for prediction, (identity, key) in zip(joined.predictions, keys, strict=True):
            if identity not in known:
                self.recent_ids.extend((identity,), self.lateness.horizon(prediction.model))
                self.accepted["prediction"] += 1
                if prediction.prediction is not None and not self._is_fit(prediction.model, prediction.prediction):
                    prediction.prediction = None
                series = self._predict(time, prediction, key)
        if series is not None:
            self.counters.count_unread(series.model, joined.unread)
            if joined.generation is not None:
                self.counters.count_generation(series, joined.generation)

    # Retention ---------------------------------------------------------------------------------------------------

    def _expire(self, time: float) -> None:
        self.recent_ids.forget(time)
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

    # Snapshots ---------------------------------------------------------------------------------------------------

    def totals(self) -> bytes:
        """The small part of the state, packed."""
        return self._packed(progress=self.settling.progress, names=self.predictions.names)

    def published(self) -> bytes:
        """What is published of it, packed."""
        return self._packed(progress={}, names=[])

    def _packed(self, *, progress: dict[str, Progress], names: list[Names]) -> bytes:
        return _pack(
            Totals(
                series=list(self.counters.versions.values()),
                models=list(self.counters.models.values()),
                accepted=dict(self.accepted),
                folded=dict(self.counters.folded),
                dropped={kind: dict(counts) for kind, counts in self.dropped.items()},
                corruptions=self.corruptions,
                names=names,
                settled=self.settling.settled(),
                maturities=self.settling.maturities(),
                progress=progress,
            )
        )

    def restore_totals(self, packed: bytes) -> None:
        """Take the small part back."""
        totals = msgspec.msgpack.decode(packed, type=Totals)
        self.counters.restore(totals.series, totals.models, totals.folded)
        self.accepted = Counter(totals.accepted)
        self.dropped = {kind: Counter(counts) for kind, counts in totals.dropped.items()}
        self.corruptions = totals.corruptions
        self.predictions.restore(totals.names)
        self.settling.restore(totals.settled, totals.progress)


def make_keys(events: Sequence[JournalEvent]) -> list[Key]:
    """Keys of events."""
    made = []
    for event in events:
        kind = type(event)
        if kind is Prediction:
            value = _digest(event.id.encode())
            made.append((value, value))
        elif kind is Label:
            made.append((_digest(b"\0label\0" + event.id.encode()), _digest(event.id.encode())))
        else:
            key = event.key.encode()  # type: ignore[union-attr]
            side = b"\0request\0" if kind is RequestHalf else b"\0response\0"
            made.append((_digest(side + key), _digest(key)))
    return made
