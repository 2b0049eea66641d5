"""Instruments inside a Python model server: latency, outcome, requests in flight; by ASGI middleware or decorator."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from midwatch import metrics

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SERVER_ERROR = 500
"""Statuses from here on are errors; a 4xx is the caller's mistake, which no model can help."""


def build(metric: metrics.Metric, registry: CollectorRegistry) -> Any:
    """Instrument of a catalogue metric in a registry."""
    if metric.kind is metrics.Kind.HISTOGRAM:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
    kind = Counter if metric.kind is metrics.Kind.COUNTER else Gauge
    return kind(metric.family, metric.help, metric.labels, registry=registry)


class Server:
    """Instruments of one version of a model; `revision` and `framework` say what it was built from and with."""

    def __init__(
        self, model: str, version: str, *, registry: CollectorRegistry, revision: str = "", framework: str = ""
    ) -> None:
        requests = build(metrics.SERVER_REQUESTS, registry)
        self._outcomes = {outcome: requests.labels(model, version, outcome) for outcome in ("ok", "error")}
        self._duration = build(metrics.SERVER_REQUEST_DURATION, registry).labels(model, version)
        self._in_flight = build(metrics.SERVER_IN_FLIGHT, registry).labels(model, version)
        build(metrics.BUILD_INFO, registry).labels(model, version, revision, framework).set(1)

    @contextmanager
    def _measured(self) -> Iterator[Callable[[], None]]:
        """Measure what happens inside; calling what is given marks it as an error, as does an exception."""
        begun = time.perf_counter()
        outcome = "ok"

        def failed() -> None:
            nonlocal outcome
            outcome = "error"

        self._in_flight.inc()
        try:
            yield failed
        except BaseException:
            outcome = "error"
            raise
        finally:
            self._in_flight.dec()
            self._duration.observe(time.perf_counter() - begun)
            self._outcomes[outcome].inc()

    def middleware(self, app: App, *, only: Callable[[str], bool] = lambda _: True) -> App:
        """ASGI application that measures the HTTP requests whose path satisfies `only`."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not only(scope["path"]):
                await app(scope, receive, send)
                return
            with self._measured() as failed:

                async def watched(message: MutableMapping[str, Any]) -> None:
                    if message["type"] == "http.response.start" and message["status"] >= SERVER_ERROR:
                        failed()
                    await send(message)

                await app(scope, receive, watched)

        return measured

    def measured(self, function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        """Decorator that measures each call of a function, plain or async; an exception is an error."""
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def wrapped_async(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
                with self._measured():
                    return await function(*args, **kwargs)

            return wrapped_async  # type: ignore[return-value]

        @wraps(function)
        def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
            with self._measured():
                return function(*args, **kwargs)

        return wrapped
