"""Sending events: whatever is in them, whatever is answered, and nothing in the way of a prediction."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from midwatch.client import answers, event_log, events
from midwatch.client.event_log import EventLog
from tests.conftest import free_port
from tests.exporters.fake_exporter import Exporter, Misbehaviour, respond, wait_until

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "RETRY_SECONDS", (0.01, 0.05))


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    running = Exporter()
    yield running
    running.close()


def label(number: int, value: Any = True) -> events.Label:
    return events.Label(id=f"l{number}", model="m", label=value, ts=time.time())


def prediction(**fields: Any) -> events.Prediction:
    return events.Prediction(**{"id": "p", "model": "m", "version": "v1", "ts": 1.0, "prediction": "late", **fields})


def adds_up(stats: event_log.Stats, calls: int) -> bool:
    """Whether each event is counted, and once."""
    return calls == stats.acknowledged + stats.refused + stats.dropped + stats.waiting


def test_events_are_sent_in_batches_and_in_order(exporter: Exporter) -> None:
    log = EventLog(exporter.url)
    for number in range(12_000):
        assert log.send(label(number))
    stats = log.close(60)
    assert exporter.kept == [f"l{number}" for number in range(12_000)]
    assert len(exporter.bodies) < 400
    assert (stats.queued, stats.acknowledged, stats.dropped, stats.waiting) == (12_000, 12_000, 0, 0)


def test_what_was_not_kept_is_sent_again_as_it_was() -> None:
    exporter = Exporter(503, 500)
    log = EventLog(exporter.url)
    log.send(label(1))
    stats = log.close()
    exporter.close()
    assert exporter.bodies[0] == exporter.bodies[1] == exporter.bodies[2]
    assert (stats.acknowledged, stats.retries) == (1, 2)


# What is in an event ----------------------------------------------------------------------------------------------


class Text(str):
    """A subclass, as pandas, lxml and others hand out."""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("late"), "late"),
        (np.array(0.5), 0.5),
        (np.array([3]), 3),
        (np.array([["late"]]), "late"),
        (Text("late"), "late"),
        (Decimal("0.5"), 0.5),
        (float("nan"), None),
        (np.float64("nan"), None),
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r}",
)
def test_what_a_model_hands_out_is_sent_as_its_value(exporter: Exporter, value: Any, written: Any) -> None:
    log = EventLog(exporter.url)
    assert log.send(prediction(prediction=value, features={"x": value}, groups={"g": value}))
    assert log.send(label(1, value))
    assert log.close().acknowledged == 2
    ((first, second),) = exporter.bodies
    assert [first["prediction"], first["features"]["x"], first["groups"]["g"], second["label"]] == [written] * 4
    assert type(second["label"]) is type(written)


def test_every_field_of_an_event_may_be_of_numpy_or_pandas(exporter: Exporter) -> None:
    log = EventLog(exporter.url)
    now = pd.Timestamp.now(tz="UTC")
    log.send(prediction(id=np.str_("p"), ts=now, score=np.float32(0.5), duration_seconds=np.float64(0.25)))
    log.send(prediction(ts=np.float64(5.0), features={np.str_("x"): np.int32(1)}))
    log.send(prediction(ts=datetime(2026, 1, 1, tzinfo=UTC)))
    log.close()
    ((first, second, third),) = exporter.bodies
    assert datetime.fromisoformat(first["ts"]) == now.to_pydatetime()
    assert (first["score"], first["duration_seconds"]) == (0.5, 0.25)
    assert (second["ts"], second["features"]) == (5.0, {"x": 1})
    assert third["ts"] == "2026-01-01T00:00:00Z"


class Hostile:
    """A value whose conversion fails in a way of its own."""

    def item(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "event",
    [
        prediction(prediction=np.array([1, 2])),
        prediction(prediction=object()),
        prediction(prediction=Hostile()),
        prediction(prediction=Mock()),
        prediction(prediction="\ud800"),
        prediction(prediction="x" * (2 << 20)),
        prediction(features={"x": {"deep": 1j}}),
        prediction(groups={("a", "tuple"): 1}),
        {"event": "label", "id": "d"},
        None,
    ],
    ids=["array", "object", "hostile", "endless", "surrogate", "huge", "complex", "key", "dictionary", "none"],
)
def test_what_cannot_be_encoded_is_refused_where_it_is_sent_and_the_next_is_sent(exporter, event, caplog) -> None:
    log = EventLog(exporter.url)
    assert log.send(event) is False
    assert log.send(label(1))
    stats = log.close()
    assert (stats.refused, stats.acknowledged, stats.queued) == (1, 1, 1)
    assert stats.reasons["refused", "unencodable"] == 1
    assert "cannot be sent" in caplog.text


def test_an_event_is_sent_as_it_was_when_it_was_sent(exporter: Exporter) -> None:
    log = EventLog(exporter.url)
    features = {"x": 1}
    log.send(prediction(features=features))
    features["x"] = object()
    assert log.close().acknowledged == 1
    assert exporter.bodies[0][0]["features"] == {"x": 1}


# What a server may answer ------------------------------------------------------------------------------------------

LATER = [100, 204, 301, 302, 307, 401, 403, 404, 405, 407, 408, 425, 429, 500, 501, 502, 503, 504, 599]
KEPT = b'{"accepted":1}'


def raw(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\n\r\n".encode() + body


def drip(request: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, for much longer than the client waits for an answer."""
    request.close_connection = True
    request.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        request.wfile.write(b" ")
        time.sleep(0.05)


