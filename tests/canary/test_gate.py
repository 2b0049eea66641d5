"""The gate, as a process: 200 and a verdict for every question it understands, in time, recorded."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from midwatch import evidence
from midwatch.app import cli
from midwatch.errors import MidwatchError
from midwatch.evidence import EvidenceError
from midwatch.http_server import Request
from midwatch.spec.canary import Canary
from monitors.canary import argo_query, ask, judge
from monitors.canary.question import Question
from monitors.canary.times import moment
from monitors.gate import prometheus_api, published, service
from monitors.gate.parsing import parse
from monitors.gate.refusals import QuestionError
from monitors.gate.verdict_log import VerdictLog
from tests.canary.arms import STEP, prometheus_with
from tests.canary.test_fetch import END, START, calm
from tests.conftest import free_port, midwatch_here, need_program, platform_document, wait_for

ASKED = {"model": "fraud", "baseline": "v1", "canary": "v2", "start": moment(START), "end": moment(END)}


class Running:
    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.audit = port, folder / "audit.jsonl"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
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


def recorded(log: Path) -> int:
    """Records of a whole log."""
    verified = evidence.verify(log)
    assert verified.problems == ()
    return verified.records


PATIENT = "from midwatch.app import cli; from monitors.gate import service; service.RECORD_SECONDS = 30; cli.main()"
"""The command, whose answers wait for a disk that is busy with something else."""


@contextlib.contextmanager
def gate(folder: Path, document: dict[str, Any], *options: str, limit: int | None = None) -> Iterator[Running]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    port = free_port()
    command = [sys.executable, "-P", "-c", PATIENT, "canary", "gate", "-f", str(file)]
    command += ["--listen", f"127.0.0.1:{port}", "--audit", str(folder / "audit.jsonl"), *options]
    if limit is not None:
        command = [need_program("prlimit"), f"--fsize={limit}", *command]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", 60)
        yield Running(port, folder)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
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
    # A busy machine is not to make a decided canary undecided: the usual 0.8 s are of the test of one that hangs.
    with gate(folder, document_of(platform_document, past) | {"gate": {"deadline": "30s"}}) as found:
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
    assert recorded(running.audit) == 4
    records = evidence.read(running.audit)
    assert {record.kind for record in records} == {"verdict"}
    assert records[0].data == {"asked": {**ASKED, "start": START, "end": END}, **good}
    assert records[3].data["evidence"]["digest"] == good["evidence"]["digest"]


def test_who_reads_the_status_only_is_answered_200_for_pass_alone(running: Running) -> None:
    for canary, status in (("v2", 200), ("v3", 409), ("v9", 503)):
        asked = {**ASKED, "canary": canary}
        assert running.ask("POST", "/passed", asked) == (status, running.ask("POST", "/verdict", asked)[1])
        told = {"name": "fraud", "namespace": "ml", "phase": "Progressing", "checksum": "1", "metadata": asked}
        assert running.ask("POST", "/passed", told)[0] == status
    assert running.ask("GET", "/passed?model=fraud")[0] == 400
    assert running.ask("GET", "/passed?" + "&".join(f"{name}={value}" for name, value in ASKED.items()))[0] == 200


def test_concurrent_questions_are_all_answered_and_recorded(running: Running) -> None:
    before = recorded(running.audit)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda index: running.verdict(canary=f"v{2 + index % 2}"), range(48)))
    assert {status for status, _ in answers} == {200}
    told = {(index % 2, answer["verdict"]) for index, (_, answer) in enumerate(answers)}
    assert told == {(0, "pass"), (1, "fail")}
    assert recorded(running.audit) == before + 48


def test_questions_it_does_not_understand_are_refused(running: Running) -> None:
    before, refused = recorded(running.audit), ("canary_gate_requests_total", (("verdict", "refused"),))
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
    assert recorded(running.audit) == before


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
        assert recorded(running.audit) == round_


def test_a_prometheus_that_hangs_is_undecided_in_time(tmp_path: Path, make_document: Any) -> None:
    with hanging_server() as url, gate(tmp_path, document_of(make_document, url)) as running:
        status, answer = running.verdict()  # while the server hangs; the deadline itself is measured in the benchmark
    assert (status, answer["verdict"], "answer" in answer["reason"]) == (200, "inconclusive", True)


@contextlib.contextmanager
def hanging_server() -> Iterator[str]:
    release = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            release.wait()

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


# The record --------------------------------------------------------------------------------------------------------

QUESTION = Question(model="fraud", baseline="v1", canary="v2")


def keep(path: Path, *verdicts: str) -> None:
    log = VerdictLog(path)
    for verdict in verdicts:
        log.append(QUESTION, {"verdict": verdict})
    log.close()


def test_a_changed_line_of_the_record_shows(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    keep(path, "pass", "fail")
    assert recorded(path) == 2
    path.write_text(path.read_text().replace("pass", "fail", 1))
    (problem,) = evidence.verify(path).problems
    assert (problem.line, "is not what was written" in problem.message) == (1, True)


def test_two_gates_do_not_write_one_record(tmp_path: Path) -> None:
    first = VerdictLog(tmp_path / "audit.jsonl")
    with pytest.raises(EvidenceError, match="another gate"):
        VerdictLog(tmp_path / "audit.jsonl")
    first.close()
    keep(tmp_path / "audit.jsonl", "pass")


def test_a_record_cut_short_by_a_crash_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    keep(path, "pass")
    with path.open("ab") as file:
        file.write(b'{"verdict": "fa')
    keep(path, "fail")
    assert recorded(path) == 2


def test_an_earlier_gates_record_goes_on_and_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text(json.dumps({"verdict": "pass", "previous": "0" * 64}) + "\n")
    keep(path, "fail")
    assert (recorded(path), evidence.verify(path).earlier) == (2, 1)
    path.write_text(path.read_text().replace("pass", "fail", 1))
    assert evidence.verify(path).problems


def test_a_file_that_is_no_record_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("notes of mine\n")
    for _ in range(2):  # the refused one holds no lock
        with pytest.raises(EvidenceError, match=r"damaged.*choose another with --audit"):
            VerdictLog(path)
    assert path.read_text() == "notes of mine\n"


def test_what_cannot_be_recorded_is_undecided_and_the_record_stays_whole(tmp_path: Path, make_document: Any) -> None:
    """A file that may not grow stands for a full disk."""
    document = document_of(make_document, "http://127.0.0.1:1")
    with gate(tmp_path, document, limit=4096) as running:
        answers = [running.verdict()[1] for _ in range(8)]
        ready, told = running.ask("GET", "/readyz")
    assert "cannot be recorded" not in answers[0]["reason"]
    assert (answers[-1]["verdict"], "the verdict cannot be recorded" in answers[-1]["reason"]) == ("inconclusive", True)
    assert (ready, "verdicts cannot be recorded" in told["error"]) == (503, True)
    keep(running.audit, "pass")
    assert recorded(running.audit) > 1


def test_a_query_is_decoded() -> None:
    request = Request(method=b"GET", path=b"/verdict", query=b"model=a%20b&baseline=1&canary=2", headers={}, body=b"")
    assert parse(request, "tests").model == "a b"


# Whatever is asked, and whatever happens ---------------------------------------------------------------------------

ABSURD = [
    "1e15",
    "9" * 40,
    "-1",
    "1e308",
    "inf",
    "nan",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59Z",
    "1969-12-31T23:59:59Z",
]


@pytest.mark.parametrize("field", ["start", "end"])
def test_an_absurd_time_is_refused_with_words(running: Running, field: str) -> None:
    for text in ABSURD:
        status, answer = running.verdict(**{field: text})
        assert (status, "time" in answer["error"] or "years" in answer["error"]) == (400, True)
    for text in ("0", "253370764799", "9998-12-31T23:59:59Z"):  # far, and told
        assert running.ask("POST", "/verdict", {**ASKED, "start": text, "end": ""})[0] == 200


@pytest.fixture
def in_process(tmp_path: Path, make_platform: Any) -> Iterator[Callable[..., service.Gate]]:
    """Gates that are asked without a socket, each with a record of its own name."""
    made: list[service.Gate] = []

    def make(audit: str = "audit.jsonl", **canary: Any) -> service.Gate:
        found = make_platform(prometheus={"url": "http://127.0.0.1:1"})
        settings = Canary.model_validate({"criteria": [{"metric": "errors", "negligible": "2%"}], **canary})
        given = found.model_copy(update={"models": [found.models[0].model_copy(update={"canary": settings})]})
        options = service.Options(host="127.0.0.1", port=0, platform=given, audit=tmp_path / audit, deadline=30.0)
        made.append(service.Gate(options))
        return made[-1]

    yield make
    for one in made:
        one._workers.shutdown()
        one._recorder.shutdown()
        one._verdicts.close()


def answered(gate_: service.Gate, **changes: Any) -> tuple[int, dict[str, Any]]:
    """What the gate answers to one question."""
    answers: list[tuple[int, dict[str, Any]]] = []
    body = json.dumps({**ASKED, **changes}).encode()
    request = Request(method=b"POST", path=b"/verdict", headers={}, body=body)
    asyncio.run(gate_._verdict(request, lambda status, content, _: answers.append((status, json.loads(content)))))
    (answer,) = answers
    return answer


@pytest.mark.parametrize("broken", ["ask.ask", "ask.settings_of", "parsing.parse", "document.answer"])
def test_every_exception_is_an_undecided_answer(
    in_process: Callable[..., service.Gate], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OverflowError("a bug")

    monkeypatch.setattr(f"monitors.gate.service.{broken}", fails)
    status, answer = answered(in_process())
    assert (status, answer["verdict"]) == (200, "inconclusive")
    assert "OverflowError" in answer["reason"]


def test_the_same_series_as_both_arms_is_refused(in_process: Callable[..., service.Gate]) -> None:
    same = {"baseline": 'track="live", version="{baseline}"', "canary": 'version = "{canary}",track="live"'}
    gate_ = in_process(selectors=same)
    assert answered(gate_)[0] == 200
    assert answered(gate_, canary="v1")[0] == 400
    fixed = {"baseline": 'track=~"a", job="j"', "canary": 'job="j", track=~"a"'}
    status, answer = answered(in_process("other.jsonl", selectors=fixed))
    assert status == 400
    assert 'select the same series: {job="j", track=~"a"}' in answer["error"]


def asked_as_prometheus(gate_: service.Gate, query: str, *, method: bytes = b"POST") -> tuple[int, dict[str, Any]]:
    """What the gate answers to a query of Prometheus' API."""
    answers: list[tuple[int, dict[str, Any]]] = []
    form = urlencode({"query": query, "time": "1767571200.5"}).encode()
    given = {"query": form, "body": b""} if method == b"GET" else {"body": form}
    request = Request(method=method, path=b"/api/v1/query", headers={}, **given)
    asyncio.run(gate_._verdict(request, lambda status, content, _: answers.append((status, json.loads(content)))))
    (answer,) = answers
    return answer


