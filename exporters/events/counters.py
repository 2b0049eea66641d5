"""Counters by model and version, with bounded label values: what a scrape publishes and a snapshot keeps."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from exporters.events import folded_names, series_sizes
from exporters.events.class_names import TEXT, class_name, is_class_like
from exporters.events.group_sums import (
    NOTHING,
    Deviation,
    Promised,
    explain,
    expose,
)
from exporters.events.inference_log import FINISH_LABELS, MAX_SECONDS, MAX_TOKENS, TOKEN_KINDS, Generation
from exporters.events.outcomes import Outcome, bin_of, count_groups, count_pair, score_into
from exporters.events.reasons import Unread
from exporters.events.series import TRACE_ID, Exemplar, ModelSeries, Series
from exporters.events.series_sizes import Sizes
from exporters.events.waiting import WaitingPrediction
from midwatch import metrics
from midwatch.client.events import Prediction, Value
from midwatch.spec import model as spec
from midwatch.spec.fairness import CROSS

HASH = re.compile(r"[0-9a-f]{24}")
"""A personal value that was hashed."""

ANOTHER = "another"
"""Label value of an actual class that is not the predicted one, where both would be `other`."""

EMPTY: Mapping[str, Value] = {}


class NoDifferenceError(ValueError):
    """A regression's prediction and label have no difference that can be counted."""


