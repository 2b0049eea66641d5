"""Drills of folders and of stores by commands, by the command that people type; and the page in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dr import report
from dr.drill import ledger
from dr.drill.facts import Outcome, Write
from dr.drill_log import DrillLog
from dr.stores.files import copies, faults, published, recovery
from tests.conftest import midwatch_here, need_program, platform_document

DR = [sys.executable, "-P", "-m", "midwatch", "dr"]


def written(folder: Path, store: dict[str, Any], fault: str) -> Path:
    section = {
        "owner": "ml",
        "evidence": {"folder": "evidence"},
        "stores": [{"name": "models", **store}],
        "drills": [{"name": "d", "store": "models", "fault": fault, "warmup": "1s", "writes_per_second": 100}],
    }
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    return file


def filled(folder: Path) -> Path:
    (folder / "v1").mkdir(parents=True)
    for name in ("v1/model.bin", "v1/reference.npz", "dashboard.json"):
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / published.MARKER).touch()
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return filled(tmp_path / "models")


def test_a_folder_that_is_lost_comes_back_as_it_was(tmp_path: Path) -> None:
    models = filled(tmp_path / "models")
    settings = {"source": "models", "backup": "copies", "interval": "1s"}
    file = written(tmp_path, {"files": settings}, "lose_files")
    refused = midwatch_here("dr", "run", "d", "-f", file)
    assert (refused.returncode, "it never was" in refused.stderr) == (2, True)
    published.publish(models)
    command = [*DR, "run", "d", "-f", str(file), "--json", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert done.returncode == 0, (document["reasons"], done.stderr)
    assert (models / "v1/model.bin").read_bytes() == b"v1/model.bin" * 1000
    assert document["rpo_seconds"] <= 10
    assert not (models / ".midwatch-drill").exists()
    verified = subprocess.run([*DR, "verify", "models", "-f", str(file), "--json"], capture_output=True, check=False)
    assert (verified.returncode, json.loads(verified.stdout)["store"]) == (0, "models")


def test_a_file_that_is_damaged_is_seen_replaced_and_never_copied(models: Path, tmp_path: Path) -> None:
    store = recovery.FolderRecovery(source=models, backup=tmp_path / "copies", interval=0.0, keep=3)
    published.publish(models)
    assert [store.check().good, store.check().good] == [True, True]
    fault = faults.DamageFile(target=str(models), file="v1/model.bin")
    fault.inject()
    assert fault.is_effective()
    with pytest.raises(copies.DamageError, match="not what its manifest says"):
        copies.take(models, tmp_path / "copies", now=0.0, keep=3)
    assert store.check().why == "v1/model.bin is damaged"
    assert store.plan() == "put back v1/model.bin"
    assert "moved to models.damaged-2" in store.fence(2)
    assert store.recover().startswith("v1/model.bin of copy-")
    store.reroute(2)
    assert store.check().good
    assert (models / "v1/model.bin").read_bytes() == b"v1/model.bin" * 1000
    assert store.rebuild() is not None


def test_a_copy_that_was_changed_is_not_restored(models: Path, tmp_path: Path) -> None:
    for number in range(3):
        newest = copies.take(models, tmp_path / "copies", now=float(number), keep=2)
    assert len(copies.newest_first(tmp_path / "copies")) == 2
    damaged = newest.folder / "v1/model.bin"
    damaged.unlink()  # its bytes are shared with the copy before
    damaged.write_bytes(b"other")
    good, flaws = copies.newest_good(tmp_path / "copies")
    assert good.folder != newest.folder
    assert "v1/model.bin" in flaws[0]
    copies.restore(good, tmp_path / "target")
    assert copies.flaw(good, tmp_path / "target") is None
    with pytest.raises(copies.CopyError, match="is not empty"):
        copies.restore(good, tmp_path / "target")


def test_the_report_is_one_page_that_a_browser_shows(tmp_path: Path) -> None:
    browser = need_program("chromium")
    phase = {"name": "detect", "at": 0.3, "seconds": 0.3}
    home = tmp_path / "home"
    home.mkdir()
    writes = [
        Write(number=n, sent=n * 10**7, answered=n * 10**7 + 1, outcome=Outcome.OK)
        for n in range(500)
        if not 200 < n < 260
    ]
    (home / "observer.ledger").write_bytes(b"".join(ledger.line(write) for write in writes))
    (home / "injection.json").write_text(json.dumps({"begun": 2 * 10**9, "effective": 2 * 10**9}))
    log = DrillLog(folder=tmp_path / "evidence", key_file=None)
    document = {
        "run": "r",
        "drill": "lose <primary>",
        "store": "s",
        "fault": "kill_primary",
        "what": "kill -9",
        "verdict": "MET",
        "reasons": [],
        "rto_seconds": 0.6,
        "rto_exceeds": False,
        "rpo_seconds": 0.0,
        "rpo_is_bound": False,
        "resolution_seconds": 0.01,
        "phases": [phase],
        "notes": [],
        "writes": {"acknowledged": 441, "lost": 0},
        "checks": [{"name": "fence", "holds": True, "detail": ""}],
        "objectives": {"rto": 900.0, "rpo": 300.0},
        "versions": {"postgresql": "15"},
        "configuration": "c",
        "started_at": "2026-11-25T00:00:00+00:00",
        "duration_seconds": 9.0,
    }
    log.keep(document, home)
    log.keep(document | {"run": "r2", "rto_seconds": 0.85}, home)
    listed = report.build(log, None)
    text = report.render(listed | {"compared": report.compare(listed)}, log, "Drills")
    assert "http" not in text.replace("http-equiv", "")  # nothing is fetched from anywhere
    page = tmp_path / "report.html"
    page.write_text(text)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=1000", "--dump-dom", f"file://{page}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert "lose &lt;primary&gt;" in shown
    assert shown.index('<table class="overview">') < shown.index("<section"), "it begins with a table of all"
    assert "0.600 s, then 0.850 s (+0.250 s)" in shown
    assert shown.count("<svg") == 4
    assert '<polyline points="' in shown
    assert "signed" in shown
