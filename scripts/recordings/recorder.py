"""What every recording needs: a program that runs for a while, its port, requests to it, its exposition."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_SECONDS = 120.0
"""A program of Python or of Kubernetes needs tens of seconds on a busy machine."""


class RecordingError(Exception):
    """A program that could not be recorded, and what it said."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that is here, with its version."""

    version: str
    path: Path


def cached() -> Path:
    """Folder in which the scripts keep the programs that they built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midwatch"


def free_port() -> int:
    """A port that nothing listens on; below 32768, as Tekton reads it as a signed number of 16 bits."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            if port not in _taken:
                _taken.add(port)
                return port
    raise RecordingError("no port below 32768 is free")


_taken: set[int] = set()
"""Ports that were given out: the program that gets one does not listen on it at once."""


@contextmanager
def running(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] = {}) -> Iterator[Path]:
    """Run a program; gives the file of what it says. It is ended with the context."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            list(map(str, command)), stdout=said, stderr=said, cwd=folder, env={**os.environ, **environment}
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(url: str, document: Any = None, *, method: str | None = None) -> tuple[int, str]:
    """Status and body of a request; a body of JSON makes it a POST."""
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - http only
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - see above
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(url: str, log: Path, *texts: str) -> str:
    """The body of a URL that answers 200 and has the texts; RecordingError with what the program said."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            status, body = fetch(url)
            if status == 200 and all(text in body for text in texts):
                return body
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.3)
    raise RecordingError(f"{url} has no {', '.join(texts) or 'answer'}: {log.read_text(errors='replace')[-2000:]}")
