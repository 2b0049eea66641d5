"""Processes that fork, end and are ended: each sends its own events, once, from a thread of its own."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from midwatch import ports
from tests.exporters.fake_exporter import Exporter, respond, wait_until

BEGIN = """
import os, signal, sys, threading, time
from midwatch.client import EventLog, Label, event_log, process_end

# A busy machine loses nothing either, and asks nothing twice.
usual, process_end.CLOSE_SECONDS = process_end.CLOSE_SECONDS, 60.0
event_log.TIMEOUT_SECONDS = 60.0

def label(name):
    return Label(id=name, model="m", label=True, ts=time.time())

log = EventLog(sys.argv[1])
"""


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    running = Exporter()
    yield running
    running.close()


def start(exporter: Exporter, script: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", BEGIN + script, exporter.url],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(exporter: Exporter, script: str) -> subprocess.CompletedProcess[str]:
    process = start(exporter, script)
    out, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def all_sent(exporter: Exporter) -> list[str]:
    """Ids of everything that was sent, also what was sent twice."""
    return sorted(event["id"] for body in exporter.bodies for event in body)


# Forks -------------------------------------------------------------------------------------------------------------

BOTH = """
for number in range(200):
    assert log.send(label(f"before-{number:03}"))
sys.stdin.readline()
child = FORK()
name = "child" if child == 0 else "parent"
assert log.stats.queued == (0 if child == 0 else 200)
for number in range(100):
    assert log.send(label(f"{name}-{number:03}"))
stats = log.close(60)
assert stats.acknowledged == stats.queued == (100 if child == 0 else 300), stats
assert stats.dropped == 0
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
FORKS = {"os.fork": "os.fork()", "a fork that Python does not see": "__import__('ctypes').PyDLL(None).fork()"}


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_parent_and_child_send_their_own_events_and_none_is_sent_twice(fork: str) -> None:
    """The fork comes while the parent's thread waits for an answer.

    Where Python does not see the fork, a thread that asks for the interpreter just then would leave a child that hangs,
    whatever the client does.
    """

    def answer_after_the_child(request: BaseHTTPRequestHandler) -> None:
        exporter.wait_for(100)
        respond(request, 200, {"accepted": len(exporter.bodies[0]), "duplicates": 0})

    exporter = Exporter(answer_after_the_child)
    process = start(exporter, BOTH.replace("FORK()", fork), stdin=subprocess.PIPE)
    wait_until(lambda: bool(exporter.bodies))
    _, errors = process.communicate("the parent waits for an answer\n", timeout=120)
    exporter.close()
    assert (process.returncode, errors) == (0, "")
    names = {"before": 200, "child": 100, "parent": 100}
    assert all_sent(exporter) == [f"{name}-{number:03}" for name, count in names.items() for number in range(count)]


def test_a_child_that_is_forked_while_threads_send_does_not_hang(exporter: Exporter) -> None:
    ended = run(
        exporter,
        """
def keep_sending():
    while True:
        for _ in range(100):
            log.send(label(f"{os.getpid()}-{time.perf_counter_ns()}"))
        time.sleep(0.001)

for _ in range(3):
    threading.Thread(target=keep_sending, daemon=True).start()
children = []
for number in range(20):
    if (child := os.fork()) == 0:
        signal.alarm(60)
        log.send(label(f"child-{number}"))
        os._exit(0 if log.close(50).acknowledged == 1 else 1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
os._exit(0)
""",
    )
    assert ended.stdout == f"{[0] * 20}\n", ended.stderr
    assert {f"child-{number}" for number in range(20)} <= set(exporter.kept)


