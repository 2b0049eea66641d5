"""A drill of the loop whose registry is MLflow's own server: its mark, runs, versions and alias, and the way back."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from monitors.loop.drill.looking import PROMOTED_BY
from monitors.loop.drill.restoring import RESTORER
from monitors.loop.episode import Step
from tests.conftest import free_port, midwatch_here, wait_for
from tests.loop import drilled
from tests.loop.drilled import EPISODE, World

NAME = "fraud-drill"
SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its workers take minutes to start, and nothing needs them
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Mlflow:
    """MLflow's REST, as a pipeline and a gate use it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request; the fields of a GET stand in its query."""
        told: dict[str, Any] = {"fields": fields} if method == "GET" else {"json": fields}
        answer = urllib3.request(method, f"{self.url}/api/2.0/mlflow/{path}", retries=False, **told)
        assert answer.status == 200, answer.data
        document: dict[str, Any] = json.loads(answer.data)
        return document

    def make_version(self, run: str = "") -> str:
        """Number of a new version of the copy, of a training run."""
        made = self("POST", "model-versions/create", name=NAME, source="s3://nowhere/model", run_id=run)
        return str(made["model_version"]["version"])

    def champion(self) -> dict[str, Any]:
        """The version that has the alias."""
        found: dict[str, Any] = self("GET", "registered-models/alias", name=NAME, alias="champion")["model_version"]
        return found

    def set_champion(self, number: str) -> None:
        self("POST", "registered-models/alias", name=NAME, alias="champion", version=number)


class Registered(World):
    """The same world, with the registry outside of it."""

    def __init__(self, folder: Path, mlflow: Mlflow) -> None:
        super().__init__(folder)
        self.mlflow = mlflow
        document = yaml.safe_load(self.file.read_text())
        document["systems"]["mlflow"]["observe"]["url"] = mlflow.url
        self.file.write_text(yaml.safe_dump(document, sort_keys=False))

    def register(self) -> None:
        """The pipeline: a run that says which episode it is of, and the version that it made."""
        tags = [{"key": "midwatch.episode", "value": EPISODE}]
        began = self.mlflow("POST", "runs/create", experiment_id="0", start_time=milliseconds(), tags=tags)
        run = str(began["run"]["info"]["run_id"])
        self.see(Step.RUN_STARTED, "mlflow", run)
        self.mlflow("POST", "runs/update", run_id=run, status="FINISHED", end_time=milliseconds())
        self.see(Step.TRAINED, "mlflow", run)
        number = self.mlflow.make_version(run)
        self.trained_on_drift.add(f"v{number}")
        self.see(Step.REGISTERED, "mlflow", number, served_as=f"v{number}", run_id=run)

    def promote(self, by: str) -> None:
        """The gate: on record before the alias is moved."""
        self.mlflow("POST", "model-versions/set-tag", name=NAME, version="4", key=PROMOTED_BY, value=by)
        self.mlflow.set_champion("4")
        self.see(Step.PROMOTED, "mlflow", "4")
        self.share = 1.0
        self.see(Step.ALL_TRAFFIC, "prometheus", "v4")


def milliseconds() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[Mlflow]:
    """MLflow on SQLite, with three versions of the copy; the third is champion."""
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not there: it comes with the extra flights")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/store.db", "--default-artifact-root", str(tmp_path)]
    with (tmp_path / "mlflow.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **SETTINGS}, stdout=log, stderr=log)
    try:
        asked = Mlflow(f"http://127.0.0.1:{port}")
        wait_for(f"{asked.url}/health", 300)
        asked("POST", "registered-models/create", name=NAME)
        for _ in range(3):
            asked.make_version()
        asked.set_champion("3")
        yield asked
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def world(tmp_path: Path, mlflow: Mlflow) -> Iterator[Registered]:
    made = Registered(tmp_path, mlflow)
    yield made
    made.close()


@pytest.mark.timeout(600)
def test_a_drill_marks_follows_and_puts_back_a_model_of_a_real_registry(world: Registered, mlflow: Mlflow) -> None:
    words = ("loop", "drill", "-f", world.file, "--model", "fraud", "--state", world.state, "--json")
    unmarked = midwatch_here(*words)
    assert (unmarked.returncode, "does not allow drills" in unmarked.stderr, sum(world.requests.values())) == (
        2,
        True,
        0,
    )
    mlflow("POST", "registered-models/set-tag", name=NAME, key="midwatch.drills", value="allowed")
    world.follow(drilled.goes_well)
    done = midwatch_here(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert (document["verdict"], document["old_version"], document["new_version"]) == ("MET", "v3", "v4")
    champion = mlflow.champion()
    tags = {one["key"]: one["value"] for one in champion["tags"]}
    assert (champion["version"], tags[PROMOTED_BY]) == ("3", RESTORER)
