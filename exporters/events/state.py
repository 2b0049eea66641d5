"""What the exporter knows: a fold over the journal's frames. Counters to publish, and what waits for its other half.

`admit` says which events of a group may be written to the journal; `apply` takes a written group. Applying the same
frames in the same order gives the same state, so a restart continues every counter where the last acknowledged event
left it. Nothing here does input or output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import xxhash

from exporters.events.counters import Counters, ModelSeries, Series, is_number
from exporters.events.inference_log import Half, Joined, RequestHalf
from exporters.events.lateness import Lateness
from exporters.events.reasons import Reason
from exporters.events.recent_ids import RecentIds
from exporters.events.waiting import Waiting, WaitingHalf, WaitingLabel, WaitingPrediction
from midwatch.client.events import Label, Prediction, Value
from midwatch.spec import model as spec

HALF_SECONDS = 300.0
"""How long one half of an inference log waits for the other: they are sent within one request."""

JournalEvent = Prediction | Label | Half
"""What a frame of the journal holds."""


class Totals(msgspec.Struct):
    """Everything of the state that is small: a snapshot's head."""

    series: list[Series] = []
    models: list[ModelSeries] = []
    accepted: dict[str, int] = {}
    folded: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    corruptions: int = 0


_pack = msgspec.msgpack.Encoder().encode


