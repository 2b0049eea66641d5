"""Drills of folders and of stores by commands, by the command that people type; and their report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dr import report
from dr.stores.files import copies, faults, published, recovery
from tests.conftest import midwatch_here, platform_document
from tests.dr.reported import drilled

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


def test_the_report_begins_with_all_drills_and_says_what_changed(tmp_path: Path) -> None:
    log, document = drilled(tmp_path)
    page = report.render(document, log, "Drills")
    assert "lose &lt;primary&gt;" in page
    assert page.index('<table class="overview') < page.index("<section"), "it begins with a table of all"
    assert "0.600 s, then 0.850 s (+0.250 s)" in page
    assert "signed" in page
    assert "2 MET, 1 BREACHED" in page
    assert "A real loss would break the promise: freeze of other did not come back" in page


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("MET",), "Every drill came back within its promise"),
        (("BREACHED", "MET"), "Every drill came back within its promise"),
        (("MET", "INCONCLUSIVE"), "Nothing is proven of"),
        ((), "nothing is known of how the stores come back"),
    ],
    ids=["met", "mended since", "not trusted", "none"],
)
def test_a_report_says_what_the_last_run_of_each_drill_means(
    verdicts: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    log, document = drilled(tmp_path)
    first = document["drills"][0]
    runs = [first | {"run": f"n{number}", "verdict": verdict} for number, verdict in enumerate(verdicts)]
    assert said in report.render(document | {"drills": runs, "compared": []}, log, "Drills")


def test_a_report_of_evidence_that_was_changed_says_that_nothing_can_be_relied_on(tmp_path: Path) -> None:
    log, document = drilled(tmp_path)
    page = report.render(document | {"evidence": document["evidence"] | {"problems": ["x: 1"]}}, log, "Drills")
    assert "so no figure here can be relied on" in page
    assert '<li class="bad">x: 1</li>' in page
