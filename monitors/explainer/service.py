"""The service of `midwatch explain serve`: explanations of rows, metadata of the model, and /metrics.

Answers are given on the loop's thread, explanations are made by `workers`. Nothing is kept but the cache.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from midwatch import exposition, http_access, http_server, http_service
from midwatch.http_server import Request, Respond
from monitors.explainer import protocol
from monitors.explainer.cache import Cache
from monitors.explainer.explainer import Explainer
from monitors.explainer.explanation import Explanation, Rows
from monitors.explainer.protocol import Asked, RequestError
from monitors.explainer.published import Published, Reason
from monitors.explainer.workers import Failure, Job, Result, Workers

SLOW = (
    "a row took %.2g s to explain at the start, and the deadline is %g s: requests will be answered 504; have fewer "
    "trees, bound their depth, or give --deadline more"
)

_log = logging.getLogger(__name__)
_JSON = "application/json"
_STATUS: Mapping[Reason, HTTPStatus] = {
    Reason.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.DEADLINE: HTTPStatus.GATEWAY_TIMEOUT,
    Reason.MODEL_FAILED: HTTPStatus.BAD_GATEWAY,
    Reason.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    Reason.REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
}
_AGAIN = (Reason.BUSY, Reason.DEADLINE)
"""Reasons for which the same request may be explained later."""
MOST_RETRY_SECONDS = 60
_ALIVE = (b"/healthz", b"/v2/health/live")
_READY = (b"/readyz", b"/v2/health/ready")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What requests may use: seconds for sampling a row and for a whole request, threads, requests that wait beside
    those that are worked on, rows and bytes of a request, bytes of the cache."""

    budget: float = 0.2
    deadline: float = 2.0
    threads: int = 1
    waiting: int = 32
    rows: int = 100
    body: int = 4 << 20
    cache: int = 64 << 20


