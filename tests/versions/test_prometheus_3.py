"""What Prometheus has since 3: scraping that is stricter, OTLP, names of UTF-8, native histograms, remote write 2."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import jobs, modules, programs
from midwatch.app import prometheus
from midwatch.jobs import Job
from midwatch.programs import version_text
from midwatch.prometheus import Client
from tests.conftest import midwatch_here
from tests.versions.conftest import Start, need

QUICK = {"scrape_interval": "1s", "evaluation_interval": "1s"}


@pytest.fixture(autouse=True)
def three() -> None:
    need("prometheus", (3, 0))
    need("promtool", (3, 0))


def stated() -> dict[str, str]:
    """The version that is here, as the platform file says it."""
    found = programs.version("prometheus")
    assert found
    return {"version": version_text(found)}


def wait_for_value(url: str, expr: str, wanted: float) -> None:
    """Until an expression has a value."""
    client, deadline = Client(url, timeout=60.0), time.monotonic() + 60
    while [sample.value for sample in client.query(expr)] != [wanted]:
        assert time.monotonic() < deadline, client.query(expr)
        time.sleep(0.1)


def labels(url: str, expr: str) -> list[dict[str, str]]:
    return [dict(sample.labels) for sample in Client(url, timeout=60.0).query(expr)]


class Target:
    """A server of metrics that says no content type; `asked` is what the last scrape accepts."""

    def __init__(self) -> None:
        self.asked = ""
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target.asked = self.headers["accept"]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"http_server_requests 1\n")

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_server_without_a_content_type_is_scraped_and_its_names_have_no_dots(
    start_prometheus: Start, make_platform, target: Target
) -> None:
    platform = make_platform(prometheus=QUICK | stated())
    text = prometheus.render(platform, [Job(name="old", targets=(target.address,))], "127.0.0.1:1")
    url = start_prometheus(text)
    wait_for_value(url, 'up{job="old"}', 1)
    wait_for_value(url, "http_server_requests", 1)
    assert "allow-utf-8" not in target.asked


def test_classic_buckets_stay_where_histograms_are_native_too(start_prometheus: Start, make_platform) -> None:
    need("prometheus", (3, 8))
    base = yaml.safe_dump({"global": {**QUICK, "scrape_native_histograms": True}})
    platform = make_platform(prometheus=QUICK | stated() | {"base": base})
    (own,) = jobs.of_itself("http://127.0.0.1:1", "http://127.0.0.1:2")[:1]
    text = prometheus.prometheus_base.merged(base, prometheus.render(platform, [own], "127.0.0.1:1"))
    port_of = start_prometheus  # it scrapes itself, whose address is known once it runs
    first = port_of(text)
    document = yaml.safe_load(text)
    document["scrape_configs"][0]["static_configs"] = [{"targets": [first.removeprefix("http://")]}]
    url = port_of(yaml.safe_dump(document))
    wait_for_value(url, "count(count by (le) (prometheus_http_request_duration_seconds_bucket)) > bool 5", 1)
    assert labels(url, "histogram_count(prometheus_http_request_duration_seconds)")


def pushing(state: Path, url: str) -> subprocess.Popen[str]:
    options = ("--listen", "127.0.0.1:0", "--state", str(state), "--otlp-interval", "0.2")
    command = modules.command("midwatch", "exporter", "serve", *options, "--otlp-endpoint", f"{url}/api/v1/otlp")
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_what_an_exporter_pushes_into_prometheus_goes_on_after_a_restart(
    start_prometheus: Start, tmp_path: Path
) -> None:
    url = start_prometheus("global: {}\n", "--web.enable-otlp-receiver")
    for number in (1, 2):
        with pushing(tmp_path / "state", url) as process:
            assert process.stderr
            exporter = next(json.loads(line)["url"] for line in process.stderr if '"ready"' in line)
            event = {"event": "prediction", "id": str(number), "model": "m", "version": "v", "ts": time.time()}
            body = json.dumps(event | {"prediction": "a", "duration_seconds": 0.1}).encode()
            urllib.request.urlopen(urllib.request.Request(f"{exporter}/events", body), timeout=60).close()
            wait_for_value(url, 'sum(ml_requests_total{model="m"})', number)
            process.send_signal(signal.SIGKILL if number == 1 else signal.SIGTERM)
    (series,) = labels(url, 'ml_requests_total{outcome="ok"}')
    assert series["job"] == "midwatch-exporter"
    assert labels(url, 'ml_request_duration_seconds_bucket{le="+Inf"}')[0]["instance"] == series["instance"]
    assert Client(url, timeout=60.0).query('sum(resets(ml_requests_total{outcome="ok"}[5m]))')[0].value == 0


def test_a_rule_on_names_of_utf_8_is_checked_and_proven(tmp_path: Path, make_document) -> None:
    need("amtool", (0, 25))
    expr = '{"http.server.requests", "service.name"="shop"} > 100'
    rule = {"alert": "Busy", "expr": expr, "for": "5m", "severity": "page", "owner": "ml", "summary": "s"}
    rules = [{"name": "own", "alerts": [rule | {"runbook": "https://x"}]}]
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(prometheus=stated(), rules=rules), sort_keys=False))
    checked = midwatch_here("check", "-f", file)
    assert checked.returncode == 0, checked.stderr
    proved = midwatch_here("alerts", "prove", "-f", file, "--alert", "Busy")
    assert proved.returncode == 0, proved.stdout


def test_what_is_scraped_arrives_by_remote_write_2(start_prometheus: Start, make_platform, target: Target) -> None:
    store = start_prometheus("global: {}\n", "--web.enable-remote-write-receiver")
    sent = {"url": f"{store}/api/v1/write", "protobuf_message": "io.prometheus.write.v2.Request"}
    base = yaml.safe_dump({"remote_write": [sent]})
    platform = make_platform(prometheus=QUICK | stated() | {"base": base})
    ours = prometheus.render(platform, [Job(name="old", targets=(target.address,))], "127.0.0.1:1")
    start_prometheus(prometheus.prometheus_base.merged(base, ours))
    wait_for_value(store, 'http_server_requests{job="old"}', 1)
    assert Client(store, timeout=60.0).query('up{job="old"}')[0].value == 1
