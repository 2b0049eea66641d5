"""The exporter's state as Prometheus metric families, for any registry and for the quick exposition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from exporters.events.counters import ModelSeries, Series
from exporters.events.state import Totals
from midwatch import metrics

Sample = tuple[str, Mapping[str, str], float]
"""Name of a catalogue metric, labels, value."""

_BINS = [f"{(bin_ + 1) / metrics.CALIBRATION_BINS:g}" for bin_ in range(metrics.CALIBRATION_BINS)]


class View(msgspec.Struct):
    """What one scrape sees: packed totals of the state, counts by histogram of the process, and single samples."""

    totals: bytes
    samples: list[Sample]
    commits: tuple[list[int], float]


class StateCollector(Collector):
    """Families of a view that is taken anew at each collection."""

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view

    def collect(self) -> Iterable[Family]:
        """Every family with its samples, in the catalogue's order."""
        return families(self._view())

    def describe(self) -> Iterable[Family]:
        """Nothing: names are checked by the catalogue, and registering must not take a view."""
        return ()


def families(view: View) -> list[Family]:
    """Families of a view, in the catalogue's order; families without a sample are left out."""
    totals = msgspec.msgpack.decode(view.totals, type=Totals)
    made: dict[str, Family] = {}
    for name, labels, value in _samples(totals, view.samples):
        metric = metrics.CATALOGUE[name]
        family = made.get(name)
        if family is None:
            family = made[name] = _family(metric)
        family.add_metric([labels[label] for label in metric.labels], value)  # type: ignore[attr-defined]
    for metric, values, counts, total in _histograms(totals, view):
        family = made.get(metric.name)
        if family is None:
            family = made[metric.name] = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        family.add_metric(values, counts, total)  # type: ignore[attr-defined]
    return [made[name] for name in metrics.CATALOGUE if name in made]


def _family(metric: metrics.Metric) -> Family:
    kind = CounterMetricFamily if metric.kind is metrics.Kind.COUNTER else GaugeMetricFamily
    return kind(metric.family, metric.help, labels=metric.labels)


def _samples(totals: Totals, own: list[Sample]) -> Iterator[Sample]:
    for series in totals.series:
        yield from _version_samples(series)
    for model in totals.models:
        yield from _model_samples(model)
    for kind, count in totals.accepted.items():
        yield metrics.EXPORTER_EVENTS.name, {"kind": kind, "result": "accepted", "reason": ""}, count
    for kind, reasons in totals.dropped.items():
        for reason, count in reasons.items():
            yield metrics.EXPORTER_EVENTS.name, {"kind": kind, "result": "dropped", "reason": reason}, count
    for label, count in totals.folded.items():
        yield metrics.EXPORTER_FOLDED.name, {"label": label}, count
    yield metrics.EXPORTER_JOURNAL_CORRUPTIONS.name, {}, totals.corruptions
    yield from own


def _version_samples(series: Series) -> Iterator[Sample]:
    labels = {"model": series.model, "version": series.version}
    for outcome, count in (("ok", series.ok), ("error", series.errors)):
        yield metrics.REQUESTS.name, {**labels, "outcome": outcome}, count
    for predicted, count in series.predicted.items():
        yield metrics.PREDICTIONS.name, {**labels, "predicted": predicted}, count
    for outcome_labels, count in _pairs(series.outcomes):
        yield metrics.OUTCOMES.name, {**labels, **outcome_labels}, count
    for attribute, groups in series.groups.items():
        for group, outcomes in groups.items():
            for outcome_labels, count in _pairs(outcomes):
                where = {**labels, "attribute": attribute, "group": group}
                yield metrics.GROUP_OUTCOMES.name, {**where, **outcome_labels}, count
    if series.observed:
        yield metrics.ABSOLUTE_ERROR.name, labels, series.absolute
        yield metrics.SQUARED_ERROR.name, labels, series.squared
        yield metrics.ERRORS_OBSERVED.name, labels, series.observed
    if series.scored:
        yield metrics.EXPECTED_CORRECT.name, labels, series.expected
        yield metrics.EXPECTED_OBSERVED.name, labels, series.scored
    for edge, (scored, positives, total) in zip(_BINS, series.bins, strict=True):
        if scored:
            yield metrics.SCORED_OUTCOMES.name, {**labels, "bin": edge}, scored
            yield metrics.SCORED_POSITIVES.name, {**labels, "bin": edge}, positives
            yield metrics.SCORE_SUM.name, {**labels, "bin": edge}, total


def _pairs(outcomes: dict[str, dict[str, int]]) -> Iterator[tuple[dict[str, str], int]]:
    for predicted, actuals in outcomes.items():
        for actual, count in actuals.items():
            yield {"predicted": predicted, "actual": actual}, count


def _model_samples(model: ModelSeries) -> Iterator[Sample]:
    labels = {"model": model.model}
    yield metrics.EXPORTER_PREDICTIONS_WAITING.name, labels, model.waiting
    yield metrics.EXPORTER_LABELS_WAITING.name, labels, model.labels_waiting
    yield metrics.EXPORTER_PREDICTIONS_EXPIRED.name, labels, model.expired
    yield metrics.EXPORTER_LABELS_ORPHANED.name, labels, model.orphaned
    yield metrics.EXPORTER_SAMPLED_OUT.name, labels, model.sampled_out


Cumulative = list[tuple[str, float] | tuple[str, float, Exemplar]]
"""Bucket, count up to it, and where there is one a request that it counted."""


def _histograms(totals: Totals, view: View) -> Iterator[tuple[metrics.Metric, list[str], Cumulative, float]]:
    for series in totals.series:
        counts = _with_exemplars(_cumulative(series.bounds, series.latency), series)
        yield metrics.REQUEST_DURATION, [series.model, series.version], counts, series.latency_sum
    for model in totals.models:
        yield metrics.LABEL_DELAY, [model.model], _cumulative(metrics.DELAY_BUCKETS, model.delay), model.delay_sum
    commits, seconds = view.commits
    yield metrics.EXPORTER_COMMIT_DURATION, [], _cumulative(metrics.COMMIT_BUCKETS, commits), seconds


def _with_exemplars(counts: Cumulative, series: Series) -> Cumulative:
    for place, one in series.exemplars.items():
        counts[place] = (*counts[place][:2], Exemplar({"trace_id": one.trace_id}, one.seconds, one.ts))
    return counts


def _cumulative(bounds: Iterable[float], counts: list[int]) -> Cumulative:
    running = 0
    pairs: Cumulative = []
    for bound, count in zip([*map(float, bounds), float("inf")], counts, strict=True):
        running += count
        pairs.append(("+Inf" if bound == float("inf") else str(bound), running))
    return pairs