class State:
    """The fold. `accepted` and `dropped` count events by kind."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        self._settings = settings
        self._kept_share = int(settings.sample * 2**64)
        self.lateness = Lateness(settings, models)
        self.counters = Counters(settings.caps, models, settings.personal.hash)
        self.predictions = Waiting(WaitingPrediction)
        self.labels = Waiting(WaitingLabel)
        self.halves = Waiting(WaitingHalf)
        self.recent_ids = RecentIds(self.lateness.horizons())
        self.accepted: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {"prediction": Counter(), "label": Counter(), "half": Counter()}
        self.corruptions = 0
        self._swept = 0.0

    # Before the journal ------------------------------------------------------------------------------------------

    def admit(self, events: Sequence[JournalEvent]) -> list[tuple[str, Reason] | None]:
        """For each event: None to write it, or a result (`duplicate`, `malformed`, `dropped`) and its reason."""
        hashes = [_identity(event) for event in events]
        taken = self.recent_ids.known(hashes)
        answers: list[tuple[str, Reason] | None] = []
        for event, value in zip(events, hashes, strict=True):
            if value in taken:
                answers.append(("duplicate", Reason.ID))
                continue
            answer = self._unfit(event)
            if answer is None:
                taken.add(value)
            answers.append(answer)
        return answers

    def _unfit(self, event: JournalEvent) -> tuple[str, Reason] | None:
        if type(event) is Prediction:
            if event.outcome == "ok" and not self._is_fit(event.model, event.prediction):
                return "malformed", Reason.WRONG_TYPE
        elif type(event) is Label:
            return self._unfit_label(event)
        elif len(self.halves) >= self._settings.max_waiting:
            return "dropped", Reason.WAITING_FULL
        return None

    def _unfit_label(self, label: Label) -> tuple[str, Reason] | None:
        if not self._is_fit(label.model, label.label):
            return "malformed", Reason.WRONG_TYPE
        value = _hash(label.id)
        if value >= self._kept_share:
            return "dropped", Reason.SAMPLED_OUT
        entry = self.predictions.get(value)
        if entry is None:
            return ("dropped", Reason.WAITING_FULL) if len(self.labels) >= self._settings.max_waiting else None
        if entry.model != self.counters.known_model(label.model):
            return "malformed", Reason.OTHER_MODEL
        return None

    def _is_fit(self, model: str, value: Value | None) -> bool:
        """Whether a value can be the answer of a model: a regression's has to be a number."""
        declared = self.counters.declared.get(model)
        return declared is None or declared.task != "regression" or is_number(value)

    # After the journal -------------------------------------------------------------------------------------------

    def apply(self, time: float, events: Iterable[JournalEvent], *, loaded: bool = False) -> None:
        """Take a group that was written at `time`; one that was loaded from a file is remembered longer."""
        self._expire(time)
        for event in events:
            self.recent_ids.add(_identity(event), self.lateness.horizon(event.model, loaded=loaded))
            if type(event) is Prediction:
                self.accepted["prediction"] += 1
                self._predict(time, event)
            elif type(event) is Label:
                self.accepted["label"] += 1
                self._label(time, event)
            else:
                self.accepted["half"] += 1
                self._half(time, event)  # type: ignore[arg-type]

    def _predict(self, time: float, event: Prediction) -> Series:
        series = self.counters.count_request(event)
        # The answer of an inference log may have no class: that is a request, and nothing to compare.
        if event.outcome == "ok" and event.prediction is not None:
            predicted = self.counters.count_prediction(series, event, event.prediction)
            self._wait(time, event, series, predicted)
        return series

    def _wait(self, time: float, event: Prediction, series: Series, predicted: Value) -> None:
        value, model = _hash(event.id), self.counters.models[series.model]
        declared = self.counters.declared.get(event.model)
        groups = self._published_groups(declared, event.groups) if declared and event.groups else None
        entry = WaitingPrediction(time, event.ts, series.model, series.version, predicted, event.score, groups)  # type: ignore[arg-type]
        early = self.labels.pop(value)
        if early is not None:
            label_model = self.counters.known_model(early.model)
            self.counters.models[label_model].labels_waiting -= 1
            if label_model == series.model:
                self.counters.count_outcome(entry, early.label, early.ts)
                return
            self.dropped["label"][Reason.OTHER_MODEL] += 1
        if value >= self._kept_share:
            model.sampled_out += 1
        elif len(self.predictions) >= self._settings.max_waiting:
            self.dropped["prediction"][Reason.WAITING_FULL] += 1
        else:
            self.predictions.put(value, entry)
            model.waiting += 1

    def _published_groups(self, model: spec.Model, groups: dict[str, Value]) -> dict[str, Value]:
        published = self.counters.published_group
        return {name: published(name, groups[name]) for name in model.groups if name in groups}

    def _label(self, time: float, event: Label) -> None:
        value = _hash(event.id)
        entry = self.predictions.pop(value)
        if entry is None:
            self.counters.admit_model(event.model).labels_waiting += 1
            self.labels.put(value, WaitingLabel(time, event.ts, event.model, event.label))  # type: ignore[arg-type]
        elif entry.model != self.counters.known_model(event.model):  # both came in one group
            self.predictions.put(value, entry)
            self.dropped["label"][Reason.OTHER_MODEL] += 1
        else:
            self.counters.models[entry.model].waiting -= 1
            self.counters.count_outcome(entry, event.label, event.ts)  # type: ignore[arg-type]

    def _half(self, time: float, half: Half) -> None:
        value = _hash(half.key)
        other = self.halves.pop(value)
        if other is None:
            self.halves.put(value, WaitingHalf(time, half))
            return
        request, response = (half, other.half) if isinstance(half, RequestHalf) else (other.half, half)
        joined = Joined.of(request, response)  # type: ignore[arg-type]
        known = self.recent_ids.known([_identity(prediction) for prediction in joined.predictions])
        series = None
        for prediction in joined.predictions:
            if (identity := _identity(prediction)) not in known:
                self.recent_ids.add(identity, self.lateness.horizon(prediction.model))
                self.accepted["prediction"] += 1
                if prediction.prediction is not None and not self._is_fit(prediction.model, prediction.prediction):
                    prediction.prediction = None
                series = self._predict(time, prediction)
        if series is not None:
            self.counters.count_unread(series.model, joined.unread)
            if joined.generation is not None:
                self.counters.count_generation(series, joined.generation)

    # Retention ---------------------------------------------------------------------------------------------------

    def _expire(self, time: float) -> None:
        self.recent_ids.forget(time)
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
        return any(received is not None and received < least for received, least in ages)

    # Snapshots ---------------------------------------------------------------------------------------------------

    def totals(self) -> bytes:
        """The small part of the state, packed."""
        return _pack(
            Totals(
                series=list(self.counters.versions.values()),
                models=list(self.counters.models.values()),
                accepted=dict(self.accepted),
                folded=dict(self.counters.folded),
                dropped={kind: dict(counts) for kind, counts in self.dropped.items()},
                corruptions=self.corruptions,
            )
        )

    def restore_totals(self, packed: bytes) -> None:
        """Take the small part back."""
        totals = msgspec.msgpack.decode(packed, type=Totals)
        self.counters.restore(totals.series, totals.models, totals.folded)
        self.accepted = Counter(totals.accepted)
        self.dropped = {kind: Counter(counts) for kind, counts in totals.dropped.items()}
        self.corruptions = totals.corruptions


def _identity(event: JournalEvent) -> int:
    """64-bit hash of what makes an event the same one: two in ten million ids collide once in 400,000 tries."""
    if isinstance(event, Prediction):
        return _hash(event.id)
    if isinstance(event, Label):
        return _hash(event.id, b"\0label\0")
    return _hash(event.key, b"\0request\0" if isinstance(event, RequestHalf) else b"\0response\0")


def _hash(text: str, kind: bytes = b"") -> int:
    # A prefix, not a seed: XXH3 of a short text under one seed often equals that of another text under another seed.
    return xxhash.xxh3_64_intdigest(kind + text.encode())
