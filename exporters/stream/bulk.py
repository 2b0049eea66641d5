"""Ordinary events counted many at once: the same counts as one after the other, at a third of the cost.

Most events differ from others of their second in their numbers only: model, version, class and groups have been seen
before. Once the State has taken one of them, the next one begins no series, meets no cap and is refused nothing. Such
events are alike. How many there are is noted, and counted when an event comes that is not ordinary, or the second ends.
Numbers are added in the order of arrival, so sums are the same to the last digit.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import msgspec

from exporters.events.class_names import class_name
from exporters.events.inference_log import MAX_SECONDS
from exporters.events.outcomes import Outcome, Outcomes, bin_of, count_groups, count_pair
from exporters.events.series import TRACE_ID, Exemplar, ModelSeries, Series
from exporters.events.state import State
from exporters.events.waiting import WaitingPrediction
from midwatch import metrics
from midwatch.client.events import Label, Prediction, Value
from midwatch.spec import model as spec

MOST_KINDS = 10_000
"""Kinds of events that are known, at most: a platform has some per version, class and group."""

_Key = tuple[object, ...]
_decode_waiting = msgspec.msgpack.Decoder(WaitingPrediction).decode
_NO_SCORES: Mapping[str, str] = {}


@dataclass(kw_only=True, slots=True, eq=False)
class _Version:
    """A version, and numbers of its events that are not counted yet.

    `expected` is what each score adds. `scored` has bin and score of each label, whether it is positive, and the
    arrival of its prediction.
    """

    series: Series
    model: ModelSeries
    durations: list[float] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)
    scored: list[tuple[int, float, bool, float]] = field(default_factory=list)


@dataclass(kw_only=True, slots=True, eq=False)
class _Predictions:
    """Predictions that are alike: `entry` is one of them under the names it is counted under, `groups` its groups."""

    version: _Version
    entry: WaitingPrediction
    groups: dict[str, str]
    is_error: bool
    is_positive: bool
    count: int = 0


@dataclass(kw_only=True, slots=True, eq=False)
class _Labels:
    """Labels that are alike, and how many there are by the arrival of their predictions."""

    version: _Version
    entry: WaitingPrediction
    outcome: Outcome
    arrivals: Counter[float] = field(default_factory=Counter)


class Bulk:
    """Counts ordinary events into a State, whose own code takes all others."""

    def __init__(self, state: State, settings: spec.Exporter) -> None:
        self._state, self._counters = state, state.counters
        self._is_on = settings.sample >= 1
        self._versions: dict[tuple[str, str], _Version] = {}
        self._predictions: dict[_Key, _Predictions] = {}
        self._labels: dict[_Key, _Labels] = {}
        self._begin()

    def _begin(self) -> None:
        self._noted_predictions: list[_Predictions] = []
        self._noted_labels: list[_Labels] = []
        self._noted_versions: dict[_Version, None] = {}
        self._early: Counter[str] = Counter()
        self._delays: dict[str, list[float]] = {}

    # Noting ------------------------------------------------------------------------------------------------------

    def is_candidate(self, event: object) -> bool:
        """Whether an event can be ordinary, whatever was counted before it."""
        if type(event) is Prediction:
            return self._is_on and type(event.ts) is float and not event.attributions
        return self._is_on and type(event) is Label and type(event.ts) is float

    def note(self, event: Prediction | Label, partner: bytes | None) -> bool:
        """Note an event that is ordinary, with what had waited for it; False for one that the State has to take."""
        if type(event) is Prediction:
            return partner is None and self._note_prediction(event)
        if partner is None:
            return self._note_early(event)  # type: ignore[arg-type]
        return self._note_label(event, _decode_waiting(partner))  # type: ignore[arg-type]

    def _note_prediction(self, event: Prediction) -> bool:
        names = event.model, event.version, event.outcome, type(event.prediction), event.prediction
        key = (*names, *event.groups, *map(class_name, event.groups.values()))
        kind = self._predictions.get(key) or self._new_predictions(key, event)
        if kind is None:
            return False
        version, score = kind.version, event.score
        has_score = score is not None and not kind.is_error
        if has_score and not version.series.scored:
            return False
        if not kind.count:
            self._noted_predictions.append(kind)
            self._noted_versions[version] = None
        kind.count += 1
        if has_score:
            version.expected.append(score if kind.is_positive else 1 - score)  # type: ignore[operator,arg-type]
        duration = event.duration_seconds
        if duration is not None and 0 <= duration <= MAX_SECONDS:
            version.durations.append(duration)
            if event.trace_id is not None and TRACE_ID.fullmatch(event.trace_id):
                bucket = bisect_left(version.series.bounds, duration)
                version.series.exemplars[bucket] = Exemplar(event.trace_id, duration, event.ts)  # type: ignore[arg-type]
        return True

    def _note_early(self, event: Label) -> bool:
        if event.model not in self._counters.models:
            return False
        self._early[event.model] += 1
        return True

    def _note_label(self, event: Label, entry: WaitingPrediction) -> bool:
        names = entry.model, entry.version, type(entry.predicted), entry.predicted, type(event.label), event.label
        groups = entry.groups or {}
        key = (*names, *groups, *map(class_name, groups.values()))
        kind = self._labels.get(key) or self._new_labels(key, event, entry)
        delay = event.ts - entry.ts  # type: ignore[operator]
        if kind is None or not math.isfinite(delay):
            return False
        version, score = kind.version, entry.score
        if score is not None:
            if not 0 <= score <= 1 or not version.series.bins[place := bin_of(score)][0]:
                return False
            version.scored.append((place, score, kind.outcome.is_positive, entry.received))
            self._noted_versions[version] = None
        if not kind.arrivals:
            self._noted_labels.append(kind)
        kind.arrivals[entry.received] += 1
        self._delays.setdefault(entry.model, []).append(max(0.0, delay))
        return True

    # Kinds -------------------------------------------------------------------------------------------------------

    def _new_predictions(self, key: _Key, event: Prediction) -> _Predictions | None:
        """A kind of predictions, once the State has begun all series that it is counted in."""
        series = self._counters.versions.get((event.model, event.version))
        if series is None or event.model in self._counters.promised or len(self._predictions) >= MOST_KINDS:
            return None
        model, is_error = self._counters.models[series.model], event.outcome == "error"
        name, groups = "", {}
        if not is_error:
            if event.prediction is None or not self._is_class(event.model, event.prediction):
                return None
            name = class_name(event.prediction)
            declared = self._counters.declared.get(event.model)
            told = self._counters.published_groups(declared, event.groups) if declared and event.groups else {}
            groups = {attribute: class_name(group) for attribute, group in told.items()}
            if not (name in model.classes and name in series.predicted and _are_known(model, groups)):
                return None
            if any(name not in series.grouped.get(attribute, {}).get(group, ()) for attribute, group in groups.items()):
                return None
        kind = _Predictions(
            version=self._version(series),
            entry=WaitingPrediction(0.0, 0.0, series.model, series.version, name, None, None),
            groups=groups,
            is_error=is_error,
            is_positive=name == self._counters.positive(event.model),
        )
        self._predictions[key] = kind
        return kind

    def _new_labels(self, key: _Key, event: Label, entry: WaitingPrediction) -> _Labels | None:
        """A kind of labels, once the State has begun all series that it is counted in."""
        series = self._counters.versions.get((entry.model, entry.version))
        if series is None or entry.model in self._counters.promised or len(self._labels) >= MOST_KINDS:
            return None
        if not self._is_class(entry.model, entry.predicted):
            return None
        model = self._counters.models[series.model]
        predicted, actual = class_name(entry.predicted), class_name(event.label)
        groups = {attribute: class_name(group) for attribute, group in (entry.groups or {}).items()}
        if not ({predicted, actual} <= model.classes and _are_known(model, groups)):
            return None
        counts = [series.outcomes, *(series.groups.get(name, {}).get(group, {}) for name, group in groups.items())]
        if any(actual not in pairs.get(predicted, ()) for pairs in counts):
            return None
        kind = _Labels(
            version=self._version(series),
            entry=WaitingPrediction(0.0, 0.0, series.model, series.version, predicted, None, None),
            outcome=Outcome(predicted, actual, actual == self._counters.positive(series.model), None, groups),
        )
        self._labels[key] = kind
        return kind

    def _is_class(self, model: str, value: Value) -> bool:
        """Whether an answer is a class, and no amount."""
        declared = self._counters.declared.get(model)
        if declared is None:
            return type(value) is str
        return declared.task != "regression"

    def _version(self, series: Series) -> _Version:
        names = series.model, series.version
        known = self._versions.get(names)
        if known is None:
            known = self._versions[names] = _Version(series=series, model=self._counters.models[series.model])
        return known

    # Counting ----------------------------------------------------------------------------------------------------

    def count(self, time: float) -> None:
        """Count what was noted; it arrived at `time`."""
        if not (self._noted_predictions or self._noted_labels or self._early):
            return
        for kind in self._noted_predictions:
            self._count_predictions(kind, time)
        for labels in self._noted_labels:
            self._count_labels(labels, time)
        for version in self._noted_versions:
            _count_durations(version)
            version.series.expected = reduce(add, version.expected, version.series.expected)
            version.series.scored += len(version.expected)
            self._count_scores(version, time)
            version.durations, version.expected, version.scored = [], [], []
        for model, delays in self._delays.items():
            _count_delays(self._counters.models[model], delays)
        for model, early in self._early.items():
            self._counters.models[model].labels_waiting += early
            self._state.accepted["label"] += early
        self._begin()

    def _count_predictions(self, kind: _Predictions, time: float) -> None:
        count, kind.count = kind.count, 0
        self._state.accepted["prediction"] += count
        series, name = kind.version.series, kind.entry.predicted
        if kind.is_error:
            series.errors += count
            return
        series.ok += count
        series.predicted[name] += count  # type: ignore[index]
        count_groups(series.grouped, kind.groups, name, count)  # type: ignore[arg-type]
        kind.version.model.waiting += count
        kind.entry.received = time
        self._state.settling.predict(kind.entry, kind.groups, _NO_SCORES, count)

    def _count_labels(self, kind: _Labels, time: float) -> None:
        count, outcome, series = kind.arrivals.total(), kind.outcome, kind.version.series
        self._state.accepted["label"] += count
        kind.version.model.waiting -= count
        count_pair(series.outcomes, outcome.predicted, outcome.actual, count)
        for attribute, group in outcome.groups.items():
            count_pair(series.groups[attribute][group], outcome.predicted, outcome.actual, count)
        for received, alike in kind.arrivals.items():
            kind.entry.received = received
            self._state.settling.label(kind.entry, outcome, time, alike)
        kind.arrivals.clear()

    def _count_scores(self, version: _Version, time: float) -> None:
        entry = WaitingPrediction(0.0, 0.0, version.series.model, version.series.version, "", None, None)
        known: dict[float, Outcomes | None] = {}
        for place, score, is_positive, received in version.scored:
            cells = [version.series.bins[place]]
            if received not in known:
                entry.received = received
                known[received] = self._state.settling.outcomes_in_time(entry, time)
            if (outcomes := known[received]) is not None:
                cells.append(outcomes.cell(place))
            for cell in cells:
                cell[0] += 1
                cell[1] += is_positive
                cell[2] += score


def _are_known(model: ModelSeries, groups: Mapping[str, str]) -> bool:
    """Whether groups are counted under their own names."""
    return all(group in model.group_values.get(attribute, ()) for attribute, group in groups.items())


def _count_durations(version: _Version) -> None:
    series = version.series
    for duration in version.durations:
        series.latency[bisect_left(series.bounds, duration)] += 1
    series.latency_sum = reduce(add, version.durations, series.latency_sum)


def _count_delays(model: ModelSeries, delays: list[float]) -> None:
    for delay in delays:
        model.delay[bisect_left(metrics.DELAY_BUCKETS, delay)] += 1
    model.delay_sum = reduce(add, delays, model.delay_sum)
