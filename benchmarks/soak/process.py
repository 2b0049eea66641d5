"""The exporter under test: started, killed and started again at one address, its memory and its own ends noted."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TextIO

from midwatch import modules, ports

READY_SECONDS = 90.0
"""A start replays up to 64 MiB of journal, on a machine that may have other things to do."""


class Exporter:
    """One exporter at one port; `own_ends` counts those that nobody asked for, `peak` is in MiB."""

    def __init__(self, state: Path, log: TextIO, environment: dict[str, str]) -> None:
        self.state, self._log = state, log
        self._environment = {**os.environ, **environment}
        (self.port,) = ports.free_ports()
        self.own_ends = 0
        self.peak = 0.0
        self.process = self._begun()

    def _begun(self) -> subprocess.Popen[bytes]:
        process = self.spawn(self.port)
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"the exporter does not start; see {self._log.name}")
            time.sleep(0.02)
        return process

    def spawn(self, port: int) -> subprocess.Popen[bytes]:
        """A process on the same state."""
        where = ("--listen", f"127.0.0.1:{port}", "--state", str(self.state))
        command = modules.command("midwatch", "exporter", "serve", *where)
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, env=self._environment)

    def answers(self) -> bool:
        """Whether it is there."""
        try:
            return self.ask("GET", "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request; OSError or HTTPException when there is no whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def end(self, number: signal.Signals) -> None:
        """End it by a signal, and wait."""
        self._measure()
        self.process.send_signal(number)
        self.process.wait(120)

    def start(self) -> None:
        """Start it again."""
        self.process = self._begun()

    def look(self) -> None:
        """Note an end that nobody asked for, start it again then, and how much memory it has had."""
        if self.process.poll() is not None:
            self.own_ends += 1
            self.start()
        self._measure()

    def _measure(self) -> None:
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        if found := re.search(r"VmHWM:\s+(\d+)", status):
            self.peak = max(self.peak, int(found[1]) / 1024)

    def total(self, metric: str) -> int:
        """What is counted of the clients' models."""
        text = self.ask("GET", "/metrics")[1].decode()
        return int(sum(map(float, re.findall(rf'^{metric}\{{.*model="soak-.* (\S+)$', text, re.M))))
