"""Whether the counts can carry a verdict: enough traffic, and a healthy baseline of the right size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from midwatch.spec import canary as spec
from monitors.canary.bursts import are_equal
from monitors.canary.counts import Counted, Counts, Doubt

LABELLED = 0.9
"""Ratio of the arms' labelled shares from which accuracy is compared: what is missing then changes it little."""
MORE_THAN_ALL = 1.02
"""Labels by request from which they cannot be labels of these requests alone."""
UNLIKE = 0.1
"""Share of the canary's requests that may be in strata which the baseline has not."""
BEYOND_CHANCE = 3.3
"""Standard deviations that equal labelled shares differ by once in a thousand."""


def check_traffic(counts: Counts, settings: spec.Canary) -> list[Doubt]:
    """Whether there is enough to judge."""
    baseline, canary = int(counts.baseline_requests.sum()), int(counts.canary_requests.sum())
    if not counts.baseline_requests.size:
        # An answer without an interval says itself why.
        why = "" if counts.doubts else "the first interval is not over"
    elif not canary and not baseline:
        why = "no traffic on either arm"
    elif not canary:
        why = f"{counts.canary} has not received traffic"
    elif not baseline:
        why = f"the baseline {counts.baseline} receives no traffic"
    elif (few := min(canary, baseline)) < settings.min_requests:
        arm = counts.canary if canary <= baseline else counts.baseline
        why = f"too little traffic: {few} requests of {arm}, {settings.min_requests} are needed"
    else:
        why = ""
    return [Doubt(text=why, fatal=True)] if why else []


def check_criteria(counts: Counts, counted: Sequence[spec.FromCounts]) -> list[Doubt]:
    """What is wrong with the data of a criterion."""
    doubts: list[Doubt] = []
    for criterion in counted:
        name = spec.name_of(criterion)
        data = counts.counted.get(name)
        if data is None:
            continue
        doubts += [Doubt(text=f"{name}: {doubt.text}", fatal=doubt.fatal) for doubt in data.doubts]
        doubts += _health(criterion, name, data)
        doubts += _labels(criterion, name, data, counts)
        doubts += _unlike(name, data, counts)
        if criterion.equal_baseline and not are_equal(data.arms(0)):
            sizes = f"{int(data.canary_requests.sum())} requests of the canary, {int(data.baseline_requests.sum())}"
            text = f"{name}: equal_baseline needs a baseline of the canary's size; there are {sizes} of the baseline"
            doubts.append(Doubt(text=text, fatal=True))
    return doubts


def _health(criterion: spec.FromCounts, name: str, data: Counted) -> list[Doubt]:
    """A baseline that is ill says nothing about a canary."""
    requests = int(data.baseline_requests.sum())
    if criterion.baseline_limit >= 1 or not requests:
        return []
    worst = float(data.baseline_events.sum(axis=-1).max()) / requests
    if worst <= float(criterion.baseline_limit):
        return []
    limit = float(criterion.baseline_limit)
    return [Doubt(text=f"the baseline is unhealthy: {name} {worst:.2%}, its limit is {limit:.2%}", fatal=True)]


def _unlike(name: str, data: Counted, counts: Counts) -> list[Doubt]:
    """Traffic of the canary that the baseline has nothing like: it is not compared."""
    alone = {
        stratum: int(part.canary_requests.sum())
        for stratum, part in data.strata.items()
        if part.canary_requests.any() and not part.baseline_requests.any()
    }
    asked = int(data.canary_requests.sum())
    if sum(alone.values()) <= UNLIKE * asked:
        return []
    share, which = sum(alone.values()) / asked, ", ".join(alone)
    return [Doubt(text=f"{name}: {share:.0%} of {counts.canary}'s requests have no like on the baseline ({which})")]


def _labels(criterion: spec.FromCounts, name: str, data: Counted, counts: Counts) -> list[Doubt]:
    """Labels that come later on one arm: what was right may be labelled sooner than what was wrong.

    The labelled shares differ when their ratio is beyond `LABELLED` and chance does not explain it. Where it is not
    known how many have a label, the labels of a class stand for it: traffic that is split at random has as many of
    each actual class on both arms, and where a version predicts a class more often the two cannot be told apart.
    """
    labels = data.labels
    if labels is not None:
        asked = [int(labels.baseline_of.sum()), int(labels.canary_of.sum())]
        told = [int(labels.baseline.sum()), int(labels.canary.sum())]
    else:
        asked = [int(counts.baseline_requests.sum()), int(counts.canary_requests.sum())]
        told = [int(data.baseline_requests.sum()), int(data.canary_requests.sum())]
    if not isinstance(criterion, spec.Accuracy | spec.Outcomes) and labels is None:
        return []
    if not all(asked):
        return []
    shares = [labels / requests for labels, requests in zip(told, asked, strict=True)]
    low, high = min(shares), max(shares)
    if high > MORE_THAN_ALL and labels is None:
        # Labels of predictions from before the start, or of other traffic: their share of this one says nothing.
        return []
    pooled = min(1.0, sum(told) / sum(asked))
    chance = BEYOND_CHANCE * math.sqrt(pooled * (1 - min(pooled, low)) * sum(1 / requests for requests in asked))
    if low >= LABELLED * high or high - low <= chance:
        return []
    shown = f"{shares[1]:.1%} of the canary's predictions against {shares[0]:.1%} of the baseline's"
    return [Doubt(text=f"{name}: labels have come for {shown}; late ones may be the wrong ones", fatal=True)]
