"""A plane on paper: a state folder that says what runs, with a sleeping process for each part."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from midwatch import processes
from tests.conftest import platform_document

PLANE = ("alertmanager", "exporter", "links", "prometheus")


class PaperPlane:
    """Its folder, its platform file, and the processes that stand for its parts."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.state, self.file = folder / "state", folder / "platform.yaml"
        for name in ("held", "links", "results"):
            (self.state / name).mkdir(parents=True)
        self.file.write_text(yaml.safe_dump(document))
        names = [*PLANE, *(f"server-{server['name']}" for server in document["local"]["servers"])]
        self.parts = {name: subprocess.Popen(["sleep", "600"], start_new_session=True) for name in names}
        self._started = {name: _started(process.pid) for name, process in self.parts.items()}
        self.says()

    def says(self, **changes: Any) -> None:
        """Write down what runs: this very process is the plane."""
        inventory = {
            "up": os.getpid(),
            "up_started": _started(os.getpid()),
            "platform": str(self.file),
            "held": str(self.state / "held"),
            "links": str(self.state / "links"),
            "results": str(self.state / "results"),
            "sink": {"url": "", "file": str(self.state / "deliveries.jsonl")},
            "regions": None,
            "parts": [
                {"name": name, "pid": process.pid, "started": self._started[name], "url": "http://127.0.0.1:9"}
                for name, process in self.parts.items()
            ],
        }
        (self.state / "plane.json").write_text(json.dumps(inventory | changes))

    def kill(self, part: str) -> None:
        self.parts[part].kill()
        self.parts[part].wait()

    def experiment(self, *method: Mapping[str, Any], **changes: Any) -> Path:
        """A file in Chaos Toolkit's format."""
        document = {"version": "1.0.0", "title": "t", "description": "d", "method": list(method), "rollbacks": []}
        path = self.state.parent / "experiment.json"
        path.write_text(json.dumps(document | changes, indent=1))
        return path


def _started(pid: int) -> int:
    identity = processes.identify(pid)
    assert identity is not None
    return identity.started


def action(func: str, **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": "chaos.actions", "func": func, "arguments": arguments}
    return {"type": "action", "name": func, "provider": provider}


def probe(func: str, **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": "chaos.probes", "func": func, "arguments": arguments}
    return {"type": "probe", "name": func, "provider": provider, "tolerance": True}


def document_of(*servers: str, **guard: Any) -> dict[str, Any]:
    """A platform with servers of one model; v1 to v4 without a name."""
    document = platform_document()
    names = servers or ("v1", "v2", "v3", "v4")
    document["local"] = {
        "servers": [{"name": name, "model": "fraud", "version": name, "command": ["x"]} for name in names]
    }
    document["chaos"] = {"guard": {"error_budget": None, "forbid_pages": False, **guard}}
    return document


@contextmanager
def running(folder: Path, document: dict[str, Any] | None = None) -> Iterator[PaperPlane]:
    plane = PaperPlane(folder, document or document_of())
    try:
        yield plane
    finally:
        for process in plane.parts.values():
            process.kill()
            process.wait()
