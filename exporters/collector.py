"""The exporter's state as metric families, for the exposition and for whoever collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from exporters.events.counters import ModelSeries, Series
from exporters.events.outcomes import by_class
from exporters.events.settling import Settled
from exporters.events.state import Totals
from midwatch import exposition, metrics
from midwatch.exposition import Exemplar, Family, Histogram, Sample

_BINS = [f"{(bin_ + 1) / metrics.CALIBRATION_BINS:g}" for bin_ in range(metrics.CALIBRATION_BINS)]


class View(msgspec.Struct):
    """What one scrape sees: packed totals of the state, single samples, and the commits' histogram of the process.

    A part of it has no `totals`, or no `commits`.
    """

    totals: bytes | None
    samples: list[Sample]
    commits: tuple[list[int], float] | None


class StateCollector:
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
    made = exposition.families(*_parts(view))
    return [made[name] for name in metrics.CATALOGUE if name in made]


def exposed(view: View, content_type: str = exposition.CONTENT_TYPE) -> bytes:
    """Text of a view's families."""
    return exposition.text(*_parts(view), metrics.CATALOGUE, content_type)


def _parts(view: View) -> tuple[list[Sample], list[Histogram]]:
    """Samples and histograms of a view."""
    samples, histograms = view.samples, [] if view.commits is None else [_commits(*view.commits)]
    if view.totals is None:
        return samples, histograms
    totals = msgspec.msgpack.decode(view.totals, type=Totals)
    return [*_samples(totals), *samples], [*_histograms(totals), *histograms]


def _samples(totals: Totals) -> Iterator[Sample]:
    for series in totals.series:
        yield from _version_samples(series)
    for model in totals.models:
        yield from _model_samples(model)
    for model_name, version, settled in totals.settled:
        yield from _settled_samples(model_name, version, settled)
    for name, seconds in totals.maturities.items():
        yield metrics.LABEL_MATURITY, {"model": name}, seconds
    for kind, count in totals.accepted.items():
        yield metrics.EXPORTER_EVENTS, {"kind": kind, "result": "accepted", "reason": ""}, count
    for kind, reasons in totals.dropped.items():
        for reason, count in reasons.items():
            yield metrics.EXPORTER_EVENTS, {"kind": kind, "result": "dropped", "reason": reason}, count
    for label, count in totals.folded.items():
        yield metrics.EXPORTER_FOLDED, {"label": label}, count
    yield metrics.EXPORTER_JOURNAL_CORRUPTIONS, {}, totals.corruptions


def _version_samples(series: Series) -> Iterator[Sample]:
    labels = {"model": series.model, "version": series.version}
    for outcome, count in (("ok", series.ok), ("error", series.errors)):
        yield metrics.REQUESTS, {**labels, "outcome": outcome}, count
    for predicted, count in series.predicted.items():
        yield metrics.PREDICTIONS, {**labels, "predicted": predicted}, count
    for outcome_labels, count in by_class(series.outcomes):
        yield metrics.OUTCOMES, {**labels, **outcome_labels}, count
    for attribute, groups in series.groups.items():
        for group, outcomes in groups.items():
            for outcome_labels, count in by_class(outcomes):
                where = {**labels, "attribute": attribute, "group": group}
                yield metrics.GROUP_OUTCOMES, {**where, **outcome_labels}, count
    yield from _error_samples(series, labels)
    for kind, count in series.tokens.items():
        yield metrics.TOKENS, {**labels, "kind": kind}, count
    for reason, count in series.finish_reasons.items():
        yield metrics.FINISH_REASONS, {**labels, "reason": reason}, count
    if series.scored:
        yield metrics.EXPECTED_CORRECT, labels, series.expected
        yield metrics.EXPECTED_OBSERVED, labels, series.scored
    for edge, (scored, positives, total) in zip(_BINS, series.bins, strict=True):
        if scored:
            yield metrics.SCORED_OUTCOMES, {**labels, "bin": edge}, scored
            yield metrics.SCORED_POSITIVES, {**labels, "bin": edge}, positives
            yield metrics.SCORE_SUM, {**labels, "bin": edge}, total


