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

from midwatch import metrics, promql
from midwatch.spec import canary as spec
from monitors.canary.arms import Ints
from monitors.canary.counts import Counted, Doubt, Labelled, Missing
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


# Fairness: the same rate of several groups ---------------------------------------------------------------------------

TEXT = "text"
"""Group that stands for all values that look like free text: the exporter publishes none of them."""
_CLASSES = {"predicted": "predicted", "actual": "labelled"}
"""What is said of a class, by the label that it stands in."""
_NEEDED = {"demographic_parity": "predicted", "equal_opportunity": "predicted", "predictive_parity": "actual"}
"""Where the positive class has to be seen: a rate without it is 0 in every group."""


@dataclass(frozen=True)
class _Rate:
    """Which labelled predictions a rate is of, and which of them are its events; and which predictions could be.

    `could` says of a predicted class without a label whether it could be an event, and whether it could be another one
    that the rate is of; both of a class that may be either.
    """

    is_event: Keep
    is_request: Keep
    could: Callable[[str], tuple[bool, bool]]


def _rate(criterion: spec.Fairness) -> _Rate:
    positive = criterion.positive

    def is_positive(labels: Mapping[str, str], side: str = "predicted") -> bool:
        return labels[side] == positive

    rates = {
        "demographic_parity": _Rate(is_positive, lambda _: True, lambda _: (False, False)),
        "equal_opportunity": _Rate(
            is_positive,
            lambda labels: is_positive(labels, "actual"),
            lambda predicted: (predicted == positive, predicted != positive),
        ),
        "predictive_parity": _Rate(
            lambda labels: is_positive(labels, "actual"),
            is_positive,
            lambda predicted: (predicted == positive, predicted == positive),
        ),
        "accuracy_parity": _Rate(
            lambda labels: labels["predicted"] == labels["actual"], lambda _: True, lambda _: (True, True)
        ),
    }
    return rates[criterion.measure]


def _fairness(criterion: spec.Fairness, sides: Sequence[Sides], _: Oddities) -> Counted:
    rate, told = _rate(criterion), sides[0]
    whole = _of_group(criterion, rate, sides, None)
    names = sorted({dict(labels)["group"] for of in sides for arm in of for labels in arm.by_series})
    if len(names) > criterion.max_groups:
        text = f"{told.selector} has {len(names)} groups, of which max_groups allows {criterion.max_groups}"
        return replace(whole, doubts=(Doubt(text=text, fatal=True),))
    labels = _labels(sides) if criterion.counts_labels else None
    text = f"groups whose values look like free text are counted as one, `{TEXT}`: send short names"
    return replace(
        whole,
        doubts=(Doubt(text=text),) if TEXT in names else (),
        labels=labels,
        groups={name: _of_group(criterion, rate, sides, name) for name in names},
    )


def of_known_classes(criterion: spec.FromCounts, sides: Sequence[Sides], counted: Counted) -> Counted:
    """The counts; without groups, and with the doubt, where their rates are of no class that was seen."""
    if not isinstance(criterion, spec.Fairness) or not counted.groups:
        return counted
    unseen = [Doubt(text=text) for text in _unseen_classes(criterion, sides)]
    return replace(counted, doubts=(*counted.doubts, *unseen), groups={}) if unseen else counted


def _unseen_classes(criterion: spec.Fairness, sides: Sequence[Sides]) -> Iterator[str]:
    """Why rates of groups are none of the promised class on an arm, so that they are neither alike nor apart."""
    for name, arm in zip(("the baseline", "the canary"), zip(*sides, strict=True), strict=True):
        if (lacks := _unseen_class(criterion, arm)) is not None:
            yield f"{lacks} on {name}: are classes spelled alike?"


def _unseen_class(criterion: spec.Fairness, arm: Sequence[Increments]) -> str | None:
    """What of an arm's classes was never seen, so that a share of 0 in every group need not be one of that class."""
    outcomes = [dict(labels) for labels, row in arm[0].by_series.items() if row.any()]
    side = _NEEDED.get(criterion.measure)
    if side is None:
        is_right = not outcomes or any(labels["predicted"] == labels["actual"] for labels in outcomes)
        return None if is_right else "nothing was predicted as it was labelled"
    seen = {dict(labels).get(side) for of in arm for labels, row in of.by_series.items() if row.any()}
    return None if criterion.positive in seen else f"nothing was {_CLASSES[side]} {criterion.positive}"


