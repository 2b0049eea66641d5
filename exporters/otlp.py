"""Pushing metric families by OTLP as they are: the SDK's instruments would fold what is beyond 2,000 series each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from midwatch import telemetry
from midwatch.exposition import Family

BATCH = 2000
"""Data points of one request: a collector's gRPC takes 4 MiB by default, and a point with labels has some 300 bytes."""

SILENCE = 60.0
"""Seconds without a delivery after which that is said, and said again."""

_log = logging.getLogger(__name__)


class Collector(Protocol):
    """Where families come from."""

    def collect(self) -> Iterable[Family]:
        """Every family with its samples."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Families, and when their counters began (seconds since the epoch): before this process, for those of a state."""

    collector: Collector
    since: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where metrics are pushed to, and how: `grpc` or `http/protobuf`."""

    url: str
    protocol: str

    @classmethod
    def of(cls, endpoint: str, protocol: str | None = None) -> Target:
        """Read an endpoint; TelemetryError when it cannot be one.

        A base, which has no path or one that ends in `/otlp`, is completed; any other path is taken as it is.

        >>> [Target.of(endpoint).url for endpoint in ("http://a:4318", "https://b/otlp", "http://c/opentelemetry/push")]
        ['http://a:4318/v1/metrics', 'https://b/otlp/v1/metrics', 'http://c/opentelemetry/push']
        """
        try:
            parts = urlsplit(endpoint)
            parts.port  # noqa: B018 - a port that is no number is an error
        except ValueError as error:
            raise telemetry.TelemetryError(f"--otlp-endpoint {endpoint}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise telemetry.TelemetryError(
                f"--otlp-endpoint {endpoint}: no URL; write http:// or https://, a host, and a port or a path"
            )
        path = parts.path.rstrip("/")
        if not path and telemetry.protocol_of(endpoint, protocol) == "grpc":
            return cls(url=endpoint.rstrip("/"), protocol="grpc")
        if protocol == "grpc":
            raise telemetry.TelemetryError(f"--otlp-endpoint {endpoint}: OTLP over gRPC has no path")
        if not path or path.endswith("/otlp"):
            path += "/v1/metrics"
        return cls(url=urlunsplit(parts._replace(path=path)), protocol="http/protobuf")


def warn_of_scrape(url: str, prometheus: str) -> None:
    """Warn when metrics are pushed into the Prometheus of the platform file, whose rendered jobs scrape them too."""
    if urlsplit(url).netloc == urlsplit(prometheus).netloc:
        _log.warning(
            "metrics are pushed into a Prometheus that scrapes them by its rendered jobs: every request counts twice "
            "where it does both",
            extra={"endpoint": url},
        )


def start_pusher(
    sources: Sequence[Source],
    instance: str,
    target: Target,
    interval_seconds: float,
    service: str = "midwatch-exporter",
) -> Callable[[], None]:
    """Push now and then from a thread of its own; returns what stops it after a last push.

    `service` becomes the service.name, and `instance` the service.instance.id. A push that fails is logged and the next
    one carries the same counters: nothing is lost but resolution.
    """
    exporter = telemetry.exporter_to("metrics", target.url, target.protocol)
    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    ended = threading.Event()
    deliveries = Deliveries(target.url, time.monotonic())

    def run() -> None:
        while not ended.wait(interval_seconds):
            push()

    def push() -> None:
        try:
            delivered = all(
                exporter.export(batch) is sdk.MetricExportResult.SUCCESS
                for source in sources
                for batch in batches(source, resource, time.time_ns())
            )
        except Exception:  # a push must never end the exporter
            _log.exception("metrics could not be pushed", extra={"endpoint": target.url})
            delivered = False
        deliveries.ended(delivered, time.monotonic())

    thread = threading.Thread(target=run, name="otlp-push", daemon=True)
    thread.start()

    def stop() -> None:
        ended.set()
        thread.join()
        push()
        exporter.shutdown()

    return stop


class Deliveries:
    """Says what becomes of pushes: the first that fails, each minute without a delivery, and the next delivery."""

    def __init__(self, url: str, now: float) -> None:
        self._where = {"endpoint": url}
        self._delivered = self._said = now
        self._failing = False

    def ended(self, delivered: bool, now: float) -> None:
        """A push ended at a time of the monotonic clock."""
        if delivered:
            if self._failing:
                _log.info("metrics are delivered again", extra=self._where)
            self._delivered = self._said = now
        elif not self._failing:
            _log.warning("metrics could not be pushed", extra=self._where)
        if not delivered and now - self._said >= SILENCE:
            seconds = round(now - self._delivered)
            _log.error("no metrics were delivered for %d s", seconds, extra=self._where | {"seconds": seconds})
            self._said = now
        self._failing = not delivered


def batches(source: Source, resource: Resource, now: int) -> Iterator[sdk.MetricsData]:
    """OTLP documents of at most `BATCH` data points; `now` is nanoseconds since the epoch."""
    begun = int(source.since * 1e9)
    points: list[tuple[Family, Any]] = [
        (family, point)
        for family in source.collector.collect()
        for point in (_histogram_points if family.type == "histogram" else _number_points)(family, begun, now)
    ]
    for start in range(0, len(points), BATCH):
        by_family: dict[str, tuple[Family, list[Any]]] = {}
        for family, point in points[start : start + BATCH]:
            by_family.setdefault(family.name, (family, []))[1].append(point)
        metrics = [_metric(family, part) for family, part in by_family.values()]
        scope = sdk.ScopeMetrics(InstrumentationScope("midwatch"), metrics, "")
        yield sdk.MetricsData([sdk.ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, points: list[Any]) -> sdk.Metric:
    cumulative = sdk.AggregationTemporality.CUMULATIVE
    data: sdk.Sum | sdk.Gauge | sdk.Histogram
    if family.type == "histogram":
        data = sdk.Histogram(points, cumulative)
    elif family.type == "counter":
        data = sdk.Sum(points, cumulative, is_monotonic=True)
    else:
        data = sdk.Gauge(points)
    name = family.name + "_total" if family.type == "counter" else family.name
    return sdk.Metric(name, family.documentation, "", data)


def _number_points(family: Family, begun: int, now: int) -> Iterator[sdk.NumberDataPoint]:
    for sample in family.samples:
        if sample.name.endswith("_created"):  # when a counter began: the client library's own, not a value of it
            continue
        yield sdk.NumberDataPoint(dict(sample.labels), begun, now, sample.value)


def _histogram_points(family: Family, begun: int, now: int) -> Iterator[sdk.HistogramDataPoint]:
    """One point per series: its samples come together, buckets ascending, then count and sum."""
    series: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        entry = series.setdefault(tuple(labels.items()), {"labels": labels, "buckets": [], "sum": 0.0})
        if sample.name.endswith("_bucket"):
            entry["buckets"].append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith("_sum"):
            entry["sum"] = sample.value
    for entry in series.values():
        running = [0, *(count for _, count in entry["buckets"])]
        yield sdk.HistogramDataPoint(
            attributes=entry["labels"],
            start_time_unix_nano=begun,
            time_unix_nano=now,
            count=running[-1],
            sum=entry["sum"],
            bucket_counts=[after - before for before, after in pairwise(running)],
            explicit_bounds=[bound for bound, _ in entry["buckets"][:-1]],
            min=float("nan"),
            max=float("nan"),
        )
