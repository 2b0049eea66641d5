"""Native histograms in a real Prometheus, scraped as protobuf from an exposition written here."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from midwatch import prometheus
from monitors.canary import ask
from monitors.canary.question import Question
from tests.canary.arms import settings
from tests.conftest import free_port, need_program, wait_for

PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
COUNTER, HISTOGRAM = 0, 4
"""Types in io.prometheus.client.MetricFamily."""


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def signed(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def histogram(buckets: dict[int, int]) -> bytes:
    """Schema 0: bucket i holds values in (2^(i-1), 2^i]."""
    spans, deltas, previous, last = b"", b"", 0, None
    for index, count in sorted(buckets.items()):
        offset = index if last is None else index - last - 1
        spans += block(12, number(1, signed(offset)) + number(2, 1))
        deltas += number(13, signed(count - previous))
        previous, last = count, index
    zero = double(6, 2.0**-128) + number(7, 0)
    return number(1, sum(buckets.values())) + double(2, 1.0) + number(5, signed(0)) + zero + spans + deltas


def family(name: str, kind: int, metrics: dict[tuple[tuple[str, str], ...], bytes]) -> bytes:
    content = block(1, name.encode()) + number(3, kind)
    for labels, value in metrics.items():
        pairs = b"".join(block(1, block(1, key.encode()) + block(2, text.encode())) for key, text in labels)
        content += block(4, pairs + value)
    return varint(len(content)) + content


@pytest.fixture
def native(tmp_path: Path) -> Iterator[str]:
    """URL of a Prometheus that scrapes two versions once a second; a fifth of v2's requests take over a second."""
    need_program("prometheus")
    begun = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seconds = 1 + time.monotonic() - begun
            requests, latencies = {}, {}
            for version, rate, slow in (("v1", 400, 0), ("v2", 100, 5)):
                done = int(seconds * rate)
                slower = done // slow if slow else 0
                labels = (("model", "fraud"), ("version", version))
                requests[(*labels, ("outcome", "ok"))] = block(3, double(1, done))
                latencies[labels] = block(7, histogram({-3: done - slower} | ({1: slower} if slower else {})))
            body = family("ml_requests_total", COUNTER, requests)
            body += family("ml_request_duration_seconds", HISTOGRAM, latencies)
            self.send_response(200)
            self.send_header("content-type", PROTOBUF)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: m, static_configs: [{{targets: ['127.0.0.1:{server.server_port}']}}]}}]\n"
    )
    process = subprocess.Popen(
        [
            need_program("prometheus"),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/d",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=native-histograms",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        server.shutdown()
        server.server_close()


def test_a_real_prometheus_with_native_histograms_finds_the_slow_tail(native: str) -> None:
    client = prometheus.Client(native)
    criteria = settings({"metric": "latency"}, min_requests=20)
    question = Question(model="fraud", baseline="v1", canary="v2", start=time.time())
    deadline = time.monotonic() + 120
    while True:
        time.sleep(1)
        counts, said = ask.ask(client, question, criteria, interval=1.0)
        if said.verdict == "fail" or time.monotonic() > deadline:
            break
    assert said.verdict == "fail", said.reason
    (finding,) = said.findings
    assert finding.evidence is not None
    assert finding.evidence.canary_events == pytest.approx(finding.evidence.canary_requests / 5, rel=0.1)
    channels = counts.counted["latency"].channels
    assert "> 1 s" in channels  # between the two buckets; inside one nothing can be counted
    assert "> 1.41421 s" not in channels
