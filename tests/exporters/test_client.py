"""Sending events: nothing lost while the exporter is away, nothing sent in the way of a prediction."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from midwatch.client import event_log, events
from midwatch.errors import MidwatchError


class Exporter:
    """Answers with the statuses it is given, then 200; keeps every body."""

    def __init__(self, *statuses: int) -> None:
        self.bodies: list[list[dict[str, Any]]] = []
        left = list(statuses)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"]))
                lines = [json.loads(line) for line in text.splitlines()]
                outer.bodies.append(lines)
                status = left.pop(0) if left else 200
                answer = json.dumps({"accepted": len(lines) if status == 200 else len(lines) - 1}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def label(number: int) -> events.Label:
    return events.Label(id=f"l{number}", model="m", label=True, ts=time.time())


def test_events_are_sent_in_batches_and_in_order() -> None:
    exporter = Exporter()
    log = event_log.EventLog(exporter.url)
    for number in range(1200):
        assert log.send(label(number))
    stats = log.close()
    exporter.close()
    assert [event["id"] for body in exporter.bodies for event in body] == [f"l{number}" for number in range(1200)]
    assert len(exporter.bodies) < 20
    assert (stats.queued, stats.acknowledged, stats.dropped) == (1200, 1200, 0)


def test_what_was_not_kept_is_sent_again_as_it_was() -> None:
    exporter = Exporter(503, 500)
    log = event_log.EventLog(exporter.url)
    log.send(label(1))
    stats = log.close()
    exporter.close()
    assert len(exporter.bodies) == 3
    assert exporter.bodies[0] == exporter.bodies[2]
    assert stats.acknowledged == 1


def test_what_is_refused_is_counted_and_not_sent_again() -> None:
    exporter = Exporter(422)
    log = event_log.EventLog(exporter.url)
    log.send(label(1))
    log.send(label(2))
    stats = log.close()
    exporter.close()
    assert stats.rejected == 1
    assert sum(map(len, exporter.bodies)) == 2


def test_a_full_queue_drops_and_counts_and_never_waits() -> None:
    log = event_log.EventLog("http://127.0.0.1:9", capacity=10)
    begun = time.monotonic()
    sent = [log.send(label(number)) for number in range(600)]
    assert time.monotonic() - begun < 5
    assert not all(sent)
    stats = log.close(timeout=0.3)
    assert stats.acknowledged == 0
    assert stats.dropped == 600


def test_only_http_urls_are_taken() -> None:
    with pytest.raises(MidwatchError, match="not an http URL"):
        event_log.EventLog("ftp://x")
