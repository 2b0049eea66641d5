"""The first line of an explanation in a notification: real Prometheus and Alertmanager, and nobody waits for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import yaml

from alerts import alerting_rule
from midwatch import metrics
from midwatch.app.incident.watch import AGAIN_SECONDS, MOST_ALERTS, MOST_AT_ONCE, MOST_LINE, Watch
from midwatch.errors import MidwatchError
from midwatch.prometheus import Sample, UnreachableError
from midwatch.promql import Expr
from midwatch.spec.slo import Severity
from tests.conftest import free_port, need_program, platform, wait_for

LINE = 'Since 14:03 UTC, model fraud: errors 1% before, then 9% (8% to 10%). Most likely deployment: "v2" {{ x }} `y`'
VERSION = 'v"2\\'
"""A label that has to be quoted."""


class Held:
    """A Prometheus with alerts that hold; each has a model of its name."""

    def __init__(self, *names: str) -> None:
        self.names, self.is_there = list(names), True

    def query(self, _selector: str) -> list[Sample]:
        if not self.is_there:
            raise UnreachableError("q", "gone")
        return [
            Sample(labels={"alertname": name, "model": name, "severity": "page"}, value=1, time=0)
            for name in self.names
        ]


def watched(prometheus: Held, said: list[str], *, line: str = LINE) -> tuple[Watch, SimpleNamespace]:
    now = SimpleNamespace(at=1000.0)

    def explained(_sources: object, name: str, *_: object) -> SimpleNamespace:
        said.append(name)
        if name == "Unknown":
            raise MidwatchError("Prometheus has no such alert")
        return SimpleNamespace(line=line)

    sources = SimpleNamespace(client=prometheus)
    return Watch(sources, explained=explained, clock=lambda: now.at), now  # type: ignore[arg-type]


def test_an_alert_is_explained_once_and_again_after_a_while_and_forgotten_when_it_is_over() -> None:
    prometheus, said = Held("A"), []
    watch, now = watched(prometheus, said)
    for _ in range(3):
        watch.look()
    assert said == ["A"]
    now.at += AGAIN_SECONDS
    watch.look()
    assert said == ["A", "A"]
    prometheus.names = []
    watch.look()
    assert watch.text() == b""


def test_new_alerts_come_before_old_ones_and_none_keeps_the_others_waiting() -> None:
    prometheus, said = Held(*(f"A{number:02}" for number in range(MOST_AT_ONCE))), []
    watch, now = watched(prometheus, said)
    watch.look()
    now.at += AGAIN_SECONDS
    prometheus.names.append("Z")
    watch.look()
    assert said[MOST_AT_ONCE] == "Z"
    assert len(said) == 2 * MOST_AT_ONCE


def test_lines_are_bounded_in_number_and_length() -> None:
    prometheus, said = Held(*(f"A{number:02}" for number in range(MOST_ALERTS + 5))), []
    watch, _ = watched(prometheus, said, line="x" * 10_000)
    for _ in range(20):
        watch.look()
    lines = [line for line in watch.text().decode().splitlines() if not line.startswith("#")]
    assert len(lines) == MOST_ALERTS
    assert all(len(line) < MOST_LINE + 200 for line in lines)


def test_what_cannot_be_explained_says_so_and_a_prometheus_that_is_away_keeps_lines_for_a_while_only() -> None:
    prometheus, said = Held("Unknown"), []
    watch, now = watched(prometheus, said)
    watch.look()
    assert b"What changed could not be said: Prometheus has no such alert" in watch.text()
    prometheus.is_there = False
    watch.look()
    assert watch.text() != b""
    now.at += 4 * AGAIN_SECONDS
    watch.look()
    assert watch.text() == b""


def test_rules_have_no_such_annotation_unless_it_is_asked_for() -> None:
    rule = alerting_rule.annotations_of(platform(), "A", summary="", description="", owner="ml", model="fraud")
    assert "what_changed" not in rule


# Real programs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def delivered(tmp_path: Path) -> Iterator[list[dict]]:
    """Alerts that Alertmanager delivered: one with a line, and one without, by a rule of ours."""
    found: list[dict] = []
    both = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = f'alertname="Bad",model="fraud",slo="latency",version="{_escaped(VERSION)}"'
            text = f'{metrics.INCIDENT_INFO.name}{{{key},line="{_escaped(LINE)}"}} 1\n'
            text += f'demo{{model="fraud",version="{_escaped(VERSION)}"}} 1\ndemo{{model="fraud",version="v1"}} 1\n'
            self._answer(text.encode())

        def do_POST(self) -> None:
            found.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self._answer(b"")
            if len({one["labels"]["version"] for one in found}) == 2:
                both.set()

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        Thread(target=server.serve_forever, daemon=True).start()
        _start(tmp_path, server.server_port, stack)
        assert both.wait(60), "no notification"
        yield found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _start(folder: Path, port: int, stack: ExitStack) -> None:
    """Prometheus with the rule, and Alertmanager with a webhook."""
    watched = platform(incidents={"watch": True})
    rule = alerting_rule.build(
        watched, "Bad", Expr("demo > 0"), 0.0, "ml", Severity.PAGE, "bad", "It is bad.", slo="latency"
    ).rule
    rule["annotations"] = alerting_rule.annotations_of(
        watched,
        "Bad",
        summary="bad",
        description="",
        owner="ml",
        model="fraud",
        slo="latency",
        version="{{ $labels.version }}",
    )
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "interval": "1s", "rules": [rule]}]}))
    told, asked = free_port(), free_port()
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "300ms", "scrape_timeout": "300ms"},
                "rule_files": ["rules.yml"],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{told}"]}]}]},
                "scrape_configs": [{"job_name": "x", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
            }
        )
    )
    (folder / "alertmanager.yml").write_text(
        yaml.safe_dump(
            {
                "route": {"receiver": "hook", "group_wait": "1ms", "group_by": ["version"]},
                "receivers": [{"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{port}/"}]}],
            }
        )
    )
    own = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am", "--cluster.listen-address="]
    for command, where in (
        ([need_program("prometheus-alertmanager"), *own, f"--web.listen-address=127.0.0.1:{told}"], told),
        (
            [
                need_program("prometheus"),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{asked}",
                "--rules.alert.resend-delay=1s",
            ],
            asked,
        ),
    ):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        wait_for(f"http://127.0.0.1:{where}/-/ready", seconds=60)


def test_a_notification_carries_the_line_to_the_character_and_one_without_a_line_goes_out_all_the_same(
    delivered: list[dict],
) -> None:
    by_version = {one["labels"]["version"]: one["annotations"] for one in delivered}
    assert by_version[VERSION]["what_changed"] == LINE
    assert "what_changed" not in by_version["v1"] or by_version["v1"]["what_changed"] == ""
