"""MLflow's registry, from the answers of a real server: champions, what versions lack, and what is kept of changes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exporters.systems import registry_history
from exporters.systems.kinds import mlflow
from exporters.systems.registry_history import Keeper
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.observed.mlflow import MlflowObserved
from tests.systems_export.conftest import RecordedServer, rows

MODELS = {"delay": "flights-delay", "gone": "nope"}
ALIASES = "/api/2.0/mlflow/registered-models/get?name=flights-delay"


def registry(url: str, folder: Path, **changes: Any) -> mlflow.Registry:
    observed = MlflowObserved(url=url, **{"models": MODELS, **changes})
    return mlflow.Registry(observed, observed.models, Keeper(folder, observed.unseen))


def test_the_champion_is_the_version_with_the_alias(mlflow_server: RecordedServer, tmp_path: Path) -> None:
    samples = registry(mlflow_server.url, tmp_path, served_as="v{version}").read(1000.0)
    assert rows(samples, metrics.REGISTRY_CHAMPION) == {("delay", "3", "v3"): 1}
    assert rows(samples, metrics.REGISTRY_VERSION) == {
        ("delay", "3", "champion", ""): 1,
        ("delay", "3", "challenger", ""): 1,
    }


def test_a_model_that_is_not_registered_has_no_champion(mlflow_server: RecordedServer, tmp_path: Path) -> None:
    samples = registry(mlflow_server.url, tmp_path).read(1000.0)
    assert rows(samples, metrics.REGISTRY_CHAMPIONS) == {("delay",): 1, ("gone",): 0}


def test_a_stage_makes_a_champion_where_it_is_asked_for(mlflow_server: RecordedServer, tmp_path: Path) -> None:
    samples = registry(mlflow_server.url, tmp_path, models={"old": "legacy"}, stage="Production").read(1000.0)
    assert rows(samples, metrics.REGISTRY_CHAMPION) == {("old", "1", "1"): 1}
    assert rows(samples, metrics.REGISTRY_SINCE) == {("old", "1", "", "Production"): 1000.0}


def test_what_a_version_lacks_is_told_from_what_cannot_be_seen(mlflow_server: RecordedServer, tmp_path: Path) -> None:
    _set_alias(mlflow_server, champion="2")
    checks = rows(registry(mlflow_server.url, tmp_path).read(1000.0), metrics.REGISTRY_CHECK)
    assert set(checks) == {
        ("delay", "2", "owner", "has"),
        ("delay", "2", "signature", "lacks"),
        ("delay", "2", "evaluation", "lacks"),
        ("delay", "3", "owner", "lacks"),
        ("delay", "3", "signature", "has"),
        ("delay", "3", "evaluation", "has"),
    }
    legacy = registry(mlflow_server.url, tmp_path / "legacy", models={"old": "legacy"}).read(1000.0)
    assert ("old", "1", "signature", "unknown") in rows(legacy, metrics.REGISTRY_CHECK)


def test_a_signature_that_was_seen_is_not_asked_for_again(mlflow_server: RecordedServer, tmp_path: Path) -> None:
    source = registry(mlflow_server.url, tmp_path)
    source.read(1000.0)
    source.read(1060.0)
    assert sum("get-artifact" in path for path in mlflow_server.asked) == 1


def test_a_server_that_does_not_answer_is_an_error_and_no_change(mlflow_server: RecordedServer, tmp_path: Path) -> None:
    source = registry(mlflow_server.url, tmp_path)
    source.read(1000.0)
    mlflow_server.answers[ALIASES] = {"status": 500, "text": "database is gone"}
    with pytest.raises(MidwatchError, match="500 database is gone"):
        source.read(1060.0)
    assert registry_history.load(tmp_path).last_looks["delay"] == 1000.0


def test_times_are_those_at_which_a_change_was_seen_also_after_a_restart(
    mlflow_server: RecordedServer, tmp_path: Path
) -> None:
    registry(mlflow_server.url, tmp_path).read(1000.0)
    _set_alias(mlflow_server, champion="2")
    registry(mlflow_server.url, tmp_path).read(1060.0)
    since = rows(registry(mlflow_server.url, tmp_path).read(1120.0), metrics.REGISTRY_SINCE)
    assert since == {("delay", "2", "champion", ""): 1060.0, ("delay", "3", "challenger", ""): 1000.0}


def _set_alias(server: RecordedServer, **aliases: str) -> None:
    said = json.loads(server.answers[ALIASES]["text"])
    for one in said["registered_model"]["aliases"]:
        one["version"] = aliases.get(one["alias"], one["version"])
    server.answers[ALIASES] = {"status": 200, "text": json.dumps(said)}


PYTHON = "MIDWATCH_RECORDED_PYTHON"
MOVE = """
import sys, mlflow
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
client = mlflow.MlflowClient()
client.create_registered_model("flights-delay")
for number in "12":
    client.create_model_version("flights-delay", "s3://nowhere/x")
client.set_registered_model_alias("flights-delay", "champion", "2")
"""


def test_a_real_server_answers_as_the_recorded_one(tmp_path: Path) -> None:
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no Python with mlflow in it")
    from scripts.recordings import recorder
    from tests.conftest import free_port

    port, database = free_port(), tmp_path / "mlflow.db"
    subprocess.run([python, "-c", MOVE, database], check=True, capture_output=True)
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    with recorder.running(command, tmp_path) as log:
        recorder.wait_for(f"http://127.0.0.1:{port}/health", log)
        samples = registry(f"http://127.0.0.1:{port}", tmp_path / "state").read(1000.0)
    assert rows(samples, metrics.REGISTRY_CHAMPION) == {("delay", "2", "2"): 1}
    assert ("delay", "2", "signature", "unknown") in rows(samples, metrics.REGISTRY_CHECK)
