"""The exporter's state as metric families, for the exposition and for whoever collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from exporters.events.attributions import Explained
from exporters.events.group_sums import GroupSums, column
from exporters.events.series import ModelSeries, Series
from exporters.events.settling import Settled
from exporters.events.state import Totals
from exporters.incremental import IncrementalText
from midwatch import exposition, metrics
from midwatch.exposition import Exemplar, Family, Histogram, Sample, Table
from midwatch.metrics import Metric

_BINS = [f"{(bin_ + 1) / metrics.CALIBRATION_BINS:g}" for bin_ in range(metrics.CALIBRATION_BINS)]
_GROUP_BINS = [f"{(bin_ + 1) / metrics.GROUP_SCORE_BINS:g}" for bin_ in range(metrics.GROUP_SCORE_BINS)]


class View(msgspec.Struct):
    """What one scrape sees: packed totals of the state, counts by histogram of the process, and single samples.

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
    totals = _totals(view)
    counted = [sample for table in tables(totals) for sample in exposition.samples(table)] if view.totals else []
    made = exposition.families([*counted, *view.samples], histograms(totals, view.commits))
    return [made[name] for name in metrics.CATALOGUE if name in made]


def exposed(view: View, content_type: str = exposition.CONTENT_TYPE) -> bytes:
    """Text of a view's families."""
    totals = _totals(view)
    text = IncrementalText()
    for _ in text.write(tables(totals), histograms(totals, view.commits), view.samples, content_type):
        pass
    return b"".join(text.pieces(content_type))


def _totals(view: View) -> Totals:
    return Totals() if view.totals is None else msgspec.msgpack.decode(view.totals, type=Totals)


def tables(totals: Totals) -> Iterator[Table]:
    """What is counted, one table for each metric of each version and model; one without a sample is empty."""
    for series in totals.series:
        yield from _version_tables(series)
    for model in totals.models:
        yield from _model_tables(model)
    for model_name, version, settled in totals.settled:
        yield from _settled_tables(model_name, version, settled)
    yield Table(metrics.LABEL_MATURITY, {}, ("model",), totals.maturities)
    yield Table(metrics.EXPORTER_EVENTS, {"result": "accepted", "reason": ""}, ("kind",), totals.accepted)
    yield Table(metrics.EXPORTER_EVENTS, {"result": "dropped"}, ("kind", "reason"), totals.dropped)
    yield Table(metrics.EXPORTER_FOLDED, {}, ("label",), totals.folded)
    yield Table(metrics.EXPORTER_JOURNAL_CORRUPTIONS, {}, (), totals.corruptions)


_PAIR = ("predicted", "actual")
_OF_GROUP = ("attribute", "group")
_GROUPED = (*_OF_GROUP, *_PAIR)


def _version_tables(series: Series) -> Iterator[Table]:
    labels = {"model": series.model, "version": series.version}
    yield Table(metrics.REQUESTS, labels, ("outcome",), {"ok": series.ok, "error": series.errors})
    yield Table(metrics.PREDICTIONS, labels, ("predicted",), series.predicted)
    yield Table(metrics.OUTCOMES, labels, _PAIR, series.outcomes)
    yield Table(metrics.GROUP_OUTCOMES, labels, _GROUPED, series.groups)
    yield Table(metrics.GROUP_PREDICTIONS, labels, _GROUPED[:-1], series.grouped)
    for place, metric in enumerate((metrics.GROUP_RANKED, metrics.GROUP_EXPOSURE, metrics.GROUP_EXPOSURE_SQUARES)):
        yield Table(metric, labels, _OF_GROUP, column(series.exposed, place, 2))
    if series.observed:
        yield Table(metrics.ABSOLUTE_ERROR, labels, (), series.absolute)
        yield Table(metrics.SQUARED_ERROR, labels, (), series.squared)
        yield Table(metrics.ERRORS_OBSERVED, labels, (), series.observed)
    yield Table(metrics.ERRORS_BOUNDED, labels, ("bound", "within"), series.bounded)
    yield Table(metrics.TOKENS, labels, ("kind",), series.tokens)
    yield Table(metrics.FINISH_REASONS, labels, ("reason",), series.finish_reasons)
    if series.scored:
        yield Table(metrics.EXPECTED_CORRECT, labels, (), series.expected)
        yield Table(metrics.EXPECTED_OBSERVED, labels, (), series.scored)
    yield from _explained_tables(series.explained, labels)
    yield Table(metrics.GROUP_EXPLAINED, labels, _OF_GROUP, series.group_explained)
    named = (metrics.GROUP_ATTRIBUTION_ADDED, metrics.GROUP_ATTRIBUTION_TAKEN, metrics.GROUP_ATTRIBUTION_SQUARES)
    for place, metric in enumerate(named):
        yield Table(metric, labels, (*_OF_GROUP, "feature"), column(series.group_attributions, place, 3))
    cells = {edge: cell for edge, cell in zip(_BINS, series.bins, strict=True) if cell[0]}
    named = (metrics.SCORED_OUTCOMES, metrics.SCORED_POSITIVES, metrics.SCORE_SUM)
    yield from _bin_tables(named, labels, cells)


