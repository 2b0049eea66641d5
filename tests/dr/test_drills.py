"""Whole drills on real PostgreSQL, by the command that people type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dr import stores, temporary
from dr.drill import facts, ledger
from dr.drill.verdict import Verdict
from dr.drill_log import DrillLog
from midwatch import evidence
from midwatch.spec import load
from tests.conftest import midwatch_here
from tests.dr.conftest import need_postgresql, platform_file, wait_until

DR = [sys.executable, "-P", "-m", "midwatch", "dr"]

Write = Callable[..., Path]

LONG = {
    "lose-primary": ("--html", "report.html"),
    "corrupted-backup": ("--seed", "3"),
    "bad-delete": (),
    "silent-standby": (),
    "no-recoverer": ("--limit", "2s"),
    "lose-sync": (),
    "restore-latest": ("--seed", "4"),
    "lose-region": (),
    "split-brain": (),
    "failback": (),
}
KEY = "8f" * 32
SIDE_BY_SIDE = 4
"""Drills that are run at a time: each waits most of its time, and with more of them the observers would stand still."""


@dataclass(frozen=True)
class Done:
    code: int
    document: dict[str, Any]
    errors: str
    file: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Done]]:
    """Starts the long drills, a few at a time; what is asked for is waited for."""
    need_postgresql()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = {name: pool.submit(run_long, name, tmp_path_factory.mktemp(name)) for name in LONG}
        yield lambda name: running[name].result()
        for future in running.values():
            future.cancel()


def run_long(name: str, folder: Path) -> Done:
    changes: dict[str, Any] = {"guard": {"failures": 100000}} if name == "no-recoverer" else {}
    if name == "lose-sync":
        (folder / "evidence.key").write_text(KEY)
        changes = {"evidence": {"folder": "evidence", "key_file": "evidence.key"}}
    file = platform_file(folder, **changes)
    command = [*DR, "run", "lose-primary" if name == "no-recoverer" else name, "-f", str(file), "--json"]
    command += [str(folder / option) if option.endswith(".html") else option for option in LONG[name]]
    done = subprocess.run(command, text=True, capture_output=True, timeout=200, check=False)
    return Done(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr, file)


def refused(name: str, file: Path) -> Done:
    """A drill that cannot begin."""
    need_postgresql()
    done = midwatch_here("dr", "run", name, "-f", file, "--json")
    return Done(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr, file)


def events_of(document: dict[str, Any]) -> list[facts.Recorded]:
    return ledger.read_recorded(Path(document["evidence"]["folder"]) / "recoverer.ledger")


def recovered_from(document: dict[str, Any]) -> str:
    return " ".join(event.source for event in events_of(document) if isinstance(event, facts.Recovered))


def left_behind(folder: Path) -> list[str]:
    """Servers and helpers of a drill in that folder that still run, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_losing_the_primary_is_recovered_measured_and_put_on_record(finished) -> None:
    done = finished("lose-primary")
    code, document, errors, file = done.code, done.document, done.errors, done.file
    assert (code, document["verdict"]) == (0, "MET"), (document.get("reasons"), errors)
    assert 0 < document["rto_seconds"] < 30
    assert document["rpo_seconds"] < 5
    assert 0 < document["resolution_seconds"] < 5
    reached = [phase["at"] for phase in document["phases"][:6]]
    assert reached == sorted(reached)
    counts = document["writes"]
    assert counts["acknowledged"] == counts["kept"] + counts["lost"] > 200
    assert {"midwatch", "postgresql", "chaostoolkit-lib", "psycopg"} <= set(document["versions"])
    log = DrillLog.of(load.load_platform(file), file)
    assert log.verified().problems == ()
    assert [result["run"] for result in log.results()] == [document["run"]]
    kinds = [record.kind for record in evidence.read(log.chain.path)]
    assert kinds[0] == "drill-started"
    assert {"fault-effective", "fault-reverted", "clean"} <= set(kinds)
    folder = Path(document["evidence"]["folder"])
    assert not any("password" in path.read_text(errors="replace") for path in folder.iterdir())
    assert "MET" in file.with_name("report.html").read_text()