ARMS = 'model="fraud",baseline="v1",canary="v2"'


@pytest.mark.parametrize("method", [b"GET", b"POST"], ids=["get", "post"])
def test_a_query_of_prometheus_is_answered_by_one_number_with_its_reason(in_process: Any, method: bytes) -> None:
    query = f'midwatch_canary_gate_verdict{{{ARMS},start="{ASKED["start"]}"}}'
    status, answer = asked_as_prometheus(in_process(), query, method=method)
    (sample,) = answer["data"]["result"]
    assert (status, answer["status"], answer["data"]["resultType"], sample["value"][1]) == (
        200,
        "success",
        "vector",
        "0",
    )
    assert "no answer" in answer["warnings"][0]


def test_the_rendered_query_asks_what_its_arguments_are() -> None:
    given = {"model": "fraud", "baseline": 'v"1', "canary": "v\\2 {x=~'y'}", "start": ""}
    query = argo_query.query("tests", given)
    for name, value in given.items():
        query = query.replace(f"{{{{args.{name}}}}}", value)
    assert prometheus_api.fields_of({"query": query}) == {**given, "platform": "tests"}
    broken = query.replace("fraud", "fraud`,canary=`v1")
    with pytest.raises(QuestionError, match="each label once"):
        prometheus_api.fields_of({"query": broken})


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "is answered here, and nothing else"),
        ("up", "is answered here, and nothing else"),
        (f"canary_verdict{{{ARMS}}}", "is answered here, and nothing else"),
        (f"midwatch_canary_gate_verdict{{{ARMS}}} or vector(1)", "is answered here, and nothing else"),
        (f"midwatch_canary_gate_verdict{{{ARMS}}} offset 5m", "each label once"),
        (f"midwatch_canary_gate_verdict{{{ARMS}}} @ 7", "each label once"),
        (f'midwatch_canary_gate_verdict{{{ARMS},model="other"}}', "each label once"),
        ('midwatch_canary_gate_verdict{model=~"fraud",baseline="v1",canary="v2"}', "each label once"),
        ('midwatch_canary_gate_verdict{model="fraud" or baseline="v1"}', "each label once"),
        (f"midwatch_canary_gate_verdict{{{ARMS}", "is answered here, and nothing else"),
        (f'midwatch_canary_gate_verdict{{{ARMS},job="x"}}', "unknown: job"),
        ("midwatch_canary_gate_verdict", "missing: model, baseline, canary"),
        ('midwatch_canary_gate_verdict{model="fruad",baseline="v1",canary="v2"}', "no model 'fruad'"),
        ('midwatch_canary_gate_verdict{model="fraud",baseline="v1",canary="v1"}', "both baseline and canary"),
    ],
)
def test_another_query_of_prometheus_is_an_error_with_words(in_process: Any, query: str, told: str) -> None:
    status, answer = asked_as_prometheus(in_process(), query)
    assert (status, answer["status"], answer["errorType"]) == (400, "error", "bad_data")
    assert told in answer["error"]


