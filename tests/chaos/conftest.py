"""A small plane that runs: real Prometheus, Alertmanager and exporter, two model servers, traffic through links."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.run import watchdog
from midwatch import evidence, processes
from midwatch.prometheus import Client, QueryError
from tests.conftest import midwatch_here, need_program, platform_document

HERE = Path(__file__).parent


def running_with(command: str) -> set[int]:
    """Processes whose command line is this."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if b" ".join(words) == command.encode() and processes.identify(int(entry.name)):
                found.add(int(entry.name))
    return found


class SmallPlane:
    """The running plane, and commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.file = folder, folder / "state", folder / "platform.yaml"

    @property
    def inventory(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.state / "plane.json").read_text())
        return document

    def part(self, name: str) -> dict[str, Any]:
        (found,) = [part for part in self.inventory["parts"] if part["name"] == name]
        return dict(found)

    @property
    def log(self) -> Path:
        return self.state / "chaos" / "evidence.jsonl"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "midwatch", "chaos", *arguments, "--state", str(self.state), "--json"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )

    def chaos(self, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
        if arguments[0] != "run":  # which makes its process the parent of whatever loses its own
            done = midwatch_here("chaos", *arguments, "--state", self.state, "--json")
            assert done.stdout, done.stderr
            return done.returncode, json.loads(done.stdout)
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=90)
        assert output, errors
        document: dict[str, Any] = json.loads(output)
        return process.returncode, document

    def records(self, run: str) -> list[evidence.Record]:
        return [one for one in evidence.read(self.log) if one.data.get("run") == run]

    def count(self, kind: str) -> int:
        return sum(one.kind == kind for one in evidence.read(self.log))

    def started(self, name: str, kind: str = "fault-effective") -> subprocess.Popen[str]:
        """An experiment that has injected its fault."""
        before = self.count(kind)
        process = self.start("run", name)
        assert processes.wait_until(lambda: self.count(kind) > before or process.poll() is not None, 60)
        assert process.poll() is None, process.communicate()
        return process

    def orphans(self) -> set[int]:
        """Processes of runs that still run."""
        runs = (self.state / "chaos" / "runs").glob("*")
        return {pid for run in runs for pid in processes.marked(watchdog.RUN_VARIABLE, str(run))}

    def settle(self) -> None:
        """Until no page fires, traffic is answered, and an exporter that was restarted is there again."""
        client = Client(self.part("prometheus")["url"])
        deadline = time.monotonic() + 150  # on an idle machine it is a second or two

        def settled() -> bool:
            if not is_ready(self.part("exporter")["url"]):
                return False
            try:
                pages = client.query('ALERTS{alertstate="firing", severity="page"}')
                deadman = client.query('ALERTS{alertname="MidwatchDeadman", alertstate="firing"}')
                good = client.value('sum(increase(ml_requests_total{outcome="ok"}[3s]))') or 0
                bad = client.value('sum(increase(ml_requests_total{outcome="error"}[3s]))') or 0
            except QueryError:
                return False
            return bool(deadman) and not pages and good > 30 and bad == 0

        while not settled():
            assert time.monotonic() < deadline, "the plane does not come to rest"
            time.sleep(0.1)

    def write_experiment(self, name: str, **changes: Any) -> str:
        """A Chaos Toolkit file that somebody wrote by hand."""
        document = {"version": "1.0.0", "title": name, "description": name, "method": [], "rollbacks": [], **changes}
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return str(path)


def is_ready(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
    except OSError:
        return False
    return True


def small_document() -> dict[str, Any]:
    alerting = {"over": "2s", "for": "250ms", "min_events": 3}
    document = platform_document(
        prometheus={"scrape_interval": "250ms", "evaluation_interval": "250ms"},
        alertmanager={"group_wait": "200ms", "group_interval": "300ms", "repeat_interval": "4h"},
    )
    document["models"][0]["groups"] = []
    document["models"][0]["slos"] = [
        {"name": "availability", "sli": "availability", "objective": "90%", "alert": alerting},
        {"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "80%", "alert": alerting},
    ]
    for slo in document["models"][0]["slos"]:  # its page would fire for minutes after each test
        slo["burn_rate"] = dict.fromkeys(("page_quick", "page_slow", "ticket_quick", "ticket_slow"), False)
    servers = [
        {
            "name": version,
            "model": "fraud",
            "version": version,
            "command": ["{python}", str(HERE / "small_server.py"), "{port}"],
            "ready": "/",
        }
        for version in ("v1", "v2")
    ]
    traffic = ["{python}", str(HERE / "small_traffic.py"), "{exporter}", "30", "v1={server:v1}", "v2={server:v2}"]
    document["local"] = {"servers": servers, "traffic": {"name": "t", "command": traffic}}
    expect = {"alert": "ModelErrorsHigh", "within": "15s", "resolved_within": "20s"}
    document["chaos"] = {
        "guard": {"error_budget": None},
        "experiments": [
            {"kind": "kill_replica", "target": "v1", "expect": expect},
            {"name": "lasting", "kind": "kill_replica", "target": "v1", "for": "60s", "expect": expect},
            {"kind": "slow_model", "target": "v1", "delay": "400ms", "expect": expect | {"alert": "ModelLatencyHigh"}},
            {"kind": "failing_model", "target": "v1", "errors": "50%", "expect": expect},
            {"kind": "cut_network", "target": "v1", "expect": expect},
            {"kind": "lose_node", "target": "v1", "notice": "1s", "expect": expect},
            {"kind": "fill_disk", "expect": expect | {"alert": "ExporterCannotKeepEvents"}},
            {"kind": "lose_exporter", "expect": expect | {"alert": "ExporterDown"}},
            {"kind": "lose_prometheus", "expect": {"alert": "deadman", "within": "15s", "resolved_within": "20s"}},
            {"kind": "lose_alertmanager", "expect": {"alert": "deadman", "within": "15s", "resolved_within": "20s"}},
            {"kind": "exhaust_cpu", "for": "1s"},
            {"kind": "exhaust_memory", "for": "1s", "size": "32MiB"},
            {
                "name": "never-noticed",
                "kind": "failing_model",
                "target": "v1",
                "errors": "5%",
                "tolerated_errors": "20%",
                "expect": expect | {"within": "3s", "resolved_within": "1s"},
            },
            {
                "name": "beyond",
                "kind": "failing_model",
                "target": "v1",
                "errors": "30%",
                "tolerated_errors": "2%",
                "for": "30s",  # else its alert, which may be quicker than the stop, would end the fault
            },
        ],
    }
    return document


RUNNING: list[subprocess.Popen[bytes]] = []
"""The plane of these tests."""


def needs_plane(item: pytest.Item | None) -> bool:
    return isinstance(item, pytest.Function) and item.path.parent == HERE and "plane" in item.fixturenames


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the plane come first, so that it need not run beside the others.

    Their files run backwards: the last one's API server is then that of the first file without the plane.
    """
    on_plane = sorted(filter(needs_plane, items), key=lambda item: item.path, reverse=True)
    items[:] = [*on_plane, *(item for item in items if not needs_plane(item))]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Stop the plane after the last test that needs it: others need the cores."""
    if not needs_plane(nextitem):
        stop()


def stop() -> None:
    while RUNNING:
        process = RUNNING.pop()
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="session")
def plane_of_all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPlane]:
    for program in ("prometheus", "prometheus-alertmanager"):
        need_program(program)
    plane = SmallPlane(tmp_path_factory.mktemp("plane"))
    plane.file.write_text(yaml.safe_dump(small_document()))
    command = [sys.executable, "-P", "-m", "midwatch", "up", "-f", str(plane.file), "--state", str(plane.state)]
    with (plane.folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    RUNNING.append(process)
    try:
        inventory = plane.state / "plane.json"
        assert processes.wait_until(
            lambda: (inventory.exists() and "traffic" in inventory.read_text()) or process.poll() is not None, 60
        )
        assert process.poll() is None, (plane.folder / "up.log").read_text()
        yield plane
    finally:
        stop()


@pytest.fixture
def plane(plane_of_all_tests: SmallPlane) -> Iterator[SmallPlane]:
    """The plane, at rest before the test; nothing may stay after it."""
    plane_of_all_tests.settle()
    yield plane_of_all_tests
    assert plane_of_all_tests.orphans() == set()
    assert list((plane_of_all_tests.state / "chaos").glob("runs/*/faults/*.json")) == []
    if plane_of_all_tests.log.exists():
        assert evidence.verify(plane_of_all_tests.log).problems == ()
