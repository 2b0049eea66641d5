"""The exporter as its clients meet it: a process, its HTTP, rubbish, slow clients, a full disk, kill -9."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from exporters import server
from exporters.events import bodies
from exporters.incremental import IncrementalText
from midwatch import content_encoding, http_server, metrics, modules
from midwatch.client import events as events_of
from midwatch.spec import model
from tests.conftest import midwatch_here

BASE = {"model": "fraud", "version": "v1"}
NOW = 1_700_000_000.0


class Running:
    def __init__(self, process: subprocess.Popen[str], url: str, errors: list[str]) -> None:
        self.process, self.errors = process, errors
        self.host, port = url.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def events(self, *lines: dict | bytes, **headers: str) -> tuple[int, dict]:
        body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        status, text = self.ask("POST", "/events", body, headers)
        return status, json.loads(text)

    def metric(self, name: str) -> float | None:
        match = re.search(rf"^{re.escape(name)} (\S+)$", self.ask("GET", "/metrics")[1], re.M)
        return float(match[1]) if match else None


@contextmanager
def exporter(
    state: Path, *options: str, environment: dict[str, str] | None = None, folder: Path | None = None
) -> Iterator[Running]:
    command = modules.command("midwatch", "exporter", "serve", "--listen", "127.0.0.1:0", "--state", str(state))
    process = subprocess.Popen(
        [*command, *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=folder,
    )
    errors: list[str] = []
    try:
        url = ""
        for line in process.stderr or ():
            errors.append(line)
            if line.startswith("{") and json.loads(line)["message"] == "ready":
                url = json.loads(line)["url"]
                break
        assert url, "".join(errors)
        reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
        reader.start()
        yield Running(process, url, errors)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        if process.stderr:
            process.stderr.close()


def prediction(identifier: str, **changes) -> dict:
    event = {
        "event": "prediction",
        "id": identifier,
        "ts": time.time(),
        "prediction": "fraud",
        "duration_seconds": 0.01,
    }
    return event | BASE | changes


def label(identifier: str, **changes) -> dict:
    return {"event": "label", "id": identifier, "model": "fraud", "label": "fraud", "ts": time.time()} | changes


REQUESTS = 'ml_requests_total{model="fraud",outcome="ok",version="v1"}'
OUTCOMES = 'ml_outcomes_total{actual="fraud",model="fraud",predicted="fraud",version="v1"}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with exporter(tmp_path_factory.mktemp("state") / "s") as made:
        yield made


def test_ndjson_arrays_and_single_objects_are_all_taken(running: Running) -> None:
    before = running.metric(REQUESTS) or 0
    assert running.events(prediction("n1"), prediction("n2"))[0] == 200
    body = json.dumps([prediction("n3"), label("n3")]).encode()
    assert running.ask("POST", "/events", body)[0] == 200
    assert running.ask("POST", "/events", json.dumps(prediction("n4")).encode())[0] == 200
    packed = gzip.compress(json.dumps(prediction("n5")).encode())
    assert running.ask("POST", "/events", packed, {"content-encoding": "gzip"})[0] == 200
    assert running.metric(REQUESTS) == before + 5


def test_a_retry_is_a_duplicate_and_still_ok(running: Running) -> None:
    event = prediction("again")
    assert running.events(event)[1]["accepted"] == 1
    status, answer = running.events(event)
    assert (status, answer["accepted"], answer["duplicates"]) == (200, 0, 1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"event":"prediction"', "not_json"),
        (b'{"event":"label","id":"x","model":"m","label":NaN,"ts":1}', "not_json"),
        (b'{"event":"prediction","id":"x","model":"m","version":"v","ts":1e999,"prediction":"a"}', "invalid"),
        (b'{"event":"label","id":"\xff\xfe","model":"m","label":1,"ts":1}', "not_json"),
        (b'{"event":"label","id":7,"model":"m","label":1,"ts":1}', "invalid"),
        (b'{"event":"other","id":"x"}', "invalid"),
        (b"[1]", "invalid"),
        (json.dumps(prediction("x", score=1.5)).encode(), "invalid"),
        (json.dumps(prediction("x", ts=time.time() + 3600)).encode(), "in_future"),
        (json.dumps(prediction("x", ts=time.time() - 1e8)).encode(), "too_old"),
        (json.dumps(prediction("x", ts="2026-01-01T00:00:00")).encode(), "no_time_zone"),
        (json.dumps(prediction("x", prediction=None)).encode(), "no_prediction"),
    ],
    ids=[
        "cut off",
        "NaN",
        "infinity",
        "no UTF-8",
        "number as id",
        "unknown event",
        "array in a line",
        "score over 1",
        "future",
        "years ago",
        "no time zone",
        "no prediction",
    ],
)
def test_the_good_events_of_a_batch_are_kept_and_the_bad_line_is_named(
    running: Running, bad: bytes, reason: str
) -> None:
    first, last = f"first-{reason}-{len(bad)}", f"last-{reason}-{len(bad)}"
    status, answer = running.events(prediction(first), bad, prediction(last))
    assert status == 422
    assert answer["accepted"] == 2
    assert [(entry["line"], entry["reason"]) for entry in answer["refused"]] == [(2, reason)]
    assert running.events(prediction(first), prediction(last))[1]["duplicates"] == 2


def test_a_label_of_another_model_is_named_as_such(running: Running) -> None:
    running.events(prediction("mine"))
    status, answer = running.events(label("mine", model="other"))
    assert status == 422
    assert "another model" in answer["refused"][0]["message"]


def test_bodies_without_an_event_are_refused(running: Running) -> None:
    for body in (b"", b"[", b"\n\n", b"[]"):
        assert running.ask("POST", "/events", body)[0] == 422


def test_unknown_paths_and_methods_say_what_there_is(running: Running) -> None:
    assert running.ask("GET", "/nothing")[0] == 404
    assert running.ask("GET", "/events")[0] == 405
    assert running.ask("POST", "/metrics", b"{}")[0] == 405, "events that are sent there are not taken"
    assert running.ask("GET", "/healthz")[0] == running.ask("GET", "/readyz")[0] == 200


def test_a_gigantic_body_is_refused_before_it_is_read(running: Running) -> None:
    with socket.create_connection((running.host, running.port), timeout=60) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        assert b"413" in client.recv(1000)


def test_a_gzip_bomb_and_an_endless_chunked_body_are_refused(running: Running) -> None:
    bomb = gzip.compress(b"0" * (32 * 2**20))
    with socket.create_connection((running.host, running.port), timeout=60) as client:
        head = f"POST /events HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n"
        client.sendall(head.encode() + bomb)
        assert b"413" in client.recv(1000)
    with socket.create_connection((running.host, running.port), timeout=60) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"0" * 0x100000 + b"\r\n"
        with pytest.raises(OSError):
            for _ in range(64):
                client.sendall(chunk)
                time.sleep(0.005)


def test_what_is_not_http_ends_the_connection_with_400(running: Running) -> None:
    with socket.create_connection((running.host, running.port), timeout=60) as client:
        client.sendall(b"\x16\x03\x01 what\r\n\r\n")
        assert b"400" in client.recv(1000)


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    bodies = [json.dumps(prediction(f"pipe{number}")).encode() for number in range(100)]
    bodies[50] = b"{}"
    text = b"".join(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(b) + b for b in bodies)
    with socket.create_connection((running.host, running.port), timeout=60) as client:
        client.sendall(text)
        seen = b""
        while seen.count(b"HTTP/1.1") < 100:
            seen += client.recv(65536)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", seen)
    assert statuses == [b"200"] * 50 + [b"422"] + [b"200"] * 49


def test_a_thousand_half_open_clients_stall_nobody(running: Running) -> None:
    clients = [socket.create_connection((running.host, running.port)) for _ in range(1000)]
    try:
        for client in clients:
            client.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-le")
        assert running.events(prediction("beside the slow"))[0] == 200
    finally:
        for client in clients:
            client.close()


def test_the_inference_loggers_cloud_events_become_a_prediction(running: Running) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "k1", "ce-inferenceservicename": "fraud", "ce-endpoint": "v1"}
    before = running.metric(REQUESTS) or 0
    kinds = {"request": b'{"instances":[{"x":1}]}', "response": b'{"predictions":["fraud"]}'}
    for kind, body in kinds.items():
        ce_type = {"ce-type": f"org.kubeflow.serving.inference.{kind}"}
        assert running.ask("POST", "/kserve", body, headers | ce_type)[0] == 200
    assert running.metric(REQUESTS) == before + 1
    assert running.ask("POST", "/kserve", b"{", headers | {"ce-type": "nothing"})[0] == 422
    assert running.events(label("k1"))[1]["accepted"] == 1


@pytest.mark.parametrize("path", ["/events", "/kserve"])
def test_every_member_of_a_gzip_body_is_read_and_of_a_cut_one_nothing_is_kept(running: Running, path: str) -> None:
    lines = [json.dumps(prediction(f"gz{path}{number}", model="zipped")).encode() + b"\n" for number in range(200)]
    packed = gzip.compress(b"".join(lines))
    for cut in (packed[: len(packed) // 2], packed[:-1]):
        assert running.ask("POST", path, cut, {"content-encoding": "gzip"})[0] == 400
    assert running.metric('ml_requests_total{model="zipped",outcome="ok",version="v1"}') in (None, 200.0)
    members = b"".join(map(gzip.compress, lines))
    if path == "/events":
        status, answer = running.ask("POST", path, members, {"content-encoding": "gzip"})
        assert (status, json.loads(answer)["accepted"]) == (200, 200)


def test_a_coding_that_is_not_read_is_415_and_names_those_that_are(running: Running) -> None:
    with socket.create_connection((running.host, running.port), timeout=60) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}")
        answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"\r\naccept-encoding: gzip, deflate\r\n" in answer


def test_a_number_beyond_64_bits_is_refused_and_the_exporter_goes_on(running: Running) -> None:
    huge, mine = 2**70, prediction("beside a huge number")
    status, answer = running.events(prediction("h1", prediction=huge), mine, label("h2", label=huge))
    assert (status, answer["accepted"]) == (422, 1)
    assert [(entry["line"], entry["reason"]) for entry in answer["refused"]] == [(1, "invalid"), (3, "invalid")]
    assert running.events(mine)[1]["duplicates"] == 1


def inference(made: Running, model: str, request: bytes, response: bytes, **headers: str) -> None:
    envelope = {"ce-specversion": "1.0", "ce-id": f"of-{model}", "ce-inferenceservicename": model} | headers
    for kind, body in (("request", request), ("response", response)):
        kinds = {"ce-type": f"org.kubeflow.serving.inference.{kind}"}
        status, answer = made.ask("POST", "/kserve", body, envelope | kinds)
        assert (status, json.loads(answer)["accepted"]) == (200, 1)


def test_an_inference_whose_payloads_cannot_be_read_is_a_request_with_a_reason(running: Running) -> None:
    inference(running, "unheard", b'{"data": {"nobody": "knows"}}', b"\x8f\x02\x80")
    assert running.metric('ml_requests_total{model="unheard",outcome="ok",version="default"}') == 1
    assert running.metric('ml_request_duration_seconds_count{model="unheard",version="default"}') == 1
    unread = 'midwatch_exporter_unread_payloads_total{model="unheard",reason="%s"}'
    assert [running.metric(unread % reason) for reason in ("protocol", "not_json")] == [1, 1]
    assert 'ml_predictions_total{model="unheard"' not in running.ask("GET", "/metrics")[1]


def test_a_streamed_chat_is_a_request_with_tokens_and_without_its_text(running: Running) -> None:
    pieces = (
        b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Dear Ms Smith"}}]}',
        b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4},"timings":{"prompt_ms":40}}',
    )
    streamed = b"".join(b"data: " + piece + b"\n\n" for piece in pieces) + b"data: [DONE]\n\n"
    inference(running, "chat", b'{"model":"m","stream":true,"messages":[]}', gzip.compress(streamed))
    assert running.metric('ml_tokens_total{kind="input",model="chat",version="default"}') == 7
    assert running.metric('ml_tokens_total{kind="output",model="chat",version="default"}') == 4
    assert running.metric('ml_finish_reasons_total{model="chat",reason="length",version="default"}') == 1
    assert running.metric('ml_time_to_first_token_seconds_bucket{le="0.04",model="chat",version="default"}') == 1
    assert "Smith" not in running.ask("GET", "/metrics")[1]


def test_a_batch_beyond_ten_thousand_rows_is_counted_whole(running: Running) -> None:
    rows = 25_000
    answered = json.dumps({"predictions": ["fraud"] * rows}).encode()
    inference(running, "batch", json.dumps({"instances": [[1]] * rows}).encode(), answered)
    assert running.metric('ml_predictions_total{model="batch",predicted="fraud",version="default"}') == rows
    assert running.events(label(f"of-batch/{rows - 1}", model="batch"))[1]["accepted"] == 1
    assert running.metric('ml_outcomes_total{actual="fraud",model="batch",predicted="fraud",version="default"}') == 1


def test_an_inference_is_counted_under_the_models_name_on_the_platform(tmp_path: Path, make_document) -> None:
    document = make_document()
    document["models"][0]["served_as"] = "fraud-v2-isvc"
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    with exporter(tmp_path / "s", "-f", str(tmp_path / "platform.yaml")) as made:
        inference(made, "fraud-v2-isvc", b'{"instances":[[1]]}', b'{"predictions":["fraud"]}')
        assert made.metric('ml_requests_total{model="fraud",outcome="ok",version="default"}') == 1
        assert "isvc" not in made.ask("GET", "/metrics")[1]


def test_sigkill_under_load_loses_nothing_acknowledged_and_counts_nothing_twice(tmp_path: Path) -> None:
    acknowledged = 0
    for round_ in range(3):
        with exporter(tmp_path) as made:
            if round_:
                assert made.metric(REQUESTS) == acknowledged
            killer = threading.Timer(0.3, made.process.send_signal, (signal.SIGKILL,))
            killer.start()
            batch: list[dict] = []
            try:
                for number in range(100_000):
                    batch = [prediction(f"{round_}-{number}-{place}") for place in range(20)]
                    assert made.events(*batch)[0] == 200
                    acknowledged += 20
            except (OSError, http.client.HTTPException):
                pass
            killer.join()
        with exporter(tmp_path) as made:
            answer = made.events(*batch)[1]
            acknowledged += answer["accepted"] + answer["duplicates"]
    with exporter(tmp_path) as made:
        assert made.metric(REQUESTS) == acknowledged


def test_a_full_disk_answers_503_and_takes_events_again_when_there_is_room(tmp_path: Path) -> None:
    script = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY));"
    script += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    script += "sys.argv = ['midwatch', *sys.argv[1:]]; runpy.run_module('midwatch', run_name='__main__')"
    command = [sys.executable, "-c", script, "exporter", "serve", "--listen", "127.0.0.1:0", "--state", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    made = Running(process, json.loads(process.stderr.readline())["url"], [])
    kept, status = 0, 200
    while status == 200:
        status, answer = made.events(*(prediction(f"full-{kept}-{place}") for place in range(50)))
        kept += answer.get("accepted", 0)
    assert status == 503
    assert "not durable" in answer["error"]
    assert made.ask("GET", "/readyz")[0] == 503
    assert made.metric(REQUESTS) == kept
    subprocess.run(["prlimit", "--pid", str(process.pid), "--fsize=unlimited"], check=True)
    assert made.events(*(prediction(f"full-{kept}-{place}") for place in range(50)))[1]["accepted"] == 50
    assert made.ask("GET", "/readyz")[0] == 200
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    with exporter(tmp_path) as again:
        assert again.metric(REQUESTS) == kept + 50


def refused(*options: str) -> str:
    done = midwatch_here("exporter", "serve", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_cannot_start_says_so_in_a_line(tmp_path: Path, running: Running) -> None:
    state = str(tmp_path / "s")
    taken = f"127.0.0.1:{running.port}"
    assert "choose another with --listen" in refused("--listen", taken, "--state", state)
    assert "--token-file" in refused("--listen", "0.0.0.0:0", "--state", state)
    assert "write HOST:PORT" in refused("--listen", "nowhere", "--state", state)
    assert "needs a folder it may write to" in refused("--listen", "127.0.0.1:0", "--state", "/proc/nothing")
    assert "cannot be read" in refused("--token-file", "/nothing", "--state", state)


def test_with_a_token_only_health_is_open(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    with exporter(tmp_path / "s", "--token-file", str(tmp_path / "token")) as made:
        assert made.ask("GET", "/healthz")[0] == 200
        assert made.ask("GET", "/metrics")[0] == 401
        assert made.ask("GET", "/metrics", headers={"authorization": "Bearer wrong"})[0] == 401
        assert made.ask("GET", "/metrics", headers={"authorization": "Bearer secret"})[0] == 200


@pytest.mark.parametrize("given", ["platform.yaml", "."], ids=["file", "folder"])
def test_personal_fields_never_reach_the_disk(tmp_path: Path, make_document, given: str) -> None:
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef")
    personal = {"drop": ["email"], "hash": ["customer"], "key_file": "key"}
    document = make_document(exporter={"personal": personal})
    document["models"][0]["groups"] = ["customer"]
    document["models"][0]["drift"] = {"reference": "none.npz", "features": {"amount": "numeric"}}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    fields = {"email": "mail@example", "customer": "Erika-Mustermann", "amount": 1.0}
    with exporter(tmp_path / "s", "-f", str(tmp_path / given)) as made:
        assert made.events(prediction("p", features=fields, groups={"customer": "Erika-Mustermann"}))[0] == 200
        written = b"".join(path.read_bytes() for path in (tmp_path / "s").glob("*.log"))
    assert b"amount" in written
    assert b"mail@example" not in written
    assert b"Mustermann" not in written


@pytest.mark.parametrize("body", [b"x\n" * 2**23, b"[" + b"0," * 2**22 + b"0]"], ids=["lines", "array"])
def test_a_large_body_that_holds_no_event_has_a_short_answer(running: Running, body: bytes) -> None:
    status, answer = running.ask("POST", "/events", body)
    assert (status, len(answer) < 1000) == (422, True)
    assert "more than 1000 faults, so nothing of the body was kept; the first, at 1:" in json.loads(answer)["error"]


def test_an_answer_lists_a_thousand_refused_events_and_counts_the_rest(running: Running) -> None:
    old = [prediction(f"old {number}", ts=1000.0) for number in range(1500)]
    status, answer = running.events(prediction("new"), *old)
    assert (status, answer["accepted"], len(answer["refused"])) == (422, 1, 1000)
    assert answer["unlisted"] == {"too_old": 500}
    assert "unlisted" not in running.events(prediction("newer"))[1]


def test_elements_of_an_array_are_read_one_by_one_as_they_are_written() -> None:
    good, bad = json.dumps(prediction('a"],[')), '{"x": [1e999, -0, {"y": "]"}]}'
    items, refused = bodies.decode(f" [ {bad} ,{good},\n 7, {good} ] ".encode())
    assert [number for number, _ in items] == [2, 4]
    assert [one.line for one in refused] == [1, 3]
    for broken in (b"[7,]", b"[7", b"[7 7]", b"[7],", b"[,]", b"[7, \xff]", b"[" * 100_000):
        with pytest.raises(bodies.BodyError):
            bodies.decode(broken)


def test_metrics_are_never_written_twice_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[str] = []
    written: list[str] = []

    def write(_self: object, *what: object) -> Iterator[None]:
        at_once.append(str(what[-1]))
        assert len(at_once) == 1
        yield
        written.append(at_once.pop())

    monkeypatch.setattr(IncrementalText, "write", write)
    monkeypatch.setattr(IncrementalText, "pieces", lambda _self, content_type: [content_type.encode()])
    monkeypatch.setattr(server, "SLICE_SECONDS", 0.0)
    answers: list[tuple[int, bytes, str]] = []

    async def ask() -> None:
        service = server.Service(options_of(tmp_path))
        for accept in [b"text/plain"] * 50 + [b"application/openmetrics-text; version=1.0.0"] * 50:
            for coding in (b"gzip", b""):
                scrape(service, answers, {b"accept": accept, b"accept-encoding": coding})
        await asyncio.gather(*service._scrapes)
        service.store.close(time.time())

    asyncio.run(ask())
    assert len(answers) == 200
    assert {status for status, _, _ in answers} == {200}
    assert len(written) == len(set(written)) == 2
    assert {gzip.decompress(body) for _, body, headers in answers if "gzip" in headers} == {
        body for _, body, headers in answers if not headers
    }


def asked_about(name: str, predicted: str) -> events_of.Prediction:
    return events_of.Prediction(id=name, model=name, version="v", ts=NOW, prediction=predicted)


def options_of(folder: Path) -> server.Options:
    return server.Options(host="127.0.0.1", port=0, state=folder / "s", settings=model.Exporter())


def test_it_publishes_digests_of_what_its_platform_file_says(tmp_path: Path) -> None:
    published = metrics.PLATFORM_FILE

    async def seen() -> list[tuple[dict[str, str], float]]:
        digests = {"": "a1", "fraud": "b2"}
        service = server.Service(dataclasses.replace(options_of(tmp_path), digests=digests))
        found = [(dict(labels), value) for metric, labels, value in service.own_view().samples if metric is published]
        service.store.close(time.time())
        return found

    assert asyncio.run(seen()) == [({"model": "", "digest": "a1"}, 1), ({"model": "fraud", "digest": "b2"}, 1)]


def scrape(
    service: server.Service, answers: list[tuple[int, bytes, str]], headers: dict[bytes, bytes] | None = None
) -> None:
    def respond(status: int, content: bytes, _type: str, /, *, headers: str = "") -> None:
        answers.append((status, content, headers))

    service._handle(http_server.Request(method=b"GET", path=b"/metrics", headers=headers or {}, body=b""), respond)


def test_events_come_between_the_slices_of_a_scrape_and_who_asks_meanwhile_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SLICE_SECONDS", 0.0)
    answers: list[tuple[int, bytes, str]] = []

    async def ask() -> int:
        service = server.Service(options_of(tmp_path))
        state = service.store.state
        state.apply(NOW, [asked_about("m0", "a")])
        scrape(service, answers)
        turns = 0
        while not answers:
            turns += 1
            state.apply(NOW, [asked_about(f"m{turns}", f"class {turns}")])
            if turns < 5:
                scrape(service, answers)
            await asyncio.sleep(0)
        await asyncio.gather(*service._scrapes)
        service.store.close(time.time())
        return turns

    assert asyncio.run(ask()) > 20
    assert [status for status, _, _ in answers] == [200] * 5
    assert len({body for _, body, _ in answers}) == 1
    assert answers[0][1].endswith(b"\n")


def test_a_scrape_that_fails_is_answered_and_the_next_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[tuple[int, bytes, str]] = []

    async def ask() -> None:
        service = server.Service(options_of(tmp_path))
        with monkeypatch.context() as patched:
            patched.setattr(content_encoding, "gzipped", lambda _pieces: 1 / 0)
            scrape(service, answers, {b"accept-encoding": b"gzip"})
            await asyncio.gather(*service._scrapes)
        scrape(service, answers, {b"accept-encoding": b"gzip"})
        await asyncio.gather(*service._scrapes)
        service.store.close(time.time())

    asyncio.run(ask())
    assert [status for status, _, _ in answers] == [500, 200]
    assert b"midwatch_exporter_series" in gzip.decompress(answers[1][1])


@pytest.mark.parametrize("asked", ["gzip", "gzip;q=0", ""])
def test_metrics_are_compressed_for_who_takes_gzip(running: Running, asked: str) -> None:
    connection = http.client.HTTPConnection(running.host, running.port, timeout=60)
    connection.request("GET", "/metrics", headers={"Accept-Encoding": asked} if asked else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.headers.get("content-encoding") == ("gzip" if asked == "gzip" else None)
    text = gzip.decompress(body) if asked == "gzip" else body
    assert b"# TYPE midwatch_exporter_series gauge\n" in text