def _explained_tables(explained: Explained, labels: dict[str, str]) -> Iterator[Table]:
    features = explained.features.items()
    if explained.count:
        yield Table(metrics.EXPLAINED, labels, (), explained.count)
    yield Table(metrics.ATTRIBUTION_ADDED, labels, ("feature",), {name: one.added for name, one in features})
    yield Table(metrics.ATTRIBUTION_TAKEN, labels, ("feature",), {name: one.taken for name, one in features})
    yield Table(metrics.ATTRIBUTION_SQUARES, labels, ("feature",), {name: one.squares for name, one in features})


def _bin_tables(
    named: tuple[Metric, Metric, Metric], labels: dict[str, str], cells: dict[str, list[float]]
) -> Iterator[Table]:
    """Labelled, positive and sum of the scores, by bin."""
    for place, metric in enumerate(named):
        yield Table(metric, labels, ("bin",), {edge: cell[place] for edge, cell in cells.items()})


def _settled_tables(model: str, version: str, settled: Settled) -> Iterator[Table]:
    labels = {"model": model, "version": version}
    yield Table(metrics.UNSETTLED, labels, (), settled.waiting)
    yield Table(metrics.SETTLED, labels, ("predicted", "result"), _results(settled))
    yield Table(metrics.LATE_LABELS, labels, ("result",), settled.late)
    outcomes = settled.outcomes
    yield Table(metrics.SETTLED_OUTCOMES, labels, _PAIR, outcomes.pairs)
    yield Table(metrics.SETTLED_GROUP_OUTCOMES, labels, _GROUPED, outcomes.groups)
    yield Table(metrics.SETTLED_GROUP_PREDICTIONS, labels, _GROUPED[:-1], settled.grouped)
    cells = {_BINS[place]: cell for place, cell in sorted(outcomes.bins.items())}
    named = (metrics.SETTLED_SCORED, metrics.SETTLED_POSITIVES, metrics.SETTLED_SCORE_SUM)
    yield from _bin_tables(named, labels, cells)
    yield from _sum_tables(settled.sums, labels)


def _sum_tables(sums: GroupSums, labels: dict[str, str]) -> Iterator[Table]:
    scored = (
        metrics.SETTLED_GROUP_SCORED,
        metrics.SETTLED_GROUP_SCORED_OUTCOMES,
        metrics.SETTLED_GROUP_POSITIVES,
        metrics.SETTLED_GROUP_SCORE_SUM,
    )
    scores = {
        attribute: {
            group: {_GROUP_BINS[int(place)]: row for place, row in bins.items()} for group, bins in groups.items()
        }
        for attribute, groups in sums.scores.items()
    }
    for place, metric in enumerate(scored):
        yield Table(metric, labels, (*_OF_GROUP, "bin"), column(scores, place, 3))
    errors = {
        attribute: {
            group: {bound: {"yes": row[0], "no": row[1]} for bound, row in bounds.items()}
            for group, bounds in groups.items()
        }
        for attribute, groups in sums.errors.items()
    }
    yield Table(metrics.SETTLED_GROUP_ERRORS, labels, (*_OF_GROUP, "bound", "within"), errors)
    for place, metric in ((2, metrics.SETTLED_GROUP_ABSOLUTE_ERROR), (3, metrics.SETTLED_GROUP_SQUARED_ERROR)):
        yield Table(metric, labels, (*_OF_GROUP, "bound"), column(sums.errors, place, 3))


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


def _model_tables(model: ModelSeries) -> Iterator[Table]:
    labels = {"model": model.model}
    yield Table(metrics.EXPORTER_PREDICTIONS_WAITING, labels, (), model.waiting)
    yield Table(metrics.EXPORTER_LABELS_WAITING, labels, (), model.labels_waiting)
    yield Table(metrics.EXPORTER_PREDICTIONS_EXPIRED, labels, (), model.expired)
    yield Table(metrics.EXPORTER_LABELS_ORPHANED, labels, (), model.orphaned)
    yield Table(metrics.EXPORTER_SAMPLED_OUT, labels, (), model.sampled_out)
    yield Table(metrics.EXPORTER_UNREAD_PAYLOADS, labels, ("reason",), model.unread)


def histograms(totals: Totals, commits: tuple[list[int], float] | None) -> Iterator[Histogram]:
    """Latencies of versions, delays of models' labels, and `commits`: counts by bucket, and seconds."""
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
        for feature, one in series.explained.features.items():
            own = labels | {"feature": feature}
            yield Histogram(metrics.ATTRIBUTION_PLACE, own, metrics.PLACE_BUCKETS, one.places, one.place_sum)
    for model in totals.models:
        labels = {"model": model.model}
        yield Histogram(metrics.LABEL_DELAY, labels, metrics.DELAY_BUCKETS, model.delay, model.delay_sum)
    if commits is not None:
        counts, seconds = commits
        yield Histogram(metrics.EXPORTER_COMMIT_DURATION, {}, metrics.COMMIT_BUCKETS, counts, seconds)
