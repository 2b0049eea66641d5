"""Faults of many kinds, each a function of the exporter, its disk and a source of chance: done, and over on return."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.soak.disk import BROKEN, FULL, Disk
from benchmarks.soak.process import Exporter
from exporters.events import journal

DAYS = 2 * 86_400


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What faults are done to."""

    exporter: Exporter
    disk: Disk
    source: random.Random

    def wait(self, most: float = 0.12) -> None:
        """Let the clients send for a moment of random length."""
        time.sleep(self.source.uniform(most / 4, most))


def _kill(scene: Scene) -> None:
    scene.wait()
    scene.exporter.end(signal.SIGKILL)
    scene.exporter.start()


def _stop(scene: Scene) -> None:
    scene.wait()
    scene.exporter.end(signal.SIGTERM)
    scene.exporter.start()


def _freeze(scene: Scene) -> None:
    scene.exporter.process.send_signal(signal.SIGSTOP)
    scene.wait()
    scene.exporter.process.send_signal(signal.SIGCONT)


def _torn_tail(scene: Scene) -> None:
    """Killed, with the beginning of a frame at the end of the journal, as a machine that loses its power leaves it."""
    scene.exporter.end(signal.SIGKILL)
    state = scene.exporter.state
    with journal.segment_path(state, journal.segments(state)[-1]).open("ab") as file:
        file.write(journal.encode(journal.EVENTS, 0.0, bytes(64))[: scene.source.randrange(1, 70)])
    scene.exporter.start()


def _with(**faults: int) -> Callable[[Scene], None]:
    """A disk or clock that is wrong for a moment."""

    def fault(scene: Scene) -> None:
        chosen = {name: scene.source.randrange(1, 200) if value < 0 else value for name, value in faults.items()}
        with scene.disk.wrong(**chosen):
            scene.wait()
        scene.wait()

    return fault


def _kill_while_full(scene: Scene) -> None:
    with scene.disk.wrong(write_error=FULL, torn_bytes=scene.source.randrange(1, 200), truncate_error=BROKEN):
        scene.wait()
        scene.exporter.end(signal.SIGKILL)
    scene.exporter.start()


def _restart_with_a_clock_ahead(scene: Scene) -> None:
    with scene.disk.wrong(clock_seconds=DAYS):
        scene.exporter.end(signal.SIGKILL)
        scene.exporter.start()
        scene.wait()
    scene.exporter.end(signal.SIGTERM)
    scene.exporter.start()


def _remove_segment(scene: Scene) -> None:
    """The file that is written is removed; it is over when all of the state is in another."""
    state = scene.exporter.state
    newest = journal.segments(state)[-1]
    journal.segment_path(state, newest).unlink()
    deadline = time.monotonic() + 60
    while max(journal.snapshots(state), default=0) <= newest:
        if time.monotonic() > deadline:
            raise RuntimeError("the state was not written anew")
        time.sleep(0.02)


def _remove_lock(scene: Scene) -> None:
    """Without the lock's file a second exporter must not start on the state."""
    (scene.exporter.state / "lock").unlink(missing_ok=True)
    second = scene.exporter.spawn(0)
    if second.wait(60) != 2:
        raise RuntimeError("a second exporter started on the same state")


def _slow_clients(scene: Scene) -> None:
    """Requests that do not end, and answers that are not taken."""
    sockets = [socket.create_connection(("127.0.0.1", scene.exporter.port), 5) for _ in range(20)]
    for number, one in enumerate(sockets):
        one.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n" + b"x" * number * 400)
    scene.wait()
    for one in sockets:
        one.close()


def _cut_connections(scene: Scene) -> None:
    """Whole requests of which nobody hears the answer."""
    event = {"event": "prediction", "id": "x", "model": "hostile", "version": "v", "ts": time.time(), "prediction": "a"}
    for number in range(20):
        body = json.dumps(event | {"id": str(number)}).encode()
        with socket.create_connection(("127.0.0.1", scene.exporter.port), 5) as one:
            one.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def _event(**changes: Any) -> bytes:
    event = {"event": "prediction", "id": "x", "model": "hostile", "version": "v", "ts": time.time(), "prediction": "a"}
    return json.dumps(event | changes).encode()


