"""Counts of each kind of criterion from its counters: which selectors it needs, and what of them are its events.

A kind is one row of `TALLIES`. Pure: the counters are read elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from midwatch import metrics
from midwatch.spec import canary as spec
from monitors.canary.arms import Ints
from monitors.canary.counts import Counted, Doubt, Labelled
from monitors.canary.expressions import Expressions
from monitors.canary.increments import Increments, Labels
from monitors.canary.oddities import Oddities

Keep = Callable[[Mapping[str, str]], bool]
"""Whether a series with these labels is counted."""


@dataclass(frozen=True)
class Sides:
    """Increments of both arms under one selector."""

    selector: str
    baseline: Increments
    canary: Increments

    def __iter__(self) -> Iterator[Increments]:
        return iter((self.baseline, self.canary))

    @property
    def is_empty(self) -> bool:
        """Whether no arm has a series."""
        return not self.baseline.by_series and not self.canary.by_series


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How a kind of criterion is counted.

    `selectors` are asked for; where the first matches nothing, `instead` is asked. `counted` gets the sides of each.
    """

    selectors: Callable[[Any, Expressions], list[str]]
    counted: Callable[[Any, Sequence[Sides], Oddities], Counted | None]
    instead: Callable[[Any, Expressions], str | None] = lambda _, __: None


def _counted(name: str, sides: Sides, is_event: Keep, is_request: Keep = lambda _: True) -> Counted:
    return Counted(
        channels=(name,),
        baseline_events=sides.baseline.total(is_event)[None],
        canary_events=sides.canary.total(is_event)[None],
        baseline_requests=sides.baseline.total(is_request),
        canary_requests=sides.canary.total(is_request),
    )


# Errors, accuracy, outcomes: one channel -----------------------------------------------------------------------------


def _errors(criterion: spec.Errors, sides: Sequence[Sides], _: Oddities) -> Counted:
    *totals, failures = sides
    if totals:
        # A model server's own counters: of failures, and of all requests.
        requests = [np.sum([one.total() for one in arm], axis=0) for arm in zip(*totals, strict=True)]
        events = [np.minimum(arm.total(), total) for arm, total in zip(failures, requests, strict=True)]
        return Counted(
            channels=(spec.name_of(criterion),),
            baseline_events=events[0][None],
            canary_events=events[1][None],
            baseline_requests=requests[0],
            canary_requests=requests[1],
        )
    return _counted(spec.name_of(criterion), sides[0], lambda labels: labels.get("outcome") == "error")


def _accuracy(criterion: spec.Accuracy, sides: Sequence[Sides], _: Oddities) -> Counted:
    made = _counted(spec.name_of(criterion), sides[0], lambda labels: labels["predicted"] != labels["actual"])
    return replace(made, labels=_labels(sides))


def _labels(sides: Sequence[Sides], keep: Keep = lambda _: True) -> Labelled | None:
    """Labelled predictions among all: as they were settled, else outcomes among predictions where those are counted."""
    outcomes, predictions = sides
    if predictions.is_empty:
        return None
    told = [arm.total(keep) for arm in outcomes]
    asked = [arm.total(keep) for arm in predictions]
    return Labelled(baseline=told[0], baseline_of=asked[0], canary=told[1], canary_of=asked[1])


def _outcomes(criterion: spec.Outcomes, sides: Sequence[Sides], _: Oddities) -> Counted:
    shared = {"predicted": criterion.predicted, "actual": criterion.actual, "all": ""}[criterion.of]

    def is_event(labels: Mapping[str, str]) -> bool:
        return (labels["predicted"], labels["actual"]) == (criterion.predicted, criterion.actual)

    def is_request(labels: Mapping[str, str]) -> bool:
        return criterion.of == "all" or labels[criterion.of] == shared

    def is_asked(labels: Mapping[str, str]) -> bool:
        return criterion.of != "predicted" or labels["predicted"] == criterion.predicted

    made = _counted(criterion.name, sides[0], is_event, is_request)
    return replace(made, labels=_labels(sides, is_asked))


def _settled(_: spec.Counted, of: Expressions) -> list[str]:
    return [of.own(metrics.SETTLED_OUTCOMES), of.own(metrics.SETTLED)]


def _as_they_come(_: spec.Counted, of: Expressions) -> list[str]:
    return [of.own(metrics.OUTCOMES), of.own(metrics.PREDICTIONS)]


# Predictions: a channel for each class -------------------------------------------------------------------------------


def _predicts(name: str, labels: Mapping[str, str]) -> bool:
    return labels["predicted"] == name


