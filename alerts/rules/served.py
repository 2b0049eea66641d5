"""Recording rules of how a model is served, in one form whatever serves it: requests, time, tokens, what is usual.

Alerts and dashboards read the records, so that they need to know no server's metrics. Prometheus keeps a record of few
series instead of reading the raw series of a day ago for what is usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midwatch import metrics, promql, serving
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.serving import Generation, Profile
from midwatch.spec.model import Model, Platform

SHORTEST_WINDOW = 300.0
"""Seconds that rates are of; four scrapes where they are further apart."""

DAY, HALF_HOUR = 86400.0, 1800.0

MILLISECONDS, MICROSECONDS = 3, 6
"""Decimal places by which bounds in these units are moved to become seconds."""


def of_model(platform: Platform, model: Model) -> list[dict[str, Any]]:
    """Records of a model, those that others read first."""
    window = max(SHORTEST_WINDOW, 4 * platform.prometheus.scrape_interval)
    records = _Records(model, serving.profile_of(model), window)
    return [*records.requests(), *records.times(), *records.generation()]


class _Records:
    """Builds the records of one model."""

    def __init__(self, model: Model, profile: Profile, window: float) -> None:
        self._model, self._profile, self._window = model, profile, window
        self._labels = {"model": model.name, "serving": model.serving}

    def _record(self, metric: Metric, expr: Expr, **labels: str) -> dict[str, Any]:
        return {"record": metric.name, "expr": str(expr), "labels": {**self._labels, **labels}}

    # Requests --------------------------------------------------------------------------------------------------------

    def requests(self) -> Iterator[dict[str, Any]]:
        """Requests by outcome, and how many are usual."""
        every = self._summed(self._profile.requests)
        if self._profile.failures:
            failed = self._summed(self._profile.failures).or_(every * 0)
            answered = promql.call("clamp_min", every - Expr(f"({failed})"), 0)
            yield self._record(metrics.SERVED_REQUESTS, answered, outcome="ok")
            yield self._record(metrics.SERVED_REQUESTS, failed, outcome="error")
        else:
            yield self._record(metrics.SERVED_REQUESTS, every, outcome="unknown")
        if self._profile.requests_otherwise:
            otherwise = self._summed((self._profile.requests_otherwise,)).unless(every, on=())
            yield self._record(metrics.SERVED_REQUESTS, otherwise, outcome="unknown")
        yield self._record(metrics.SERVED_USUAL_REQUESTS, self._usual_requests())

    def _usual_requests(self) -> Expr:
        rate = promql.select(metrics.SERVED_REQUESTS, model=self._model.name)
        yesterday, last_week = (promql.sum_by(_hour_around(rate, ago)) for ago in (DAY, 7 * DAY))
        lesser = (yesterday < last_week).or_(last_week).or_(yesterday)
        return lesser.or_(promql.sum_by(_hour_around(rate, 2 * HALF_HOUR)))

    # Times -----------------------------------------------------------------------------------------------------------

    def times(self) -> Iterator[dict[str, Any]]:
        """Time spent on requests, what is usual, and of others' servers the histogram."""
        profile = self._profile
        if profile.time_spent is None or profile.answered is None:
            return
        spent = self._summed((profile.time_spent,))
        yield self._record(metrics.SERVED_TIME, spent * profile.unit if profile.unit != 1 else spent)
        yield self._record(metrics.SERVED_TIMED, self._summed((profile.answered,)))
        yield self._record(metrics.SERVED_USUAL_DURATION, self._usual_duration())
        if profile.duration is not None and self._model.serving != "midwatch":
            yield self._record(metrics.SERVED_DURATION, self._buckets((profile.duration,)))

    def _usual_duration(self) -> Expr:
        spent, answered = (
            promql.select(metric, model=self._model.name) for metric in (metrics.SERVED_TIME, metrics.SERVED_TIMED)
        )
        means = [
            promql.sum_by(_hour_around(spent, ago)) / promql.sum_by(_hour_around(answered, ago)) > 0
            for ago in (DAY, 2 * HALF_HOUR)
        ]
        return means[0].or_(means[1])

    # Language models -------------------------------------------------------------------------------------------------

    def generation(self) -> Iterator[dict[str, Any]]:
        """Tokens, their times, the queue and the cache."""
        said = self._profile.generation
        if said is None:
            return
        for metric, histograms in (
            (metrics.SERVED_FIRST_TOKEN, said.first_token),
            (metrics.SERVED_PER_TOKEN, said.per_token),
        ):
            if histograms:
                yield self._record(metric, self._buckets(histograms))
        yield from self._load(said)
        for kind, counters in (("input", said.input_tokens), ("output", said.output_tokens)):
            if counters:
                yield self._record(metrics.SERVED_TOKENS, _first([self._summed((one,)) for one in counters]), kind=kind)

    def _load(self, said: Generation) -> Iterator[dict[str, Any]]:
        for metric, gauges, over in (
            (metrics.SERVED_WAITING, said.waiting, promql.sum_by),
            (metrics.SERVED_RUNNING, said.running, promql.sum_by),
            (metrics.SERVED_CACHE, said.cache, promql.max_by),
        ):
            if gauges:
                labels = self._by
                yield self._record(metric, _first([over(self._versioned(Expr(one)), *labels) for one in gauges]))
        if said.cache_hits and said.cache_queries:
            hits, asked = (
                _first([self._summed((one,)) for one in counters]) for counters in (said.cache_hits, said.cache_queries)
            )
            yield self._record(metrics.SERVED_CACHE_HITS, Expr(f"({hits})") / Expr(f"({asked} > 0)"))

    # Series ----------------------------------------------------------------------------------------------------------

    @property
    def _by(self) -> tuple[str, ...]:
        return ("version",) if self._profile.version_label else ()

    def _versioned(self, series: Expr) -> Expr:
        """Series whose version is in the label of that name."""
        label = self._profile.version_label
        if label is None or label == "version":
            return series
        return Expr(f'label_replace({series}, "version", "$1", "{label}", "(.+)")')

    def _summed(self, selectors: tuple[str, ...], *by: str) -> Expr:
        """Counters per second, several of them as one, so that a missing one is 0."""
        rates = [promql.rate(Expr(text), self._window) for text in selectors]
        if len(rates) == 1:
            return promql.sum_by(self._versioned(rates[0]), *self._by, *by)
        # Metrics of several names become label sets of one: a label tells them apart until they are summed.
        named = [promql.set_label(rate, "counter", str(number)) for number, rate in enumerate(rates)]
        joined = named[0]
        for one in named[1:]:
            joined = joined.or_(one)
        return promql.sum_by(self._versioned(Expr(f"({joined})")), *self._by, *by)

    def _buckets(self, histograms: tuple[str, ...]) -> Expr:
        """Buckets of the first histogram that there is, their bounds in seconds."""
        return _first(
            [
                _in_seconds(self._summed((str(serving.selector(one, "_bucket")),), "le"), self._by, self._profile.unit)
                for one in histograms
            ]
        )