def _error_samples(series: Series, labels: dict[str, str]) -> Iterator[Sample]:
    """Errors of a regression."""
    if series.observed:
        yield metrics.ABSOLUTE_ERROR, labels, series.absolute
        yield metrics.SQUARED_ERROR, labels, series.squared
        yield metrics.ERRORS_OBSERVED, labels, series.observed
    for bound, answers in series.bounded.items():
        for answer, count in answers.items():
            yield metrics.ERRORS_BOUNDED, {**labels, "bound": bound, "within": answer}, count


def _settled_samples(model: str, version: str, settled: Settled) -> Iterator[Sample]:
    labels = {"model": model, "version": version}
    yield metrics.UNSETTLED, labels, settled.waiting
    for predicted, results in _results(settled).items():
        for result, count in results.items():
            yield metrics.SETTLED, {**labels, "predicted": predicted, "result": result}, count
    for result, count in settled.late.items():
        yield metrics.LATE_LABELS, {**labels, "result": result}, count
    outcomes = settled.outcomes
    for outcome_labels, count in by_class(outcomes.pairs):
        yield metrics.SETTLED_OUTCOMES, {**labels, **outcome_labels}, count
    for attribute, groups in outcomes.groups.items():
        for group, pairs in groups.items():
            for outcome_labels, count in by_class(pairs):
                where = {**labels, "attribute": attribute, "group": group}
                yield metrics.SETTLED_GROUP_OUTCOMES, {**where, **outcome_labels}, count
    for place, (scored, positives, total) in sorted(outcomes.bins.items()):
        yield metrics.SETTLED_SCORED, {**labels, "bin": _BINS[place]}, scored
        yield metrics.SETTLED_POSITIVES, {**labels, "bin": _BINS[place]}, positives
        yield metrics.SETTLED_SCORE_SUM, {**labels, "bin": _BINS[place]}, total


def _results(settled: Settled) -> dict[str, dict[str, int]]:
    """Right, wrong and unlabelled predictions by predicted class."""
    labelled = settled.outcomes.by_predicted()
    found = {}
    for predicted in dict.fromkeys((*settled.unlabelled, *labelled)):
        right = settled.outcomes.pairs.get(predicted, {}).get(predicted, 0)
        found[predicted] = {
            "right": right,
            "wrong": labelled.get(predicted, 0) - right,
            "unlabelled": settled.unlabelled.get(predicted, 0),
        }
    return found


def _model_samples(model: ModelSeries) -> Iterator[Sample]:
    labels = {"model": model.model}
    yield metrics.EXPORTER_PREDICTIONS_WAITING, labels, model.waiting
    yield metrics.EXPORTER_LABELS_WAITING, labels, model.labels_waiting
    yield metrics.EXPORTER_PREDICTIONS_EXPIRED, labels, model.expired
    yield metrics.EXPORTER_LABELS_ORPHANED, labels, model.orphaned
    yield metrics.EXPORTER_SAMPLED_OUT, labels, model.sampled_out
    for reason, count in model.unread.items():
        yield metrics.EXPORTER_UNREAD_PAYLOADS, {**labels, "reason": reason}, count


def _histograms(totals: Totals) -> Iterator[Histogram]:
    for series in totals.series:
        labels = {"model": series.model, "version": series.version}
        exemplars = {
            place: Exemplar({"trace_id": exemplar.trace_id}, exemplar.seconds, exemplar.ts)
            for place, exemplar in series.exemplars.items()
        }
        yield Histogram(metrics.REQUEST_DURATION, labels, series.bounds, series.latency, series.latency_sum, exemplars)
        for metric, counts, seconds in (
            (metrics.TIME_TO_FIRST_TOKEN, series.first_token, series.first_token_sum),
            (metrics.TIME_PER_OUTPUT_TOKEN, series.output_token, series.output_token_sum),
        ):
            if any(counts):
                yield Histogram(metric, labels, metric.buckets, counts, seconds)
    for model in totals.models:
        labels = {"model": model.model}
        yield Histogram(metrics.LABEL_DELAY, labels, metrics.DELAY_BUCKETS, model.delay, model.delay_sum)


def _commits(counts: list[int], seconds: float) -> Histogram:
    return Histogram(metrics.EXPORTER_COMMIT_DURATION, {}, metrics.COMMIT_BUCKETS, counts, seconds)
