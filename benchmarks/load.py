"""Clients that put load on an exporter, on raw sockets, since a usual HTTP client would be the bottleneck."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

MARK, EARLIER = b"@@@@@@@@", b"########"
"""Places in a body's template for the batch's number and an earlier batch's."""


EXPLAINED_FEATURES = 50
"""Attributions of an explained prediction."""


def _event(kind: str, identifier: str, now: float, *, explained: bool = False) -> bytes:
    common: dict[str, Any] = {"event": kind, "id": identifier, "model": "flight-delay", "ts": now}
    if kind == "label":
        return json.dumps({**common, "label": "late"}).encode()
    rest = {"version": "v1", "duration_seconds": 0.012, "prediction": "late", "score": 0.73}
    features = {"distance": 1400.0, "wind_speed": 10.4, "visib": 10.0, "carrier": "UA", "origin": "EWR"}
    amounts = {f"feature_{place}": (-1) ** place / (place + 0.5) for place in range(EXPLAINED_FEATURES)}
    further = {"attributions": amounts} if explained else {}
    return json.dumps({**common, **rest, "features": features, "groups": {"carrier": "UA"}, **further}).encode()


def template(predictions: int, labels: int, explained: int = 0) -> bytes:
    """NDJSON body with ids to fill in; the labels are of an earlier batch's predictions, and some come explained."""
    now = time.time()
    lines = [
        _event("prediction", f"{MARK.decode()}-4f5a-bbe3-0123456789ab-{index}", now, explained=index < explained)
        for index in range(predictions)
    ]
    lines += [_event("label", f"{EARLIER.decode()}-4f5a-bbe3-0123456789ab-{index}", now) for index in range(labels)]
    return b"\n".join(lines)


def filled(body: bytes, number: int, earlier: int) -> bytes:
    """Body of one batch."""
    return body.replace(MARK, b"%08d" % number).replace(EARLIER, b"%08d" % earlier)


def post(path: bytes, body: bytes, headers: bytes = b"") -> bytes:
    """Bytes of a request."""
    return b"POST %s HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n%s" % (path, headers, len(body), body)


class _Client(asyncio.Protocol):
    """Keeps one request open at a time; `done(ok)` is called with each answer."""

    def __init__(self, done: Callable[[_Client, bool], None]) -> None:
        self._done, self._received = done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if separator and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self._received = b""
            self._done(self, head.startswith(b"HTTP/1.1 200"))


async def batches(
    port: int, seconds: float, predictions: int, labels: int, limit: int | None = None, explained: int = 0
) -> dict[str, float]:
    """As many NDJSON batches as the exporter takes, over 8 connections."""
    loop = asyncio.get_running_loop()
    body = template(predictions, labels, explained)
    numbers = iter(range(10**8 - 1))
    ended: asyncio.Future[None] = loop.create_future()
    result = {"acknowledged": 0, "failed": 0}
    begun = time.perf_counter()
    active = 8

    def send(client: _Client) -> None:
        nonlocal active
        number = next(numbers)
        if time.perf_counter() - begun > seconds or (limit is not None and number >= limit):
            active -= 1
            if not active and not ended.done():
                ended.set_result(None)
            return
        client.transport.write(post(b"/events", filled(body, number, max(0, number - 50))))

    def done(client: _Client, ok: bool) -> None:
        result["acknowledged" if ok else "failed"] += predictions + labels
        send(client)

    clients = [(await loop.create_connection(lambda: _Client(done), "127.0.0.1", port))[1] for _ in range(active)]
    for client in clients:
        send(client)
    await ended
    return {**result, "seconds": time.perf_counter() - begun}


async def singles(port: int, seconds: float, rate: float, prefix: str) -> dict[str, Any]:
    """Single events at a fixed rate (open loop); latencies count from when each was due."""
    loop = asyncio.get_running_loop()
    body = template(1, 0)
    total = int(rate * seconds)
    waiting: list[tuple[float, int]] = []
    due_of: dict[_Client, float] = {}
    latencies: list[float] = []
    failed = 0
    ended: asyncio.Future[None] = loop.create_future()

    def done(client: _Client, ok: bool) -> None:
        nonlocal failed
        latencies.append(time.perf_counter() - due_of.pop(client))
        failed += not ok
        if len(latencies) == total and not ended.done():
            ended.set_result(None)
        if waiting:
            send(client, *waiting.pop(0))
        else:
            idle.append(client)

    def send(client: _Client, due: float, number: int) -> None:
        due_of[client] = due
        client.transport.write(post(b"/events", body.replace(MARK, f"{prefix}{number:07d}".encode())))

    idle = [(await loop.create_connection(lambda: _Client(done), "127.0.0.1", port))[1] for _ in range(128)]
    begun, number = time.perf_counter(), 0
    while number < total:
        now = time.perf_counter()
        while number < total and begun + number / rate <= now:
            due = begun + number / rate
            if idle:
                send(idle.pop(), due, number)
            else:
                waiting.append((due, number))
            number += 1
        await asyncio.sleep(0.0005)
    await ended
    return {"latencies": latencies, "failed": failed, "seconds": time.perf_counter() - begun}


async def cloud_events(port: int, count: int) -> dict[str, float]:
    """Requests and responses of an inference log, a new connection for each, 64 at a time."""
    loop = asyncio.get_running_loop()
    envelope = (
        b"ce-specversion: 1.0\r\nce-inferenceservicename: iris\r\nce-namespace: default\r\nce-component: predictor\r\n"
    )
    envelope += (
        b"ce-source: http://x\r\nce-endpoint: default\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )
    kinds = ((b"request", b'{"instances":[[6.8,2.8,4.8,1.4]]}'), (b"response", b'{"predictions":[1]}'))
    ended: asyncio.Future[None] = loop.create_future()
    result = {"acknowledged": 0, "failed": 0}
    next_number = 0
    stamp = b"%x" % time.time_ns()

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal next_number
            self._transport, self._received = transport, b""
            number, next_number = next_number, next_number + 1
            kind, body = kinds[number % 2]
            headers = b"ce-type: org.kubeflow.serving.inference.%s\r\nce-id: %s-%d\r\n" % (kind, stamp, number // 2)
            transport.write(post(b"/kserve", body, headers + envelope))  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            self._received += data

        def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio
            result["acknowledged" if self._received.startswith(b"HTTP/1.1 200") else "failed"] += 1
            if sum(result.values()) == count:
                ended.set_result(None)
            else:
                start()

    connecting = set()
    started = 0

    def start() -> None:
        nonlocal started
        if started < count:
            started += 1
            task = loop.create_task(loop.create_connection(Client, "127.0.0.1", port))
            connecting.add(task)
            task.add_done_callback(connecting.discard)

    begun = time.perf_counter()
    for _ in range(64):
        start()
    await asyncio.wait_for(ended, 120)
    return {**result, "seconds": time.perf_counter() - begun}


def on_other_core(make: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    """Run a client in a process of its own, on the last core."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_run, (make, arguments))


def _run(make: Callable[..., Coroutine[Any, Any, Any]], arguments: tuple[Any, ...]) -> Any:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return uvloop.run(make(*arguments))
