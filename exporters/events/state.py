"""What the exporter knows: a fold over the journal's frames. Series to publish, and what waits for its other half.

`admit` says which events of a group may be written to the journal; `apply` takes a written group. Applying the same
frames in the same order gives the same state, so a restart continues every counter where the last acknowledged event
left it. Nothing here does input or output.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import xxhash

from exporters.events import kserve
from exporters.events.seen import Seen
from midwatch import metrics
from midwatch.client import events
from midwatch.client.events import Label, Prediction, Value
from midwatch.spec import model as spec

HALF_SECONDS = 300.0
"""How long one half of an inference log waits for the other: they are sent within one request."""

SWEEP = 20_000
"""Expired entries dropped with one group at the most, so that no group waits long."""

TRACE_ID_LENGTH = 32
"""Of a trace id in hexadecimal (W3C Trace Context, 3.2.2.3); anything else is no link to a trace."""

Kept = Prediction | Label | kserve.RequestHalf | kserve.ResponseHalf


def _hash(text: str, kind: bytes = b"") -> int:
    # A prefix, not a seed: XXH3 of a short text under one seed often equals that of another text under another seed.
    return xxhash.xxh3_64_intdigest(kind + text.encode())


class Waiting(msgspec.Struct, array_like=True, gc=False):
    """What a prediction's label will need; `received` and `ts` are seconds since the epoch."""

    received: float
    ts: float
    model: str
    version: str
    predicted: Value
    score: float | None
    groups: dict[str, Value] | None


class WaitingLabel(msgspec.Struct, array_like=True, gc=False):
    """A label that came before its prediction."""

    received: float
    ts: float
    model: str
    label: Value


class WaitingHalf(msgspec.Struct, array_like=True):
    """A request or response of an inference log."""

    received: float
    half: kserve.RequestHalf | kserve.ResponseHalf


class Exemplar(msgspec.Struct, array_like=True, gc=False):
    """A request that a latency bucket counted: its trace, duration, and time (seconds since the epoch)."""

    trace_id: str
    seconds: float
    ts: float


class Series(msgspec.Struct):
    """Counts of a version of a model. `latency`: one per bound and one beyond; `bins`: [n, positives, sum].

    `exemplars` has the newest traced request of a bucket, by its place in `latency`.
    """

    model: str
    version: str
    bounds: list[float]
    latency: list[int]
    bins: list[list[float]]
    ok: int = 0
    errors: int = 0
    latency_sum: float = 0.0
    predicted: dict[str, int] = {}
    outcomes: dict[str, dict[str, int]] = {}
    groups: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    absolute: float = 0.0
    squared: float = 0.0
    observed: int = 0
    expected: float = 0.0
    scored: int = 0
    exemplars: dict[int, Exemplar] = {}


class ModelSeries(msgspec.Struct):
    """Counts of a model over its versions, and the label values it has been admitted with."""

    model: str
    delay: list[int]
    delay_sum: float = 0.0
    waiting: int = 0
    labels_waiting: int = 0
    expired: int = 0
    orphaned: int = 0
    sampled_out: int = 0
    versions: set[str] = set()
    classes: set[str] = set()
    group_values: dict[str, set[str]] = {}


class Totals(msgspec.Struct):
    """Everything of the state that is small: a snapshot's head."""

    series: list[Series] = []
    models: list[ModelSeries] = []
    accepted: dict[str, int] = {}
    folded: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    corruptions: int = 0


_WAITING = msgspec.msgpack.Decoder(Waiting)
_WAITING_LABEL = msgspec.msgpack.Decoder(WaitingLabel)
_WAITING_HALF = msgspec.msgpack.Decoder(WaitingHalf)
_pack = msgspec.msgpack.Encoder().encode


