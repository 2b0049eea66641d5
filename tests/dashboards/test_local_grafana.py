"""An installed Grafana runs beside the plane."""

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

from dashboards import render
from midwatch.spec import load
from tests.conftest import need_program

UP = [sys.executable, "-P", "-m", "midwatch", "up", "-f"]


@contextmanager
def running(file: Path, state: Path, **environment: str) -> Iterator[dict[str, dict]]:
    """Parts of a running plane by name; it is killed, which ends all of them (tests of `up` show that)."""
    need_program("prometheus")
    need_program("prometheus-alertmanager")
    process = subprocess.Popen(
        [*UP, str(file), "--state", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
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
        assert urllib.request.urlopen(f"{url}/api/health", timeout=20).status == 200
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(state / "grafana" / "grafana.ini")
        assert settings["server"]["http_addr"] == "127.0.0.1"
        assert settings["auth.anonymous"] == {"enabled": "true", "org_role": "Viewer"}
        folder = Path(settings["paths"]["provisioning"])
        (provider,) = yaml.safe_load((folder / "dashboards/midwatch.yml").read_text())["providers"]
        loaded = {json.loads(path.read_text())["uid"] for path in Path(provider["options"]["path"]).glob("*.json")}
        assert loaded == {document["uid"] for document in render.documents(load.load_platform(small))}
        sources = yaml.safe_load((folder / "datasources/midwatch.yml").read_text())["datasources"]
        places = {one["type"]: one["url"] for one in sources}
        assert places["prometheus"] == f"http://127.0.0.1:{parts['prometheus']['port']}"
        assert places["alertmanager"] == f"http://127.0.0.1:{parts['alertmanager']['port']}"
