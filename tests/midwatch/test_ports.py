"""Ports that are chosen are nobody else's."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from midwatch import ports

FEW = 200
OTHER = """
import json, sys
from midwatch import ports
ports.LOWEST, last = int(sys.argv[1]), int(sys.argv[2])
ports._ephemeral = lambda: last
print(json.dumps(ports.free_ports(60)), flush=True)
sys.stdin.read()
"""


def test_processes_that_run_at_a_time_are_given_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    first = 20_000
    monkeypatch.setattr(ports, "LOWEST", first)
    monkeypatch.setattr(ports, "_ephemeral", lambda: first + FEW)
    command = [sys.executable, "-c", OTHER, str(first), str(first + FEW)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        theirs = set(json.loads(other.stdout.readline()))
        ours = set(ports.free_ports(60))
        other.stdin.close()
    assert len(theirs) == len(ours) == 60
    assert not theirs & ours


def test_a_port_that_is_listened_on_is_not_given_and_none_left_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ports, "random", Always(listener.getsockname()[1]))
        with pytest.raises(OSError, match="no 1 free loopback ports were found"):
            ports.free_ports()


class Always:
    """Stands for `random`: there is one port to choose from."""

    def __init__(self, port: int) -> None:
        self._port = port

    def SystemRandom(self) -> Always:  # noqa: N802 - its name there
        return self

    def sample(self, _population: range, _count: int) -> list[int]:
        return [self._port]
