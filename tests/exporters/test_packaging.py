"""What a model server installs and imports: few requirements, and no file of its own folder in the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import prometheus_client
import pytest

from tests.exporters.conftest import OURS
from tests.exporters.fake_exporter import Exporter

ROOT = Path(__file__).parents[2]
LIBRARIES = {"msgspec": msgspec, "prometheus_client": prometheus_client}

SEND = """
import time
from midwatch.client import EventLog, Label, Prediction
log = EventLog(sys.argv[1])
log.send(Prediction(id="r-1", model="m", version="v1", ts=time.time(), prediction="true"))
log.send(Label(id="r-1", model="m", label="false", ts=time.time()))
assert log.close().acknowledged == 2
"""

INSTRUMENT = """
from prometheus_client import REGISTRY
from midwatch.instrument import Server
Server("m", "v1", registry=REGISTRY).measured(int)("3")
assert REGISTRY.get_sample_value("ml_server_requests_total", {"model": "m", "version": "v1", "outcome": "ok"}) == 1
"""


def libraries(folder: Path, *names: str) -> Path:
    """A folder to import these libraries from, and nothing else."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(Path(LIBRARIES[name].__file__).parent)
    return folder


def run(script: str, *path: Path, arguments: tuple[str, ...] = ()) -> set[str]:
    """Run a script with the standard library and these folders; the modules that it has then imported."""
    script = (
        f"import json, sys; sys.path += {[str(folder) for folder in path]}\n{script}\nprint(json.dumps([*sys.modules]))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout))


def build(folder: Path, out: Path) -> Path:
    """Build a wheel without a network."""
    subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", out],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    return wheel


def install(wheel: Path, *where: str) -> None:
    """Install a wheel and nothing that it needs."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile", *where]
    subprocess.run([sys.executable, "-P", "-m", "pip", "install", *options, wheel], check=True, capture_output=True)


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT / "midwatch" / "client", tmp_path_factory.mktemp("client"))


def test_the_client_needs_msgspec_and_nothing_else(tmp_path: Path) -> None:
    exporter = Exporter()
    loaded = run(SEND, ROOT, libraries(tmp_path / "lib", "msgspec"), arguments=(exporter.url,))
    exporter.close()
    assert {name for name in loaded if name.partition(".")[0] in OURS} == {
        "midwatch",
        "midwatch.errors",
        "midwatch.client",
        "midwatch.client.answers",
        "midwatch.client.connection",
        "midwatch.client.encoding",
        "midwatch.client.event_log",
        "midwatch.client.events",
        "midwatch.client.explainer",
        "midwatch.client.memory",
        "midwatch.client.process_end",
        "midwatch.client.sampling",
    }


def test_instruments_need_prometheus_client_and_nothing_else(tmp_path: Path) -> None:
    loaded = run(INSTRUMENT, ROOT, libraries(tmp_path / "lib", "prometheus_client"))
    assert {name for name in loaded if name.partition(".")[0] in OURS} == {
        "midwatch",
        "midwatch.metrics",
        "midwatch.instrument",
    }


def test_names_errors_and_metrics_need_the_standard_library_only() -> None:
    run("import midwatch, midwatch.errors, midwatch.metrics", ROOT)


def test_the_clients_wheel_alone_sends_events(tmp_path: Path, client_wheel: Path) -> None:
    install(client_wheel, "--target", str(tmp_path / "installed"))
    exporter = Exporter()
    run(SEND, tmp_path / "installed", libraries(tmp_path / "lib", "msgspec"), arguments=(exporter.url,))
    exporter.close()
    ((prediction, label),) = exporter.bodies
    assert (prediction["event"], label["event"]) == ("prediction", "label")
    exporter = Exporter()
    spooled = SEND.replace("(sys.argv[1])", "(sys.argv[1], spool=sys.argv[2])")
    where = str(tmp_path / "spool")
    run(spooled, tmp_path / "installed", tmp_path / "lib", arguments=(exporter.url, where))
    exporter.close()
    assert [len(body) for body in exporter.bodies] == [2]
    run(INSTRUMENT, tmp_path / "installed", libraries(tmp_path / "prometheus", "prometheus_client"))


def test_the_clients_wheel_has_what_the_client_is_made_of_and_asks_for_msgspec_only(client_wheel: Path) -> None:
    with zipfile.ZipFile(client_wheel) as wheel:
        files = {name for name in wheel.namelist() if name.endswith(".py")}
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        needed = re.findall("^Requires-Dist: (.*)$", wheel.read(metadata).decode(), re.MULTILINE)
    client = {f"midwatch/client/{path.name}" for path in (ROOT / "midwatch" / "client").glob("*.py")}
    assert files == client | {f"midwatch/{name}.py" for name in ("__init__", "errors", "instrument", "metrics")}
    assert needed == ["msgspec", "prometheus-client; extra == 'instrument'"]


def test_both_distributions_can_be_installed_in_any_order(tmp_path: Path, client_wheel: Path) -> None:
    whole = build(ROOT, tmp_path / "whole")
    with zipfile.ZipFile(whole) as wheel, zipfile.ZipFile(client_wheel) as client:
        for name in client.namelist():
            if name.endswith(".py"):
                assert wheel.read(name) == client.read(name)
    for number, order in enumerate(([whole, client_wheel], [client_wheel, whole])):
        prefix = tmp_path / str(number)
        for wheel_file in order:
            install(wheel_file, "--prefix", str(prefix), "--ignore-installed")
        (site,) = prefix.glob("**/site-packages")
        found = "from importlib.metadata import version; assert version('midwatch') == version('midwatch-client')"
        run(f"{found}\nimport midwatch.client, midwatch.modules", site, libraries(tmp_path / f"lib{number}", "msgspec"))


@pytest.mark.parametrize("how", ["a script of it", "-m"])
def test_files_of_the_crowded_folder_do_not_hide_the_client(crowded_folder: Path, how: str) -> None:
    exporter = Exporter()
    script = f"import sys\n{SEND}\n{INSTRUMENT}"
    (crowded_folder / "serve.py").write_text(script)
    command = [sys.executable, "-m", "serve"] if how == "-m" else [sys.executable, str(crowded_folder / "serve.py")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [*command, exporter.url], cwd=crowded_folder, env=environment, capture_output=True, text=True, check=False
    )
    exporter.close()
    assert (ended.returncode, ended.stderr) == (0, "")