def test_children_of_a_child_send_too(exporter: Exporter) -> None:
    ended = run(
        exporter,
        """
log.send(label("0"))
for generation in range(1, 4):
    if (child := os.fork()) != 0:
        assert os.waitpid(child, 0)[1] == 0
        break
    log.send(label(str(generation)))
log.close()
""",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all_sent(exporter) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_sends_before_it_ends(exporter: Exporter, tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(
        BEGIN.replace("log = ", "log = None if __name__ == '__main__' and sys.argv[2] != 'fork' else ")
        + """
def work(number):
    assert log.send(label(f"w{number}"))

if __name__ == "__main__":
    import multiprocessing
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(2) as pool:
        pool.map(work, range(10))
        pool.close()
        pool.join()
    alone = context.Process(target=work, args=("alone",))
    alone.start()
    alone.join()
    assert alone.exitcode == 0
"""
    )
    ended = subprocess.run(
        [sys.executable, tmp_path / "program.py", exporter.url, method],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all_sent(exporter) == sorted([*(f"w{number}" for number in range(10)), "walone"])


# Ends --------------------------------------------------------------------------------------------------------------

ENDS = {
    "the end of the program": ("", 0),
    "an exception": ("raise ValueError('the server is broken')", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", 143),
    "SIGTERM in a system call": ("threading.Timer(0.2, os.kill, (os.getpid(), 15)).start(); time.sleep(60)", 143),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -2),
    "an exception in a thread": ("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", 0),
    "SIGTERM in asyncio": ("import asyncio; asyncio.run(later())", 143),
}


@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
def test_a_process_that_ends_has_sent_everything(exporter: Exporter, end: str, status: int) -> None:
    ended = run(
        exporter,
        f"""
async def later():
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)

for number in range(3000):
    log.send(label(f"{{number:04}}"))
{end}
""",
    )
    assert ended.returncode == status, ended.stderr
    assert all_sent(exporter) == [f"{number:04}" for number in range(3000)]


def test_sigterm_while_the_process_sends_loses_nothing_that_was_taken(exporter: Exporter) -> None:
    process = start(
        exporter,
        """
taken = open("/dev/stdout", "w", buffering=1)
print("ready", flush=True)
count = 0
try:
    while True:
        count += log.send(label(f"{count:06}"))
finally:
    print(count, flush=True)
""",
    )
    assert process.stdout is not None
    process.stdout.readline()
    exporter.wait_for(1)
    process.terminate()
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert 0 <= len(exporter.kept) - int(out) <= 1  # the last one may have been taken as the signal came


def test_another_sigterm_ends_a_process_that_does_not_end(exporter: Exporter) -> None:
    process = start(
        exporter,
        """
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("ending", flush=True)
    time.sleep(60)
""",
    )
    assert process.stdout is not None
    for expected in ("ready\n", "ending\n"):
        assert process.stdout.readline() == expected
        process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGTERM


def test_handlers_of_sigterm_are_left_alone_and_the_default_comes_back(exporter: Exporter) -> None:
    ended = run(
        exporter,
        """
assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
log.close()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
signal.signal(signal.SIGTERM, signal.SIG_IGN)
EventLog(sys.argv[1]).close()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
threading.Thread(target=EventLog, args=(sys.argv[1],)).start()
""",
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_process_whose_exporter_is_gone_ends_in_time_and_says_what_is_lost(exporter: Exporter) -> None:
    exporter.close()
    ended = run(
        exporter, "process_end.CLOSE_SECONDS = usual; log.send(label('1')); print(time.monotonic(), flush=True)"
    )
    assert time.monotonic() - float(ended.stdout) < 30
    assert ended.returncode == 0
    assert "1 events were not sent in time and are lost" in ended.stderr


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_a_signal_handler_may_send(exporter: Exporter, tmp_path: Path, spooled: bool) -> None:
    log = f"log = EventLog(sys.argv[1], spool={str(tmp_path)!r})" if spooled else ""
    ended = run(
        exporter,
        f"{log}"
        """
import itertools
numbers, by_signal = itertools.count(), []
def handler(*_):  # another signal may interrupt it
    by_signal.append(log.send(label(f"s{next(numbers)}")))
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
sent = sum(log.send(label(f"m{number}")) for number in range(20_000))
signal.setitimer(signal.ITIMER_REAL, 0)
stats = log.close(30)
assert by_signal and stats.acknowledged == stats.queued == sent + sum(by_signal), (stats, sent, len(by_signal))
assert stats.waiting == 0
""",
    )
    assert (ended.returncode, ended.stderr) == (0, "")


# Servers -----------------------------------------------------------------------------------------------------------

WSGI = """
import os, time
from midwatch.client import EventLog, Label, process_end

process_end.CLOSE_SECONDS = 60.0  # a busy machine loses nothing either
log = EventLog(os.environ["EXPORTER"])
log.send(Label(id="preload-" + os.environ["RUN"] + "-" + str(os.getpid()), model="m", label=True, ts=time.time()))

def app(environ, start_response):
    name = f"{os.getpid()}-{time.perf_counter_ns()}"
    assert log.send(Label(id=name, model="m", label=True, ts=time.time()))
    time.sleep(0.005)  # while one worker works the other takes a request
    start_response("200 OK", [("content-length", str(len(name)))])
    return [name.encode()]
"""
ASGI = """
import os, time
from midwatch.client import EventLog, Label, process_end

process_end.CLOSE_SECONDS = 60.0  # a busy machine loses nothing either
log = EventLog(os.environ["EXPORTER"])

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await log.aclose()
        await send({"type": "lifespan.shutdown.complete"})
        return
    name = f"{os.getpid()}-{time.perf_counter_ns()}"
    assert log.send(Label(id=name, model="m", label=True, ts=time.time()))
    time.sleep(0.005)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": name.encode()})
"""
GUNICORN = ["gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "--log-level", "error"]
GUNICORN += ["--timeout", "120", "--graceful-timeout", "120"]
SERVERS = {
    "gunicorn --preload": (WSGI, [*GUNICORN, "--preload"]),
    "gunicorn": (WSGI, GUNICORN),
    "gunicorn threads": (WSGI, [*GUNICORN, "--preload", "--threads", "4"]),
    "gunicorn, workers replaced": (WSGI, [*GUNICORN, "--preload", "--max-requests", "10"]),
    "gunicorn with uvicorn workers": (ASGI, [*GUNICORN, "--preload", "-k", "uvicorn.workers.UvicornWorker"]),
    "uvicorn with workers": (ASGI, ["uvicorn", "--workers", "2", "--port", "{port}", "--log-level", "error"]),
    "uvicorn": (ASGI, ["uvicorn", "--port", "{port}", "--log-level", "error"]),
}


@pytest.mark.parametrize("name", SERVERS)
def test_workers_of_real_servers_send_every_event_once(exporter: Exporter, tmp_path: Path, name: str) -> None:
    script, arguments = SERVERS[name]
    for module in {"uvicorn", "gunicorn"} & set(name.replace(",", "").split()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    (tmp_path / "served.py").write_text(script)
    (port,) = ports.free_ports()
    command = [sys.executable, "-W", "ignore", "-m", *(word.format(port=port) for word in arguments), "served:app"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "EXPORTER": exporter.url, "RUN": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    answers: list[str] = []
    workers = 2 if "2" in arguments else 1
    try:
        wait_until(lambda: bool(ask(port)), 120)
        with ThreadPoolExecutor(4) as pool:
            while len(set(map(pid, answers))) < workers or len(answers) < 60:
                answers += pool.map(lambda _: ask(port), range(12))
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=120)
    assert all(answers), errors
    sent = [one for one in all_sent(exporter) if not one.startswith("preload")]
    assert len(sent) == len(set(sent)), "an event was sent twice"
    assert set(answers) <= set(sent)
    preloaded = [one for one in all_sent(exporter) if one.startswith("preload")]
    assert len(preloaded) == len(set(preloaded))
    assert script is not WSGI or preloaded


def pid(answer: str) -> str:
    return answer.partition("-")[0]


def ask(port: int) -> str:
    """Answer of the server, a connection each so that both workers get some; empty while there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict", b"{}")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()