def _hostile_bodies(scene: Scene) -> None:
    source = scene.source
    bodies = [
        source.randbytes(source.randrange(1, 5000)),
        b"[" * 100_000,
        b"x\n" * 200_000,
        _event(prediction=2**70),
        _event(groups={"g": 10**300}),
        _event(groups={f"g{number}": "y" * 10_000 for number in range(300)}),
        _event(trace_id="t" * 10**6),
        _event(id="i" * 10**6),
        b"\n".join(_event(id=str(number), model=f"hostile-{number}", version=str(number)) for number in range(3000)),
        b"\n".join(_event(event="label", id=str(number), label="l" * 14_000) for number in range(500)),
        gzip.compress(bytes(64 * 2**20)),
    ]
    body = source.choice(bodies)
    headers = {"content-encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}
    _sent(scene, "/events", body, headers)


def _hostile_payloads(scene: Scene) -> None:
    source = scene.source
    kind = source.choice(["request", "response"])
    names = {"ce-type": f"x.inference.{kind}", "ce-id": str(source.randrange(9)), "ce-inferenceservicename": "hostile"}
    tensor = {"name": "y" * 20_000, "datatype": "BOOL", "shape": [10_000], "data": [0] * 10_000}
    documents: list[Any] = [
        {"inputs": [tensor], "outputs": [tensor]},
        {"instances": [0] * 250_000, "predictions": [0] * 250_000},
        {"predictions": [{"prediction": 10**400, "score": -5}], "instances": [1]},
        {"instances": [{"x" * 10_000: 1}], "predictions": ["p" * 10**6]},
        source.randbytes(1000).decode("latin-1"),
    ]
    _sent(scene, "/kserve", json.dumps(source.choice(documents)).encode(), names)


def _sent(scene: Scene, path: str, body: bytes, headers: dict[str, str]) -> None:
    with suppress(OSError, http.client.HTTPException):  # it may hang up on a stranger
        scene.exporter.ask("POST", path, body, headers)


def _scrapes(scene: Scene) -> None:
    """Several scrapes at once, of which nobody takes the answer."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", scene.exporter.port), 5) as one:
            one.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")


KINDS: dict[str, Callable[[Scene], None]] = {
    "kill -9": _kill,
    "clean stop": _stop,
    "frozen for a moment": _freeze,
    "torn tail after a kill": _torn_tail,
    "disk full": _with(write_error=FULL),
    "torn write": _with(write_error=FULL, torn_bytes=-1),
    "torn write that cannot be cut off": _with(write_error=BROKEN, torn_bytes=-1, truncate_error=BROKEN),
    "whole write that is an error": _with(write_error=BROKEN, torn_bytes=10**6, truncate_error=BROKEN),
    "sync fails": _with(sync_error=BROKEN),
    "sync and truncation fail": _with(sync_error=BROKEN, truncate_error=BROKEN),
    "kill -9 on a full disk": _kill_while_full,
    "clock two days ahead": _with(clock_seconds=DAYS),
    "clock two days back": _with(clock_seconds=-DAYS),
    "restart with a clock ahead": _restart_with_a_clock_ahead,
    "journal's file removed": _remove_segment,
    "lock removed, second exporter": _remove_lock,
    "slow clients": _slow_clients,
    "connections cut": _cut_connections,
    "hostile bodies": _hostile_bodies,
    "hostile payloads": _hostile_payloads,
    "scrapes nobody takes": _scrapes,
}

STARTING = frozenset(
    {
        "kill -9",
        "clean stop",
        "torn tail after a kill",
        "kill -9 on a full disk",
        "restart with a clock ahead",
        "lock removed, second exporter",
    }
)
"""Kinds for which an exporter has to be started."""