class Counters:
    """Counts of what happened to predictions. `folded` counts the label values that stand as `other`.

    Values of the attributes in `hashed` are hashes already, and stand as they are.
    """

    def __init__(self, caps: spec.Caps, models: Sequence[spec.Model], hashed: Collection[str] = ()) -> None:
        self._caps = caps
        self._hashed = frozenset(hashed)
        self.declared = {model.name: model for model in models}
        self._classes = {model.name: model.class_names for model in models if model.classes}
        self._intersections = {
            model.name: [(name, name.split(CROSS)) for name in model.attributes if CROSS in name] for model in models
        }
        promised = {model.name: Promised.of(model) for model in models if model.fairness}
        self.promised = {name: one for name, one in promised.items() if one != NOTHING}
        """What promises have counted by group, beside classes; models without such a promise are not in it."""
        self._sizes = Sizes(self.declared, self.promised)
        self._error_bounds = {model.name: model.error_bounds for model in models}
        self.versions: dict[tuple[str, str], Series] = {}
        self.models: dict[str, ModelSeries] = {}
        self.folded: Counter[str] = Counter()
        self.series = 0
        """Series that all of it is published as, those of a few gauges aside."""

    # Counting ----------------------------------------------------------------------------------------------------

    def count_request(self, event: Prediction) -> Series:
        """Count a request, its latency and its outcome; the series it belongs to."""
        series = self.versions.get((event.model, event.version)) or self._admit_version(event.model, event.version)
        if event.duration_seconds is not None and 0 <= event.duration_seconds <= MAX_SECONDS:
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
        self._count_predicted(series, name)
        if event.score is not None and 0 <= event.score <= 1:
            self.series += 0 if series.scored else 2
            series.expected += event.score if name == self.positive(event.model) else 1 - event.score
            series.scored += 1
        return name

    def count_groups(self, series: Series, groups: Mapping[str, Value], predicted: Value) -> dict[str, str]:
        """Count a predicted class, or that it is an amount, by group of each attribute; the groups as counted."""
        model = self.models[series.model]
        if type(predicted) is not str:
            predicted = metrics.AMOUNT
        elif predicted not in series.predicted:
            predicted = metrics.OTHER
        told = {
            attribute: self._told_predicted(
                series, attribute, self._group(model, attribute, class_name(group)), predicted
            )
            for attribute, group in groups.items()
        }
        count_groups(series.grouped, told, predicted)
        return told

    def count_rank(self, series: Series, groups: Mapping[str, Value], rank: int) -> None:
        """Count a place of a ranking in the groups of which exposure is promised."""
        promised = self.promised.get(series.model, NOTHING)
        if promised.exposed:
            expose(series.exposed, self._told_sums(series, "exposure", promised.exposed, groups), rank)

    def scored_groups(self, series: Series, groups: Mapping[str, Value]) -> dict[str, str]:
        """Groups by attribute that a score is counted in; none where no promise needs them."""
        promised = self.promised.get(series.model, NOTHING)
        return self._told_sums(series, "scores", promised.scored, groups) if promised.scored else {}

    def count_outcome(self, entry: WaitingPrediction, actual: Value, ts: float) -> Outcome | Deviation | None:
        """Count what turned out to be true of a prediction; None for texts that are not kept.

        Of an amount there is how far off it was where groups are promised to have errors alike, else None.

        Raises NoDifferenceError where a regression's prediction and label have no difference that is a number.
        """
        series, model = self.versions[entry.model, entry.version], self.models[entry.model]
        if self._is_regression(entry.model, entry.predicted):
            if is_number(actual) and is_number(entry.predicted):
                return self._count_error(series, model, entry, float(actual), ts)
            if entry.model in self.declared:
                raise NoDifferenceError(f"{entry.model} is a regression, and one of two values is a text")
        self._count_delay(model, entry, ts)
        outcome = self._outcome(series, model, entry, actual)
        if outcome is not None:
            self._count_class(series, outcome)
        return outcome

    def _count_error(
        self, series: Series, model: ModelSeries, entry: WaitingPrediction, actual: float, ts: float
    ) -> Deviation | None:
        error = actual - float(entry.predicted)
        if not math.isfinite(series.squared + error * error):
            raise NoDifferenceError(f"an error of {error} has no square")
        self._count_delay(model, entry, ts)
        self.series += 0 if series.observed else 3
        series.absolute += abs(error)
        series.squared += error * error
        series.observed += 1
        for bound, most in self._error_bounds.get(entry.model, {}).items():
            within = "yes" if abs(error) <= most else "no"
            self.series += within not in series.bounded.get(bound, ())
            count_pair(series.bounded, bound, within)
        promised = self.promised.get(entry.model, NOTHING).bounds
        if not promised or not entry.groups:
            return None
        groups = {
            bound: self._told_sums(series, bound, attributes, entry.groups) for bound, attributes in promised.items()
        }
        return Deviation(abs(error), groups)

    def _count_delay(self, model: ModelSeries, entry: WaitingPrediction, ts: float) -> None:
        delay = max(0.0, ts - entry.ts)
        if math.isfinite(delay):
            model.delay[bisect_left(metrics.DELAY_BUCKETS, delay)] += 1
            model.delay_sum += delay

    def _outcome(self, series: Series, model: ModelSeries, entry: WaitingPrediction, actual: Value) -> Outcome | None:
        truth = self._class(model, actual if type(actual) is str else class_name(actual))
        predicted = entry.predicted if type(entry.predicted) is str else class_name(entry.predicted)
        if predicted not in model.classes:
            predicted = self._published_class(entry.model, predicted)
            if truth == predicted == TEXT:
                return None  # whether two texts are the same is not known: neither of them is kept
        is_positive = truth == self.positive(model.model)
        predicted, truth = self._told_apart(series, predicted, truth)
        groups = {}
        if entry.groups:
            groups = {
                attribute: self._told_group(
                    series, attribute, self._group(model, attribute, class_name(group)), predicted, truth
                )
                for attribute, group in entry.groups.items()
            }
        score = entry.score if entry.score is not None and 0 <= entry.score <= 1 else None
        scored = self.scored_groups(series, entry.groups) if score is not None and entry.groups else {}
        return Outcome(predicted, truth, is_positive, score, groups, scored)

    def _count_class(self, series: Series, outcome: Outcome) -> None:
        count_pair(series.outcomes, outcome.predicted, outcome.actual)
        if outcome.score is not None:
            cell = series.bins[bin_of(outcome.score)]
            self.series += 0 if cell[0] else 2 * 3
            score_into(cell, outcome)
        for attribute, group in outcome.groups.items():
            named = series.groups.setdefault(attribute, {}).setdefault(group, {})
            count_pair(named, outcome.predicted, outcome.actual)

    def count_generation(self, series: Series, made: Generation) -> None:
        """Count what an answer of a language model says about its making."""
        for kind, count in made.tokens.items():
            if kind in TOKEN_KINDS and 0 <= count <= MAX_TOKENS:
                self.series += kind not in series.tokens
                series.tokens[kind] = series.tokens.get(kind, 0) + count
        for reason in made.finish_reasons:
            name = reason if reason in FINISH_LABELS else metrics.OTHER
            self.series += name not in series.finish_reasons
            _count(series.finish_reasons, name)
        if made.first_token_seconds is not None and 0 <= made.first_token_seconds <= MAX_SECONDS:
            series.first_token[bisect_left(metrics.FIRST_TOKEN_BUCKETS, made.first_token_seconds)] += 1
            series.first_token_sum += made.first_token_seconds
        if made.output_token_seconds is not None and 0 <= made.output_token_seconds <= MAX_SECONDS:
            series.output_token[bisect_left(metrics.OUTPUT_TOKEN_BUCKETS, made.output_token_seconds)] += 1
            series.output_token_sum += made.output_token_seconds

    def count_attributions(
        self, series: Series, attributions: Mapping[str, float], groups: Mapping[str, Value] = EMPTY
    ) -> None:
        """Count what an explanation says of the features; those beyond the model's number of them as `other`.

        It is counted in the groups, too, where the platform file asks for it.
        """
        model = self.models[series.model]
        self.series += 0 if series.explained.count else 1
        told = partial(self._feature, model, series)
        if not groups:
            series.explained.add(attributions, told)
            return
        names: dict[str, str] = {}

        def told_once(name: str) -> str:
            names[name] = told(name)
            return names[name]

        series.explained.add(attributions, told_once)
        attributes = self.promised.get(series.model, NOTHING).explained
        counted = self._told_sums(series, series_sizes.ATTRIBUTIONS, attributes, groups)
        for attribute, group in counted.items():
            _count(series.group_explained.setdefault(attribute, {}), group)
        explain(series.group_attributions, counted, [(names[name], amount) for name, amount in attributions.items()])

    def explained_groups(self, event: Prediction) -> Mapping[str, Value]:
        """Groups of a prediction in which its attributions are summed, too; none where nobody asks for them."""
        promised = self.promised.get(event.model, NOTHING)
        if not promised.explained or not event.groups:
            return EMPTY
        return self.published_groups(self.declared[event.model], event.groups)

    def _feature(self, model: ModelSeries, series: Series, name: str) -> str:
        """The name that a feature is counted under; its series begin with that, so the next one has less room."""
        features = series.explained.features
        if name in features:
            return name
        declared = self.declared.get(model.model)
        most = declared.explanations.features if declared and declared.explanations else 0
        published = name if is_class_like(name) else TEXT
        told = self._admit(model.explained_features, published, most, "feature")
        if told not in (*features, metrics.OTHER) and not self._has_room():
            told = metrics.OTHER
        self.series += 0 if told in features else series_sizes.SERIES_OF_FEATURE
        return told

    def count_unread(self, model: str, reasons: Sequence[Unread]) -> None:
        """Count an inference of which a payload could not be read."""
        for reason in reasons:
            _count(self.admit_model(model).unread, reason.value)

    # Room for series ---------------------------------------------------------------------------------------------

    def _count_predicted(self, series: Series, name: str) -> None:
        if name not in series.predicted:
            if name != metrics.OTHER and not self._has_room():
                name = metrics.OTHER
            self.series += 0 if name in series.predicted else self._sizes.of_class(series.model)
        _count(series.predicted, name)

    def _told_apart(self, series: Series, predicted: str, actual: str) -> tuple[str, str]:
        """Predicted and actual class as they are counted; a wrong prediction stays wrong, and a right one right.

        Without room for one more pair the actual class is `other`; and of a predicted class without a series, or that
        is `other` itself, whether it was right is all that is told.
        """
        if actual in series.outcomes.get(predicted, ()):
            return predicted, actual
        is_shown = predicted in series.predicted
        if is_shown and actual in (predicted, metrics.OTHER):
            return predicted, actual
        if self._has_room():
            self.series += self._sizes.of_pair(series.model)
            return predicted, actual
        if is_shown and predicted != metrics.OTHER:
            return predicted, metrics.OTHER
        folded = metrics.OTHER if predicted == actual else ANOTHER
        is_paid_for = folded == metrics.OTHER and metrics.OTHER in series.predicted
        if not is_paid_for and folded not in series.outcomes.get(metrics.OTHER, ()):
            self.series += self._sizes.of_pair(series.model)
        return metrics.OTHER, folded

    def _told_group(self, series: Series, attribute: str, group: str, predicted: str, actual: str) -> str:
        """A group as an outcome of it is counted; `other` without room for one more pair of it."""
        known = series.groups.get(attribute, {}).get(group, {})
        if group == metrics.OTHER or actual in known.get(predicted, ()):
            return group
        if not self._has_room():
            return metrics.OTHER
        self.series += 2
        return group

    def _told_predicted(self, series: Series, attribute: str, group: str, predicted: str) -> str:
        """A group as a predicted class of it is counted; `other` without room for one more class of it."""
        if group == metrics.OTHER or predicted in series.grouped.get(attribute, {}).get(group, ()):
            return group
        if not self._has_room():
            return metrics.OTHER
        self.series += 2
        return group

    def _told_sums(
        self, series: Series, kind: str, attributes: Sequence[str], groups: Mapping[str, Value]
    ) -> dict[str, str]:
        """Groups as their sums of a kind are counted, by attribute; `other` without room for one more group's."""
        told = {}
        for attribute in attributes:
            if attribute in groups:
                group = self._group(self.models[series.model], attribute, class_name(groups[attribute]))
                told[attribute] = self._told_sum(series, kind, attribute, group)
        return told

    def _told_sum(self, series: Series, kind: str, attribute: str, group: str) -> str:
        known = series.summed.setdefault(kind, {}).setdefault(attribute, set())
        if group in known or group == metrics.OTHER:
            return group
        if not self._has_room():
            return metrics.OTHER
        self.series += self._sizes.of_sums(series.model, kind)
        known.add(group)
        return group

    def _is_regression(self, model: str, predicted: Value) -> bool:
        declared = self.declared.get(model)
        return declared.task == "regression" if declared else is_number(predicted)

    def positive(self, model: str) -> str:
        """The name of a model's positive class."""
        declared = self.declared.get(model)
        return declared.positive if declared and declared.positive else "true"

    # Cardinality -------------------------------------------------------------------------------------------------

    def known_model(self, name: str) -> str:
        """The name that a model's counts have."""
        return name if name in self.models else metrics.OTHER

    def as_counted(self, entry: WaitingPrediction) -> WaitingPrediction:
        """A prediction that waited under its own names, under those that it was counted under when it came."""
        series = self.models[self.known_model(entry.model)]
        version = entry.version if entry.version in series.versions else metrics.OTHER
        predicted = entry.predicted
        if type(predicted) is str or not self._is_regression(entry.model, predicted):
            predicted = self._known_class(series, predicted if type(predicted) is str else class_name(predicted))
        return msgspec.structs.replace(entry, model=series.model, version=version, predicted=predicted)

    def _known_class(self, model: ModelSeries, name: str) -> str:
        if name in model.classes:
            return name
        return TEXT if self._published_class(model.model, name) == TEXT else metrics.OTHER

    def admit_model(self, name: str) -> ModelSeries:
        """Counts of a model, which begin now if there is room for one more."""
        series = self.models.get(name)
        if series is None:
            if name not in self.declared and self._is_full_of_models():
                name = metrics.OTHER
            series = self.models.get(name)
            if series is None:
                series = self.models[name] = ModelSeries(name, [0] * (len(metrics.DELAY_BUCKETS) + 1))
                self.series += series_sizes.of_model(series)
        return series

    def _is_full_of_models(self) -> bool:
        """Whether there is no room for one more model, which is counted then."""
        if len(self.models) < self._caps.models:
            return not self._has_room()
        self.folded["model"] += 1
        return True

    def admit(self, model: str, version: str) -> tuple[str, str]:
        """The names that a version is counted under, which begins now if there is room for one more."""
        series = self.versions.get((model, version)) or self._admit_version(model, version)
        return series.model, series.version

    def _admit_version(self, model: str, version: str) -> Series:
        parent = self.admit_model(model)
        name = metrics.OTHER
        if version in parent.versions or self._has_room():
            name = self._admit(parent.versions, version, self._caps.versions, "version")
        series = self.versions.get((parent.model, name))
        if series is None:
            bounds = self._bounds(parent.model)
            bins = [[0.0, 0.0, 0.0] for _ in range(metrics.CALIBRATION_BINS)]
            series = Series(parent.model, name, bounds, [0] * (len(bounds) + 1), bins)
            self.versions[parent.model, name] = series
            self.series += self._sizes.of_version(series)
        return series

    def _admit(self, known: set[str], value: str, cap: int, label: str) -> str:
        if value in known:
            return value
        if len(known) >= cap:
            self.folded[label] += 1
            return metrics.OTHER
        known.add(value)
        return value

    def _has_room(self) -> bool:
        """Whether one more series may begin; else it is counted that one does not."""
        if self.series < self._caps.series:
            return True
        self.folded["series"] += 1
        return False

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

    def published_groups(self, model: spec.Model, groups: Mapping[str, Value]) -> dict[str, Value]:
        """Groups as labels may show them (a name, or that it is text), and those of the intersections."""
        published = {
            name: self._published_group(name, class_name(groups[name])) for name in model.groups if name in groups
        }
        told: dict[str, Value] = dict(published)
        for attribute, parts in self._intersections[model.name]:
            if all(part in published for part in parts):
                told[attribute] = CROSS.join(published[part] for part in parts)
        return told

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
        attributes, names = attribute.split(CROSS), name.split(CROSS)
        if len(attributes) != len(names):
            return TEXT
        return CROSS.join(map(self._published_part, attributes, names))

    def _published_part(self, attribute: str, name: str) -> str:
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
            folded_names.fold(series, self._published_class, self._published_group)
        self.series = sum(map(self._sizes.of_version, versions)) + sum(map(series_sizes.of_model, models))
        for model in models:
            model.classes = {name for name in model.classes if self._published_class(model.model, name) == name}
            for attribute, names in model.group_values.items():
                names.intersection_update([name for name in names if self._published_group(attribute, name) == name])

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