def test_the_gate_of_another_platform_with_a_model_of_the_same_name_gives_no_verdict(in_process: Any) -> None:
    gate_ = in_process()
    own = gate_._options.platform.platform

    def asked(platform: str) -> tuple[int, dict[str, Any]]:
        query = argo_query.query(platform, ("model", "baseline", "canary", "start"))
        for name in ("model", "baseline", "canary", "start"):
            query = query.replace(f"{{{{args.{name}}}}}", ASKED[name])
        return asked_as_prometheus(gate_, query)

    assert asked(own)[0] == 200
    status, answer = asked("staging")
    assert (status, answer["error"]) == (
        400,
        f"this is the gate of platform {own!r}, not of 'staging': mend gate.url",
    )


def test_a_prometheus_whose_time_is_long_ago_decides_nothing(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate_ = in_process()
    past = calm()
    monkeypatch.setattr(type(gate_._client), "until", lambda *_: past)
    question = {"start": "", "end": ""}
    monkeypatch.setattr("monitors.gate.service.time.time", lambda: past.now + 50)
    assert answered(gate_, **question)[1]["verdict"] == "pass"
    gate_._standing.clear()
    monkeypatch.setattr("monitors.gate.service.time.time", lambda: past.now + 3600)
    _, answer = answered(gate_, **question)
    assert (answer["verdict"], "3,600 s behind ours" in answer["reason"]) == ("inconclusive", True)


def test_the_gate_counts_what_is_wrong_with_questions(in_process: Callable[..., service.Gate]) -> None:
    gate_ = in_process(selectors={"baseline": 'job="{baseline}"', "canary": 'job="{canary}"'})

    def refused() -> dict[str, float]:
        families = text_string_to_metric_families(gate_.published.text().decode())
        (family,) = (one for one in families if one.name == "canary_gate_refused")
        return {sample.labels["reason"]: sample.value for sample in family.samples}

    assert refused() == {"other_platform": 0, "other_region": 0, "same_arms": 0, "unknown_model": 0, "unreadable": 0}
    wrong = ({"model": "fruad"}, {"canary": "v1"}, {"start": "noon"}, {"platform": "other"})
    assert [answered(gate_, **one)[0] for one in wrong] == [400] * 4
    asked_as_prometheus(gate_, "up")
    assert refused() == {"other_platform": 1, "other_region": 0, "same_arms": 1, "unknown_model": 1, "unreadable": 2}


def test_what_a_late_answer_waited_for_is_told(in_process: Callable[..., service.Gate]) -> None:
    release, asked = Event(), Event()

    class Slow:
        def query(self, *_: object, **__: object) -> list[Any]:
            asked.set()
            release.wait(20)
            raise MidwatchError("let go")

        def until(self, _: float) -> Slow:
            return self

    gate_ = in_process()
    gate_._client = Slow()  # type: ignore[assignment]
    gate_._options = dataclasses.replace(gate_._options, deadline=0.05)
    try:
        assert "Prometheus has not answered within 0.05 s" in answered(gate_)[1]["reason"]
        for _ in range(service.WORKERS - 1):
            gate_._workers.submit(release.wait, 20)
        assert f"all {service.WORKERS} workers of the gate are busy" in answered(gate_, canary="v3")[1]["reason"]
    finally:
        release.set()


def test_an_answer_that_took_too_long_to_record_is_withdrawn(
    tmp_path: Path, in_process: Callable[..., service.Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    release, gate_ = Event(), in_process()
    append = evidence.Log.append

    def slow(log: evidence.Log, kind: str, **data: Any) -> evidence.Record:
        record = append(log, kind, **data)
        assert kind != "verdict" or release.wait(20)
        return record

    monkeypatch.setattr(evidence.Log, "append", slow)
    monkeypatch.setattr(service, "RECORD_SECONDS", 0.05)
    monkeypatch.setattr(service.ask, "ask", lambda *_, **__: (_ for _ in ()).throw(MidwatchError("no answer")))
    status, answer = answered(gate_)
    assert (status, "cannot be recorded: not on the disk" in answer["reason"]) == (200, True)
    release.set()
    gate_._recorder.shutdown()
    kept, withdrawn = evidence.read(tmp_path / "audit.jsonl")
    assert (kept.kind, withdrawn.kind, withdrawn.data) == (
        "verdict",
        "withdrawn",
        {"of": kept.seq, "verdict": "inconclusive"},
    )


@pytest.mark.parametrize("fault", ["write", "part", "fsync"])
def test_after_a_full_disk_the_record_has_what_was_answered_and_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "audit.jsonl"
    log, write = VerdictLog(path), os.write
    log.append(QUESTION, {"verdict": "pass"})

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(evidence.os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        if fault != "part":
            context.setattr(evidence.os, fault, full)
        if fault == "fsync":
            context.setattr(evidence.os, "write", write)
        for _ in range(3):
            with pytest.raises(EvidenceError):
                log.append(QUESTION, {"verdict": "lost"})
    log.append(QUESTION, {"verdict": "fail"})
    log.close()
    records = evidence.read(path)
    assert [one.data.get("verdict", one.data) for one in records] == ["pass", {"answers": 3}, "fail"]
    assert b"lost" not in path.read_bytes()
    done = midwatch_here("evidence", "verify", tmp_path)
    assert (done.returncode, "3 records" in done.stdout) == (0, True)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        "audit.jsonl": 0o600,
        "audit.jsonl.lock": 0o600,
    }


def test_a_record_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    keep(path, "pass")
    path.chmod(0o644)
    keep(path, "fail")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_open_analysis_is_judged_once_an_interval(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Question] = []

    def asked(_: object, question: Question, settings: Canary, *, interval: float, **_more: object) -> Any:
        looks.append(question)
        empty = ask.unanswered(question, interval, "x")
        begun, one = time.time() - interval, np.ones(1, dtype=np.int64)
        return dataclasses.replace(empty, start=begun, baseline_requests=one), judge.judge(empty, settings)

    answer = {"verdict": "inconclusive", "reason": "", "evidence": {}}
    monkeypatch.setattr(service.ask, "ask", asked)
    monkeypatch.setattr(service.document, "answer", lambda *_: answer)
    gate_ = in_process()
    for _ in range(3):
        assert answered(gate_)[0] == 200
    answered(gate_, canary="v3")
    assert len(looks) == 2


def verdict_of(canary: str) -> tuple[Any, Any]:
    counts = dataclasses.replace(ask.unanswered(QUESTION, 15.0, "x"), canary=canary)
    return counts, judge.judge(counts, Canary.model_validate({"criteria": [{"metric": "errors"}]}))


def test_the_gate_publishes_what_the_client_library_would_write_and_says_what_it_publishes_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(published, "MAX_COMPARISONS", 2)
    shown = published.Published()
    for canary in ("v1", 'v"2', "v3"):
        shown.publish(*verdict_of(canary), "inconclusive")
        shown.count("inconclusive", 0.3)
    text = shown.text().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {sample.labels["canary"] for sample in families["canary_verdict"].samples} == {'v"2', "v3"}
    assert "canary_gate_comparisons_dropped_total 1.0" in text
    assert "against" in caplog.text and "v1" in caplog.text
    assert families["canary_gate_duration_seconds"].type == "histogram"


def test_verdicts_that_stand_no_longer_are_not_kept(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate_ = in_process()
    monkeypatch.setattr(service, "_stands_until", lambda _counts: time.time() - 1)
    work: Any = type(
        "Done", (), {"cancelled": lambda _: False, "exception": lambda _: None, "result": lambda _: (1,)}
    )()
    for number in range(5):
        question = dataclasses.replace(QUESTION, end=END + number)
        gate_._working[question] = None
        gate_._done(question, work)
    assert not gate_._standing
