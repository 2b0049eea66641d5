"""Fairness promises as samples: verdicts, the worst pair, each group's rate, and what is missing.

Groups are called as the exporter publishes them: hashed, unless the promise says that they are public.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from midwatch import metrics
from midwatch.exposition import Sample
from midwatch.metrics import Metric
from midwatch.prometheus import Client
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model, Platform
from monitors.evaluator.evaluation import Evaluate, Evaluation
from monitors.fairness import looks
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Pair, Verdict

VALUES = {Verdict.FAIR: 1.0, Verdict.UNKNOWN: 0.0, Verdict.UNFAIR: -1.0}

SAID_WHEN_BLIND = (metrics.FAIRNESS_VERDICT, metrics.FAIRNESS_BECAME_UNFAIR, metrics.FAIRNESS_SINCE)
"""What is still said when nothing can be seen."""

Labels = Mapping[str, str]


def prepare(platform: Platform) -> Evaluate:
    """Judge every promise of every model of the platform."""
    return partial(_evaluate, [model for model in platform.models if model.fairness])


def _evaluate(models: Sequence[Model], client: Client, now: float) -> Evaluation:
    findings = [one for look in looks.look(client, models, now, with_labels=False) for one in look.findings]
    samples = (*_since(findings), *(sample for one in findings for sample in samples_of(one)))
    return Evaluation(samples=samples, when_blind=tuple(_when_blind(samples)))


def samples_of(finding: Finding) -> Iterator[Sample]:
    """What is published of one finding."""
    said, promise, labels = finding.judgement, finding.promise, labels_of(finding)
    yield metrics.FAIRNESS_VERDICT, labels, VALUES[said.verdict]
    yield metrics.FAIRNESS_BECAME_UNFAIR, labels, float(said.became_unfair)
    yield metrics.FAIRNESS_LIMIT, labels, _limit(promise)
    if said.worst is not None:
        yield from _pair(labels, said.worst)
    for rate in said.rates:
        own = {**labels, "group": rate.group}
        yield from _bounds(metrics.FAIRNESS_GROUP_RATE, own, rate.rate, rate.interval)
    if said.rates:
        yield metrics.FAIRNESS_SMALLEST_GROUP, labels, float(min(rate.events for rate in said.rates))
    if said.rows_needed is not None:
        yield metrics.FAIRNESS_ROWS_NEEDED, labels, float(said.rows_needed)
    if finding.labelled:
        yield metrics.FAIRNESS_UNLABELLED, labels, 1 - min(finding.labelled.values())
    if finding.ungrouped.share is not None:
        yield metrics.FAIRNESS_UNGROUPED, labels, finding.ungrouped.share


def labels_of(finding: Finding) -> dict[str, str]:
    """Labels of one judged rate, in the order of `metrics.FAIRNESS_PROMISE`."""
    attribute, measure, limit = finding.promise.key
    values = (finding.model, finding.version, attribute, measure, finding.rate, limit)
    return dict(zip(metrics.FAIRNESS_PROMISE, values, strict=True))


def _limit(promise: Fairness) -> float:
    limit = promise.ratio if promise.ratio is not None else promise.difference
    return math.nan if limit is None else float(limit)


def _pair(labels: Labels, worst: Pair) -> Iterator[Sample]:
    names = {"above": worst.above, "below": worst.below, "stratum": worst.stratum}
    yield metrics.FAIRNESS_WORST_PAIR, {**labels, **names}, 1.0
    yield from _bounds(metrics.FAIRNESS_DIFFERENCE, labels, worst.difference, worst.difference_interval)
    yield from _bounds(metrics.FAIRNESS_RATIO, labels, worst.ratio, worst.ratio_interval)


def _bounds(metric: Metric, labels: Labels, estimate: float, interval: tuple[float, float]) -> Iterator[Sample]:
    """An estimate and both ends of its interval; no estimate where it is of nothing."""
    for bound, value in zip(("estimate", "low", "high"), (estimate, *interval), strict=True):
        if not math.isnan(value):
            yield metric, {**labels, "bound": bound}, value


def _since(findings: Sequence[Finding]) -> Iterator[Sample]:
    """When each version's counting began, which the next look reads."""
    since: dict[tuple[str, str], float] = {}
    for one in findings:
        version = one.model, one.version
        since[version] = min(one.since, since.get(version, one.since))
    for (name, number), began in sorted(since.items()):
        yield metrics.FAIRNESS_SINCE, {"model": name, "version": number}, began


def _when_blind(samples: Sequence[Sample]) -> Iterator[Sample]:
    """What was shown unfair stays said, what was shown fair is not known any more."""
    for metric, labels, value in samples:
        if metric in SAID_WHEN_BLIND:
            yield metric, labels, min(value, 0.0) if metric is metrics.FAIRNESS_VERDICT else value
