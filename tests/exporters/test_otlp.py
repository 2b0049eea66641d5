"""Pushing by OTLP: every series arrives, none is folded, and the values are those of the exposition."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporters import otlp
from exporters.events import identity
from midwatch import modules
from midwatch.errors import MidwatchError
from tests import otlp_receiver
from tests.conftest import midwatch_here

SERIES = 3000
OWN = "midwatch_exporter_commit_duration_seconds"
"""A metric that each process counts for itself."""


def push(registry: CollectorRegistry, target: otlp.Target) -> None:
    """Push once."""
    otlp.start_pusher([otlp.Source(collector=registry, since=1.0)], "one", target, 3600)()


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
        push(registry, otlp.Target.of(received.endpoint, protocol))
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
        push(registry, otlp.Target.of(received.endpoint + "/nowhere"))
        assert not received.messages
    assert "could not be pushed" in caplog.text


def test_a_full_path_is_taken_as_it_is() -> None:
    registry = CollectorRegistry()
    Gauge("one", "One.", registry=registry).set(1)
    with otlp_receiver.over_http() as received:
        push(registry, otlp.Target.of(received.endpoint + "/v1/metrics"))
        assert [metric.name for metric in received.metrics()] == ["one"]


@pytest.mark.parametrize(
    ("endpoint", "url", "protocol"),
    [
        ("http://collector:4318", "http://collector:4318/v1/metrics", "http/protobuf"),
        ("http://collector:4318/", "http://collector:4318/v1/metrics", "http/protobuf"),
        ("https://otlp.example/otlp", "https://otlp.example/otlp/v1/metrics", "http/protobuf"),
        ("http://p:9090/api/v1/otlp/v1/metrics", "http://p:9090/api/v1/otlp/v1/metrics", "http/protobuf"),
        ("http://v:8428/opentelemetry/api/v1/push", "http://v:8428/opentelemetry/api/v1/push", "http/protobuf"),
        ("https://a/v1/metrics?tenant=b", "https://a/v1/metrics?tenant=b", "http/protobuf"),
        ("http://[::1]:4317", "http://[::1]:4317", "grpc"),
        ("http://collector:4317/", "http://collector:4317", "grpc"),
        ("http://collector:4317/v1/metrics", "http://collector:4317/v1/metrics", "http/protobuf"),
    ],
)
def test_a_base_is_completed_and_a_path_is_not(endpoint: str, url: str, protocol: str) -> None:
    assert otlp.Target.of(endpoint) == otlp.Target(url=url, protocol=protocol)


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4318", "localhost", "//collector:4318", "grpc://a:4317", "http://", "http://a:port", "/v1/metrics"],
)
def test_an_endpoint_that_is_no_url_ends_the_start_with_a_line(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="--otlp-endpoint"):
        otlp.Target.of(endpoint)
    options = ("--listen", "127.0.0.1:0", "--state", str(tmp_path), "--otlp-endpoint", endpoint)
    if endpoint == "collector:4318":
        done = midwatch_here("exporter", "serve", *options)
        assert done.returncode == 2
        assert "write http:// or https://" in done.stderr
        assert "Traceback" not in done.stderr


def test_it_says_each_minute_that_nothing_was_delivered_and_when_it_is_again(caplog) -> None:
    caplog.set_level("INFO")
    deliveries = otlp.Deliveries("http://a/v1/metrics", 0.0)
    for now, delivered in ((15, False), (30, False), (60, False), (75, False), (120, False), (135, True), (150, True)):
        deliveries.ended(delivered, float(now))
    assert [record.getMessage() for record in caplog.records] == [
        "metrics could not be pushed",
        "no metrics were delivered for 60 s",
        "no metrics were delivered for 120 s",
        "metrics are delivered again",
    ]


def test_a_minute_counts_from_the_last_delivery(caplog) -> None:
    deliveries = otlp.Deliveries("http://a/v1/metrics", 0.0)
    for now, delivered in ((50, True), (65, False), (109, False), (111, False)):
        deliveries.ended(delivered, float(now))
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def pushed_by_a_process(state: Path, events: list[dict[str, object]], ended_by: signal.Signals) -> list[Any]:
    """What an exporter pushes by OTLP that takes events and then ends."""
    with otlp_receiver.over_http() as received:
        options = ("--listen", "127.0.0.1:0", "--state", str(state), "--otlp-interval", "0.1")
        command = modules.command("midwatch", "exporter", "serve", *options, "--otlp-endpoint", received.endpoint)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            url = next(json.loads(line)["url"] for line in process.stderr if '"ready"' in line)
            body = "\n".join(map(json.dumps, events)).encode()
            if events:
                urllib.request.urlopen(urllib.request.Request(f"{url}/events", body), timeout=60).close()
            while not {"ml_requests_total", OWN} <= {metric.name for metric in received.metrics()}:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(ended_by)
        return [resource for message in received.messages for resource in message.resource_metrics]


def counted_since(pushed: list[Any], name: str) -> dict[tuple[str, str], set[int]]:
    """Start times of a metric's points by instance and outcome."""
    found: dict[tuple[str, str], set[int]] = {}
    for resource in pushed:
        (instance,) = (
            one.value.string_value for one in resource.resource.attributes if one.key == "service.instance.id"
        )
        for metric in (one for scope in resource.scope_metrics for one in scope.metrics if one.name == name):
            for point in [*metric.sum.data_points, *metric.histogram.data_points]:
                labels = {one.key: one.value.string_value for one in point.attributes}
                found.setdefault((instance, labels.get("outcome", "")), set()).add(point.start_time_unix_nano)
    return found


def test_a_restart_changes_neither_the_instance_nor_since_when_a_request_is_counted(tmp_path: Path) -> None:
    event = {"event": "prediction", "id": "1", "model": "m", "version": "v", "ts": time.time(), "prediction": "a"}
    first = pushed_by_a_process(tmp_path / "state", [event], signal.SIGKILL)
    again = pushed_by_a_process(tmp_path / "state", [], signal.SIGTERM)
    since = counted_since(first, "ml_requests_total")
    assert counted_since(again, "ml_requests_total") == since
    assert len({instance for instance, _ in since}) == 1
    assert all(len(times) == 1 for times in since.values())
    # What a process counts for itself begins with it.
    before, after = (times for each in (first, again) for times in counted_since(each, OWN).values())
    assert max(before) < min(after)


def test_the_counters_of_a_state_without_an_identity_began_with_its_oldest_file(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(Path(__file__).parent / "state-without-links", folder)
    for number, file in enumerate(sorted(folder.iterdir())):
        os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))
    made = identity.of_folder(folder)
    assert made.since == 1_700_000_000
    assert identity.of_folder(folder) == made


def test_an_identity_that_cannot_be_read_is_written_anew_and_that_is_said(tmp_path: Path, caplog) -> None:
    (tmp_path / identity.FILE).write_text("{")
    made = identity.of_folder(tmp_path)
    assert "identity.json cannot be read, and is written anew" in caplog.text
    assert identity.of_folder(tmp_path) == made


@pytest.mark.parametrize(
    ("prometheus", "warns"), [("http://p:9090", True), ("http://p:9090/prometheus", True), ("http://q:9090", False)]
)
def test_pushing_into_a_prometheus_that_scrapes_too_is_said(prometheus: str, warns: bool, caplog) -> None:
    otlp.warn_of_scrape("http://p:9090/api/v1/otlp/v1/metrics", prometheus)
    assert ("every request counts twice" in caplog.text) is warns
