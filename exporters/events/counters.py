"""Counters by model and version, with bounded label values: what a scrape publishes and a snapshot keeps."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import msgspec

from exporters.events.class_names import TEXT, class_name, is_class_like
from exporters.events.inference_log import Generation
from exporters.events.outcomes import Outcome, bin_of, count_pair, score_into
from exporters.events.reasons import Unread
from exporters.events.waiting import WaitingPrediction
from midwatch import metrics
from midwatch.client.events import Prediction, Value
from midwatch.spec import model as spec

HASH = re.compile(r"[0-9a-f]{24}")
"""A personal value that was hashed."""

TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
"""A trace id (W3C Trace Context, 3.2.2.3); anything else is no link to a trace."""


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
    tokens: dict[str, int] = {}
    finish_reasons: dict[str, int] = {}
    first_token: list[int] = msgspec.field(default_factory=lambda: [0] * (len(metrics.FIRST_TOKEN_BUCKETS) + 1))
    first_token_sum: float = 0.0
    output_token: list[int] = msgspec.field(default_factory=lambda: [0] * (len(metrics.OUTPUT_TOKEN_BUCKETS) + 1))
    output_token_sum: float = 0.0
    bounded: dict[str, dict[str, int]] = {}


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
    unread: dict[str, int] = {}


class Counters:
    """Counts of what happened to predictions. `folded` counts the label values that stand as `other`.

    Values of the attributes in `hashed` are hashes already, and stand as they are.
    """

    def __init__(self, caps: spec.Caps, models: Sequence[spec.Model], hashed: Collection[str] = ()) -> None:
        self._caps = caps
        self._hashed = frozenset(hashed)
        self.declared = {model.name: model for model in models}
        self._classes = {model.name: model.class_names for model in models if model.classes}
        self._error_bounds = {model.name: model.error_bounds for model in models}
        self.versions: dict[tuple[str, str], Series] = {}
        self.models: dict[str, ModelSeries] = {}
        self.folded: Counter[str] = Counter()

    # Counting ----------------------------------------------------------------------------------------------------

    def count_request(self, event: Prediction) -> Series:
        """Count a request, its latency and its outcome; the series it belongs to."""
        series = self.versions.get((event.model, event.version)) or self._admit_version(event.model, event.version)
        if event.duration_seconds is not None:
            bucket = bisect_left(series.bounds, event.duration_seconds)
            series.latency[bucket] += 1
            series.latency_sum += event.duration_seconds
            if event.trace_id is not None and TRACE_ID.fullmatch(event.trace_id):
                series.exemplars[bucket] = Exemplar(event.trace_id, event.duration_seconds, event.ts)  # type: ignore[arg-type]
        if event.outcome == "error":
            series.errors += 1
        else:
            series.ok += 1
        return series

    def count_prediction(self, series: Series, event: Prediction, predicted: Value) -> Value:
        """Count a predicted class and the estimate by its score; the class as it is published, or a number as it is."""
        if type(predicted) is not str and self._is_regression(event.model, predicted):
            return predicted
        name = predicted if type(predicted) is str else class_name(predicted)
        model = self.models[series.model]
        if name not in model.classes:
            name = self._class(model, name)
        _count(series.predicted, name)
        if event.score is not None:
            series.expected += event.score if name == self._positive(event.model) else 1 - event.score
            series.scored += 1
        return name

    def count_outcome(self, entry: WaitingPrediction, actual: Value, ts: float) -> Outcome | None:
        """Count what turned out to be true of a prediction; None for an amount, and for texts that are not kept."""
        series, model = self.versions[entry.model, entry.version], self.models[entry.model]
        delay = max(0.0, ts - entry.ts)
        model.delay[bisect_left(metrics.DELAY_BUCKETS, delay)] += 1
        model.delay_sum += delay
        if is_number(actual) and is_number(entry.predicted) and self._is_regression(entry.model, entry.predicted):
            error = float(actual) - float(entry.predicted)
            series.absolute += abs(error)
            series.squared += error * error
            series.observed += 1
            for bound, most in self._error_bounds.get(entry.model, {}).items():
                count_pair(series.bounded, bound, "yes" if abs(error) <= most else "no")
            return None
        outcome = self._outcome(model, entry, actual)
        if outcome is not None:
            self._count_class(series, outcome)
        return outcome

    def _outcome(self, model: ModelSeries, entry: WaitingPrediction, actual: Value) -> Outcome | None:
        truth = self._class(model, actual if type(actual) is str else class_name(actual))
        predicted = entry.predicted if type(entry.predicted) is str else class_name(entry.predicted)
        if predicted not in model.classes:
            predicted = self._published_class(entry.model, predicted)
            if truth == predicted == TEXT:
                return None  # whether two texts are the same is not known: neither of them is kept
        groups = {}
        if entry.groups:
            groups = {name: self._group(model, name, class_name(group)) for name, group in entry.groups.items()}
        return Outcome(predicted, truth, truth == self._positive(model.model), entry.score, groups)

    def _count_class(self, series: Series, outcome: Outcome) -> None:
        count_pair(series.outcomes, outcome.predicted, outcome.actual)
        if outcome.score is not None:
            score_into(series.bins[bin_of(outcome.score)], outcome)
        for attribute, group in outcome.groups.items():
            named = series.groups.setdefault(attribute, {}).setdefault(group, {})
            count_pair(named, outcome.predicted, outcome.actual)

    def count_generation(self, series: Series, made: Generation) -> None:
        """Count what an answer of a language model says about its making."""
        for kind, count in made.tokens.items():
            series.tokens[kind] = series.tokens.get(kind, 0) + count
        for reason in made.finish_reasons:
            _count(series.finish_reasons, reason)
        if made.first_token_seconds is not None:
            series.first_token[bisect_left(metrics.FIRST_TOKEN_BUCKETS, made.first_token_seconds)] += 1
            series.first_token_sum += made.first_token_seconds
        if made.output_token_seconds is not None:
            series.output_token[bisect_left(metrics.OUTPUT_TOKEN_BUCKETS, made.output_token_seconds)] += 1
            series.output_token_sum += made.output_token_seconds

    def count_unread(self, model: str, reasons: Sequence[Unread]) -> None:
        """Count an inference of which a payload could not be read."""
        for reason in reasons:
            _count(self.admit_model(model).unread, reason.value)

    def _is_regression(self, model: str, predicted: Value) -> bool:
        declared = self.declared.get(model)
        return declared.task == "regression" if declared else is_number(predicted)

    def _positive(self, model: str) -> str:
        declared = self.declared.get(model)
        return declared.positive if declared and declared.positive else "true"

    # Cardinality -------------------------------------------------------------------------------------------------

    def known_model(self, name: str) -> str:
        """The name that a model's counts have."""
        return name if name in self.models else metrics.OTHER

    def admit_model(self, name: str) -> ModelSeries:
        """Counts of a model, which begin now if there is room for one more."""
        series = self.models.get(name)
        if series is None:
            if name not in self.declared and len(self.models) >= self._caps.models:
                self.folded["model"] += 1
                name = metrics.OTHER
            series = self.models.get(name) or ModelSeries(name, [0] * (len(metrics.DELAY_BUCKETS) + 1))
            self.models[name] = series
        return series

    def _admit_version(self, model: str, version: str) -> Series:
        parent = self.admit_model(model)
        name = self._admit(parent.versions, version, self._caps.versions, "version")
        series = self.versions.get((parent.model, name))
        if series is None:
            bounds = self._bounds(parent.model)
            bins = [[0.0, 0.0, 0.0] for _ in range(metrics.CALIBRATION_BINS)]
            series = Series(parent.model, name, bounds, [0] * (len(bounds) + 1), bins)
            self.versions[parent.model, name] = series
        return series

    def _admit(self, known: set[str], value: str, cap: int, label: str) -> str:
        if value in known:
            return value
        if len(known) >= cap:
            self.folded[label] += 1
            return metrics.OTHER
        known.add(value)
        return value

    def _class(self, model: ModelSeries, name: str) -> str:
        if name in model.classes:
            return name
        published = self._published_class(model.model, name)
        if published == TEXT:
            return TEXT
        if name not in self._classes.get(model.model, (name,)):
            self.folded["class"] += 1
            return metrics.OTHER
        cap = max(self._caps.classes, len(self._classes.get(model.model, ())))
        return self._admit(model.classes, published, cap, "class")

    def published_group(self, attribute: str, value: Value) -> str:
        """A group as a label may show it: its name, or that it is text."""
        return self._published_group(attribute, class_name(value))

    def published_answer(self, model: str, value: Value) -> Value:
        """A prediction or a label as it may be kept: a text that is no class is not, however long it waits."""
        return self._published_class(model, value) if type(value) is str else value

    def _group(self, model: ModelSeries, attribute: str, name: str) -> str:
        known = model.group_values.setdefault(attribute, set())
        if name in known:
            return name
        published = self._published_group(attribute, name)
        return TEXT if published == TEXT else self._admit(known, published, self._caps.groups, "group")

    def _published_class(self, model: str, name: str) -> str:
        """A class as a label may show it: itself, or that it is text."""
        is_name = name in self._classes.get(model, ()) or is_class_like(name)
        return name if is_name else TEXT

    def _published_group(self, attribute: str, name: str) -> str:
        is_name = is_class_like(name) or (attribute in self._hashed and HASH.fullmatch(name))
        return name if is_name else TEXT

    def _bounds(self, model: str) -> list[float]:
        declared = self.declared.get(model)
        return list(declared.latency_buckets if declared else metrics.LATENCY_BUCKETS)

    # Snapshots ---------------------------------------------------------------------------------------------------

    def restore(self, versions: list[Series], models: list[ModelSeries], folded: dict[str, int]) -> None:
        """Go on where a snapshot stands; texts that an earlier release took for classes become `text`."""
        self.versions = {(series.model, series.version): self._rebound(series) for series in versions}
        self.models = {series.model: series for series in models}
        self.folded = Counter(folded)
        for series in versions:
            self._fold_texts(series)
        for model in models:
            model.classes = {name for name in model.classes if self._published_class(model.model, name) == name}
            for attribute, names in model.group_values.items():
                names.intersection_update([name for name in names if self._published_group(attribute, name) == name])

    def _fold_texts(self, series: Series) -> None:
        def by_class(counts: dict[str, Any]) -> dict[str, Any]:
            return _renamed(counts, lambda name: self._published_class(series.model, name))

        def outcomes(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
            return by_class({predicted: by_class(actuals) for predicted, actuals in counts.items()})

        series.predicted = by_class(series.predicted)
        series.outcomes = outcomes(series.outcomes)
        for attribute, groups in series.groups.items():
            named = {group: outcomes(counts) for group, counts in groups.items()}
            series.groups[attribute] = _renamed(named, partial(self._published_group, attribute))

    def _rebound(self, series: Series) -> Series:
        """Start a histogram anew when the platform file has given the model other buckets: counts cannot be split."""
        bounds = self._bounds(series.model)
        if bounds != series.bounds:
            series.bounds, series.latency, series.latency_sum = bounds, [0] * (len(bounds) + 1), 0.0
            series.exemplars = {}
        return series


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are classes."""
    return type(value) is int or type(value) is float


def _count(counts: dict[str, int], name: str) -> None:
    if name in counts:
        counts[name] += 1
    else:
        counts[name] = 1


def _renamed(counts: dict[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """Counts under other names; those that get the same name are added up."""
    renamed: dict[str, Any] = {}
    for old, count in counts.items():
        name = rename(old)
        renamed[name] = _sum(renamed[name], count) if name in renamed else count
    return renamed


def _sum(one: Any, other: Any) -> Any:
    if not isinstance(one, dict):
        return one + other
    return one | {name: _sum(one[name], count) if name in one else count for name, count in other.items()}
