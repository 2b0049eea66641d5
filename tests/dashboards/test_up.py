"""While the flights run, every panel whose metrics exist has data; an installed Grafana runs beside them."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from dashboards import render, verify
from dashboards.verify import Finding, Status
from midwatch import grafana
from midwatch.prometheus import Client
from midwatch.spec import load
from midwatch.spec.values import parse_duration
from tests.conftest import need_program

UP = [sys.executable, "-m", "midwatch.cli", "up", "-f"]
FLIGHTS = "examples/flights/platform.yaml"

STORY = "54s"
"""Long enough for drift, a canary, labels and a page; verifying is repeated until all of them have happened."""


@contextmanager
def running(file: str | Path, state: Path, *options: str, **environment: str) -> Iterator[dict[str, dict]]:
    """Parts of a running plane by name; it is killed, which ends all of them (tests of `up` show that)."""
    need_program("prometheus")
    need_program("prometheus-alertmanager")
    process = subprocess.Popen(
        [*UP, str(file), "--state", str(state), *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    try:
        inventory = state / "plane.json"
        deadline = time.monotonic() + 120
        while not (inventory.exists() and "traffic" in inventory.read_text()):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield {part["name"]: part for part in json.loads(inventory.read_text())["parts"]}
    finally:
        process.kill()
        process.communicate(timeout=60)


def unexplained(found: list[Finding]) -> list[Finding]:
    """What is empty although every metric it asks for is published."""
    return [
        one
        for one in found
        if one.status is Status.ERROR
        or (one.status is Status.EMPTY and one.kind == "panel" and "unknown metric" not in one.reason)
    ]


def is_whole(found: list[Finding]) -> bool:
    """Whether labels, drift and everything else that takes a while are there: until then little is asked."""
    shown = {one.title for one in found if one.kind == "panel" and one.status is Status.OK}
    return {
        "Is it right?",
        "Which methods vote?",
        "Which targets answer?",
        "How long does it take to tell them?",
    } <= shown


@pytest.mark.timeout(240)
def test_every_panel_of_metrics_that_exist_has_data_while_the_flights_run(tmp_path: Path) -> None:
    documents = render.documents(load.load_platform(Path(FLIGHTS)))
    found: list[Finding] = []
    with running(FLIGHTS, tmp_path / "s", "--duration", STORY) as parts:
        client = Client(f"http://127.0.0.1:{parts['prometheus']['port']}")
        deadline = time.monotonic() + parse_duration(STORY)
        while time.monotonic() < deadline and (not found or unexplained(found) or not is_whole(found)):
            time.sleep(1)
            verifier = verify.Verifier(client, verify.Time(end=time.time(), since=60, scrape=1))
            found = [one for document in documents for one in verifier.verify(document)]
    assert unexplained(found) == []
    assert is_whole(found)


FAKE_GRAFANA = """#!{python}
import configparser, http.server, sys
assert sys.argv[1] == "server", sys.argv
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[2:])
settings = configparser.ConfigParser(interpolation=None)
settings.read(options["config"])
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
address = (settings["server"]["http_addr"], int(settings["server"]["http_port"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""


@pytest.fixture
def small(tmp_path: Path, make_document) -> Path:
    document = make_document(prometheus={"scrape_interval": "1s", "evaluation_interval": "1s"})
    document["local"] = {"traffic": {"name": "t", "command": ["{python}", "-c", "import time; time.sleep(100)"]}}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An installed Grafana: a program that answers as it does, with its home beside it."""
    home = tmp_path / "grafana-home"
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "defaults.ini").write_text("")
    program = home / "bin" / "grafana"
    program.parent.mkdir()
    program.write_text(FAKE_GRAFANA.format(python=sys.executable))
    program.chmod(0o755)
    return program


def test_an_installed_grafana_is_started_with_everything_provisioned(
    small: Path, installed: Path, tmp_path: Path
) -> None:
    state = tmp_path / "s"
    with running(small, state, PATH=f"{installed.parent}:{os.environ['PATH']}") as parts:
        url = f"http://127.0.0.1:{parts['grafana']['port']}"
        assert urllib.request.urlopen(f"{url}/api/health", timeout=5).status == 200
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(state / "grafana" / "grafana.ini")
        assert settings["server"]["http_addr"] == "127.0.0.1"
        assert settings["auth.anonymous"] == {"enabled": "true", "org_role": "Viewer"}
        folder = Path(settings["paths"]["provisioning"])
        (provider,) = yaml.safe_load((folder / "dashboards/midwatch.yml").read_text())["providers"]
        loaded = {json.loads(path.read_text())["uid"] for path in Path(provider["options"]["path"]).glob("*.json")}
        assert loaded == {grafana.dashboard_uid("test", page) for page in grafana.Page}
        sources = yaml.safe_load((folder / "datasources/midwatch.yml").read_text())["datasources"]
        places = {one["type"]: one["url"] for one in sources}
        assert places["prometheus"] == f"http://127.0.0.1:{parts['prometheus']['port']}"
        assert places["alertmanager"] == f"http://127.0.0.1:{parts['alertmanager']['port']}"
