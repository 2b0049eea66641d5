"""Pushing by OTLP: every series arrives, none is folded, and the values are those of the exposition."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporters import otlp
from tests import otlp_receiver

SERIES = 3000


@pytest.mark.parametrize(
    ("receiver", "protocol"),
    [(otlp_receiver.over_http, "http/protobuf"), (otlp_receiver.over_grpc, "grpc")],
    ids=["http", "grpc"],
)
def test_more_than_2000_series_arrive_whole(receiver, protocol: str) -> None:
    registry = CollectorRegistry()
    counter = Counter("many", "Many.", ["version"], registry=registry)
    for number in range(SERIES):
        counter.labels(f"v{number}").inc(number)
    Gauge("one", "One.", registry=registry).set(-1.5)
    histogram = Histogram("seconds", "Time.", ["model"], buckets=(0.1, 1.0), registry=registry)
    for value in (0.05, 0.5, 0.7, 5):
        histogram.labels("m").observe(value)
    with receiver() as received:
        otlp.start_pusher(registry, received.endpoint, 3600, protocol=protocol)()
        metrics = received.metrics()
    points = {
        point.attributes[0].value.string_value: point.as_double
        for metric in metrics
        if metric.name == "many_total"
        for point in metric.sum.data_points
    }
    assert points == {f"v{number}": float(number) for number in range(SERIES)}
    assert all(metric.sum.is_monotonic for metric in metrics if metric.name == "many_total")
    assert [metric.gauge.data_points[0].as_double for metric in metrics if metric.name == "one"] == [-1.5]
    (point,) = (metric.histogram.data_points[0] for metric in metrics if metric.name == "seconds")
    assert list(point.bucket_counts) == [1, 2, 1]
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert (point.count, point.sum) == (4, 6.25)
    assert not (point.HasField("min") and not math.isnan(point.min))


def test_a_receiver_that_refuses_disturbs_nobody(caplog) -> None:
    registry = CollectorRegistry()
    Gauge("one", "One.", registry=registry).set(1)
    with otlp_receiver.over_http() as received:
        # The receiver knows no such path and ends the request: the pusher says so and goes on.
        otlp.start_pusher(registry, received.endpoint + "/v1/metrics", 3600, protocol="http/protobuf")()
        assert not received.messages
    assert "could not be pushed" in caplog.text
