"""Instruments of a model server: outcome, latency, in flight, what is built."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from midwatch import instrument
from midwatch.client import EventLog, Label
from tests.exporters.fake_exporter import Exporter, respond

WHERE = {"model": "m", "version": "v1"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def server(registry: CollectorRegistry) -> instrument.Server:
    return instrument.Server("m", "v1", registry=registry, revision="abc", framework="sklearn")


def requests(registry: CollectorRegistry, outcome: str) -> float | None:
    return registry.get_sample_value("ml_server_requests_total", {**WHERE, "outcome": outcome})


def test_the_build_is_published(server, registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("ml_build_info", {**WHERE, "revision": "abc", "framework": "sklearn"}) == 1


def test_a_plain_function_is_measured_and_its_exceptions_are_errors(server, registry: CollectorRegistry) -> None:
    @server.measured
    def predict(value: int) -> float:
        assert registry.get_sample_value("ml_server_requests_in_flight", WHERE) == 1
        return 1 / value

    assert predict(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        predict(0)
    assert (requests(registry, "ok"), requests(registry, "error")) == (1, 1)
    assert registry.get_sample_value("ml_server_request_duration_seconds_count", WHERE) == 2
    assert registry.get_sample_value("ml_server_requests_in_flight", WHERE) == 0


def test_an_async_function_is_measured_while_it_waits(server, registry: CollectorRegistry) -> None:
    @server.measured
    async def predict() -> int:
        await asyncio.sleep(0.02)
        return 1

    assert asyncio.run(predict()) == 1
    assert registry.get_sample_value("ml_server_request_duration_seconds_sum", WHERE) >= 0.02


# ASGI --------------------------------------------------------------------------------------------------------------


async def nothing(message=None) -> None: ...


def http(method: str = "POST", path: str = "/predict") -> dict[str, str]:
    return {"type": "http", "method": method, "path": path}


def answering(status: int, *chunks: bytes, seconds: float = 0.0):
    """An application that sends these chunks, each after a while."""

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        for number, chunk in enumerate(chunks or (b"",), 1):
            await asyncio.sleep(seconds)
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})

    return app


def counted(registry: CollectorRegistry) -> tuple[float | None, float | None, float | None, float | None]:
    """Requests that were ok and errors, how many were timed, and how many had a first byte; none may be in flight."""
    assert registry.get_sample_value("ml_server_requests_in_flight", WHERE) == 0
    timed = registry.get_sample_value("ml_server_request_duration_seconds_count", WHERE)
    first = registry.get_sample_value("ml_server_time_to_first_byte_seconds_count", WHERE)
    return requests(registry, "ok"), requests(registry, "error"), timed, first


def seconds(registry: CollectorRegistry, metric: str) -> float:
    return registry.get_sample_value(f"ml_server_{metric}_seconds_sum", WHERE) or 0.0


@pytest.mark.parametrize(("status", "outcome"), [(200, "ok"), (404, "ok"), (500, "error"), (503, "error")])
def test_the_middleware_takes_the_outcome_from_the_status(server, registry, status: int, outcome: str) -> None:
    wrapped = server.middleware(answering(status, b"x"), paths=["/predict"])
    asyncio.run(wrapped(http(), nothing, nothing))
    asyncio.run(wrapped(http(path="/healthz"), nothing, nothing))
    asyncio.run(wrapped({"type": "lifespan"}, nothing, nothing))
    assert counted(registry) == ((1, 0, 1, 1) if outcome == "ok" else (0, 1, 1, 1))


SCRAPES = [(method, path) for method in ("GET", "HEAD", "OPTIONS") for path in ("/metrics", "/healthz", "/docs", "/")]
DEFAULT = [
    *((method, path, 200, 0) for method, path in SCRAPES),
    ("POST", "/predict", 200, 1),
    ("POST", "/v2/models/m/infer", 500, 1),
    ("POST", "/predict", 422, 1),
    ("POST", "/wp-login.php", 404, 0),
    ("POST", "/docs", 405, 0),
]


@pytest.mark.parametrize(("method", "path", "status", "count"), DEFAULT)
def test_without_paths_only_what_can_be_a_prediction_is_counted(server, registry, method, path, status, count) -> None:
    asyncio.run(server.middleware(answering(status, b"x"))(http(method, path), nothing, nothing))
    ok, errors, timed, first = counted(registry)
    assert (ok + errors, timed, first) == (count, count, count)


def test_paths_are_patterns_and_a_preflight_is_no_prediction(server, registry) -> None:
    wrapped = server.middleware(answering(200, b"x"), paths=["/v1/models/*:predict", "/score"])
    for method, path in (
        ("POST", "/v1/models/m:predict"),
        ("GET", "/score"),
        ("OPTIONS", "/score"),
        ("POST", "/other"),
    ):
        asyncio.run(wrapped(http(method, path), nothing, nothing))
    assert counted(registry) == (2, 0, 2, 2)


def test_a_stream_is_timed_to_its_last_byte_and_apart_to_its_first(server, registry) -> None:
    wrapped = server.middleware(answering(200, b"a", b"b", b"c", seconds=0.05))
    asyncio.run(wrapped(http(), nothing, nothing))
    assert counted(registry) == (1, 0, 1, 1)
    assert 0.05 <= seconds(registry, "time_to_first_byte") <= seconds(registry, "request_duration") - 0.09


def test_what_an_application_does_after_its_last_byte_is_not_the_requests_time(server, registry) -> None:
    async def app(scope, receive, send) -> None:
        await answering(200, b"x")(scope, receive, send)
        assert counted(registry) == (1, 0, 1, 1)
        raise ValueError("a background task")

    with pytest.raises(ValueError, match="background"):
        asyncio.run(server.middleware(app)(http(), nothing, nothing))
    assert counted(registry) == (1, 0, 1, 1)


@pytest.mark.parametrize(
    ("begun", "expected"), [(True, (1, 0, 1, 1)), (False, (0, 1, 1, 0))], ids=["begun", "not begun"]
)
def test_a_request_that_is_cancelled_is_an_error_only_when_nothing_was_answered(
    server, registry, begun, expected
) -> None:
    async def app(scope, receive, send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(server.middleware(app)(http(), nothing, nothing))
        await asyncio.sleep(0.05)
        assert registry.get_sample_value("ml_server_requests_in_flight", WHERE) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert counted(registry) == expected
    assert seconds(registry, "request_duration") >= 0.04


def test_a_caller_who_leaves_a_stream_is_no_error_of_the_server(server, registry) -> None:
    sent = 0

    async def send(message) -> None:
        nonlocal sent
        sent += 1
        if sent == 3:
            raise OSError("the client is gone")

    with pytest.raises(OSError, match="gone"):
        asyncio.run(server.middleware(answering(200, b"a", b"b", b"c"))(http(), nothing, send))
    assert counted(registry) == (1, 0, 1, 1)


@pytest.mark.parametrize("begun", [True, False])
def test_an_application_that_fails_is_an_error_also_in_the_middle_of_a_stream(server, registry, begun: bool) -> None:
    async def app(scope, receive, send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(server.middleware(app)(http(), nothing, nothing))
    assert counted(registry) == (0, 1, 1, 1 if begun else 0)


@pytest.mark.parametrize("said", [b"true", b"True"])
def test_an_explainers_rows_are_counted_apart(server, registry: CollectorRegistry, said: bytes) -> None:
    marked = {**http(), "headers": [(b"content-type", b"x"), (b"seldon-skip-logging", said)]}
    asyncio.run(server.middleware(answering(500, b"x"))(marked, nothing, nothing))
    assert counted(registry) == (0, 0, 0, 0)
    assert registry.get_sample_value("ml_server_synthetic_requests_total", WHERE) == 1
    asyncio.run(server.middleware(answering(200, b"x"))({**http(), "headers": []}, nothing, nothing))
    assert counted(registry) == (1, 0, 1, 1)
    assert registry.get_sample_value("ml_server_synthetic_requests_total", WHERE) == 1


@pytest.mark.parametrize(
    ("headers", "is_marked"),
    [({"Seldon-Skip-Logging": "true"}, True), ({"seldon-skip-logging": "false"}, False), ({"accept": "true"}, False)],
)
def test_a_server_can_ask_whether_rows_are_an_explainers(headers: dict[str, str], is_marked: bool) -> None:
    assert instrument.is_synthetic(headers) is is_marked


# WSGI --------------------------------------------------------------------------------------------------------------


def call(app, method: str = "POST", path: str = "/predict", *, read: int | None = None) -> bytes:
    """Do what a WSGI server does; `read` chunks only, when the caller leaves early."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": path}
    body = app(environ, lambda status, headers, *error: lambda data: None)
    try:
        return b"".join(itertools.islice(body, read))
    finally:
        if hasattr(body, "close"):
            body.close()


