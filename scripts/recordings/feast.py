"""Feast's feature server with the repository that `feast init` makes: features that are read, missing, materialized."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.recordings import mlflow, recorder
from scripts.recordings.recorder import Program

SYSTEM = "feast"

METRICS = "http://127.0.0.1:8000/metrics"
"""The port cannot be chosen."""
FEATURES = ["driver_hourly_stats:conv_rate", "driver_hourly_stats:acc_rate"]


def programs() -> Iterator[Program]:
    """The one of the environment that is named."""
    python = os.environ.get(mlflow.PYTHON)
    if not python:
        return
    asked = "import importlib.metadata as m; print(m.version('feast'))"
    said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    if not said.returncode:
        yield Program(version=said.stdout.strip(), path=Path(python))


def record(program: Program, folder: Path) -> dict[str, str]:
    """Its exposition before and after it was asked."""
    feast = program.path.parent / "feast"
    quiet = {**os.environ, "FEAST_USAGE": "False"}
    subprocess.run([feast, "init", "shop"], cwd=folder, check=True, capture_output=True, env=quiet)
    repository = folder / "shop" / "feature_repo"
    subprocess.run([feast, "apply"], cwd=repository, check=True, capture_output=True, env=quiet)
    port = recorder.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        feast,
        "-c",
        repository,
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--metrics",
        "--workers",
        "1",
    ]
    with recorder.running(command, folder, {"FEAST_USAGE": "False"}) as log:
        recorder.wait_for(f"{url}/health", log)
        idle = recorder.wait_for(METRICS, log)
        _ask(url)
        texts = ("feast_feature_server_request_total{", "feast_materialization", "feast_feature_freshness_seconds{")
        busy = recorder.wait_for(METRICS, log, *texts)
    return {"-idle": idle, "": busy}


def _ask(url: str) -> None:
    for day in ("2020-01-01", "2021-01-01"):
        recorder.fetch(f"{url}/materialize", {"start_ts": f"{day}T00:00:00Z", "end_ts": "2099-01-01T00:00:00Z"})
    recorder.fetch(f"{url}/get-online-features", {"features": FEATURES, "entities": {"driver_id": [1001, 9]}})
    recorder.fetch(f"{url}/get-online-features", {"features": ["nothing:here"], "entities": {"driver_id": [1001]}})