ANSWERS: dict[str, Misbehaviour] = {
    **{f"status {status}": status for status in LATER},
    "a page with 200": raw("200 OK\r\ncontent-length: 14", b"<html>ok</html"),
    "JSON of somebody else": raw("200 OK\r\ncontent-length: 15", b'{"status":"ok"}'),
    "a list": raw("200 OK\r\ncontent-length: 2", b"[]"),
    "counts that are words": raw("200 OK\r\ncontent-length: 18", b'{"accepted":"yes"}'),
    "no UTF-8": raw("200 OK\r\ncontent-length: 2", b"\xff\xfe"),
    "nesting": raw("200 OK\r\ncontent-length: 100000", b"[" * 100_000),
    "a 422 without counts": raw("422 No\r\ncontent-length: 4", b"what"),
    "a 400 of a proxy": raw("400 Bad\r\ncontent-length: 4", b"what"),
    "nothing": b"",
    "rubbish": b"\x16\x03\x01 not HTTP\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500,
    "a huge header": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    "half a body": raw("200 OK\r\ncontent-length: 100", KEPT[:5]),
    "a huge body": raw("200 OK\r\ncontent-length: 9000000", b" " * 9_000_000),
    "a huge body without a length": raw("200 OK\r\nconnection: close", b" " * 9_000_000),
    "a bad chunk": raw("200 OK\r\ntransfer-encoding: chunked", b"zz\r\n"),
    "a redirect": raw("308 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0"),
    "a slow drip": drip,
}


WAITED_FOR = ("status 100", "a slow drip")
"""Answers that have no end: the client leaves them after its timeout."""


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_a_server_answers_the_event_arrives_once_it_is_well(name: str, monkeypatch) -> None:
    timeouts = iter([0.5, 0.5] if name in WAITED_FOR else [])
    usual = EventLog._time_left

    def time_left(log: EventLog, timeout: float) -> Callable[[], float]:
        return usual(log, next(timeouts, timeout))  # the good answer has the usual time, on a busy machine too

    monkeypatch.setattr(EventLog, "_time_left", time_left)
    exporter = Exporter(ANSWERS[name], ANSWERS[name])
    log = EventLog(exporter.url)
    assert log.send(label(1))
    exporter.wait_for(1)
    stats = log.close()
    exporter.close()
    assert exporter.kept == ["l1"]
    assert (stats.acknowledged, stats.refused, stats.dropped, stats.retries, stats.failing) == (1, 0, 0, 2, None)


@pytest.mark.parametrize("length", ["13", "14", "40", "many", "-3"])
def test_a_length_that_is_wrong_costs_nothing(length: str) -> None:
    exporter = Exporter(raw(f"200 OK\r\ncontent-length: {length}", KEPT))
    log = EventLog(exporter.url)
    log.send(label(1))
    stats = log.close()
    exporter.close()
    assert stats.acknowledged == 1


