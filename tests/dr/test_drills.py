"""Whole drills on real PostgreSQL, by the command that people type."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos import evidence
from dr import ledger, records
from dr.verdict import Verdict
from midwatch.spec import load
from tests.dr.conftest import need_postgresql, platform_file, wait_until

DR = [sys.executable, "-m", "midwatch.cli", "dr"]

Write = Callable[..., Path]

LONG = {
    "lose-primary": ("--html", "report.html"),
    "corrupted-backup": ("--seed", "3"),
    "bad-delete": (),
    "silent-standby": (),
    "no-recoverer": ("--limit", "2s"),
}
"""Drills that are run whole, side by side: each waits most of its time."""


@dataclass(frozen=True)
class Done:
    code: int
    document: dict[str, Any]
    errors: str
    file: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Done]]:
    """Starts the long drills; what is asked for is waited for."""
    need_postgresql()
    running: dict[str, tuple[subprocess.Popen[str], Path]] = {}
    for name, options in LONG.items():
        folder = tmp_path_factory.mktemp(name)
        changes = {"guard": {"failures": 100000}} if name == "no-recoverer" else {}
        file = platform_file(folder, **changes)
        command = [*DR, "run", "lose-primary" if name == "no-recoverer" else name, "-f", str(file), "--json"]
        command += [str(folder / option) if option.endswith(".html") else option for option in options]
        with (folder / "errors").open("w") as errors:
            running[name] = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=errors), file

    def finish(name: str) -> Done:
        process, file = running[name]
        text, _ = process.communicate(timeout=110)
        errors = (file.parent / "errors").read_text()
        return Done(process.returncode, json.loads(text) if text else {}, errors, file)

    yield finish
    for process, _ in running.values():
        if process.poll() is None:
            process.terminate()
        process.communicate()


def drill(name: str, file: Path) -> Done:
    need_postgresql()
    done = subprocess.run(
        [*DR, "run", name, "-f", str(file), "--json"], capture_output=True, text=True, timeout=110, check=False
    )
    return Done(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr, file)


def left_behind() -> list[str]:
    """Servers and helpers of drills that still run, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "midwatch-dr-" in command and "pytest" not in command:
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
    book = records.Book.of(load.load_platform(file), file)
    assert book.verified().problems == ()
    assert [result["run"] for result in book.results()] == [document["run"]]
    kinds = [record.kind for record in evidence.read(book.log.path)]
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
    events = ledger.read(Path(document["evidence"]["folder"]) / "guard.ledger")
    assert any("backup base-0001" in event.get("from_", "") for event in events)


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


def test_without_a_recoverer_that_acts_nothing_is_met(finished) -> None:
    done = finished("no-recoverer")
    code, document, errors = done.code, done.document, done.errors
    assert (code, document["verdict"]) == (3, "INCONCLUSIVE"), errors
    assert document["rto_exceeds"]
    assert "not recovered within" in " ".join(document["reasons"])


@pytest.mark.parametrize("moment", [0.2, 2.5, 5.0], ids=["setting up", "writing", "during the fault"])
def test_a_drill_that_is_killed_leaves_no_process_and_a_ledger_that_can_be_read(
    write_platform: Write, moment: float, tmp_path: Path
) -> None:
    need_postgresql()
    file = write_platform()
    process = subprocess.Popen([*DR, "run", "lose-primary", "-f", str(file)], stderr=subprocess.DEVNULL)
    time.sleep(moment)
    before = set(Path("/tmp").glob("midwatch-dr-*"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    mine = [path for path in before if (path / "store").exists() or (path / "run").exists()]
    wait_until(lambda: not any(str(path) in line for path in mine for line in left_behind()), 30)
    for path in mine:
        if (path / "run" / "observer.ledger").exists():
            ledger.read(path / "run" / "observer.ledger")
    log = tmp_path / "evidence" / "evidence.jsonl"
    if log.exists():
        assert evidence.verify(log).problems == ()


def test_what_cannot_begin_says_so_in_a_line_and_hurts_nothing(write_platform: Write, tmp_path: Path) -> None:
    file = write_platform()
    done = drill("no-such-drill", file)
    code, errors = done.code, done.errors
    assert (code, errors.count("\n")) == (2, 1)
    assert "known: bad-delete, corrupted-backup, lose-primary" in errors
    file = write_platform(evidence={"folder": "evidence", "key_file": "nothing.key"})
    done = drill("lose-primary", file)
    code, errors = done.code, done.errors
    assert code == 2
    assert "openssl rand -hex 32" in errors
    file = write_platform(
        stores=[{"name": "models", "files": {"source": "models", "backup": "copies"}}],
        drills=[{"name": "lose-models", "store": "models", "fault": "lose_files"}],
    )
    (tmp_path / "models").mkdir()
    done = drill("lose-models", file)
    code, errors = done.code, done.errors
    assert code == 2
    assert "does not allow drills: is it production?" in errors


def test_evidence_that_was_changed_is_found(write_platform: Write) -> None:
    file = write_platform()
    book = records.Book.of(load.load_platform(file), file)
    home = file.parent / "home"
    home.mkdir()
    for number in range(3):
        book.keep({"run": str(number), "drill": "d", "store": "s", "verdict": Verdict.MET.value}, home)
    assert book.verified().problems == ()
    assert book.results()[-1]["bound"]["met_in_a_row"] == 3
    text = book.log.path.read_text()
    book.log.path.write_text(text.replace('"run":"1"', '"run":"9"'))
    done = subprocess.run([*DR, "report", "-f", str(file), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["evidence"]["problems"]
    book.log.path.write_text("".join(text.splitlines(keepends=True)[:2]))  # the end is cut off
    assert any("cut off" in str(problem) for problem in book.verified().problems)
