"""Instruments of a model server: outcome, latency, in flight, what is built."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from midwatch import instrument

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


@pytest.mark.parametrize(("status", "outcome"), [(200, "ok"), (404, "ok"), (500, "error"), (503, "error")])
def test_the_middleware_takes_the_outcome_from_the_status(server, registry, status: int, outcome: str) -> None:
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message) -> None: ...

    wrapped = server.middleware(app, only=lambda path: path == "/predict")
    asyncio.run(wrapped({"type": "http", "path": "/predict"}, send, send))
    asyncio.run(wrapped({"type": "http", "path": "/healthz"}, send, send))
    asyncio.run(wrapped({"type": "lifespan"}, send, send))
    assert requests(registry, outcome) == 1
    assert registry.get_sample_value("ml_server_request_duration_seconds_count", WHERE) == 1
