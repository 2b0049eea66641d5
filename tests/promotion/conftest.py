"""A small registry that speaks MLflow's REST, and platforms whose models are promoted in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from midwatch import evidence
from midwatch.spec import load
from midwatch.spec.model import Platform
from monitors.canary.times import moment
from monitors.promotion.promoter import Asked, Promoter
from monitors.promotion.registry import Registry
from tests.conftest import platform_document

NOW = 1_800_000_000.0
API = "/api/2.0/mlflow"


class SmallMlflow:
    """One registered model, `fraud`, whose versions have tags and metrics; `told` is everything that was changed.

    `after_alias` is called when the alias was set, as somebody else who promotes at the same time.
    """

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, str] = {}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.failing = False
        self.refusing_alias = False
        self.after_alias: Any = lambda: None
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(registry.get(self.path))

            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.answer(registry.post(urlsplit(self.path).path, document))

            def answer(self, said: tuple[int, Any]) -> None:
                status, document = (500, {}) if registry.failing else said
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, number: str, *, metrics: dict[str, Any] | None = None, status: str = "READY", **tags: str) -> None:
        self.versions[number] = {"tags": dict(tags), "metrics": metrics or {}, "status": status}

    def get(self, target: str) -> tuple[int, Any]:
        path, query = urlsplit(target).path.removeprefix(API), parse_qs(urlsplit(target).query)
        if path == "/registered-models/get":
            aliases = [{"alias": alias, "version": number} for alias, number in self.aliases.items()]
            return 200, {"registered_model": {"name": "fraud", "aliases": aliases}}
        if path == "/model-versions/search":
            return 200, {"model_versions": [self.version(number) for number in self.versions]}
        if path == "/runs/get":
            number = query["run_id"][0].removeprefix("run-")
            logged = self.versions[number]["metrics"].items()
            metrics = [{"key": key, "value": value, "timestamp": 1000} for key, value in logged]
            return 200, {"run": {"info": {"run_id": f"run-{number}"}, "data": {"metrics": metrics}}}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND"}

    def version(self, number: str) -> dict[str, Any]:
        found = self.versions[number]
        tags = [{"key": key, "value": value} for key, value in found["tags"].items()]
        return {
            "version": number,
            "creation_timestamp": 1000 * int(number),
            "run_id": f"run-{number}",
            "source": "s3://models",
            "status": found["status"],
            "tags": tags,
        }

    def post(self, path: str, document: dict[str, Any]) -> tuple[int, Any]:
        path = path.removeprefix(API)
        self.told.append((path, document))
        if path == "/model-versions/set-tag":
            self.versions[document["version"]]["tags"][document["key"]] = document["value"]
        elif path == "/registered-models/alias":
            if self.refusing_alias:
                return 403, {"error_code": "PERMISSION_DENIED"}
            self.aliases[document["alias"]] = document["version"]
            self.after_alias()
        else:
            return 404, {"error_code": "ENDPOINT_NOT_FOUND"}
        return 200, {}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mlflow() -> Iterator[SmallMlflow]:
    """Version 1 is champion; version 2 was evaluated and checked for bias."""
    registry = SmallMlflow()
    registry.add("1")
    registry.add("2", evaluation="passed", bias_check="passed")
    registry.aliases["champion"] = "1"
    yield registry
    registry.close()


@pytest.fixture
def platform_file(mlflow: SmallMlflow, tmp_path: Path) -> Path:
    return written(tmp_path, mlflow.url)


def written(folder: Path, url: str, *, gate: dict[str, Any] | None = None, **promotion: Any) -> Path:
    """A platform file whose model `fraud` is promoted in the registry at an address."""
    document = platform_document()
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    document["models"][0]["promotion"] = promotion
    observe = {"url": url, "served_as": "v{version}"}
    document["systems"] = {
        "mlflow": {"targets": ["mlflow:5000"], "owner": document["models"][0]["owner"], "observe": observe}
    }
    if gate:
        document["gate"] = gate
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def loaded(file: Path) -> Platform:
    return load.load_platform(file)


class Ahead:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Ahead:
    return Ahead()


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "gate" / "audit.jsonl"


@pytest.fixture
def promoter(platform_file: Path, audit: Path, clock: Ahead) -> Promoter:
    platform = loaded(platform_file)
    return Promoter(platform, audit, Registry.of(platform), clock)


def judged(
    audit: Path,
    verdict: str = "pass",
    *,
    baseline: str = "v1",
    canary: str = "v2",
    at: float = NOW - 60,
    requests: int = 500,
) -> evidence.Record:
    """A verdict of the gate in its log, as `monitors.gate.verdict_log` writes it."""
    asked = {"model": "fraud", "baseline": baseline, "canary": canary, "start": None, "end": None}
    told = {"start": moment(at - 600), "end": moment(at), "requests": {"baseline": requests, "canary": requests}}
    return evidence.Log(audit).append(
        "verdict", asked=asked, verdict=verdict, reason=f"errors {verdict}", evidence=told
    )


def asked(version: str = "2", **more: Any) -> Asked:
    return Asked(**({"model": "fraud", "version": version, "by": "ana"} | more))
