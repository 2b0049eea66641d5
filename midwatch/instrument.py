"""Instruments inside a Python model server: latency, outcome, requests in flight; by middleware or decorator.

A request is timed to the last byte of its answer, and apart from that to the first, which is what users of a stream
wait for. What became of the server's events is published beside it.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import aclosing, closing
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from midwatch import metrics

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SERVER_ERROR = 500
"""Statuses from here on are errors; a 4xx is the caller's mistake, which no model can help."""
SYNTHETIC_HEADER = "seldon-skip-logging"
"""Header of a request whose rows nobody asked about: an explainer's. MLServer's name for it."""
_WSGI_HEADER = f"HTTP_{SYNTHETIC_HEADER.upper().replace('-', '_')}"
_NO_SUCH_PATH = frozenset({404, 405})
_WITHOUT_A_PREDICTION = frozenset({"HEAD", "OPTIONS"})
"""Methods that a browser or a load balancer uses on the path of predictions."""


def build(metric: metrics.Metric, registry: CollectorRegistry) -> Any:
    """Instrument of a catalogue metric in a registry."""
    if metric.kind is metrics.Kind.HISTOGRAM:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
    kind = Counter if metric.kind is metrics.Kind.COUNTER else Gauge
    return kind(metric.family, metric.help, metric.labels, registry=registry)


