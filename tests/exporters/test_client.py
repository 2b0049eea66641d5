"""Sending events: nothing lost while the exporter is away, nothing sent in the way of a prediction."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy
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


def test_numpy_scalars_are_sent_as_numbers_and_what_json_has_no_form_of_stops_nothing(caplog: Any) -> None:
    exporter = Exporter()
    log = event_log.EventLog(exporter.url)
    shape: dict[str, Any] = {"model": "m", "version": "v", "ts": 1.0}
    log.send(events.Prediction(id="a", prediction=numpy.int64(3), score=numpy.float32(0.5), **shape))  # type: ignore[arg-type]
    log.send(events.Prediction(id="b", prediction=object(), **shape))  # type: ignore[arg-type]
    log.send(events.Prediction(id="c", features={"x": numpy.zeros(2)}, **shape))  # type: ignore[dict-item]
    time.sleep(0.2)
    log.send(events.Prediction(id="d", prediction=True, **shape))
    stats = log.close()
    exporter.close()
    sent = [event for body in exporter.bodies for event in body]
    assert [(event["id"], event["prediction"]) for event in sent] == [("a", 3), ("d", True)]
    assert sent[0]["score"] == 0.5
    assert (stats.queued, stats.acknowledged, stats.dropped) == (4, 2, 2)
    assert "event 'b' dropped: an event cannot hold object" in caplog.text


def test_why_events_were_refused_is_in_the_message_itself(caplog: Any) -> None:
    exporter = Exporter(422)
    log = event_log.EventLog(exporter.url)
    log.send(label(1))
    log.close()
    exporter.close()
    assert "1 of 1 events refused, status 422: " in caplog.text


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
