"""The tutorial, typed as it stands, on real programs: its last command shows the page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from midwatch.ports import free_ports
from tests.conftest import need_program

GUIDE = Path(__file__).parents[2] / "docs/tutorial.md"
PORTS = ("9090", "9093", "9500", "9600")
INSTALLING = ("apt-get", "systemctl", "pip install")
"""What the machine of the tests has, or must not be changed."""


def typed() -> str:
    """The commands of the tutorial after the installation, at ports that are free here."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    commands = "\n".join(block for block in blocks if not any(word in block for word in INSTALLING))
    for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        commands = commands.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}").replace(
            f'"127.0.0.1", {port}', f'"127.0.0.1", {free}'
        )
    return commands


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which python and midwatch are ours."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("python", ""), ("midwatch", "-P -m midwatch ")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.timeout(300)
def test_what_the_tutorial_says_can_be_typed_leads_to_a_page(tmp_path: Path, path: str) -> None:
    for program in ("bash", "prometheus", "prometheus-alertmanager", "promtool", "amtool"):
        need_program(program)
    (tmp_path / "script").write_text(f"set -e\n{typed()}")
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(GUIDE.parents[1])}
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            ["bash", tmp_path / "script"],
            cwd=tmp_path,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        code = process.wait(240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = (tmp_path / "said").read_text()
    assert code == 0, text
    (shown,) = re.findall(r"^```\n(firing .*)\n```$", GUIDE.read_text(), re.M)
    pages = re.findall(r"^firing .*", text, re.M)
    assert re.sub(r"[\d.]+%", "N%", pages[0], count=1) == re.sub(r"[\d.]+%", "N%", shown, count=1)
    (share,) = re.findall(r"([\d.]+)% of requests answered", pages[0])
    assert 35 <= float(share) <= 65, "half of the requests are answered; other events were refused"
    assert "events refused" not in text


def test_the_problems_that_the_tutorial_shows_are_those_of_check(tmp_path: Path) -> None:
    (document,) = re.findall(r"^cat > platform\.yaml <<'END'\n(.*?)^END$", GUIDE.read_text(), re.M | re.S)
    (shown,) = re.findall(r"^```\n(platform\.yaml:.*?)^```$", GUIDE.read_text(), re.M | re.S)
    broken = document.replace("objective: 99%", "objectve: 99%").replace("owner: ml-serving", "owner: ml-servng")
    (tmp_path / "platform.yaml").write_text(broken)
    command = [sys.executable, "-P", "-m", "midwatch", "check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == shown
