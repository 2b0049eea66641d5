"""MLflow's tracking server with a SQLite store: requests that work, one that finds nothing, a registered model."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.recordings import recorder
from scripts.recordings.recorder import Program

SYSTEM = "mlflow"

PYTHON = "MIDWATCH_RECORDED_PYTHON"
"""Names the interpreter of an environment in which mlflow[extras] and feast are installed; not Midwatch's own."""


def programs() -> Iterator[Program]:
    """The one of the environment that is named."""
    python = os.environ.get(PYTHON)
    if not python:
        return
    asked = "import importlib.metadata as m; print(m.version('mlflow'))"
    said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    if not said.returncode:
        yield Program(version=said.stdout.strip(), path=Path(python))


def record(program: Program, folder: Path) -> dict[str, str]:
    """Its exposition before and after the requests."""
    port = recorder.free_port()
    url = f"http://127.0.0.1:{port}"
    api = f"{url}/api/2.0/mlflow"
    (folder / "metrics").mkdir()
    command = [program.path, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/store.db", "--expose-prometheus", str(folder / "metrics")]
    with recorder.running(command, folder) as log:
        recorder.wait_for(f"{url}/health", log)
        idle = recorder.wait_for(f"{url}/metrics", log)
        recorder.fetch(f"{api}/registered-models/create", {"name": "fraud"})
        recorder.fetch(f"{api}/registered-models/get?name=fraud")
        recorder.fetch(f"{api}/registered-models/get?name=nothing")
        recorder.fetch(f"{api}/experiments/search", {"max_results": 10})
        busy = recorder.wait_for(f"{url}/metrics", log, 'status="404"', 'status="200"')
    return {"-idle": idle, "": busy}