class State:
    """The fold. `version_series` and `model_series` are what the collector reads."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        self._settings = settings
        self._declared = {model.name: model for model in models}
        self._kept_share = int(settings.sample * 2**64)
        self.version_series: dict[tuple[str, str], Series] = {}
        self.model_series: dict[str, ModelSeries] = {}
        self.waiting: dict[int, bytes] = {}
        self.labels: dict[int, bytes] = {}
        self.halves: dict[int, bytes] = {}
        self.seen = Seen(settings.remember + settings.future)
        self.accepted: Counter[str] = Counter()
        self.folded: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {"prediction": Counter(), "label": Counter(), "half": Counter()}
        self.corruptions = 0
        self._swept = 0.0

    # Before the journal ------------------------------------------------------------------------------------------

    def admit(self, kept: Sequence[Kept]) -> list[tuple[str, str] | None]:
        """For each event: None to write it, or a result (`duplicate`, `malformed`, `dropped`) and its reason."""
        hashes = [_identity(event) for event in kept]
        taken = self.seen.known(hashes)
        answers: list[tuple[str, str] | None] = []
        for event, value in zip(kept, hashes, strict=True):
            if value in taken:
                answers.append(("duplicate", "id"))
                continue
            answer = self._unfit(event)
            if answer is None:
                taken.add(value)
            answers.append(answer)
        return answers

    def _unfit(self, event: Kept) -> tuple[str, str] | None:
        if type(event) is Prediction:
            model = self._declared.get(event.model)
            if model and model.task == "regression" and event.outcome == "ok" and not _is_number(event.prediction):
                return "malformed", "wrong_type"
        elif type(event) is Label:
            return self._unfit_label(event)
        elif len(self.halves) >= self._settings.max_waiting:
            return "dropped", "waiting_full"
        return None

    def _unfit_label(self, label: Label) -> tuple[str, str] | None:
        model = self._declared.get(label.model)
        if model and model.task == "regression" and not _is_number(label.label):
            return "malformed", "wrong_type"
        value = _hash(label.id)
        if value >= self._kept_share:
            return "dropped", "sampled_out"
        record = self.waiting.get(value)
        if record is None:
            return ("dropped", "waiting_full") if len(self.labels) >= self._settings.max_waiting else None
        if _WAITING.decode(record).model != self._known_model(label.model):
            return "malformed", "other_model"
        return None

    # After the journal -------------------------------------------------------------------------------------------

    def apply(self, time: float, kept: Iterable[Kept]) -> None:
        """Take a group that was written at `time`."""
        self._expire(time)
        for event in kept:
            self.seen.add(_identity(event))
            if type(event) is Prediction:
                self.accepted["prediction"] += 1
                self._predict(time, event)
            elif type(event) is Label:
                self.accepted["label"] += 1
                self._label(time, event)
            else:
                self.accepted["half"] += 1
                self._half(time, event)  # type: ignore[arg-type]

    def _predict(self, time: float, event: Prediction) -> None:
        series = self.version_series.get((event.model, event.version)) or self._admit_version(
            event.model, event.version
        )
        if event.duration_seconds is not None:
            place = bisect_left(series.bounds, event.duration_seconds)
            series.latency[place] += 1
            series.latency_sum += event.duration_seconds
            if event.trace_id is not None and len(event.trace_id) == TRACE_ID_LENGTH:
                series.exemplars[place] = Exemplar(event.trace_id, event.duration_seconds, event.ts)  # type: ignore[arg-type]
        if event.outcome == "error":
            series.errors += 1
            return
        series.ok += 1
        predicted = event.prediction
        if predicted is None:  # an inference log whose answer has no class: a request, and nothing to compare
            return
        model = self.model_series[series.model]
        if not self._is_regression(event.model, predicted):
            predicted = self._class(model, events.class_name(predicted))
            series.predicted[predicted] = series.predicted.get(predicted, 0) + 1
            if event.score is not None:
                positive = predicted == self._positive(event.model)
                series.expected += event.score if positive else 1 - event.score
                series.scored += 1
        self._wait(time, event, series, model, predicted)

    def _wait(self, time: float, event: Prediction, series: Series, model: ModelSeries, predicted: Value) -> None:
        value = _hash(event.id)
        declared = self._declared.get(event.model)
        groups = {name: event.groups[name] for name in declared.groups if name in event.groups} if declared else None
        entry = Waiting(time, event.ts, series.model, series.version, predicted, event.score, groups)  # type: ignore[arg-type]
        early = self.labels.pop(value, None)
        if early is not None:
            label = _WAITING_LABEL.decode(early)
            self.model_series[self._known_model(label.model)].labels_waiting -= 1
            if self._known_model(label.model) == series.model:
                self._join(entry, label.label, label.ts)
                return
            self.dropped["label"]["other_model"] += 1
        if value >= self._kept_share:
            model.sampled_out += 1
        elif len(self.waiting) >= self._settings.max_waiting:
            self.dropped["prediction"]["waiting_full"] += 1
        else:
            self.waiting[value] = _pack(entry)
            model.waiting += 1

    def _label(self, time: float, event: Label) -> None:
        value = _hash(event.id)
        record = self.waiting.pop(value, None)
        if record is not None:
            entry = _WAITING.decode(record)
            if entry.model != self._known_model(event.model):  # both came in one group
                self.waiting[value] = record
                self.dropped["label"]["other_model"] += 1
                return
            self.model_series[entry.model].waiting -= 1
            self._join(entry, event.label, event.ts)  # type: ignore[arg-type]
            return
        self._admit_model(event.model).labels_waiting += 1
        self.labels[value] = _pack(WaitingLabel(time, event.ts, event.model, event.label))  # type: ignore[arg-type]

    def _join(self, entry: Waiting, actual: Value, ts: float) -> None:
        series, model = self.version_series[entry.model, entry.version], self.model_series[entry.model]
        delay = max(0.0, ts - entry.ts)
        model.delay[bisect_left(metrics.DELAY_BUCKETS, delay)] += 1
        model.delay_sum += delay
        if self._is_regression(entry.model, entry.predicted) and _is_number(actual):
            error = float(actual) - float(entry.predicted)
            series.absolute += abs(error)
            series.squared += error * error
            series.observed += 1
            return
        truth = self._class(model, events.class_name(actual))
        predicted = entry.predicted if isinstance(entry.predicted, str) else events.class_name(entry.predicted)
        _count(series.outcomes.setdefault(predicted, {}), truth)
        if entry.score is not None:
            cell = series.bins[min(int(entry.score * metrics.CALIBRATION_BINS), metrics.CALIBRATION_BINS - 1)]
            cell[0] += 1
            cell[1] += truth == self._positive(entry.model)
            cell[2] += entry.score
        for attribute, group in (entry.groups or {}).items():
            name = self._group(model, attribute, events.class_name(group))
            _count(series.groups.setdefault(attribute, {}).setdefault(name, {}).setdefault(predicted, {}), truth)

    def _half(self, time: float, half: kserve.RequestHalf | kserve.ResponseHalf) -> None:
        value = _hash(half.key)
        other = self.halves.pop(value, None)
        if other is None:
            self.halves[value] = _pack(WaitingHalf(time, half))
            return
        pair = (half, _WAITING_HALF.decode(other).half)
        request, response = pair if isinstance(half, kserve.RequestHalf) else pair[::-1]
        try:
            predictions = kserve.join(request, response)  # type: ignore[arg-type]
        except kserve.MalformedError:
            self.dropped["half"]["rows_differ"] += 1
            return
        known = self.seen.known([_identity(prediction) for prediction in predictions])
        for prediction in predictions:
            if (identity := _identity(prediction)) not in known:
                self.seen.add(identity)
                self.accepted["prediction"] += 1
                self._predict(time, prediction)

    # Retention ---------------------------------------------------------------------------------------------------

    def _expire(self, time: float) -> None:
        self.seen.forget(time)
        if 0 <= time - self._swept < 1:  # looking for the oldest entry passes over every deleted one
            return
        self._swept = time
        limit = time - self._settings.label_retention
        for value, record in _expired(self.waiting, limit):
            del self.waiting[value]
            model = self.model_series[_WAITING.decode(record).model]
            model.waiting -= 1
            model.expired += 1
        for value, record in _expired(self.labels, limit):
            del self.labels[value]
            model = self.model_series[self._known_model(_WAITING_LABEL.decode(record).model)]
            model.labels_waiting -= 1
            model.orphaned += 1
        for value, _ in _expired(self.halves, time - HALF_SECONDS):
            del self.halves[value]
            self.dropped["half"]["other_half_missing"] += 1

    def has_expired(self, time: float) -> bool:
        """Whether anything has waited too long: then an empty group is worth writing."""
        limit = time - self._settings.label_retention
        ages = ((self.waiting, limit), (self.labels, limit), (self.halves, time - HALF_SECONDS))
        return any(
            oldest is not None and oldest < least for oldest, least in ((_oldest(part), least) for part, least in ages)
        )

    def oldest_waiting(self) -> float | None:
        """When the prediction that waits longest was received."""
        return _oldest(self.waiting)

    # Cardinality -------------------------------------------------------------------------------------------------

    def _known_model(self, name: str) -> str:
        return name if name in self.model_series else metrics.OTHER

    def _admit_model(self, name: str) -> ModelSeries:
        found = self.model_series.get(name)
        if found is None:
            if name not in self._declared and len(self.model_series) >= self._settings.caps.models:
                self.folded["model"] += 1
                name = metrics.OTHER
            found = self.model_series.get(name) or ModelSeries(name, [0] * (len(metrics.DELAY_BUCKETS) + 1))
            self.model_series[name] = found
        return found

    def _admit_version(self, model: str, version: str) -> Series:
        parent = self._admit_model(model)
        name = self._admit(parent.versions, version, self._settings.caps.versions, "version")
        found = self.version_series.get((parent.model, name))
        if found is None:
            declared = self._declared.get(parent.model)
            bounds = list(declared.latency_buckets if declared else metrics.LATENCY_BUCKETS)
            bins = [[0.0, 0.0, 0.0] for _ in range(metrics.CALIBRATION_BINS)]
            found = Series(parent.model, name, bounds, [0] * (len(bounds) + 1), bins)
            self.version_series[parent.model, name] = found
        return found

    def _admit(self, known: set[str], value: str, cap: int, label: str) -> str:
        if value in known:
            return value
        if len(known) >= cap:
            self.folded[label] += 1
            return metrics.OTHER
        known.add(value)
        return value

    def _class(self, model: ModelSeries, name: str) -> str:
        return self._admit(model.classes, name, self._settings.caps.classes, "class")

    def _group(self, model: ModelSeries, attribute: str, name: str) -> str:
        return self._admit(model.group_values.setdefault(attribute, set()), name, self._settings.caps.groups, "group")

    def _is_regression(self, model: str, predicted: Value) -> bool:
        declared = self._declared.get(model)
        return declared.task == "regression" if declared else _is_number(predicted)

    def _positive(self, model: str) -> str:
        declared = self._declared.get(model)
        return declared.positive if declared and declared.positive else "true"

    # Snapshots ---------------------------------------------------------------------------------------------------

    def totals(self) -> bytes:
        """The small part of the state, packed."""
        return _pack(
            Totals(
                series=list(self.version_series.values()),
                models=list(self.model_series.values()),
                accepted=dict(self.accepted),
                folded=dict(self.folded),
                dropped={kind: dict(counts) for kind, counts in self.dropped.items()},
                corruptions=self.corruptions,
            )
        )

    def restore_totals(self, packed: bytes) -> None:
        """Take the small part back."""
        totals = msgspec.msgpack.decode(packed, type=Totals)
        self.version_series = {(series.model, series.version): self._rebound(series) for series in totals.series}
        self.model_series = {model.model: model for model in totals.models}
        self.accepted, self.folded = Counter(totals.accepted), Counter(totals.folded)
        self.dropped = {kind: Counter(counts) for kind, counts in totals.dropped.items()}
        self.corruptions = totals.corruptions

    def _rebound(self, series: Series) -> Series:
        """Start a histogram anew when the platform file has given the model other buckets: counts cannot be split."""
        declared = self._declared.get(series.model)
        bounds = list(declared.latency_buckets if declared else metrics.LATENCY_BUCKETS)
        if bounds != series.bounds:
            series.bounds, series.latency, series.latency_sum = bounds, [0] * (len(bounds) + 1), 0.0
            series.exemplars = {}
        return series


def _identity(event: Kept) -> int:
    """64-bit hash of what makes an event the same one: two in ten million ids collide once in 400,000 tries."""
    if isinstance(event, Prediction):
        return _hash(event.id)
    if isinstance(event, Label):
        return _hash(event.id, b"\0label\0")
    return _hash(event.key, b"\0request\0" if isinstance(event, kserve.RequestHalf) else b"\0response\0")


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _received(record: bytes) -> float:
    """First element of a packed record: a msgpack array marker, a float64 marker, then the number."""
    return msgspec.msgpack.decode(b"\x91" + record[1:10], type=tuple[float])[0]


def _expired(entries: dict[int, bytes], limit: float) -> list[tuple[int, bytes]]:
    """Oldest entries received before `limit`; a dict keeps the order of arrival."""
    found: list[tuple[int, bytes]] = []
    iterator: Iterator[tuple[int, bytes]] = islice(entries.items(), SWEEP)
    for value, record in iterator:
        if _received(record) >= limit:
            break
        found.append((value, record))
    return found


def _oldest(entries: dict[int, bytes]) -> float | None:
    record = next(iter(entries.values()), None)
    return None if record is None else _received(record)