def _of_group(criterion: spec.Fairness, rate: _Rate, sides: Sequence[Sides], group: str | None) -> Counted:
    """Counts of a group, or of all."""

    def own(labels: Mapping[str, str]) -> bool:
        return group is None or labels["group"] == group

    def is_request(labels: Mapping[str, str]) -> bool:
        return own(labels) and rate.is_request(labels)

    made = _counted(
        spec.name_of(criterion), sides[0], lambda labels: is_request(labels) and rate.is_event(labels), is_request
    )
    if group is None or not criterion.counts_labels:
        return made
    (baseline_events, baseline_others), (canary_events, canary_others) = (
        _missing(rate, outcomes, everything, own) for outcomes, everything in zip(*sides, strict=True)
    )
    return replace(
        made,
        missing=Missing(
            baseline_events=baseline_events,
            baseline_others=baseline_others,
            canary_events=canary_events,
            canary_others=canary_others,
        ),
    )


def _missing(rate: _Rate, outcomes: Increments, everything: Increments, own: Keep) -> tuple[Ints, Ints]:
    """Predictions of an arm without a label by interval: that could be events of a rate, and that could be others."""
    classes = {dict(labels)["predicted"] for labels in everything.by_series}
    found = [np.zeros(everything.axis.size, dtype=np.int64) for _ in range(2)]
    for predicted in sorted(classes):
        keep = partial(_is_of, predicted, own)
        missing = everything.total(keep) - outcomes.total(keep)
        for place, could in enumerate(rate.could(predicted)):
            found[place] += missing * could
    return found[0], found[1]


def _is_of(predicted: str, own: Keep, labels: Mapping[str, str]) -> bool:
    return labels["predicted"] == predicted and own(labels)


def _groups_of(*asked: metrics.Metric) -> Callable[[spec.Fairness, Expressions], list[str]]:
    """Selectors of a criterion of groups: of labelled predictions and all, or of all where labels do not matter."""

    def selectors(criterion: spec.Fairness, of: Expressions) -> list[str]:
        wanted = asked if criterion.counts_labels else asked[-1:]
        model = of.question.model
        return [str(promql.select(metric, model=model, attribute=criterion.compared)) for metric in wanted]

    return selectors


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


TALLIES: Mapping[type[spec.FromCounts], Tally] = {
    spec.Errors: Tally(selectors=lambda _, of: of.errors(), counted=_errors),
    spec.Latency: Tally(selectors=_buckets, counted=_latency, instead=_native),
    spec.Accuracy: Tally(selectors=_as_they_come, counted=_accuracy),
    spec.Predictions: Tally(selectors=lambda _, of: [of.own(metrics.PREDICTIONS)], counted=_predictions),
    spec.Outcomes: Tally(selectors=_as_they_come, counted=_outcomes),
    spec.Counters: Tally(
        selectors=lambda criterion, _: [criterion.total, criterion.events or criterion.good], counted=_counters
    ),
    spec.Fairness: Tally(selectors=_groups_of(metrics.GROUP_OUTCOMES, metrics.GROUP_PREDICTIONS), counted=_fairness),
}
"""Each kind of criterion that is made from counts."""

SETTLED: Mapping[type[spec.FromCounts], Tally] = {
    spec.Accuracy: Tally(selectors=_settled, counted=_accuracy),
    spec.Outcomes: Tally(selectors=_settled, counted=_outcomes),
    spec.Fairness: Tally(
        selectors=_groups_of(metrics.SETTLED_GROUP_OUTCOMES, metrics.SETTLED_GROUP_PREDICTIONS), counted=_fairness
    ),
}
"""Those that count labels, where predictions are settled at an equal age."""


def counts_labels(criterion: spec.FromCounts | spec.Gauge) -> bool:
    """Whether a criterion compares labelled predictions."""
    if isinstance(criterion, spec.Fairness):
        return criterion.counts_labels
    return isinstance(criterion, spec.Accuracy | spec.Outcomes)