class Server:
    """Instruments of one version of a model; `revision` and `framework` say what it was built from and with.

    The middlewares measure requests for predictions only. `paths` says which they are, as patterns of the shell
    (`/v1/models/*:predict`). Without any they are the POST requests that the application has a path for: not scrapes,
    health checks and pages of documentation, which are read by GET. An explainer's rows are counted apart.
    """

    def __init__(
        self, model: str, version: str, *, registry: CollectorRegistry, revision: str = "", framework: str = ""
    ) -> None:
        requests = build(metrics.SERVER_REQUESTS, registry)
        self._outcomes = {outcome: requests.labels(model, version, outcome) for outcome in ("ok", "error")}
        self._duration = build(metrics.SERVER_REQUEST_DURATION, registry).labels(model, version)
        self._first_byte = build(metrics.SERVER_FIRST_BYTE, registry).labels(model, version)
        self._in_flight = build(metrics.SERVER_IN_FLIGHT, registry).labels(model, version)
        self._synthetic = build(metrics.SERVER_SYNTHETIC, registry).labels(model, version)
        build(metrics.BUILD_INFO, registry).labels(model, version, revision, framework).set(1)

    def _begin(self) -> _Measurement:
        return _Measurement(self._outcomes, self._duration, self._first_byte, self._in_flight)

    def middleware(self, app: App, *, paths: Iterable[str] = ()) -> App:
        """ASGI application that measures the requests for predictions."""
        patterns = tuple(paths)

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not _may_predict(scope["method"], scope["path"], patterns):
                await app(scope, receive, send)
                return
            if _is_marked(scope.get("headers", ())):
                self._synthetic.inc()
                await app(scope, receive, send)
                return
            answer = _Answer(self._begin(), only_known_paths=not patterns)

            async def watched(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    answer.start(message["status"])
                try:
                    await send(message)
                except OSError:
                    answer.leave()
                    raise
                if message["type"] == "http.response.body":
                    answer.body(message.get("body", b""), last=not message.get("more_body", False))

            try:
                await app(scope, receive, watched)
            except asyncio.CancelledError:
                answer.leave()
                raise
            except BaseException:
                answer.fail()
                raise
            finally:
                answer.end()

        return measured

    def wsgi_middleware(self, app: WSGIApp, *, paths: Iterable[str] = ()) -> WSGIApp:
        """WSGI application that measures the requests for predictions: `app.wsgi_app` of Flask is one."""
        patterns = tuple(paths)

        def measured(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            if not _may_predict(environ["REQUEST_METHOD"], path, patterns):
                return app(environ, start_response)
            if environ.get(_WSGI_HEADER, "").lower() == "true":
                self._synthetic.inc()
                return app(environ, start_response)
            answer = _Answer(self._begin(), only_known_paths=not patterns)

            def started(status: str, *arguments: Any) -> Callable[[bytes], Any]:
                answer.start(int(status[:3]))
                write = start_response(status, *arguments)

                def watched(data: bytes) -> None:
                    write(data)
                    answer.body(data, last=False)

                return watched

            try:
                return _Body(app(environ, started), answer)
            except BaseException:
                answer.fail()
                answer.end()
                raise

        return measured

    def measured(self, function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        """Decorator that measures each call of a function, plain or async; an exception is an error.

        A generator, plain or async, is measured from the wait for its first item to its end; to leave it early is no
        error.
        """
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def wrapped_async(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
                with self._begin():
                    return await function(*args, **kwargs)

            return wrapped_async  # type: ignore[return-value]

        if inspect.isasyncgenfunction(function):

            @wraps(function)
            async def wrapped_stream(*args: Parameters.args, **kwargs: Parameters.kwargs) -> AsyncIterator[Any]:
                with self._begin() as measurement:
                    async with aclosing(function(*args, **kwargs)) as items:
                        async for item in items:
                            measurement.first()
                            yield item

            return wrapped_stream  # type: ignore[return-value]

        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def wrapped_items(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[Any]:
                with self._begin() as measurement, closing(function(*args, **kwargs)) as items:
                    for item in items:
                        measurement.first()
                        yield item

            return wrapped_items  # type: ignore[return-value]

        @wraps(function)
        def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
            with self._begin():
                return function(*args, **kwargs)

        return wrapped


def _may_predict(method: str, path: str, patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return method == "POST"
    return method not in _WITHOUT_A_PREDICTION and any(fnmatchcase(path, pattern) for pattern in patterns)


def is_synthetic(headers: Mapping[str, str]) -> bool:
    """Whether a request is an explainer's: its rows are no predictions, and no event is sent of them."""
    return any(name.lower() == SYNTHETIC_HEADER and value.lower() == "true" for name, value in headers.items())


def _is_marked(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the headers of ASGI, whose names are lower case, say that a request is an explainer's."""
    return (SYNTHETIC_HEADER.encode(), b"true") in ((name, value.lower()) for name, value in headers)


class _Measurement:
    """One request while it is worked on; `end` counts it, once. As a context an exception is an error."""

    def __init__(
        self, outcomes: Mapping[str, Counter], duration: Histogram, first: Histogram, in_flight: Gauge
    ) -> None:
        self._outcomes, self._duration, self._first, self._in_flight = outcomes, duration, first, in_flight
        self._begun = time.perf_counter()
        self._has_first = self._has_ended = False
        in_flight.inc()

    def first(self) -> None:
        """The first byte, or item, is there."""
        if not self._has_first:
            self._has_first = True
            self._first.observe(time.perf_counter() - self._begun)

    def end(self, outcome: str | None) -> None:
        """Count it with its outcome; without one it was no request for a prediction."""
        if self._has_ended:
            return
        self._has_ended = True
        self._in_flight.dec()
        if outcome is not None:
            self._duration.observe(time.perf_counter() - self._begun)
            self._outcomes[outcome].inc()

    def __enter__(self) -> _Measurement:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end("ok" if kind is None or issubclass(kind, GeneratorExit) else "error")


class _Answer:
    """How far the answer to a request has come. A caller who leaves before it began has got none: that is an error."""

    def __init__(self, measurement: _Measurement, *, only_known_paths: bool) -> None:
        self._measurement, self._only_known_paths = measurement, only_known_paths
        self._status = 0
        self._failed = self._left = False

    def start(self, status: int) -> None:
        self._status = status

    def body(self, data: bytes, *, last: bool) -> None:
        if data and self._counts:
            self._measurement.first()
        if last:
            self.end()

    def leave(self) -> None:
        """The caller is gone."""
        self._left = True

    def fail(self) -> None:
        """The application has raised an exception."""
        self._failed = not self._left

    def end(self) -> None:
        broken = self._failed or not 0 < self._status < SERVER_ERROR
        self._measurement.end(("error" if broken else "ok") if self._counts else None)

    @property
    def _counts(self) -> bool:
        return not (self._only_known_paths and self._status in _NO_SUCH_PATH)


class _Body:
    """Body of a WSGI answer. A server asks for a chunk when it has sent the one before, and closes what it leaves."""

    def __init__(self, body: Iterable[bytes], answer: _Answer) -> None:
        self._body, self._answer = body, answer
        self._chunks = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._answer.end()
            raise
        except BaseException:
            self._answer.fail()
            raise
        self._answer.body(chunk, last=False)
        return chunk

    def close(self) -> None:
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                close()
        finally:
            self._answer.end()


class EventCounts(Protocol):
    """What `midwatch.client.Stats` says."""

    @property
    def waiting(self) -> int:
        """Events that no exporter has answered for."""

    @property
    def waiting_bytes(self) -> int:
        """Their size."""

    @property
    def retries(self) -> int:
        """Requests that settled nothing."""

    @property
    def reasons(self) -> Mapping[tuple[str, str], int]:
        """Events by result and reason."""

    @property
    def attributions(self) -> Mapping[str, int]:
        """Predictions whose attributions were offered, by result."""


class EventLog(Protocol):
    """What `midwatch.client.EventLog` is for its metrics."""

    @property
    def stats(self) -> EventCounts:
        """What became of the events so far."""


def publish(log: EventLog, registry: CollectorRegistry) -> None:
    """Publish what became of a log's events: one log of a registry."""
    registry.register(_EventLogCollector(log))


class _EventLogCollector:
    def __init__(self, log: EventLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Family]:
        stats = self._log.stats
        events = CounterMetricFamily(
            metrics.CLIENT_EVENTS.family, metrics.CLIENT_EVENTS.help, labels=metrics.CLIENT_EVENTS.labels
        )
        for labels, count in stats.reasons.items():
            events.add_metric(labels, count)
        yield events
        offered = metrics.CLIENT_ATTRIBUTIONS
        attributions = CounterMetricFamily(offered.family, offered.help, labels=offered.labels)
        for result, count in stats.attributions.items():
            attributions.add_metric([result], count)
        yield attributions
        yield CounterMetricFamily(metrics.CLIENT_RETRIES.family, metrics.CLIENT_RETRIES.help, stats.retries)
        yield GaugeMetricFamily(metrics.CLIENT_WAITING.name, metrics.CLIENT_WAITING.help, stats.waiting)
        yield GaugeMetricFamily(
            metrics.CLIENT_WAITING_BYTES.name, metrics.CLIENT_WAITING_BYTES.help, stats.waiting_bytes
        )
