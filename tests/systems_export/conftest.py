"""Platforms whose systems are asked for what they do not publish."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from midwatch.metrics import Metric
from midwatch.spec.observed import KINDS
from tests.systems.conftest import platform_with, section, write_platform  # noqa: F401 - fixtures

OBSERVED: dict[str, dict[str, Any]] = {
    "mlflow": {"url": "http://mlflow:5000"},
    "argo_cd": {
        "url": "https://argocd",
        "applications": ["fraud-server"],
        "carries": {"fraud-server": {"model": "fraud", "image": ".*/fraud:v(.+)"}},
    },
    "explainer": {"endpoints": {"credit": {"url": "http://explainer/v1/models/credit:explain", "row": [1.0, 2.0]}}},
    "feast": {
        "python": "/opt/feast/bin/python",
        "repository": "/etc/feast",
        "views": {"spending": {"fresh_within": "1h", "materialized_within": "2h"}},
    },
    "kserve": {"services": ["ml/fraud"], "blocked_for": "20m"},
    "kubernetes": {"cron_jobs": ["ml/nightly"], "time_zone": "Europe/Berlin", "start_within": "20m"},
    "tekton": {"pipelines": {"ml/train": {"succeed_within": "26h", "may_skip": True}}, "wait_within": "1h"},
}
"""A section of each system that can be asked."""


@pytest.fixture(params=sorted(KINDS))
def asked(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def observing(name: str, **changes: Any) -> dict[str, Any]:
    """A system's section that says what is asked."""
    return section(name, slos=None, observe={**OBSERVED[name], **changes})


class RecordedServer:
    """A server that gives recorded answers by path and query, 404 for others; `asked` are the requests' lines."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked, self.tokens = answers, list[str](), set[str]()
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                recorded.asked.append(self.path)
                recorded.tokens.add(self.headers.get("Authorization", ""))
                answer = recorded.answers.get(self.path, {"status": 404, "text": "nobody recorded this"})
                content = answer["text"].encode()
                self.send_response(answer["status"])
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def mlflow_server() -> Iterator[RecordedServer]:
    """What MLflow 3.17.2 answered: flights-delay with three versions, legacy in stage Production."""
    server = RecordedServer(json.loads((RECORDED / "mlflow-3.17.2.json").read_text())["answers"])
    yield server
    server.close()


def rows(samples: list[Any], metric: Metric) -> dict[tuple[str, ...], float]:
    """Values of a metric's samples by their labels, in the metric's order."""
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for sample in samples
        if sample.metric is metric
    }
