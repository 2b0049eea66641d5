"""`midwatch --version`: what is installed here."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import pytest

import midwatch
from tests.conftest import midwatch_here


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a Prometheus, an Alertmanager under Debian's name and a promtool, but without amtool."""
    for name in ("prometheus", "prometheus-alertmanager", "promtool"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name}, version 2.42.0+ds (branch: debian/sid)'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_version_of_every_program_is_shown_and_a_missing_one_is_said(programs: Path) -> None:
    assert midwatch_here("--version").stdout.splitlines() == [
        f"midwatch {midwatch.__version__}",
        f"python {platform.python_version()}",
        "prometheus 2.42.0+ds",
        "alertmanager 2.42.0+ds",
        "promtool 2.42.0+ds",
        "amtool not found on PATH",
    ]


def test_as_json_a_missing_program_is_null(programs: Path) -> None:
    document = json.loads(midwatch_here("--version", "--json").stdout)
    assert document["prometheus"] == "2.42.0+ds"
    assert document["amtool"] is None


@pytest.mark.parametrize(
    "says", ["exit 1", "exec /bin/sleep 60", "echo nonsense"], ids=["fails", "hangs", "says nonsense"]
)
def test_a_program_that_does_not_say_its_version_is_shown_so(
    programs: Path, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midwatch.app.versions.SECONDS", 0.2)
    (programs / "promtool").write_text(f"#!/bin/sh\n{says}\n")
    begun = time.monotonic()
    assert "promtool unknown" in (said := midwatch_here("--version").stdout) or "promtool does not answer" in said
    assert time.monotonic() - begun < 10
