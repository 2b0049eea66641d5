"""Losing region a of a plane that runs: events go on in region b, and everything is counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.prometheus import Client
from tests.conftest import need_program, platform_document
from tests.dr.conftest import need_postgresql

HERE = Path(__file__).parent
MIDWATCH = [sys.executable, "-P", "-m", "midwatch"]
RATE = 100
AT_ONCE = 500
"""Events that wait for one answer, at most: what is sent in 2.5 seconds."""


def document() -> dict[str, Any]:
    command = ["{python}", str(HERE.parent / "chaos" / "small_server.py"), "{port}"]
    made = platform_document(prometheus={"scrape_interval": "250ms", "evaluation_interval": "250ms"})
    made["models"][0]["groups"] = []
    made["local"] = {
        "servers": [
            {"name": "v1", "model": "fraud", "version": "v1", "command": command, "ready": "/"},
            {"name": "v1-b", "command": command, "ready": "/", "replica_of": "v1"},
        ],
        "traffic": {"name": "t", "command": ["{python}", str(HERE / "steady_traffic.py"), "{exporter}", str(RATE)]},
    }
    made["chaos"] = {}  # so that events pass a link, too, which has to lead where the failover does
    made["disaster_recovery"] = {
        "owner": "ml",
        "evidence": {"folder": "evidence"},
        "stores": [{"name": "store", "local_postgresql": {"up": True}}],
        "drills": [{"name": "lose-region", "store": "store", "fault": "lose_region", "warmup": "1s"}],
    }
    return made


class Running:
    """A plane with two regions, and its end."""

    def __init__(self, folder: Path) -> None:
        self.file, self.state = folder / "platform.yaml", folder / "state"
        self.file.write_text(yaml.safe_dump(document()))
        command = [*MIDWATCH, "up", "-f", str(self.file), "--state", str(self.state), "--json"]
        self._log = folder / "up.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def part(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.inventory()["parts"] if one["name"] == name]
        return dict(found)

    def inventory(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.state / "plane.json").read_text())
        return document

    def has_traffic(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        inventory = self.state / "plane.json"
        return inventory.exists() and "traffic-t" in inventory.read_text()

    def end(self) -> dict[str, Any]:
        """Have the traffic end, and with it the plane; what the plane says of the run."""
        os.kill(self.part("traffic-t")["pid"], signal.SIGTERM)
        said, _ = self.process.communicate(timeout=120)
        ended: dict[str, Any] = json.loads(said)
        return ended


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    for program in ("prometheus", "prometheus-alertmanager"):
        need_program(program)
    need_postgresql()
    plane = Running(tmp_path)
    try:
        wait_until(plane.has_traffic, 120)
        yield plane
    finally:
        plane.process.kill()
        plane.process.communicate(timeout=30)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def taken(prometheus: Client) -> dict[str, float]:
    """Predictions by exporter."""
    counted = prometheus.query("sum by (instance) (ml_requests_total)")
    return {sample.labels["instance"]: sample.value for sample in counted}


@pytest.mark.timeout(500)
def test_when_region_a_is_lost_events_go_on_in_region_b_and_the_sums_are_right(running: Running) -> None:
    prometheus = Client(running.part("prometheus")["url"])
    first, second = (running.part(name)["url"].removeprefix("http://") for name in ("exporter", "exporter-b"))
    wait_until(lambda: taken(prometheus).get(first, 0) > AT_ONCE, 120)
    assert second not in taken(prometheus)
    drill = [*MIDWATCH, "dr", "run", "lose-region", "-f", str(running.file), "--state", str(running.state), "--json"]
    done = subprocess.run(drill, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["verdict"] == "MET"
    checks = {check["name"]: check["holds"] for check in result["checks"]}
    assert checks["the exporter of region b takes the events"] is True
    assert checks["a page was delivered"] is True
    wait_until(lambda: set(taken(prometheus)) == {first, second}, 60)
    ended = running.end()
    sent, counted = ended["predictions_sent"], ended["predictions_counted"]
    # The batch whose acknowledgement was cut off may be in both journals: nothing else is there twice, nothing is lost.
    assert 0 <= counted - sent <= AT_ONCE < sent
    assert ended["exit"] == (0 if counted == sent else 1)
    assert ended["targets_up"] == ended["targets_total"] == 6
    labels = ended["labels_joined"] + ended["labels_waiting"]
    assert 0 <= labels - ended["labels_sent"] <= AT_ONCE
    assert 0 < ended["labels_waiting"] <= 3 * RATE  # of predictions that only exporter a knows
