"""A gate as a process of its own, for a platform with one model that has a canary."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from midwatch.ports import free_ports
from tests.conftest import wait_for

START_SECONDS = 60
"""Its imports take 15 s on a machine with much else to do."""


class Process(NamedTuple):
    """Where the gate answers, and its process."""

    url: str
    pid: int


@contextmanager
def started(prometheus: str, folder: Path, criteria: Sequence[Any], **sections: Any) -> Iterator[Process]:
    """A gate that asks a Prometheus about the model `fraud`; `sections` of the platform file stand beside."""
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "prometheus": {"url": prometheus},
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [
            {"name": "fraud", "owner": "ml", "task": "classification", "canary": {"criteria": list(criteria)}},
        ],
        **sections,
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    (port,) = free_ports()
    command = [sys.executable, "-P", "-m", "midwatch", "canary", "gate", "-f", str(folder / "platform.yaml")]
    command += ["--listen", f"127.0.0.1:{port}", "--audit", str(folder / "audit.jsonl")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", START_SECONDS)
        yield Process(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()