class Service:
    """Explains rows of one version of a model."""

    def __init__(self, explainer: Explainer, limits: Limits) -> None:
        self._explainer, self._limits = explainer, limits
        method = "exact" if explainer.trees else "permutations"
        self.published = Published(explainer.model_name, explainer.version, method, explainer.sample.identity)
        self._cache = Cache(limits.cache)
        self._workers = Workers(explainer, limits.budget)
        self._open = 0
        self._usual_seconds = 0.0
        if explainer.exact_seconds > limits.deadline:
            _log.warning(SLOW, explainer.exact_seconds, limits.deadline)

    async def serve(self, address: http_service.Address, started: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; ServeError when the port is taken."""
        connections = http_server.Connections(
            self.answer,
            http_server.Limits(max_body=self._limits.body, max_connections=1000),
            http_access.admission(address.token, address.metrics_token),
        )
        threads = {f"explain-{number}": self._workers.run for number in range(self._limits.threads)}
        await http_service.serve(connections, address.host, address.port, beside=threads, started=started)

    def answer(self, request: Request, respond: Respond) -> None:
        """Answer a request, now or when it is explained."""
        try:
            self._answer(request, respond)
        except RequestError as error:
            if error.status == HTTPStatus.BAD_REQUEST:
                self.published.refuse(Reason.INVALID)
            respond(error.status, _error(str(error)), _JSON)

    def _answer(self, request: Request, respond: Respond) -> None:
        path = unquote_to_bytes(request.path)  # a client may write the colon of `:explain` as %3A
        if request.path == http_access.METRICS:
            text = self.published.text(waiting=self._open, cached=self._cache.size)
            respond(HTTPStatus.OK, text, exposition.CONTENT_TYPE)
        elif request.path in _ALIVE:
            respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)
        elif request.path in _READY:
            self._ensure_ready()
            respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)
        elif matched := protocol.FIRST.fullmatch(path):
            self._ensure_model(matched[1], None)
            self._first(request, respond, is_asked=matched[2] is not None)
        elif matched := protocol.SECOND.fullmatch(path):
            self._ensure_model(matched[1], matched[2])
            self._second(request, respond, matched[3])
        else:
            name = self._explainer.model_name
            raise RequestError(HTTPStatus.NOT_FOUND, f"ask /v1/models/{name}:explain or /v2/models/{name}/explain")

    def _ensure_ready(self) -> None:
        """RequestError while no thread is left that could explain anything."""
        if self._workers.held_up >= self._limits.threads:
            said = f"the model holds up all {self._limits.threads} threads beyond their deadline; restart the service"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, said)

    def _ensure_model(self, name: bytes, version: bytes | None) -> None:
        known = self._explainer
        if name != known.model_name.encode() or version not in (None, known.version.encode()):
            said = f"{known.model_name} {known.version} is all that is explained here"
            raise RequestError(HTTPStatus.NOT_FOUND, said)

    def _first(self, request: Request, respond: Respond, *, is_asked: bool) -> None:
        if is_asked:
            _ensure_method(request, b"POST")
            self._explain(protocol.first(request.body, self._explainer, self._limits.rows), respond)
            return
        _ensure_method(request, b"GET")
        self._ensure_ready()
        respond(HTTPStatus.OK, json.dumps({"name": self._explainer.model_name, "ready": True}).encode(), _JSON)

    def _second(self, request: Request, respond: Respond, verb: bytes | None) -> None:
        if verb in (b"explain", b"infer"):
            _ensure_method(request, b"POST")
            if protocol.BINARY_HEADER in request.headers:
                raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "tensors are taken as JSON only")
            self._explain(protocol.second(request.body, self._explainer, self._limits.rows), respond)
            return
        _ensure_method(request, b"GET")
        if verb == b"ready":
            self._ensure_ready()
        ready = json.dumps({"name": self._explainer.model_name, "ready": True}).encode()
        respond(HTTPStatus.OK, protocol.metadata(self._explainer) if verb is None else ready, _JSON)

    # Explanations ----------------------------------------------------------------------------------------------------

    def _explain(self, asked: Asked, respond: Respond) -> None:
        begun = time.monotonic()
        keys = [self._explainer.key(row) for row in asked.rows]
        known = [self._cache.get(key) for key in keys]
        missing = {key: row for key, row, found in zip(keys, asked.rows, known, strict=True) if found is None}
        hits = sum(found is not None for found in known)
        self.published.looked_up(hits=hits, misses=len(keys) - hits)
        waiter = _Waiter(asked=asked, keys=keys, known=known, begun=begun, respond=respond)
        if not missing:
            self._settle(waiter, {})
        elif self._open >= self._limits.threads + self._limits.waiting:
            self._refuse(respond, Failure(reason=Reason.BUSY, text="too many requests wait for their explanation"))
        else:
            self._put(waiter, missing)

    def _put(self, waiter: _Waiter, missing: Mapping[bytes, Rows]) -> None:
        """Let a thread explain what is missing, and answer when it has, or at the deadline."""
        loop = asyncio.get_running_loop()
        self._open += 1

        def done(result: Result) -> None:
            loop.call_soon_threadsafe(self._done, waiter, job, list(missing), result, timer)

        job = Job(rows=list(missing.values()), until=waiter.begun + self._limits.deadline, done=done)
        timer = loop.call_later(self._limits.deadline, self._expire, waiter, job)
        self._workers.put(job)

    def _done(
        self, waiter: _Waiter, job: Job, keys: Sequence[bytes], result: Result, timer: asyncio.TimerHandle
    ) -> None:
        timer.cancel()
        self._open -= 1
        if isinstance(result, Failure):
            if not job.cancelled.is_set():
                self._refuse(waiter.respond, _of_request(result, waiter, keys))
            return
        self._usual_seconds += ((time.monotonic() - waiter.begun) - self._usual_seconds) / 10
        for key, explanation in zip(keys, result, strict=True):
            self.published.explained(explanation)
            self._cache.put(key, explanation)
        if not job.cancelled.is_set():
            self._settle(waiter, dict(zip(keys, result, strict=True)))

    def _expire(self, waiter: _Waiter, job: Job) -> None:
        job.cancelled.set()
        said = f"it was not explained within {self._limits.deadline:g} s"
        self._refuse(waiter.respond, Failure(reason=Reason.DEADLINE, text=said))

    def _settle(self, waiter: _Waiter, found: Mapping[bytes, Explanation]) -> None:
        pairs = zip(waiter.keys, waiter.known, strict=True)
        content = waiter.asked.answer([known or found[key] for key, known in pairs])
        self.published.answer(time.monotonic() - waiter.begun)
        waiter.respond(HTTPStatus.OK, content, _JSON)

    def _refuse(self, respond: Respond, failure: Failure) -> None:
        self.published.refuse(failure.reason)
        headers = f"retry-after: {self._retry_seconds()}\r\n" if failure.reason in _AGAIN else ""
        respond(_STATUS[failure.reason], _error(failure.text), _JSON, headers=headers)

    def _retry_seconds(self) -> int:
        """Seconds until what waits now is explained, by how long the last ones took."""
        return min(MOST_RETRY_SECONDS, max(1, math.ceil(self._open * self._usual_seconds / self._limits.threads)))


@dataclass(frozen=True, kw_only=True)
class _Waiter:
    """Who asked for what and when, with the keys of the rows, and those of them that were explained before."""

    asked: Asked
    keys: Sequence[bytes]
    known: Sequence[Explanation | None]
    begun: float
    respond: Respond


def _of_request(failure: Failure, waiter: _Waiter, keys: Sequence[bytes]) -> Failure:
    """A failure of the rows that were explained now, by the place of its row among all of the request."""
    if failure.row is None:
        return failure
    place = waiter.keys.index(keys[failure.row])
    return replace(failure, row=place, text=f"{waiter.asked.key}[{place}] {failure.text}")


def _ensure_method(request: Request, method: bytes) -> None:
    if request.method != method and not (method == b"GET" and request.method == b"HEAD"):
        raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, f"ask by {method.decode()}")


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()
