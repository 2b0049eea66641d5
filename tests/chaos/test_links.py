"""Links between parts, on real sockets: good, bad in each way, and good again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from chaos import faults
from chaos.places.local.faults import LinkBad
from chaos.places.local.links import changed_body, whole_request
from midwatch import processes
from midwatch.evidence import Log
from tests.conftest import free_port


class Target(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = {"name": self.server.name, "body": body.decode(), "start": self.headers.get("x-request-start")}  # type: ignore[attr-defined]
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def serving(name: str) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    server.daemon_threads = True
    server.name = name  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class Setup:
    """A link to one server, and another server beside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.control, self.port = folder, folder / "links", free_port()
        self.servers = [serving("good"), serving("bad")]
        address = f"one=127.0.0.1:{self.port}:127.0.0.1:{self.servers[0].server_port}"
        command = [sys.executable, "-m", "chaos.places.local.links", str(self.control), address]
        self.process = subprocess.Popen(command)
        self.ledger = faults.Ledger(folder, Log(folder / "evidence.jsonl"))
        self.connection = self.connect()

    def connect(self) -> HTTPConnection:
        assert processes.wait_until(self._answers, 60)
        return HTTPConnection("127.0.0.1", self.port, timeout=20)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def ask(self, body: Any = "hello") -> tuple[int, dict[str, Any]]:
        content = body if isinstance(body, str) else json.dumps(body)
        self.connection.request("POST", "/x", content)
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}

    def fault(self, **document: Any) -> LinkBad:
        about = {**document, "id": str(time.monotonic_ns())}
        return LinkBad(target="one", control=str(self.control), links=self.process.pid, document=about)

    def inject(self, **document: Any) -> None:
        """A fault is effective only when a request was hit, so somebody has to ask meanwhile."""
        injecting = Thread(target=self.ledger.inject, args=(self.fault(**document),))
        injecting.start()
        while injecting.is_alive():
            try:
                self.ask({"x": 1, "ts": 0})
            except (OSError, HTTPException):
                self.connection.close()
            time.sleep(0.01)
        injecting.join()
        assert len(self.ledger.open_faults()) == 1


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    setup.connection.close()
    setup.process.terminate()
    setup.process.wait()
    for server in setup.servers:
        server.shutdown()
        server.server_close()


def test_a_good_link_passes_everything_on(link: Setup) -> None:
    for size in (1, 1000, 300_000):
        status, answer = link.ask("x" * size)
        assert (status, len(answer["body"]), answer["start"]) == (200, size, None)


def test_a_slow_link_tells_the_server_when_the_request_came(link: Setup) -> None:
    link.inject(delay=0.2)
    begun, now = time.monotonic(), time.time()
    status, answer = link.ask("x" * 100_000)
    assert time.monotonic() - begun >= 0.2
    assert (status, len(answer["body"])) == (200, 100_000)
    assert now - 0.01 <= float(answer["start"].removeprefix("t=")) <= time.time() - 0.2 + 0.01, "before its delay"
    assert link.ledger.revert_all() == []
    assert link.ask()[1]["start"] is None


def test_a_failing_link_answers_its_share(link: Setup) -> None:
    link.inject(errors=0.25, status=503)
    statuses = [link.ask()[0] for _ in range(40)]
    assert statuses.count(503) == 10
    assert link.ledger.revert_all() == []
    assert [link.ask()[0] for _ in range(8)] == [200] * 8


def test_features_are_scaled_and_clocks_are_shifted(link: Setup) -> None:
    link.inject(scale={"x": 3.0})
    assert json.loads(link.ask({"instances": [{"x": 2, "y": 2, "x2": None}]})[1]["body"]) == {
        "instances": [{"x": 6.0, "y": 2, "x2": None}]
    }
    link.ledger.revert_all()
    link.inject(shift=600)
    assert link.ask('{"ts": 1.5}\n{"ts": 2}\n')[1]["body"] == '{"ts": 601.5}\n{"ts": 602}\n'
    link.ledger.revert_all()
    assert link.ask('{"ts": 1.5}')[1]["body"] == '{"ts": 1.5}'


def test_a_cut_link_closes_and_takes_no_connection(link: Setup) -> None:
    link.ask()
    link.inject(cut=True)
    with pytest.raises((OSError, HTTPException)):
        link.ask()
    link.connection.close()
    assert link.ledger.revert_all() == []
    assert link.ask()[0] == 200


def test_traffic_can_be_sent_to_another_target_on_an_open_connection_and_back(link: Setup) -> None:
    assert link.ask()[1]["name"] == "good"
    link.inject(target=f"127.0.0.1:{link.servers[1].server_port}")
    assert link.ask()[1]["name"] == "bad"
    link.ledger.revert_all()
    assert link.ask()[1]["name"] == "good"


def test_a_bad_link_that_nobody_uses_is_no_fault(link: Setup) -> None:
    with pytest.raises(faults.FaultError, match="not seen to happen"):
        link.ledger.inject(link.fault(delay=1.0), seconds=0.3)
    assert link.ledger.open_faults() == {}
    assert list(link.control.iterdir()) == []


def test_a_link_process_that_is_gone_has_nothing_to_revert(link: Setup) -> None:
    link.inject(errors=1.0)
    link.process.kill()
    link.process.wait()
    assert link.ledger.revert_all() == []


def test_what_is_not_json_stays_as_it_is() -> None:
    assert changed_body(b"\xff{", {"shift": 1.0}) == b"\xff{"
    assert changed_body(b'{"ts": true, "x": "1"}', {"shift": 1.0, "scale": {"x": 2}}) == b'{"ts": true, "x": "1"}'
    assert whole_request(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc") is None
