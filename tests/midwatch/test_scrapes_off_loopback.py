"""A real Prometheus scrapes our services where others reach them, with a token that is good for nothing else."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from dr.posture import exporter
from midwatch import http_access
from midwatch.app import prometheus
from midwatch.http_server import Head
from midwatch.spec.model import Platform
from tests.conftest import free_port, midwatch_here, need_program, platform_document, wait_for

CLIENTS, SCRAPES = b"of-clients", b"of-prometheus"


def document_at(folder: Path, ports: dict[str, int]) -> dict[str, Any]:
    """The services listen at every address of this host, and are found at one."""

    def service(name: str) -> dict[str, Any]:
        found = {"listen": f"0.0.0.0:{ports[name]}", "targets": [f"127.0.0.1:{ports[name]}"]}
        return {**found, "metrics_token_file": str(folder / "scrapes")}

    stores = [{"name": "models", "files": {"source": "models", "backup": "copies"}}]
    document = platform_document(
        prometheus={"url": f"http://127.0.0.1:{ports['prometheus']}", "scrape_interval": "1s"},
        exporter=service("exporter"),
        gate=service("gate"),
        disaster_recovery={"owner": "ml", "stores": stores, **service("recovery")},
    )
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    return document


@contextmanager
def started(*words: object) -> Iterator[None]:
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def recovery_exporter(port: int) -> Iterator[None]:
    watch: Any = SimpleNamespace(look=list)
    running = exporter.Exporter(watch, "0.0.0.0", port, http_access.admission(SCRAPES))
    thread = threading.Thread(target=running.run)
    thread.start()
    yield
    running.stop()
    thread.join()


def status(port: int, method: str, path: str, token: bytes | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, b"", {} if token is None else {"Authorization": f"Bearer {token.decode()}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def up(prometheus_port: int) -> dict[str, float]:
    query = urllib.parse.urlencode({"query": 'up{job=~"midwatch-.*"}'})
    with urllib.request.urlopen(f"http://127.0.0.1:{prometheus_port}/api/v1/query?{query}", timeout=60) as answer:
        found = json.load(answer)["data"]["result"]
    return {one["metric"]["job"]: float(one["value"][1]) for one in found}


def test_prometheus_scrapes_every_service_of_ours_with_a_token_for_metrics_alone(tmp_path: Path) -> None:
    program = need_program("prometheus")
    (tmp_path / "clients").write_bytes(CLIENTS)
    (tmp_path / "scrapes").write_bytes(SCRAPES + b"\n")
    ports = {name: free_port() for name in ("prometheus", "exporter", "gate", "recovery")}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document := document_at(tmp_path, ports)))
    rendered = prometheus.render_files(Platform.model_validate(document))["prometheus/prometheus.yml"]
    (tmp_path / "prometheus.yml").write_text(rendered)
    midwatch = [sys.executable, "-P", "-m", "midwatch"]
    tokens = ["--token-file", tmp_path / "clients", "--metrics-token-file", tmp_path / "scrapes"]
    with ExitStack() as stack:
        gate = [*midwatch, "canary", "gate", "-f", file, "--audit", tmp_path / "audit.jsonl", *tokens]
        events = [*midwatch, "exporter", "serve", "-f", file, "--state", tmp_path / "state", *tokens]
        own = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        for words in (gate, events, [*own, f"--web.listen-address=127.0.0.1:{ports['prometheus']}"]):
            stack.enter_context(started(*words))
        stack.enter_context(recovery_exporter(ports["recovery"]))
        for name, path in (("gate", "/healthz"), ("exporter", "/healthz"), ("prometheus", "/-/ready")):
            wait_for(f"http://127.0.0.1:{ports[name]}{path}", 60)
        wanted = {"midwatch-exporter": 1.0, "midwatch-gate": 1.0, "midwatch-recovery": 1.0}
        deadline = time.monotonic() + 60
        while (seen := up(ports["prometheus"])) != wanted:
            assert time.monotonic() < deadline, seen
            time.sleep(0.2)
        for name in ("exporter", "gate", "recovery"):
            answers = [status(ports[name], "GET", "/metrics", token) for token in (None, b"wrong", SCRAPES)]
            assert answers == [401, 401, 200], name
        for name, path in (("exporter", "/events"), ("gate", "/verdict"), ("gate", "/api/v1/query")):
            assert status(ports[name], "POST", path, SCRAPES) == 401
            assert status(ports[name], "POST", path, CLIENTS) in (400, 422)


@pytest.mark.parametrize(
    ("token", "metrics_token", "path", "given", "admitted"),
    [
        (None, None, b"/metrics", None, True),
        (b"t", None, b"/metrics", b"t", True),
        (b"t", None, b"/metrics", None, False),
        (b"t", b"m", b"/metrics", b"m", True),
        (b"t", b"m", b"/metrics", b"t", True),
        (b"t", b"m", b"/metrics", None, False),
        (b"t", b"m", b"/events", b"m", False),
        (b"t", b"m", b"/metrics/", b"m", False),
        (None, b"m", b"/metrics", None, False),
        (None, b"m", b"/events", None, True),
        (b"t", b"m", b"/healthz", None, True),
    ],
    ids=str,
)
def test_a_token_for_metrics_admits_to_metrics_alone(
    token: bytes | None, metrics_token: bytes | None, path: bytes, given: bytes | None, admitted: bool
) -> None:
    headers = {} if given is None else {b"authorization": b"Bearer " + given}
    refusal = http_access.admission(token, metrics_token)(Head(method=b"GET", path=path, headers=headers))
    assert (refusal is None) is admitted


def test_the_recovery_exporter_listens_off_loopback_with_a_token_alone(tmp_path: Path) -> None:
    stores = [{"name": "models", "files": {"source": "models", "backup": "copies"}}]
    document = platform_document(disaster_recovery={"owner": "ml", "stores": stores})
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    words = (
        "dr",
        "export",
        "-f",
        tmp_path / "platform.yaml",
        "--evidence",
        tmp_path / "evidence",
        "--listen",
        "0.0.0.0:0",
    )
    done = midwatch_here(*words)
    assert (done.returncode, "give --metrics-token-file, or --insecure" in done.stderr) == (2, True), done.stderr
    (tmp_path / "empty").write_text("")
    done = midwatch_here(*words, "--metrics-token-file", tmp_path / "empty")
    assert (done.returncode, "is empty; put a token in it" in done.stderr) == (2, True), done.stderr
