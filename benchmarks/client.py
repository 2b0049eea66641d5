"""The client in a model server: how quickly `send` returns, and what is lost when processes end.

The exporter has one core, as in its own benchmark, and the sender the other. `send` is timed one by one while the log's
thread sends to that exporter. Each row of the table is a process that ends in its way; what it was told that it had
sent is compared with what the exporter has counted.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import exporter
from benchmarks.figure import Comparison, Figure
from midwatch import modules, ports
from midwatch.client import EventLog, Prediction

RATE = 100_000
FEATURES = {"distance": 1400.0, "wind_speed": 10.4, "visib": 10.0, "carrier": "UA", "origin": "EWR"}
CAPACITY = 2_000_000
"""Room for what the exporter and the thread, on their shares of a machine, have not taken yet."""

COUNT = 3000
SENDER = f"""
import os, signal, sys, time
from midwatch.client import EventLog, Prediction

log = EventLog(sys.argv[1], spool=sys.argv[2] or None)

def send(process, count, rate=0.0):
    taken = 0
    for number in range(count):
        name = f"{{process}}-{{number}}"
        taken += log.send(Prediction(id=name, model="m", version="v", ts=time.time(), prediction="late"))
        if rate:
            time.sleep(1 / rate)
    print(taken, flush=True)

send("first", {COUNT})
"""
DEATHS = {
    "fork: parent and child send on": f"""
if child := os.fork():
    send("parent", {COUNT})
    os.waitpid(child, 0)
else:
    send("child", {COUNT})
    log.close()
    os._exit(0)
""",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "an exception": "raise SystemError('out of order')",
    "kill -9, with a spool": "os.kill(os.getpid(), signal.SIGKILL)",
    "kill -9, without one": "os.kill(os.getpid(), signal.SIGKILL)",
}


def run(*, smoke: bool) -> list[Figure | Comparison]:
    with tempfile.TemporaryDirectory(prefix="midwatch-bench-client-") as folder:
        state = Path(folder)
        figures = [*_sends(state, 20_000 if smoke else 1_000_000)]
        rows = [*_deaths(state), _gone(state, 2 if smoke else 60)]
    lost = sum(int(row[3].replace(",", "")) for row in rows if "without" not in row[0])
    twice = sum(int(row[4].replace(",", "")) for row in rows)
    figures += [
        Figure(name="lost in the deaths below", target=0, measured=lost, unit="events", better="less"),
        Figure(name="counted twice in them", target=0, measured=twice, unit="events", better="less"),
    ]
    columns = ["what happens to the client", "taken by send", "counted", "lost", "twice"]
    return [*figures, Comparison(title="deaths of a client", columns=columns, rows=rows)]


def _sends(state: Path, count: int) -> Iterator[Figure]:
    for spool, name in ((None, "in memory"), (state / "spool", "to the spool")):
        with exporter.serving(state / f"exporter-{name[:2]}") as server:
            got = _in_a_process(f"http://127.0.0.1:{server.port}", spool, count)
            counted = server.requests()
        share = f"with {got['cpu_share']:.0%} of a core; all {counted:,} were counted"
        if counted != count:
            raise RuntimeError(f"{count} were sent and {counted} counted: {got}")
        yield Figure(
            name=f"send from one thread, {name}",
            target=RATE,
            measured=got["rate"],
            unit="/s",
            better="more",
            peer=share,
        )
        yield Figure(name=f"p99 of send, {name}", target=20, measured=got["p99"] * 1e6, unit="µs", better="less")


def _in_a_process(url: str, spool: Path | None, count: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, url, spool, count))
    process.start()
    got: dict[str, Any] = receiver.recv()
    process.join()
    return got


def _measure(sender: Any, url: str, spool: Path | None, count: int) -> None:
    """Send as quickly as it goes; by the clock, and by what the process was given of its core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    log = EventLog(url, capacity=CAPACITY, max_bytes=1 << 30, spool=spool, spool_bytes=1 << 30)
    took: list[float] = []
    clock = time.perf_counter
    begun, cpu = clock(), time.process_time()
    for number in range(count):
        event = Prediction(
            id=f"request-{number:08}",
            model="flight-delay",
            version="v1",
            ts=1.0,
            duration_seconds=0.012,
            prediction="late",
            score=0.73,
            features=FEATURES,
            groups={"carrier": "UA"},
        )
        event.ts = time.time()
        before = clock()
        log.send(event)
        took.append(clock() - before)
    seconds, used = clock() - begun, time.process_time() - cpu
    stats = log.close(300)
    sender.send(
        {
            "rate": count / seconds,
            "cpu_share": used / seconds,
            "p99": statistics.quantiles(took, n=100)[98],
            "acknowledged": stats.acknowledged,
            "dropped": stats.dropped,
        }
    )


def _deaths(state: Path) -> Iterator[list[str]]:
    for number, (name, end) in enumerate(DEATHS.items()):
        spool = state / f"spool-{number}" if "with a spool" in name else None
        with exporter.serving(state / f"death-{number}") as server:
            url = f"http://127.0.0.1:{server.port}"
            taken = _taken(_started(url, spool, SENDER + end))
            if spool is not None:  # the next process of the server sends what the last one left
                taken += _taken(_started(url, spool, SENDER.replace('"first"', '"next"')))
            yield _row(name, taken, server)


def _gone(state: Path, seconds: float) -> list[str]:
    """The exporter is killed while a client sends, and comes back at the same address."""
    (port,) = ports.free_ports()
    script = SENDER + f'send("meanwhile", {int(seconds * 500)}, 500)\n'
    with _at(state / "gone", port) as server:
        client = _started(f"http://127.0.0.1:{port}", None, script)
        while server.requests() < COUNT:
            time.sleep(0.05)
        server.process.kill()
        server.process.wait()
        time.sleep(seconds)
    with _at(state / "gone", port) as server:
        return _row(f"the exporter is gone for {seconds:g} s", _taken(client), server)


@contextmanager
def _at(state: Path, port: int) -> Iterator[exporter.Server]:
    command = modules.command("midwatch", "exporter", "serve", "--listen", f"127.0.0.1:{port}", "--state", str(state))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield exporter.Server(process, port)
    finally:
        process.terminate()
        process.wait(60)


def _started(url: str, spool: Path | None, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", script, url, str(spool or "")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _taken(process: subprocess.Popen[str]) -> int:
    """Events that `send` has taken, in all processes of a client, once it has ended."""
    out, _ = process.communicate(timeout=300)
    return sum(map(int, out.split()))


def _row(name: str, taken: int, server: exporter.Server) -> list[str]:
    counted = server.requests()
    return [name, f"{taken:,}", f"{counted:,}", f"{max(0, taken - counted):,}", f"{max(0, counted - taken):,}"]
