"""Rendering a platform of 100 models, as a process, twice."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.figure import Figure


def platform(models: int) -> dict:
    """A platform file with so many models, each with three objectives and twenty features."""
    slos = [
        {"name": "availability", "sli": "availability", "objective": "99.9%"},
        {"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "99%"},
        {"name": "accuracy", "sli": {"outcome": "correct"}, "objective": "80%"},
    ]
    drift = {"reference": "r.npz", "features": {f"x{index}": "numeric" for index in range(20)}}
    model = {"owner": "ml", "task": "classification", "slos": slos, "drift": drift}
    return {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [{"name": f"model-{index}", **model} for index in range(models)],
    }


def run(*, smoke: bool) -> list[Figure]:
    """Seconds for 100 models, and whether the second run gives other bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "platform.yaml").write_text(yaml.safe_dump(platform(5 if smoke else 100)))
        seconds, contents = [], []
        for output in ("a", "b"):
            begun = time.perf_counter()
            command = [sys.executable, "-P", "-m", "midwatch", "render", "-f", str(folder / "platform.yaml")]
            subprocess.run([*command, "-o", str(folder / output)], check=True, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begun)
            files = sorted(path for path in (folder / output).rglob("*") if path.is_file())
            contents.append([(path.relative_to(folder / output), path.read_bytes()) for path in files])
        differing = sum(one != other for one, other in zip(*contents, strict=True))
    return [
        Figure(name="render 100 models", target=5, measured=max(seconds), unit="s", better="less"),
        Figure(name="render twice: files that differ", target=0, measured=differing, unit="files", better="less"),
    ]