def test_with_a_damaged_newest_backup_the_previous_one_is_used_and_said(finished) -> None:
    done = finished("corrupted-backup")
    code, document, errors = done.code, done.document, done.errors
    assert code == 0, (document.get("reasons"), errors)
    assert "not used: base-0002" in errors
    assert "backup base-0001" in recovered_from(document)


def test_after_a_bad_delete_the_store_goes_back_to_just_before_it(finished) -> None:
    done = finished("bad-delete")
    code, document, errors = done.code, done.document, done.errors
    assert code == 0, (document.get("reasons"), errors)
    assert document["checks"][0] == {"name": "the same database with the same content", "holds": True, "detail": ""}
    assert document["writes"]["lost"] > 0  # what was written after the delete is given up, and counted


def test_a_standby_that_stopped_silently_is_noticed_in_time(finished) -> None:
    done = finished("silent-standby")
    code, document, errors = done.code, done.document, done.errors
    assert code == 0, (document.get("reasons"), errors)
    assert 0.1 < document["rpo_seconds"] < 20.0
    assert document["rto_seconds"] is None


@pytest.mark.parametrize("name", ["lose-sync", "failback"])
def test_where_every_write_is_on_both_servers_none_is_lost(finished, name: str) -> None:
    done = finished(name)
    code, document, errors = done.code, done.document, done.errors
    assert code == 0, (document.get("reasons"), errors)
    assert document["writes"]["lost"] == 0
    assert document["rpo_seconds"] == 0.0
    assert all(check["holds"] for check in document["checks"])


def test_a_store_whose_disk_is_lost_comes_back_from_backup_and_archive(finished) -> None:
    done = finished("restore-latest")
    code, document, errors = done.code, done.document, done.errors
    assert code == 0, (document.get("reasons"), errors)
    counts = document["writes"]
    assert counts["acknowledged"] == counts["kept"] + counts["lost"]
    assert document["rpo_seconds"] < 10.0  # the archive's interval is a second
    assert {check["name"]: check["holds"] for check in document["checks"]}["the restore came to the end of the archive"]
    assert "backup base-0001 and WAL" in recovered_from(document)


@pytest.mark.parametrize("name", ["lose-region", "split-brain"])
def test_the_other_region_takes_over_and_the_old_primary_acknowledges_nothing_more(finished, name: str) -> None:
    done = finished(name)
    code, document, errors = done.code, done.document, done.errors
    assert code == 0, (document.get("reasons"), errors)
    assert {check["name"]: check["holds"] for check in document["checks"]}["the old primary cannot acknowledge"]
    steps = (facts.Decided, facts.Fenced, facts.Recovered, facts.Rerouted)
    assert tuple(type(event) for event in events_of(document) if isinstance(event, steps)) == steps


def test_without_a_recoverer_that_acts_nothing_is_met(finished) -> None:
    done = finished("no-recoverer")
    code, document, errors = done.code, done.document, done.errors
    assert (code, document["verdict"]) == (3, "INCONCLUSIVE"), errors
    assert document["rto_exceeds"]
    assert "not recovered within" in " ".join(document["reasons"])


@pytest.mark.parametrize("moment", [0.2, 2.5, 5.0], ids=["setting up", "writing", "during the fault"])
def test_a_drill_that_is_killed_leaves_no_process_and_a_ledger_that_can_be_read(
    write_platform: Write, moment: float, tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_postgresql()
    file = write_platform()
    command = [*DR, "run", "lose-primary", "-f", str(file)]
    environment = os.environ | {"TMPDIR": str(open_folder)}  # its folder is told from those of the drills beside it
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not left_behind(open_folder))
    for seen in open_folder.glob("midwatch-dr-*/run/observer.ledger"):
        ledger.read_observed(seen)
    log = tmp_path / "evidence" / "evidence.jsonl"
    if log.exists():
        assert evidence.verify(log).problems == ()
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    with temporary.folder(keep=False, stop=stores.stop_leftovers):  # the next run
        assert len(list(open_folder.glob("midwatch-dr-*"))) == 1


