"""Every dashboard of a platform of 200 models, rendered in a process of its own, twice; and the largest of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks import render
from benchmarks.figure import Figure

_RENDER = """
import json, sys
from pathlib import Path
from dashboards import render
from midwatch.spec import load
files = render.render_files(load.load_platform(Path(sys.argv[1])))
Path(sys.argv[2]).write_text(json.dumps(files))
"""


def run(*, smoke: bool) -> list[Figure]:
    """Seconds from the file to all dashboards, the start of the process included; bytes of the largest one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "platform.yaml").write_text(yaml.safe_dump(render.platform(10 if smoke else 200)))
        seconds, made = [], []
        for output in ("a.json", "b.json"):
            begun = time.perf_counter()
            command = [sys.executable, "-c", _RENDER, str(folder / "platform.yaml"), str(folder / output)]
            subprocess.run(command, check=True)
            seconds.append(time.perf_counter() - begun)
            made.append(json.loads((folder / output).read_text()))
    first, second = made
    largest = max(len(text.encode()) for path, text in first.items() if path.endswith(".json"))
    differing = sum(first[path] != second.get(path) for path in first)
    return [
        Figure(name="200 models, all dashboards", target=10, measured=max(seconds), unit="s", better="less"),
        Figure(name="the largest dashboard", target=200, measured=largest / 1000, unit="kB", better="less"),
        Figure(name="dashboards twice: files that differ", target=0, measured=differing, unit="files", better="less"),
    ]
