"""A small real plane: Prometheus with rules on series that a test sets, and an Alertmanager with rendered routes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import yaml

from alerts.routing import existing
from midwatch import alertmanager, programs, prometheus
from midwatch.app.status import read
from midwatch.app.status.records import Overview
from tests import conftest as shared

Found = TypeVar("Found")

ALERTS = {
    "deadman": {"alertname": "MidwatchDeadman", "severity": "none"},
    "failing": {"alertname": "ModelFailing", "severity": "page", "owner": "ml", "model": "fraud"},
    "burn-page": {
        "alertname": "ErrorBudgetBurn",
        "severity": "page",
        "owner": "ml",
        "model": "fraud",
        "slo": "availability",
    },
    "burn-ticket": {
        "alertname": "ErrorBudgetBurn",
        "severity": "ticket",
        "owner": "ml",
        "model": "fraud",
        "slo": "availability",
    },
    "no-data": {"alertname": "ModelNoData", "severity": "ticket", "owner": "ml", "model": "churn"},
    "accuracy": {"alertname": "ModelAccuracyLow", "severity": "ticket", "owner": "ml", "model": "fraud"},
    "others": {"alertname": "DiskFull", "severity": "critical", "owner": "somebody-else"},
}
"""Alerts by the name under which a test has them fire."""

SLO = [{"name": "availability", "sli": "availability", "objective": "99%"}]


def document(**changes: Any) -> dict[str, Any]:
    """A platform of two models; the second is under maintenance every day."""
    model = {"owner": "ml", "task": "classification", "slos": SLO}
    return shared.platform_document(
        models=[{**model, "name": "fraud"}, {**model, "name": "churn"}],
        time_intervals={"every-day": {"weekdays": ["sunday:saturday"]}},
        maintenance=[{"name": "migration", "interval": "every-day", "labels": {"model": "churn"}}],
        alertmanager={"group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h"},
        **changes,
    )


def records(model: str, *, left: float, burn: float = 0.2, version: str = "v1") -> list[str]:
    """What an objective's rules record of a model, as lines of an exposition."""
    labels = f'model="{model}",slo="availability"'
    owned = f'{labels},owner="ml"'
    return [
        f"slo:objective:ratio{{{owned}}} 0.99",
        f"slo:error_budget_remaining:ratio{{{owned}}} {left}",
        f"slo:period_error:ratio{{{owned}}} {(1 - left) * 0.01}",
        f"slo:burn_rate:ratio1h{{{owned}}} {burn}",
        f"slo:events:period{{{labels}}} 1000",
        f'model:ml_requests:rate{{model="{model}",version="{version}",outcome="ok"}} 9',
        f'model:ml_requests:rate{{model="{model}",version="{version}",outcome="error"}} 1',
    ]


CALM = [*records("fraud", left=0.8), *records("churn", left=0.5)]


def wait_until(look: Callable[[], Found], is_there: Callable[[Found], object], seconds: float = 120.0) -> Found:
    """Look until what is seen is right; its last state fails the test."""
    deadline = time.monotonic() + seconds
    while not is_there(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


class Plane:
    """The programs, and what a test has them see."""

    def __init__(self, folder: Path) -> None:
        self.platform = shared.platform(**{key: value for key, value in document().items() if key != "apiVersion"})
        self.lines: list[str] = []
        self.delivered: list[bytes] = []
        self.firing: set[str] = {"deadman"}
        self.server = _serve(self)
        self.port = self.server.server_port
        self.ports = SimpleNamespace(prometheus=shared.free_port(), alertmanager=shared.free_port())
        self.prometheus_url = f"http://127.0.0.1:{self.ports.prometheus}"
        self.alertmanager_url = f"http://127.0.0.1:{self.ports.alertmanager}"
        self.alertmanager = alertmanager.Client(self.alertmanager_url)
        self.processes = [self._alertmanager(folder), self._prometheus(folder)]
        self.sources = read.Sources(
            prometheus=prometheus.Client(self.prometheus_url, retries=0),
            prometheus_url=self.prometheus_url,
            alertmanager=self.alertmanager,
            platform=self.platform,
        )
        self.file = folder / "platform.yaml"
        self.file.write_text(
            yaml.safe_dump(
                document(prometheus={"url": self.prometheus_url})
                | {
                    "alertmanager": {
                        "url": self.alertmanager_url,
                        "group_wait": "0s",
                        "group_interval": "1s",
                        "repeat_interval": "4h",
                    }
                }
            )
        )

    def overview(self, **changes: Any) -> Overview:
        return read.overview(read.Sources(**{**vars(self.sources), **changes}))

    def fire(self, *names: str) -> None:
        """Have these alerts fire, and no other but the deadman's switch; wait until both programs say so."""
        self.firing = {"deadman", *names}
        wanted = sorted(ALERTS[name]["alertname"] for name in self.firing)
        wait_until(self._names, lambda names: names == wanted)

    def show(self, lines: list[str]) -> None:
        """Have these series scraped."""
        self.lines = lines

    def _names(self) -> list[str]:
        return sorted(one.labels["alertname"] for one in self.alertmanager.alerts())

    def _alertmanager(self, folder: Path) -> subprocess.Popen[bytes]:
        config = folder / "alertmanager.yml"
        config.write_text(existing.text(self.platform, sink_url=f"http://127.0.0.1:{self.port}"))
        return _start(
            programs.path_of("alertmanager"),
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{self.ports.alertmanager}",
            "--cluster.listen-address=",
            ready=f"{self.alertmanager_url}/-/ready",
        )

    def _prometheus(self, folder: Path) -> subprocess.Popen[bytes]:
        rules = [
            {
                "alert": labels["alertname"],
                # The last scrape that was in time: a busy machine misses one now and then.
                "expr": f'last_over_time(trouble{{of="{name}"}}[1m]) == 1',
                "labels": {key: value for key, value in labels.items() if key != "alertname"},
                "annotations": {"dashboard_url": f"http://grafana.test/d/{name}", "summary": name},
            }
            for name, labels in ALERTS.items()
        ]
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
        address = f"127.0.0.1:{self.ports.alertmanager}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
            "scrape_configs": [
                {
                    "job_name": "midwatch-exporter",
                    "honor_labels": True,
                    "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}],
                },
                {"job_name": "alertmanager", "static_configs": [{"targets": [address]}]},
                {
                    "job_name": "prometheus",
                    "static_configs": [{"targets": [f"127.0.0.1:{self.ports.prometheus}"]}],
                },
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        return _start(
            shared.need_program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.ports.prometheus}",
            "--rules.alert.resend-delay=10s",  # an alert stands four times as long, however late its next sending is
            ready=f"{self.prometheus_url}/-/ready",
        )

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        self.server.shutdown()
        self.server.server_close()


def _serve(plane: Plane) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            trouble = [f'trouble{{of="{name}"}} {int(name in plane.firing)}' for name in ALERTS]
            self._answer("\n".join([*trouble, *plane.lines, ""]).encode())

        def do_POST(self) -> None:
            plane.delivered.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # Prometheus waits for no scrape that is late
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _start(*command: str, ready: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shared.wait_for(ready)
    return process


@pytest.fixture(scope="session")
def _plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    shared.need_program("amtool")
    plane = Plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


@pytest.fixture
def plane(_plane: Plane) -> Plane:
    """The plane, calm and without silences."""
    for silence in _plane.alertmanager.silences():
        if silence.state != "expired":
            _plane.alertmanager.expire(silence.id)
    _plane.show(CALM)
    _plane.fire()
    return _plane
