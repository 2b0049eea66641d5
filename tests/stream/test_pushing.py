"""What a driver reads, and how it pushes: options and sections that cannot be are refused, the others arrive."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter
from pydantic import ValidationError

from exporters import otlp
from exporters.stream import inputs, pushing
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.stream import Stream
from tests import otlp_receiver
from tests.conftest import midwatch_here, platform_document

PROMETHEUS = "http://prometheus:9090"


def sources() -> list[otlp.Source]:
    registry = CollectorRegistry()
    Counter("asked", "Asked.", ["model"], registry=registry).labels("m").inc(3)
    return [otlp.Source(collector=registry, since=1_700_000_000.0)]


def test_otlp_carries_whose_counts_these_are_and_since_when(tmp_path: Path) -> None:
    with otlp_receiver.over_http() as received:
        pushing.by_otlp(received.endpoint, 3600, PROMETHEUS)(sources(), "ledger-1", tmp_path).stop()
        (message,) = received.messages
        (point,) = (metric.sum.data_points[0] for metric in received.metrics() if metric.name == "asked_total")
    resource = {one.key: one.value.string_value for one in message.resource_metrics[0].resource.attributes}
    assert resource["service.name"] == "midwatch-stream"
    assert resource["service.instance.id"] == "ledger-1"
    assert point.start_time_unix_nano == 1_700_000_000 * 10**9


def test_remote_write_says_who_asks_and_what_became_of_it(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers["Authorization"], self.headers["X-Prometheus-Remote-Write-Version"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "token").write_text("secret\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        begun = pushing.by_remote_write(url, tmp_path / "token", 3600, PROMETHEUS)(sources(), "ledger-1", tmp_path)
        begun.stop()
        server.shutdown()
    assert set(seen) == {("/api/v1/write", "Bearer secret", "0.1.0")}
    delivered = {
        (labels["result"], labels["reason"]): count
        for metric, labels, count in begun.samples()
        if metric is metrics.REMOTE_WRITE_SAMPLES
    }
    assert delivered == {("delivered", ""): len(seen)}


@pytest.mark.parametrize("push", [pushing.by_otlp, lambda *given: pushing.by_remote_write(given[0], None, *given[1:])])
def test_a_push_into_the_prometheus_that_scrapes_is_warned_of(push, caplog) -> None:
    push("http://prometheus:9090/api/v1/push", 15.0, PROMETHEUS)
    assert "counts twice" in caplog.text


def test_an_address_that_is_none_is_refused_with_its_option() -> None:
    with pytest.raises(MidwatchError, match="--remote-write"):
        pushing.by_remote_write("prometheus:9090", None, 15.0, PROMETHEUS)


# The section ---------------------------------------------------------------------------------------------------------


def test_a_stream_without_a_source_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs something to read: kafka, folders or tables"):
        Stream.model_validate({})


@pytest.mark.parametrize(
    ("folder", "table"),
    [
        ("events", "events"),
        ("events/", "./events"),
        ("/data/events", "file:///data/events"),
        ("s3://bucket/events", "s3a://bucket//events/"),
        ("events", "events/eu"),
        ("s3://bucket/events/eu", "s3://bucket/events"),
    ],
)
def test_what_would_be_read_twice_is_refused(folder: str, table: str) -> None:
    with pytest.raises(ValidationError, match="would be read twice"):
        Stream.model_validate({"folders": [{"path": folder}], "tables": [{"path": table}]})


def test_folders_beside_one_another_and_hidden_ones_are_read_once() -> None:
    for paths in (["events", "events-eu"], ["s3://a/events", "s3://b/events"], ["events", "events/_old/eu"]):
        assert len(Stream.model_validate({"folders": [{"path": path} for path in paths]}).folders) == 2


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("stream:\n  kafka:\n    servers: [a:1]\n    topics: [x, y, x]\n", 4),
        ("stream:\n  kafka:\n    topics: [x]\n    servers: [a:1, A:1]\n", 4),
        ("exporter:\n  kafka:\n    topics: [x]\n    brokers: [a:1, a:1]\n", 4),
    ],
    ids=["topic", "server", "broker"],
)
def test_what_a_list_names_twice_is_an_error_with_its_line(tmp_path: Path, section: str, line: int) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(section + yaml.safe_dump(platform_document()))
    done = midwatch_here("check", "-f", file)
    assert done.returncode == 2
    assert f"platform.yaml:{line}: " in done.stderr and "twice" in done.stderr


def test_a_stream_needs_delta_and_waits_for_files_only_where_it_reads_them() -> None:
    folders = Stream.model_validate({"folders": [{"path": "a", "settle": "30s"}, {"path": "b"}]})
    assert (inputs.settings(folders), inputs.settle(folders)) == ({}, 30.0)
    tables = Stream.model_validate({"tables": [{"path": "a"}]})
    assert "spark.sql.extensions" in inputs.settings(tables)
    assert inputs.settle(tables) == 0.0


@pytest.mark.parametrize("source", ["folders", "tables"])
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"columns": {"idd": "x"}}, "has idd, which is no field of an event"),
        ({"values": {"region": "x"}}, "has region, which is no field of an event"),
        ({"values": {"id": "x"}}, "has an id for all rows"),
    ],
    ids=["column", "value", "id"],
)
def test_columns_of_no_field_are_refused_before_anything_runs(source: str, keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Stream.model_validate({source: [{"path": "events", **keys}]})