def test_what_cannot_begin_says_so_in_a_line_and_hurts_nothing(write_platform: Write, tmp_path: Path) -> None:
    file = write_platform()
    done = refused("no-such-drill", file)
    code, errors = done.code, done.errors
    assert (code, errors.count("\n")) == (2, 1)
    assert "known: bad-delete, corrupted-backup, failback, lose-primary" in errors
    file = write_platform(evidence={"folder": "evidence", "key_file": "nothing.key"})
    done = refused("lose-primary", file)
    code, errors = done.code, done.errors
    assert code == 2
    assert "openssl rand -hex 32" in errors
    file = write_platform(
        stores=[{"name": "models", "files": {"source": "models", "backup": "copies"}}],
        drills=[{"name": "lose-models", "store": "models", "fault": "lose_files"}],
    )
    (tmp_path / "models").mkdir()
    done = refused("lose-models", file)
    code, errors = done.code, done.errors
    assert code == 2
    assert "does not allow drills: is it production?" in errors


def test_evidence_that_is_signed_is_good_with_its_key_only(finished) -> None:
    file = finished("lose-sync").file
    code, found = report(file)
    assert (code, found["evidence"]["problems"]) == (0, [])
    assert found["evidence"]["signed"]
    (file.parent / "evidence.key").write_text("00" * 32)
    code, found = report(file)
    assert code == 1
    assert any("or the key is another" in str(problem) for problem in found["evidence"]["problems"])
    (file.parent / "evidence.key").write_text(KEY)


def test_a_report_since_a_time_leaves_out_what_was_before_it(finished) -> None:
    file = finished("lose-sync").file
    _, whole = report(file)
    (result,) = whole["drills"]
    assert result["drill"] == "lose-sync"
    _, later = report(file, "--since", "2999-01-01")
    assert (later["drills"], later["evidence"]["records"]) == ([], whole["evidence"]["records"])
    _, from_then = report(file, "--since", result["at"])
    assert [one["run"] for one in from_then["drills"]] == [result["run"]]


def report(file: Path, *more: str) -> tuple[int, dict[str, Any]]:
    done = midwatch_here("dr", "report", "-f", file, "--json", *more)
    return done.returncode, json.loads(done.stdout)


def test_a_report_compares_the_last_two_runs_of_a_drill(write_platform: Write) -> None:
    file = write_platform()
    log = DrillLog.of(load.load_platform(file), file)
    home = file.parent / "home"
    home.mkdir()
    for run, (verdict, rto, configuration) in enumerate([("MET", 1.0, "x"), ("BREACHED", 2.5, "x"), ("MET", 2.0, "y")]):
        figures = {"rto_seconds": rto, "rto_exceeds": False, "rpo_seconds": 0.0, "rpo_is_bound": False}
        about = {"run": str(run), "drill": "d", "store": "s", "verdict": verdict, "configuration": configuration}
        log.keep({**about, **figures, "writes": {}, "resolution_seconds": 0.01}, home)
    code, found = report(file, "--compare")
    (compared,) = found["compared"]
    assert (code, compared["runs"], compared["before"]["verdict"], compared["now"]["verdict"]) == (
        0,
        3,
        "BREACHED",
        "MET",
    )
    assert compared["rto"] == {"before": 2.5, "now": 2.0, "change": -0.5}
    assert not compared["same_configuration"]
    shown = midwatch_here("dr", "report", "-f", file, "--compare")
    assert shown.returncode == 0
    assert "2.500 s, then 2.000 s (-0.500 s)" in shown.stdout


def test_evidence_that_was_changed_is_found(write_platform: Write) -> None:
    file = write_platform()
    log = DrillLog.of(load.load_platform(file), file)
    home = file.parent / "home"
    home.mkdir()
    for number in range(3):
        log.keep({"run": str(number), "drill": "d", "store": "s", "verdict": Verdict.MET.value}, home)
    assert log.verified().problems == ()
    assert log.results()[-1]["bound"]["met_in_a_row"] == 3
    text = log.chain.path.read_text()
    log.chain.path.write_text(text.replace('"run":"1"', '"run":"9"'))
    code, found = report(file)
    assert code == 1
    assert found["evidence"]["problems"]
    log.chain.path.write_text("".join(text.splitlines(keepends=True)[:2]))  # the end is cut off
    assert any("cut off" in str(problem) for problem in log.verified().problems)
