"""What a process that is stopped leaves of its folders: nothing, or what the next one removes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dr import temporary
from tests.dr.conftest import need_postgresql, platform_file, wait_until

STOPPED = """
import threading, time
from dr import temporary
ready = threading.Event()
def work():
    with temporary.folder(keep=False, stop=lambda _: None) as path:
        (path / "data").mkdir()
        (path / "data" / "file").write_text("x")
        ready.set()
        time.sleep(60)
threading.Thread(target=work, daemon=True).start()
ready.wait()
"""


def test_a_thread_that_is_cut_off_by_the_end_of_its_process_leaves_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-P", "-c", STOPPED], env=environment, check=True, cwd=Path.cwd())
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_half_removed_is_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, new = tmp_path / "midwatch-dr-left", tmp_path / "midwatch-dr-new"
    for path in (left, new):
        (path / "store").mkdir(parents=True)
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    stopped: list[Path] = []
    temporary.sweep(stopped.append)
    assert stopped == [left]
    assert list(tmp_path.iterdir()) == [new], "one that is being made has no lock yet"


def test_two_sweeps_at_a_time_do_not_trip_over_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "midwatch-dr-left"
    left.mkdir()
    (left / ".lock").touch()
    temporary.sweep(lambda path: shutil.rmtree(path))  # the other one has removed it while this one stops its servers
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_stopped_while_it_starts_leaves_nothing(tmp_path: Path, open_folder: Path) -> None:
    need_postgresql()
    file = platform_file(tmp_path)
    words = [str(tmp_path / "link"), str(file), "store", json.dumps([])]
    command = [sys.executable, "-P", "-m", "dr.stores.local_postgresql.serve", *words]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(open_folder)}, stderr=subprocess.PIPE)
    wait_until(lambda: bool(list(open_folder.glob("midwatch-dr-*/store/a/data/postmaster.pid"))))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert not (tmp_path / "link").exists()
    assert list(open_folder.iterdir()) == []