def wsgi(status: str, *chunks: bytes, seconds: float = 0.0):
    def app(environ, start_response) -> Iterator[bytes]:
        start_response(status, [])
        for chunk in chunks:
            time.sleep(seconds)
            yield chunk

    return app


def test_an_explainers_rows_are_counted_apart_behind_wsgi_too(server, registry: CollectorRegistry) -> None:
    environ: dict[str, Any] = {"HTTP_SELDON_SKIP_LOGGING": "true"}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": "POST", "PATH_INFO": "/predict"}
    body = server.wsgi_middleware(wsgi("200 OK", b"x"))(environ, lambda status, headers, *error: lambda data: None)
    assert b"".join(body) == b"x"
    assert counted(registry) == (0, 0, 0, 0)
    assert registry.get_sample_value("ml_server_synthetic_requests_total", WHERE) == 1


@pytest.mark.parametrize(("method", "path", "status", "count"), DEFAULT)
def test_a_wsgi_application_counts_what_can_be_a_prediction(server, registry, method, path, status, count) -> None:
    call(server.wsgi_middleware(wsgi(f"{status} X", b"x")), method, path)
    ok, errors, timed, first = counted(registry)
    assert (ok + errors, timed, first) == (count, count, count)
    assert errors == (count if status >= 500 else 0)