def _hour_around(record: Expr, ago: float) -> Expr:
    """Mean of a record over the hour around the time so long ago."""
    return promql.over_time("avg_over_time", record, 2 * HALF_HOUR, offset=ago - HALF_HOUR)


def _first(alternatives: list[Expr]) -> Expr:
    """The first of several that has series."""
    joined = alternatives[0]
    for one in alternatives[1:]:
        joined = joined.or_(one, on=())
    return joined


def _in_seconds(buckets: Expr, by: tuple[str, ...], unit: float) -> Expr:
    """Buckets whose bounds are in a unit, with the bounds in seconds: PromQL moves the point by patterns of digits."""
    places = {1e-3: MILLISECONDS, 1e-6: MICROSECONDS}.get(unit)
    if places is None:
        return buckets
    moved = f'label_replace({buckets}, "seconds", "+Inf", "le", "[+]Inf")'
    for digits in range(1, places + 1):
        zeros = "0" * (places - digits)
        moved = f'label_replace({moved}, "seconds", "0.{zeros}$1$2", "le", "([0-9]{{{digits}}})(?:[.]([0-9]+))?")'
    more = f"([0-9]+)([0-9]{{{places}}})(?:[.]([0-9]+))?"
    moved = f'label_replace({moved}, "seconds", "$1.$2$3", "le", "{more}")'
    kept = ", ".join((*by, "le"))
    return Expr(f'sum by ({kept}) (label_replace({moved}, "le", "$1", "seconds", "(.+)"))')