def test_an_exception_nobody_thought_of_does_not_end_the_thread(exporter, monkeypatch, caplog) -> None:
    real = answers.read
    failing = iter([RuntimeError("bug"), MemoryError()])

    def read(*arguments: Any) -> answers.Meaning:
        if (error := next(failing, None)) is not None:
            raise error
        return real(*arguments)

    monkeypatch.setattr(answers, "read", read)
    log = EventLog(exporter.url)
    log.send(label(1))
    stats = log.close()
    assert (stats.acknowledged, stats.dropped) == (1, 0)
    assert "failed unexpectedly" in caplog.text


def test_an_answer_that_is_lost_does_not_count_an_event_twice() -> None:
    def keep_and_leave(request: BaseHTTPRequestHandler) -> None:
        exporter._known.add("l1")
        request.close_connection = True

    exporter = Exporter(keep_and_leave)
    log = EventLog(exporter.url)
    log.send(label(1))
    stats = log.close()
    exporter.close()
    assert (stats.acknowledged, stats.retries) == (1, 1)
    assert exporter.bodies[0] == exporter.bodies[1]


# Refusals ----------------------------------------------------------------------------------------------------------


def refusing(*lines: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        refused = [{"line": line, "reason": "too_old", "message": "ts is 9999 s ago"} for line in lines]
        respond(request, 422, {"accepted": 3 - len(lines), "refused": refused})

    return answer


def test_refusals_are_logged_with_line_reason_and_id_but_no_features_and_are_not_sent_again(caplog) -> None:
    exporter = Exporter(refusing(2))
    log = EventLog(exporter.url)
    for number in range(3):
        log.send(prediction(id=f"p{number}", features={"secret": "of a person"}))
    stats = log.close()
    exporter.close()
    assert len(exporter.bodies) == 1
    assert (stats.acknowledged, stats.refused, stats.reasons["refused", "too_old"]) == (2, 1, 1)
    assert "1 of 3 events are refused: line 2, 'p1': too_old: ts is 9999 s ago" in caplog.text
    assert "of a person" not in caplog.text


def test_refusals_are_logged_once_a_minute_with_how_many_were_not(caplog) -> None:
    exporter = Exporter(*[refusing(1)] * 4)
    log = EventLog(exporter.url)

    def send_three(kept_back: int) -> None:
        for number in range(3):
            log.send(label(number))
        wait_until(lambda: log._troubles.get("refused", (0, -1))[1] == kept_back)

    send_three(0)
    send_three(1)
    send_three(2)
    log._troubles["refused"] = (0.0, 2)  # a minute later
    send_three(0)
    stats = log.close()
    exporter.close()
    assert stats.refused == 4
    told = [record.getMessage() for record in caplog.records if "are refused" in record.getMessage()]
    assert len(told) == 2
    assert told[1].endswith("(2 more since the last time)")


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_one_event_that_spoils_its_batch_is_found_and_the_others_are_kept(status: int) -> None:
    def spoiled(request: BaseHTTPRequestHandler) -> None:
        if any(event["id"] == "l5" for event in exporter.bodies[-1]):
            respond(request, status, {"error": "no"})
        else:
            exporter.kept += [event["id"] for event in exporter.bodies[-1]]
            respond(request, 200, {"accepted": len(exporter.bodies[-1])})

    exporter = Exporter(*[spoiled] * 30)
    log = EventLog(exporter.url)
    for number in range(9):
        log.send(label(number))
    stats = log.close()
    exporter.close()
    assert exporter.kept == [f"l{number}" for number in range(9) if number != 5]
    assert (stats.acknowledged, stats.refused, stats.dropped) == (8, 1, 0)


def test_a_proxys_page_that_a_batch_is_too_large_is_believed() -> None:
    def limited(request: BaseHTTPRequestHandler) -> None:
        if len(exporter.bodies[-1]) > 2:
            respond(request, 413, b"<html>Request Entity Too Large</html>")
        else:
            respond(request, 200, {"accepted": len(exporter.bodies[-1])})

    exporter = Exporter(*[limited] * 20)
    log = EventLog(exporter.url)
    for number in range(8):
        log.send(label(number))
    assert log.close().acknowledged == 8
    exporter.close()


@pytest.mark.parametrize(
    ("answer", "acknowledged", "refused"),
    [
        ({"accepted": 10}, 3, 0),
        ({"accepted": -5}, 0, 3),
        ({"accepted": 1, "duplicates": 1, "dropped": 1}, 3, 0),
        ({"accepted": 1, "refused": [{"line": 99, "reason": "x"}] * 7}, 1, 2),
        ({"accepted": 2, "refused": []}, 2, 1),
    ],
)
def test_counts_that_cannot_be_are_bounded_by_what_was_sent(answer: dict[str, Any], acknowledged, refused) -> None:
    meaning = answers.read(422, json.dumps(answer).encode(), 3)
    assert isinstance(meaning, answers.Settled)
    assert (meaning.acknowledged, meaning.refused.total()) == (acknowledged, refused)


def test_reasons_are_bounded_in_number_and_length(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "MAX_REASONS", 5)

    def inventive(request: BaseHTTPRequestHandler) -> None:
        refused = [{"line": n, "reason": f"{n}" * 500} for n in range(1, len(exporter.bodies[-1]) + 1)]
        respond(request, 422, {"accepted": 0, "refused": refused})

    exporter = Exporter(inventive)
    log = EventLog(exporter.url)
    for number in range(20):
        log.send(label(number))
    stats = log.close()
    exporter.close()
    assert stats.refused == 20
    assert len(stats.reasons) <= 6
    assert all(len(reason) <= 50 for _, reason in stats.reasons)


# Bounds ------------------------------------------------------------------------------------------------------------


def test_a_full_queue_drops_and_counts_and_never_waits(caplog) -> None:
    log = EventLog(NOBODY, capacity=10)
    begun = time.monotonic()
    sent = [log.send(label(number)) for number in range(600)]
    assert time.monotonic() - begun < 590 * event_log.LINGER_SECONDS / 2
    assert sent == [True] * 10 + [False] * 590
    assert (log.stats.waiting, log.stats.dropped, log.stats.reasons["dropped", "full"]) == (10, 590, 590)
    stats = log.close(timeout=0.3)
    assert (stats.acknowledged, stats.dropped, stats.reasons["dropped", "closed"]) == (0, 600, 10)
    assert sum("dropped" in record.getMessage() for record in caplog.records) == 1


def test_an_hour_without_an_exporter_takes_no_more_memory_than_agreed_and_loses_nothing_below() -> None:
    """An hour at 100 events a second, as quick as they can be sent, of which less than a third finds room."""
    port = free_port()
    log = EventLog(f"http://127.0.0.1:{port}", max_bytes=10_000_000)
    event = prediction(features={f"feature-{number}": 0.123456789 for number in range(10)})
    sent = sum(log.send(event) for _ in range(360_000 // 4))
    stats = log.stats
    assert 0 < 10_000_000 - stats.waiting_bytes < 1_000
    assert sent == stats.waiting == 90_000 - stats.dropped
    wait_until(lambda: log.stats.retries > 0 and log.stats.failing is not None)
    back = Exporter(port=port)
    ended = log.close(60)
    back.close()
    assert sum(map(len, back.bodies)) >= sent
    assert (ended.acknowledged, ended.dropped) == (sent, stats.dropped)


def test_what_was_sent_to_a_dead_exporter_arrives_when_it_is_back() -> None:
    port = free_port()
    log = EventLog(f"http://127.0.0.1:{port}")
    for number in range(5000):
        log.send(label(number))
    assert log.stats.acknowledged == 0
    back = Exporter(port=port)
    assert back.wait_for(5000) == [f"l{number}" for number in range(5000)]
    assert log.close().dropped == 0
    back.close()


def test_the_server_says_how_long_to_wait() -> None:
    times: list[float] = []

    def busy(request: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        respond(request, 429, {"error": "slowly"}, retry_after="1")

    exporter = Exporter(busy)
    log = EventLog(exporter.url)
    log.send(label(1))
    exporter.wait_for(1)
    assert time.monotonic() - times[0] >= 1
    log.close()
    exporter.close()


def test_threads_that_send_at_once_are_all_counted(exporter: Exporter) -> None:
    log = EventLog(exporter.url, capacity=20_000)
    results: list[int] = []

    def send(thread: int) -> None:
        results.append(sum(log.send(label(thread * 10_000 + number)) for number in range(10_000)))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = log.close(60)
    assert stats.queued == sum(results) == stats.acknowledged == len(exporter.kept)
    assert stats.dropped == 40_000 - sum(results)


# Closing -----------------------------------------------------------------------------------------------------------


def test_a_closed_log_takes_nothing_and_says_so(exporter: Exporter) -> None:
    log = EventLog(exporter.url)
    log.send(label(1))
    log.close()
    assert log.send(label(2)) is False
    stats = log.close()
    assert (stats.acknowledged, stats.dropped, stats.reasons["dropped", "closed"]) == (1, 1, 1)
    assert adds_up(stats, 2)


def test_closing_waits_no_longer_than_it_was_given_and_counts_what_is_lost(monkeypatch) -> None:
    hold = threading.Event()
    exporter = Exporter(lambda _: hold.wait(60))
    log = EventLog(exporter.url)
    log.send(label(1))
    exporter.wait_for_requests(1)
    begun = time.monotonic()
    stats = log.close(timeout=0.2)
    assert time.monotonic() - begun < event_log.TIMEOUT_SECONDS
    hold.set()
    exporter.close()
    assert (stats.acknowledged, stats.dropped, stats.waiting) == (0, 1, 0)


def test_a_log_that_sent_nothing_has_no_thread_and_closes_at_once() -> None:
    before = set(threading.enumerate())  # threads of tests before may end meanwhile
    log = EventLog(NOBODY)
    assert set(threading.enumerate()) <= before
    assert adds_up(log.close(), 0)


def test_a_log_whose_thread_cannot_be_started_sends_when_it_is_closed(exporter, monkeypatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "event-log":
            raise RuntimeError("can't start new thread")
        start(thread)

    log = EventLog(exporter.url)
    with monkeypatch.context() as patched:
        patched.setattr(event_log.threading.Thread, "start", refuse)
        assert log.send(label(1))
        assert log.close().acknowledged == 1
    assert exporter.kept == ["l1"]


# asyncio -----------------------------------------------------------------------------------------------------------


def test_event_loops_share_one_thread_and_closing_does_not_hold_a_loop_up(exporter: Exporter) -> None:
    before = set(threading.enumerate())  # threads of tests before may end meanwhile
    log = EventLog(exporter.url)

    async def predict(loop: int) -> None:
        for number in range(100):
            log.send(label(loop * 100 + number))
            await asyncio.sleep(0)

    loops = [threading.Thread(target=asyncio.run, args=(predict(number),)) for number in range(5)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert [thread.name for thread in threading.enumerate() if thread not in before].count("event-log") == 1

    async def close() -> int:
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count_turns())
        log.send(label(1000))
        await log.aclose()
        counting.cancel()
        return turns

    assert asyncio.run(close()) > 10
    assert log.stats.acknowledged == 501


def test_a_log_is_closed_at_the_end_of_a_block(exporter: Exporter) -> None:
    with EventLog(exporter.url) as log:
        log.send(label(1))
    assert log.stats.acknowledged == 1

    async def serve() -> event_log.Stats:
        async with EventLog(exporter.url) as log:
            log.send(label(2))
        return log.stats

    assert asyncio.run(serve()).acknowledged == 1


def test_a_handler_of_logging_may_send_events(exporter: Exporter) -> None:
    log = EventLog(exporter.url)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.send(label(99))

    handler = Handler()
    logging.getLogger("midwatch.client").addHandler(handler)
    try:
        log.send(None)  # type: ignore[arg-type]
    finally:
        logging.getLogger("midwatch.client").removeHandler(handler)
    assert log.close().acknowledged == 1