def _predictions(_: spec.Predictions, sides: Sequence[Sides], __: Oddities) -> Counted:
    arms = sides[0]
    classes = sorted({dict(labels)["predicted"] for arm in arms for labels in arm.by_series})
    events = [np.array([arm.total(partial(_predicts, name)) for name in classes]) for arm in arms]
    return Counted(
        channels=tuple(classes),
        baseline_events=events[0],
        canary_events=events[1],
        baseline_requests=arms.baseline.total(),
        canary_requests=arms.canary.total(),
    )


# Latency: a channel for each boundary --------------------------------------------------------------------------------


def _buckets(criterion: spec.Latency, expressions: Expressions) -> list[str]:
    if criterion.histogram is None:
        return [expressions.durations("_bucket")]
    name, brace, rest = criterion.histogram.partition("{")
    return [f"{name}_bucket{brace}{rest}"]


def _native(criterion: spec.Latency, expressions: Expressions) -> str:
    """Native histograms have no series of buckets."""
    return _buckets(criterion, expressions)[0].replace("_bucket", "", 1)


def _latency(criterion: spec.Latency, sides: Sequence[Sides], oddities: Oddities) -> Counted | None:
    name, arms = spec.name_of(criterion), sides[0]
    bounds = [_bounds(arm) for arm in arms]
    if not all(bounds):
        oddities.doubt(f"{name}: {arms.selector} has series of one arm only")
        return None
    common = sorted(set.intersection(*(set.intersection(*of_arm) for of_arm in bounds)) - {math.inf})
    union = [sorted(set.union(*of_arm) - {math.inf}) for of_arm in bounds]
    lists = f"baseline {_listed(union[0])}; canary {_listed(union[1])}"
    if not common:
        oddities.doubt(f"{name}: the histograms have no boundary in common: {lists}", fatal=True)
        return None
    if [common, common] != union:
        oddities.notes.append(f"{name}: compared at the common boundaries of {lists}")
    requests = [_up_to(arm, math.inf) for arm in arms]
    events = [
        np.array([total - _up_to(arm, bound) for bound in common]) for arm, total in zip(arms, requests, strict=True)
    ]
    return Counted(
        channels=tuple(f"> {bound:g} s" for bound in common),
        baseline_events=events[0],
        canary_events=events[1],
        baseline_requests=requests[0],
        canary_requests=requests[1],
    )


def _bounds(arm: Increments) -> list[set[float]]:
    """Boundaries of each of an arm's histograms."""
    bounds: dict[Labels, set[float]] = {}
    for labels in arm.by_series:
        own = tuple(pair for pair in labels if pair[0] != "le")
        bounds.setdefault(own, set()).add(float(dict(labels)["le"]))
    return list(bounds.values())


def _up_to(arm: Increments, bound: float) -> Ints:
    return arm.total(lambda labels: float(labels["le"]) == bound)


def _listed(bounds: Sequence[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds) or "none"


# Counters of the user's own ------------------------------------------------------------------------------------------


def _counters(criterion: spec.Counters, sides: Sequence[Sides], _: Oddities) -> Counted:
    totals, events = ([arm.total() for arm in of_selector] for of_selector in sides)
    if criterion.good is not None:
        events = [total - good for total, good in zip(totals, events, strict=True)]
    doubts: tuple[Doubt, ...] = ()
    if any((one < 0).any() or one.sum() > total.sum() for one, total in zip(events, totals, strict=True)):
        doubts = (Doubt(text=f"{sides[1].selector} counts more than {criterion.total}", fatal=True),)
        events = [np.clip(one, 0, total) for one, total in zip(events, totals, strict=True)]
    return Counted(
        channels=(criterion.name,),
        baseline_events=events[0][None],
        canary_events=events[1][None],
        baseline_requests=totals[0],
        canary_requests=totals[1],
        doubts=doubts,
    )


TALLIES: Mapping[type[spec.Counted], Tally] = {
    spec.Errors: Tally(selectors=lambda _, of: of.errors(), counted=_errors),
    spec.Latency: Tally(selectors=_buckets, counted=_latency, instead=_native),
    spec.Accuracy: Tally(selectors=_as_they_come, counted=_accuracy),
    spec.Predictions: Tally(selectors=lambda _, of: [of.own(metrics.PREDICTIONS)], counted=_predictions),
    spec.Outcomes: Tally(selectors=_as_they_come, counted=_outcomes),
    spec.Counters: Tally(
        selectors=lambda criterion, _: [criterion.total, criterion.events or criterion.good], counted=_counters
    ),
}
"""Each kind of criterion that is made from counts."""

SETTLED: Mapping[type[spec.Counted], Tally] = {
    spec.Accuracy: Tally(selectors=_settled, counted=_accuracy),
    spec.Outcomes: Tally(selectors=_settled, counted=_outcomes),
}
"""Those that count labels, where predictions are settled at an equal age."""

OF_LABELS = (spec.Accuracy, spec.Outcomes)
"""Criteria that count labels."""
