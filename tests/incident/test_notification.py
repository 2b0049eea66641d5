"""The first line of an explanation in a notification: real Prometheus and Alertmanager, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import yaml

from alerts import alerting_rule
from alerts.rules import shipped
from midwatch import http_service, jobs, metrics
from midwatch.app import units
from midwatch.app.incident.watch import AGAIN_SECONDS, MOST_ALERTS, MOST_AT_ONCE, MOST_LINE, Watch
from midwatch.errors import MidwatchError
from midwatch.prometheus import Sample, UnreachableError
from midwatch.promql import Expr
from midwatch.spec.slo import Severity
from tests.conftest import free_port, midwatch_here, need_program, platform, platform_document, wait_for

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
        if name == "Strange":
            raise KeyError("values")
        return SimpleNamespace(line=line)

    sources = SimpleNamespace(client=prometheus)
    return Watch(sources, explained=explained, clock=lambda: now.at), now  # type: ignore[arg-type]


def lines_of(watch: Watch) -> list[str]:
    """Samples of alerts' lines."""
    return [line for line in watch.text().decode().splitlines() if line.startswith(f"{metrics.INCIDENT_INFO.name}{{")]


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
    assert lines_of(watch) == []


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
    lines = lines_of(watch)
    assert len(lines) == MOST_ALERTS
    assert all(len(line) < MOST_LINE + 200 for line in lines)


def test_what_cannot_be_explained_says_so_and_a_prometheus_that_is_away_keeps_lines_for_a_while_only() -> None:
    prometheus, said = Held("Unknown"), []
    watch, now = watched(prometheus, said)
    watch.look()
    assert b"What changed could not be said: Prometheus has no such alert" in watch.text()
    assert watch.problem == ""
    prometheus.is_there = False
    watch.look()
    assert lines_of(watch)
    assert "gone" in watch.problem
    now.at += 4 * AGAIN_SECONDS
    watch.look()
    assert lines_of(watch) == []


def test_the_last_look_is_the_last_that_prometheus_answered_and_none_before_that() -> None:
    prometheus, told = Held(), f"{metrics.INCIDENT_LAST_LOOK.name} "
    watch, now = watched(prometheus, [])
    assert f"{told}0.0\n" in watch.text().decode()
    watch.look()
    prometheus.is_there = False
    now.at += 60
    watch.look()
    assert f"{told}1000.0\n" in watch.text().decode()


def test_a_look_that_fails_unexpectedly_is_said_and_the_next_one_succeeds() -> None:
    prometheus, ended = Held("A"), Event()
    watch, _ = watched(prometheus, [])
    asked = iter((ZeroDivisionError("by zero"), None))
    problems: list[str] = []

    def query(_selector: str) -> list[Sample]:
        problems.append(watch.problem)
        error = next(asked)
        if error is not None:
            raise error
        ended.set()
        return []

    prometheus.query = query  # type: ignore[method-assign]
    watch.run(0.001, ended)
    assert problems[1] == "unexpected ZeroDivisionError: by zero"
    assert watch.problem == ""


def test_the_service_shows_lines_to_whoever_has_the_token_and_says_that_prometheus_is_away() -> None:
    prometheus = Held("A")
    watch, now = watched(prometheus, [])
    watch.look()
    prometheus.is_there = False
    answers: dict[str, tuple[int, str]] = {}

    def ask(url: str) -> None:
        for path, headers in (("metrics", {}), ("metrics", {"Authorization": "Bearer t"}), ("readyz", {})):
            request = urllib.request.Request(f"{url}/{path}", headers=headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    answers[f"{path}{len(headers)}"] = answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                answers[f"{path}{len(headers)}"] = error.code, error.read().decode()
                error.close()
        os.kill(os.getpid(), signal.SIGTERM)

    def started(url: str) -> None:
        watch.look()
        asyncio.get_running_loop().run_in_executor(None, ask, url)

    now.at += 1
    asyncio.run(watch.serve(3600, http_service.Address(host="127.0.0.1", port=0, token=b"t"), started))
    assert answers["metrics0"][0] == 401
    assert answers["metrics1"][0] == 200 and 'alertname="A"' in answers["metrics1"][1]
    assert answers["readyz0"][0] == 503 and "gone" in answers["readyz0"][1]


# What runs it --------------------------------------------------------------------------------------------------------


def test_it_is_scraped_and_missed_where_alerts_carry_its_line_and_nowhere_else() -> None:
    for watched_here in (True, False):
        of_it = platform(incidents={"watch": watched_here, "targets": ["a:9570"]})
        assert (jobs.INCIDENTS in {job.name for job in jobs.of_platform(of_it)}) is watched_here
        alerts = {rule.name for rule in shipped.of_platform(of_it)}
        assert ({"IncidentWatchDown", "IncidentWatchBlind"} <= alerts) is watched_here


def test_a_machine_starts_it_with_the_token_that_prometheus_sends() -> None:
    unit = "systemd/midwatch-incidents.service"
    assert unit not in units.render_files(platform())
    settings = {"watch": True, "listen": "0.0.0.0:9570", "targets": ["a:9570"], "metrics_token_file": "/run/50%/t"}
    text = units.render_files(platform(incidents=settings))[unit]
    words = 'midwatch explain watch -f /etc/midwatch/platform.yaml --metrics-token-file "/run/50%%/t"'
    assert f"ExecStart=/usr/bin/env {words}\n" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no rule reads the lines"),
        (("--every", "0s"), "--every 0s"),
        (("--every", "often"), "not a duration"),
    ],
    ids=["no annotation", "no time", "not a time"],
)
def test_what_cannot_be_watched_so_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document()))
    done = midwatch_here("explain", "watch", "-f", file, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_off_loopback_it_needs_a_token(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document() | {"incidents": {"watch": True}}))
    done = midwatch_here("explain", "watch", "-f", file, "--listen", "0.0.0.0:0")
    assert (done.returncode, "--metrics-token-file" in done.stderr) == (2, True)


def test_an_alert_that_cannot_be_explained_for_a_fault_of_ours_keeps_no_other_from_its_line() -> None:
    watch, _ = watched(Held("Strange", "Usual"), [])
    watch.look()
    assert {line.split('"')[1]: "unexpected KeyError" in line for line in lines_of(watch)} == {
        "Strange": True,
        "Usual": False,
    }


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
        assert both.wait(120), "no notification"
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
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
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
