"""Load generators, each a process on the other core: `python -m benchmarks.exporter.load KIND PORT SECONDS ...`.

Prints one JSON document. Latencies of the open loop count from when a request was due, not from when it was sent.
"""

from __future__ import annotations

import asyncio
import json
import random
import select
import socket
import string
import subprocess
import sys
import time
from collections import deque

import numpy as np
import uvloop

from benchmarks.exporter import server, traffic

CONNECTIONS = 8
SINGLE_CONNECTIONS = 128
OPEN_SOCKETS = 64


def run(kind: str, port: int, seconds: float, *arguments: object) -> dict[str, float]:
    """Run a generator in a process of its own and return what it measured."""
    command = [sys.executable, "-m", "benchmarks.exporter.load", kind, str(port), str(seconds), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def start(kind: str, port: int, seconds: float, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a generator; its document comes on its standard output."""
    command = [sys.executable, "-m", "benchmarks.exporter.load", kind, str(port), str(seconds), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _prefix(length: int) -> str:
    return "".join(random.choices(string.ascii_letters, k=length))


class _Client(asyncio.Protocol):
    """One keep-alive connection; `on_answer` gets each status."""

    def __init__(self, on_answer: object) -> None:
        self._on_answer = on_answer
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            if not end or len(rest) < length:
                return
            self._buffer = rest[length:]
            self._on_answer(self, int(head[9:12]))  # type: ignore[operator]


def _percentiles(latencies: list[float]) -> dict[str, float]:
    values = np.array(latencies) * 1000
    return {f"p{part}_ms": float(np.percentile(values, part)) for part in (50, 99, 99.9)}


async def batches(port: int, seconds: float, limit: int = 0, labels: bool = True) -> dict[str, float]:
    """Closed loop of NDJSON batches over a few connections; at most `limit` events when it is not 0."""
    template = traffic.template(labels=labels)
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    ended = asyncio.Event()
    counts = {"events": 0, "errors": 0, "open": 0, "sent": 0}
    latencies: list[float] = []
    state: dict[_Client, tuple[str, int, float]] = {}

    def send(client: _Client) -> None:
        prefix, number, _ = state[client]
        now = time.perf_counter()
        if now > until or (limit and counts["sent"] >= limit):
            counts["open"] -= 1
            client.transport.close()
            if not counts["open"]:
                ended.set()
            return
        body = traffic.fill(template, f"{prefix}{number:05d}", f"{prefix}{max(0, number - 1):05d}")
        state[client] = prefix, number + 1, now
        counts["sent"] += traffic.BATCH
        client.transport.write(traffic.post("/events", body))

    def answered(client: _Client, status: int) -> None:
        latencies.append(time.perf_counter() - state[client][2])
        counts["events" if status in (200, 422) else "errors"] += traffic.BATCH
        send(client)

    begun = time.perf_counter()
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: _Client(answered), "127.0.0.1", port)
        state[client] = _prefix(3), 0, 0.0
        counts["open"] += 1
    for client in list(state):
        send(client)
    await ended.wait()
    elapsed = time.perf_counter() - begun
    rate = counts["events"] / elapsed
    return {"events": counts["events"], "errors": counts["errors"], "per_second": rate, **_percentiles(latencies)}


async def singles(port: int, seconds: float, rate: float) -> dict[str, float]:
    """Open loop of single events at a rate, over keep-alive connections."""
    template, prefix = traffic.single(), _prefix(2)
    loop = asyncio.get_running_loop()
    free: list[_Client] = []
    due_of: dict[_Client, float] = {}
    late: deque[float] = deque()
    latencies: list[float] = []
    counts = {"sent": 0, "errors": 0}

    def send(client: _Client, due: float) -> None:
        due_of[client] = due
        identifier = f"{prefix}{counts['sent']:06d}"
        counts["sent"] += 1
        client.transport.write(traffic.post("/events", traffic.fill(template, identifier, "")))

    def answered(client: _Client, status: int) -> None:
        latencies.append(time.perf_counter() - due_of[client])
        counts["errors"] += status != 200
        if late:
            send(client, late.popleft())
        else:
            free.append(client)

    for _ in range(SINGLE_CONNECTIONS):
        _, client = await loop.create_connection(lambda: _Client(answered), "127.0.0.1", port)
        free.append(client)
    begun = time.perf_counter()
    planned = 0
    while planned < rate * seconds:
        now = time.perf_counter()
        while (due := begun + planned / rate) <= now and planned < rate * seconds:
            planned += 1
            if free:
                send(free.pop(), due)
            else:
                late.append(due)
        await asyncio.sleep(0.0005)
    deadline = time.perf_counter() + 10
    while len(latencies) < planned and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - begun
    missing = planned - len(latencies)
    return {
        "events": len(latencies), "errors": counts["errors"] + missing, "per_second": len(latencies) / elapsed,
        **_percentiles(latencies),
    }  # fmt: skip


def connections(port: int, seconds: float) -> dict[str, float]:
    """KServe's way: a connection for each CloudEvent, some dozens at a time."""
    prefix, poll = _prefix(6), select.epoll()
    waiting: dict[int, tuple[socket.socket, int, float]] = {}
    latencies: list[float] = []
    counts = {"made": 0, "errors": 0}

    def connect() -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        waiting[client.fileno()] = client, counts["made"], time.perf_counter()
        counts["made"] += 1
        client.connect_ex(("127.0.0.1", port))
        poll.register(client.fileno(), select.EPOLLOUT)

    begun = time.perf_counter()
    for _ in range(OPEN_SOCKETS):
        connect()
    while waiting:
        for number, event in poll.poll(5):
            client, index, since = waiting[number]
            if event & select.EPOLLOUT:
                client.send(traffic.inference(index, prefix))
                poll.modify(number, select.EPOLLIN)
                continue
            answer = client.recv(4096)
            counts["errors"] += not answer.startswith(b"HTTP/1.1 200")
            latencies.append(time.perf_counter() - since)
            poll.unregister(number)
            del waiting[number]
            client.close()
            if time.perf_counter() - begun < seconds:
                connect()
    elapsed = time.perf_counter() - begun
    return {
        "events": len(latencies), "errors": counts["errors"], "per_second": len(latencies) / elapsed,
        **_percentiles(latencies),
    }  # fmt: skip


def main() -> None:
    """Run one generator and print what it measured."""
    server.pin(server.LOAD_CORE)
    kind, port, seconds, *rest = sys.argv[1:]
    if kind == "connections":
        result = connections(int(port), float(seconds))
    elif kind == "singles":
        result = uvloop.run(singles(int(port), float(seconds), float(rest[0])))
    else:
        limit = int(rest[0]) if rest else 0
        result = uvloop.run(batches(int(port), float(seconds), limit, labels=kind == "batches"))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
