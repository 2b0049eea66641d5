"""The gate, as a process: 200 and a verdict for every question it understands, in time, recorded."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from midwatch.app import cli
from midwatch.http_server import Request
from monitors.canary.counts import moment
from monitors.gate import audit
from monitors.gate.service import parse
from tests.canary.arms import STEP, prometheus_with
from tests.canary.test_fetch import END, START, calm
from tests.conftest import free_port, platform_document, wait_for

ASKED = {"model": "fraud", "baseline": "v1", "canary": "v2", "start": moment(START), "end": moment(END)}


class Running:
    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.audit = port, folder / "audit.jsonl"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(text) if is_json else {"text": text.decode()}

    def verdict(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        return self.ask("POST", "/verdict", {**ASKED, **changes})

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = text_string_to_metric_families(self.ask("GET", "/metrics")[1]["text"])
        return {
            (one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples
        }


@contextlib.contextmanager
def gate(folder: Path, document: dict[str, Any], *options: str) -> Iterator[Running]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    port = free_port()
    command = [sys.executable, "-P", "-m", "midwatch", "canary", "gate", "-f", str(file)]
    command += ["--listen", f"127.0.0.1:{port}", "--audit", str(folder / "audit.jsonl"), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz")
        yield Running(port, folder)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors


def document_of(make_document: Any, url: str) -> dict[str, Any]:
    found = make_document(prometheus={"url": url, "scrape_interval": f"{STEP:g}s"})
    found["models"][0]["canary"] = {"criteria": [{"metric": "errors", "negligible": "2%"}]}
    return found


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("past")
    good, bad = calm(), calm(canary_errors=0.06)
    for key, points in bad.series.items():
        if dict(key)["version"] == "v2":
            good.series[tuple(sorted({**dict(key), "version": "v3"}.items()))] = points
    with prometheus_with(good, folder) as url:
        yield url


@pytest.fixture(scope="module")
def running(past: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gate")
    with gate(folder, document_of(platform_document, past)) as found:
        yield found


def test_verdicts_of_good_and_bad_canaries_with_metrics_and_a_record(running: Running) -> None:
    status, good = running.verdict()
    assert (status, good["verdict"], set(good)) == (200, "pass", {"verdict", "reason", "evidence"})
    assert len(json.dumps(good)) < 1500
    query = "&".join(f"{name}={value}" for name, value in {**ASKED, "canary": "v3"}.items())
    status, bad = running.ask("GET", f"/verdict?{query}")
    assert (status, bad["verdict"]) == (200, "fail")
    assert "errors: 6" in bad["reason"]
    assert running.verdict(canary="v9")[1]["verdict"] == "inconclusive"
    assert running.verdict() == (200, good)  # asked again: the same
    assert running.ask("GET", "/readyz")[0] == 200
    seen = running.metrics()
    of = (("baseline", "v1"), ("canary", "v3"))
    assert seen["canary_verdict", (*of, ("model", "fraud"), ("verdict", "fail"))] == 1
    assert seen["canary_verdict", (*of, ("model", "fraud"), ("verdict", "pass"))] == 0
    assert seen["canary_gate_requests_total", (("verdict", "pass"),)] == 2
    assert seen["canary_gate_requests_total", (("verdict", "inconclusive"),)] == 1
    assert seen["canary_gate_duration_seconds_count", ()] == 4
    assert seen["canary_e_value_limit", (*of, ("direction", "fail"), ("model", "fraud"))] == pytest.approx(20)
    fail = (of[0], of[1], ("criterion", "errors"), ("direction", "fail"), ("model", "fraud"))
    assert seen["canary_e_value", fail] > 20
    assert audit.verify(running.audit) == 4
    records = [json.loads(line) for line in running.audit.read_text().splitlines()]
    assert records[0]["asked"]["canary"] == "v2"
    assert records[0]["evidence"]["digest"] == records[3]["evidence"]["digest"] == good["evidence"]["digest"]


def test_concurrent_questions_are_all_answered_and_recorded(running: Running) -> None:
    before = audit.verify(running.audit)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda index: running.verdict(canary=f"v{2 + index % 2}"), range(48)))
    assert {status for status, _ in answers} == {200}
    told = {(index % 2, answer["verdict"]) for index, (_, answer) in enumerate(answers)}
    assert told <= {
        (0, "pass"),
        (1, "fail"),
        (0, "inconclusive"),
        (1, "inconclusive"),
    }  # in time, on a busy machine too
    assert audit.verify(running.audit) == before + 48


def test_questions_it_does_not_understand_are_refused(running: Running) -> None:
    before, refused = audit.verify(running.audit), ("canary_gate_requests_total", (("verdict", "refused"),))
    many = running.metrics().get(refused, 0)
    for body in (
        b"",
        b"{",
        b"[]",
        {},
        {**ASKED, "canary": "v1"},
        {**ASKED, "canary": 2},
        {**ASKED, "model": "fruad"},
        {**ASKED, "start": "noon"},
        {**ASKED, "start": ASKED["end"]},
        {**ASKED, "x": "y"},
        {**ASKED, "canary": ""},
        {**ASKED, "canary": "v" * 999},
    ):
        status, answer = running.ask("POST", "/verdict", body)
        assert (status, bool(answer["error"])) == (400, True), body
    assert running.ask("GET", "/verdict?model=a&model=b")[0] == 400
    assert running.ask("GET", "/verdict")[0] == 400
    assert running.ask("DELETE", "/verdict")[0] == 405
    assert running.ask("GET", "/nothing")[0] == 404
    assert running.ask("POST", "/verdict", b"x" * 70_000)[0] == 413
    assert running.metrics()[refused] == many + 14
    assert audit.verify(running.audit) == before


def test_the_token_guards_and_without_prometheus_it_is_undecided(tmp_path: Path, make_document: Any) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    document = document_of(make_document, "http://127.0.0.1:1")
    for round_ in (1, 2):  # the second goes on the record where the first left it
        with gate(tmp_path, document, "--token-file", str(tmp_path / "token")) as running:
            assert running.ask("GET", "/healthz")[0] == running.ask("GET", "/readyz")[0] == 200
            assert running.ask("POST", "/verdict", ASKED)[0] == 401
            assert running.ask("GET", "/metrics")[0] == 401
            assert running.ask("POST", "/verdict", ASKED, Authorization="Bearer wrong")[0] == 401
            status, answer = running.ask("POST", "/verdict", ASKED, Authorization="Bearer s3cret")
            assert (status, answer["verdict"]) == (200, "inconclusive")
            assert "no answer" in answer["reason"]
        assert audit.verify(running.audit) == round_


def test_a_prometheus_that_hangs_is_undecided_in_time(tmp_path: Path, make_document: Any) -> None:
    with hanging_server() as url, gate(tmp_path, document_of(make_document, url)) as running:
        begun = time.perf_counter()
        status, answer = running.verdict()
        took = time.perf_counter() - begun
    assert (status, answer["verdict"], "answer" in answer["reason"]) == (200, "inconclusive", True)
    assert took < 10  # the server hangs for twenty; the deadline itself is measured in the benchmark


@contextlib.contextmanager
def hanging_server() -> Iterator[str]:
    release = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            release.wait(20)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        release.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--listen", "0.0.0.0:0"], "--token-file"),
        (["--listen", "nowhere"], "is not an address"),
        (["--token-file", "/nothing/here"], "the token cannot be read"),
        (["--audit", "/proc/nothing/audit"], "choose another with --audit"),
    ],
    ids=["off loopback", "address", "token", "audit"],
)
def test_what_cannot_start_says_so_in_a_line(
    tmp_path: Path, make_document: Any, options: list, told: str, capsys: Any
) -> None:
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document_of(make_document, "http://127.0.0.1:1")))
    command = ["canary", "gate", "-f", str(tmp_path / "platform.yaml"), "--audit", str(tmp_path / "audit"), *options]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert (ended.value.code, told in capsys.readouterr().err) == (2, True)


def test_a_changed_line_of_the_record_shows(tmp_path: Path) -> None:
    record = audit.Audit(tmp_path / "audit.jsonl")
    for verdict in ("pass", "fail"):
        record.append({"verdict": verdict})
    record.close()
    assert audit.verify(tmp_path / "audit.jsonl") == 2
    text = (tmp_path / "audit.jsonl").read_text()
    (tmp_path / "audit.jsonl").write_text(text.replace("pass", "fail", 1))
    with pytest.raises(audit.AuditError, match=":2: does not follow"):
        audit.verify(tmp_path / "audit.jsonl")


def test_two_gates_do_not_write_one_record(tmp_path: Path) -> None:
    first = audit.Audit(tmp_path / "audit.jsonl")
    with pytest.raises(audit.AuditError, match="another gate"):
        audit.Audit(tmp_path / "audit.jsonl")
    first.close()


def test_a_record_cut_short_by_a_crash_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    first = audit.Audit(path)
    first.append({"verdict": "pass"})
    first.close()
    with path.open("ab") as file:
        file.write(b'{"verdict": "fa')
    second = audit.Audit(path)
    second.append({"verdict": "fail"})
    second.close()
    assert audit.verify(path) == 2


def test_a_query_is_decoded() -> None:
    request = Request(method=b"GET", path=b"/verdict", query=b"model=a%20b&baseline=1&canary=2", headers={}, body=b"")
    assert parse(request).model == "a b"
