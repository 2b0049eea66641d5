"""An exporter as users start it, pinned to one core, for a benchmark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

PLATFORM = """
apiVersion: midwatch/v1
platform: benchmark
owners: {team: {page: [hook], ticket: [hook]}}
channels: {hook: {webhook: {url: "http://127.0.0.1:9/"}}}
models:
  - {name: delay, owner: team, task: classification, positive: late, groups: [carrier]}
  - {name: price, owner: team, task: regression}
  - {name: wide, owner: team, task: classification, groups: [region]}
"""

SERVER_CORE, LOAD_CORE = 0, 1


def pin(core: int) -> None:
    """Keep this process on a core, where there is more than one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


class Exporter:
    """A running `midwatch exporter serve`; a context manager that ends it."""

    def __init__(self, folder: Path) -> None:
        platform = folder / "platform.yaml"
        platform.write_text(PLATFORM)
        self._errors = (folder / "exporter.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "midwatch.cli", "exporter", "serve", "-f", str(platform),
             "--listen", "127.0.0.1:0", "--state", str(folder / "state")],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, preexec_fn=lambda: pin(SERVER_CORE),  # noqa: PLW1509
        )  # fmt: skip
        self.url = self._ready()
        self.port = int(self.url.rpartition(":")[2])

    def _ready(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.write(line)
            document = json.loads(line) if line.startswith(b"{") else {}
            if "url" in document:
                return str(document["url"])
        raise SystemExit(f"the exporter did not start; see {self._errors.name}")

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        """Send a signal and wait."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        self._process.wait(60)
        if self._process.stderr is not None:
            self._errors.write(self._process.stderr.read())
            self._process.stderr.close()
        self._errors.close()

    def memory(self, what: str = "VmRSS") -> float:
        """MiB of its resident memory now (`VmRSS`), or at the most so far (`VmHWM`)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(what))
        return int(line.split()[1]) / 1024

    def processor_seconds(self) -> float:
        """User and system time it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def scrape(self) -> str:
        """Text of /metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            return answer.read().decode()  # type: ignore[no-any-return]


def total(text: str, name: str, **labels: str) -> float:
    """Sum over the samples of a metric that have these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.partition("{")[0].partition(" ")[0] == name and all(part in line for part in wanted)
    )
