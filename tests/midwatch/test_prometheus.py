"""Asking Prometheus: a real one for answers, a false one for what a real one seldom says."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from midwatch import prometheus
from midwatch.errors import MidwatchError


def test_samples_lines_and_single_values_of_a_real_prometheus(prometheus_server: str) -> None:
    client = prometheus.Client(prometheus_server)
    deadline = time.monotonic() + 10
    while not client.query("up == 1") and time.monotonic() < deadline:
        time.sleep(0.1)
    (sample,) = client.query("up")
    assert (sample.labels["job"], sample.value) == ("self", 1.0)
    assert client.value("vector(1) / 0") == math.inf
    assert math.isnan(client.value("scalar(nothing_there)"))  # type: ignore[arg-type]
    assert client.query("nothing_there") == []
    assert client.value("nothing_there") is None
    now = time.time()
    (line,) = client.query_range("vector(2)", start=now - 2, end=now, step=1)
    assert [value for _, value in line.points] == [2.0, 2.0, 2.0]


def test_a_wrong_query_is_rejected_with_prometheus_reason(prometheus_server: str) -> None:
    with pytest.raises(prometheus.RejectedError, match="parse error"):
        prometheus.Client(prometheus_server).query("sum(")


@pytest.fixture
def answering() -> Iterator[Any]:
    servers = []

    def serve(*answers: tuple[int, str, float]) -> tuple[str, list[str]]:
        left, asked = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
                status, text, wait = left.pop(0) if len(left) > 1 else left[0]
                time.sleep(wait)
                self.send_response(status)
                self.end_headers()
                try:
                    self.wfile.write(text.encode())
                except OSError:
                    return

            def log_message(self, *args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


EMPTY = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}})


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (200, json.dumps({**json.loads(EMPTY), "warnings": ["a store is away"]}), prometheus.PartialError),
        (200, json.dumps({"status": "error", "error": "x"}), prometheus.RejectedError),
        (200, "<html>", prometheus.UnreachableError),
        (422, json.dumps({"status": "error", "error": "too many samples"}), prometheus.RejectedError),
        (500, "{}", prometheus.UnreachableError),
        (401, "{}", prometheus.UnreachableError),
    ],
    ids=["warning", "error", "html", "422", "500", "401"],
)
def test_what_is_no_full_answer_is_never_no_data(answering, status: int, text: str, error: type) -> None:
    url, _ = answering((status, text, 0))
    with pytest.raises(error):
        prometheus.Client(url).query("up")


def test_a_gateway_that_recovers_is_asked_again_a_bounded_number_of_times(answering) -> None:
    url, asked = answering((503, "", 0), (200, EMPTY, 0))
    assert prometheus.Client(url).query("up") == []
    assert len(asked) == 2
    url, asked = answering((503, "", 0))
    with pytest.raises(prometheus.UnreachableError):
        prometheus.Client(url).query("up")
    assert len(asked) == 1 + prometheus.RETRIES


def test_no_answer_in_time_is_unreachable(answering) -> None:
    url, _ = answering((200, EMPTY, 0.5))
    with pytest.raises(prometheus.UnreachableError, match="no answer"):
        prometheus.Client(url, timeout=0.1).query("up")


def test_nobody_there_is_unreachable_and_other_schemes_are_refused() -> None:
    with pytest.raises(prometheus.UnreachableError):
        prometheus.Client("http://127.0.0.1:9", timeout=0.5).query("up")
    with pytest.raises(MidwatchError, match="not an http"):
        prometheus.Client("file:///etc/passwd")
