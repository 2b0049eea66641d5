"""Files of the user that have the names of our packages: commands and their children run ours, or say what hides it."""

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

from midwatch import modules
from tests.chaos.conftest import small_document
from tests.conftest import need_program

SCRIPT = [sys.executable, "-P", "-m", "midwatch"]
"""What the installed script does: the working folder is not on the module path."""
TRAP = "raise SystemExit('a file of the user was run in place of ours')\n"


def with_file(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(TRAP)


def with_folder(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    for file in ("__init__.py", "__main__.py"):
        (folder / name / file).write_text(TRAP)


def with_files(folder: Path) -> None:
    for name in modules.PACKAGES:
        with_file(folder, name)


def with_folders(folder: Path) -> None:
    for name in modules.PACKAGES:
        with_folder(folder, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's working folder that has a file or a folder of each of our names, and a platform file."""
    working = tmp_path / "working"
    working.mkdir()
    for number, name in enumerate(modules.PACKAGES):
        (with_folder if number % 2 else with_file)(working, name)
    (working / "platform.yaml").write_text(yaml.safe_dump(document()))
    return working


def document() -> dict[str, Any]:
    made = small_document()
    store = {"name": "models", "files": {"source": "models", "backup": "copies", "interval": "1s"}}
    made["disaster_recovery"] = {
        "owner": "ml",
        "evidence": {"folder": "evidence"},
        "stores": [store],
        "drills": [{"name": "lose", "store": "models", "fault": "lose_files", "warmup": "1s"}],
    }
    return made


def run(folder: Path, *words: str, how: list[str] = SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.run(
        [*how, *words], cwd=folder, env=given, capture_output=True, text=True, timeout=200, check=False
    )


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_check_and_render_in_a_folder_with_our_names_run_ours(folder: Path) -> None:
    need_program("promtool")
    need_program("amtool")
    for words in (("check",), ("render", "-o", "out")):
        done = run(folder, *words)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def running(folder: Path) -> Iterator[Path]:
    """State folder of `midwatch up` in such a folder."""
    for program in ("prometheus", "prometheus-alertmanager"):
        need_program(program)
    state = folder / "state"
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen([*SCRIPT, "up", "--state", str(state)], cwd=folder, stderr=log, stdout=log)
    try:
        inventory = state / "plane.json"
        wait_until(lambda: (inventory.exists() and "traffic" in inventory.read_text()) or process.poll() is not None)
        assert process.poll() is None, (folder / "up.log").read_text()
        yield state
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


@pytest.mark.timeout(500)
def test_up_its_exporter_and_an_experiment_in_such_a_folder_run_ours(running: Path, folder: Path) -> None:
    words = ("exhaust-memory", "--state", str(running), "--json")
    wait_until(lambda: run(folder, "chaos", "plan", *words).returncode == 0)  # the plane's own alerts have settled
    done = run(folder, "chaos", "run", *words)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] == "held", (result, done.stderr)
    assert all(TRAP[18:30] not in log.read_text(errors="replace") for log in running.rglob("*.log"))


@pytest.mark.timeout(500)
def test_a_drill_in_such_a_folder_runs_ours(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "model.bin").write_bytes(b"1")
    (folder / "models" / ".midwatch-drills-allowed").touch()
    published = run(folder, "dr", "publish", "models")
    assert published.returncode == 0, published.stderr
    done = run(folder, "dr", "run", "lose", "--json", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "MET"


@pytest.mark.parametrize("name", [name for name in modules.PACKAGES if name != "midwatch"])
def test_python_m_in_a_folder_with_a_name_of_ours_leaves_the_folder_out(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(TRAP)
    done = run(tmp_path, "dr", "--help", how=[sys.executable, "-m", "midwatch"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("make", [with_files, with_folders], ids=["file", "folder"])
@pytest.mark.parametrize("words", [("check",), ("--help",), ("exporter", "serve"), ("dr", "run", "x")], ids=" ".join)
def test_what_pythonpath_puts_before_ours_is_named_in_one_line(
    tmp_path: Path, make: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    make(tmp_path)
    for path in (tmp_path / "midwatch.py", tmp_path / "midwatch" / "__init__.py"):
        path.unlink(missing_ok=True)
    done = run(tmp_path, *words, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{tmp_path}/monitors" in done.stderr
    assert f"take {tmp_path} out of PYTHONPATH" in done.stderr


def test_a_pythonpath_without_our_names_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TRAP)
    (tmp_path / "chaos").mkdir()  # no package, so Python goes on to ours
    assert run(tmp_path, "--help", PYTHONPATH=str(tmp_path)).returncode == 0
