"""Parts that are held down and released, however slowly they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from midwatch import processes
from midwatch.app.up.parts import Parts

LEADER_FIRST = """
import ctypes, os, threading, time
from pathlib import Path
def last():
    while not Path("end").exists():
        time.sleep(0.01)
    os._exit(0)
threading.Thread(target=last).start()
ctypes.CDLL(None).pthread_exit(None)
"""
"""A process that is a zombie and has a thread that runs, as one that is killed has for a moment on a busy machine."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    (tmp_path / "held").mkdir()
    made = Parts(tmp_path, tmp_path / "held")
    yield made
    made.stop_all()


def test_a_part_that_is_released_while_its_last_threads_end_is_started_again(parts: Parts, tmp_path: Path) -> None:
    part = parts.start("x", [sys.executable, "-c", LEADER_FIRST], folder=tmp_path)
    first, released = part.process.pid, tmp_path / "held" / "x.released"
    assert processes.wait_until(lambda: processes.identify(first) is None, 60)
    assert part.process.poll() is None
    released.touch()
    assert not parts.mend()
    assert released.exists(), "it is asked for until it is done"
    (tmp_path / "end").touch()
    assert processes.wait_until(parts.mend, 60)
    assert (part.process.pid != first, released.exists()) == (True, False)


def test_a_part_that_never_went_is_only_let_go(parts: Parts, tmp_path: Path) -> None:
    part = parts.start("x", ["sleep", "60"], folder=tmp_path)
    first, released = part.process.pid, tmp_path / "held" / "x.released"
    released.touch()
    assert not parts.mend()
    assert (part.process.pid, released.exists()) == (first, False)
    os.kill(first, signal.SIGKILL)