def test_a_wsgi_stream_is_timed_to_its_last_byte_and_apart_to_its_first(server, registry) -> None:
    assert call(server.wsgi_middleware(wsgi("200 OK", b"a", b"b", b"c", seconds=0.05), paths=["/pre*"])) == b"abc"
    assert counted(registry) == (1, 0, 1, 1)
    assert 0.05 <= seconds(registry, "time_to_first_byte") <= seconds(registry, "request_duration") - 0.09


def test_a_wsgi_answer_that_is_left_or_fails_is_counted_once(server, registry) -> None:
    call(server.wsgi_middleware(wsgi("200 OK", b"a", b"b")), read=1)
    assert counted(registry) == (1, 0, 1, 1)

    def broken(environ, start_response) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        raise ValueError("broken")

    def broken_at_once(environ, start_response) -> list[bytes]:
        raise ValueError("broken")

    for app in (broken, broken_at_once):
        with pytest.raises(ValueError, match="broken"):
            call(server.wsgi_middleware(app))
    assert counted(registry) == (1, 2, 3, 2)


def test_the_body_of_an_application_is_closed_and_may_be_written_the_old_way(server, registry) -> None:
    closed = []

    class Body(list):
        def close(self) -> None:
            closed.append(True)

    def app(environ, start_response) -> Body:
        start_response("200 OK", [])(b"written")
        return Body([b"x"])

    assert call(server.wsgi_middleware(app)) == b"x"
    assert closed == [True]
    assert counted(registry) == (1, 0, 1, 1)


def test_flask_is_measured_where_it_is_installed(server, registry) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("m")
    app.post("/predict", endpoint="predict")(lambda: {"predictions": [1]})
    app.get("/metrics", endpoint="metrics")(lambda: "none")
    app.wsgi_app = server.wsgi_middleware(app.wsgi_app)
    client = app.test_client()
    asked = (client.post, "/predict"), (client.get, "/metrics"), (client.post, "/x")
    assert [ask(path, buffered=True).status_code for ask, path in asked] == [200, 200, 404]
    assert counted(registry) == (1, 0, 1, 1)


# Generators --------------------------------------------------------------------------------------------------------


def test_a_generator_is_measured_to_its_end_and_to_its_first_item(server, registry) -> None:
    @server.measured
    def tokens() -> Iterator[str]:
        time.sleep(0.03)
        yield "a"
        time.sleep(0.03)
        yield "b"

    assert list(tokens()) == ["a", "b"]
    assert counted(registry) == (1, 0, 1, 1)
    assert 0.03 <= seconds(registry, "time_to_first_byte") <= seconds(registry, "request_duration") - 0.03


def test_an_async_generator_that_is_left_is_no_error_and_one_that_fails_is(server, registry) -> None:
    closed = []

    @server.measured
    async def tokens(fail: bool) -> AsyncIterator[str]:
        try:
            yield "a"
            if fail:
                raise ValueError("broken")
            yield "b"
        finally:
            closed.append(True)

    async def read() -> None:
        async with aclosing(tokens(False)) as items:
            async for _ in items:
                break
        with pytest.raises(ValueError, match="broken"):
            async for _ in tokens(True):
                pass

    asyncio.run(read())
    assert closed == [True, True]
    assert counted(registry) == (1, 1, 2, 2)


# The event log -----------------------------------------------------------------------------------------------------


def test_what_became_of_the_events_is_published(registry: CollectorRegistry) -> None:
    exporter = Exporter(
        lambda request: respond(request, 422, {"accepted": 2, "refused": [{"line": 1, "reason": "too_old"}]})
    )
    log = EventLog(exporter.url, capacity=3)
    instrument.publish(log, registry)
    waiting = registry.get_sample_value("midwatch_client_events_waiting")
    assert (waiting, registry.get_sample_value("midwatch_client_waiting_bytes")) == (0, 0)
    for number in range(5):
        log.send(Label(id=f"l{number}", model="m", label=True, ts=time.time()))
    log.send(None)  # type: ignore[arg-type]
    log.close()
    exporter.close()

    def events(result: str, reason: str = "") -> float | None:
        return registry.get_sample_value("midwatch_client_events_total", {"result": result, "reason": reason})

    assert events("acknowledged") == 2
    assert (events("refused", "too_old"), events("refused", "unencodable"), events("dropped", "full")) == (1, 1, 2)
    assert registry.get_sample_value("midwatch_client_retries_total") == 0
    assert "midwatch_client_events_total" in generate_latest(registry).decode()


def test_a_server_that_is_only_scraped_counts_no_request_that_an_event_could_be_missing_of(server, registry) -> None:
    """ModelEventsMissing compares more than 100 requests in half an hour with the events of the exporter."""
    wrapped = server.middleware(answering(200, b"x"))
    for path in ("/metrics", "/healthz"):
        for _ in range(200):
            asyncio.run(wrapped(http("GET", path), nothing, nothing))
    assert counted(registry) == (0, 0, 0, 0)
