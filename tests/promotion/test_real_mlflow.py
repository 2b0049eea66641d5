"""A real MLflow server and a real gate: promoted on record, by hand, and told by a signed webhook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midwatch import evidence
from scripts.recordings.mlflow import PYTHON
from tests.conftest import free_port, wait_for
from tests.promotion.conftest import judged, written
from tests.promotion.test_promote import kinds

SECRET = "s3cr3t"


def post(url: str, document: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def until(seen: Any, what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def mlflow_url(tmp_path: Path) -> Iterator[str]:
    """MLflow on SQLite with `fraud` in two versions, which may deliver to loopback by http."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no interpreter with mlflow: pip install mlflow in an environment of its own")
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/store.db", "--artifacts-destination", str(tmp_path)]
    delivers = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # a new webhook is deaf for so many seconds
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its workers take minutes to start, and nothing needs them
    }
    with (tmp_path / "mlflow.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **delivers}, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/health", 300)
            api = f"{url}/api/2.0/mlflow"
            post(f"{api}/registered-models/create", {"name": "fraud"})
            for _ in range(2):
                post(f"{api}/model-versions/create", {"name": "fraud", "source": "s3://nowhere/x"})
            post(f"{api}/registered-models/alias", {"name": "fraud", "alias": "champion", "version": "1"})
            yield url
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def gate(mlflow_url: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A gate that watches it, and the gate's log."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "token").write_text("t0ken")
    file = written(tmp_path, mlflow_url, gate={"webhook_secret_file": str(tmp_path / "secret")})
    port, audit = free_port(), tmp_path / "audit.jsonl"
    command = [sys.executable, "-P", "-m", "midwatch", "canary", "gate", "-f", str(file), "--audit", str(audit)]
    command += ["--listen", f"127.0.0.1:{port}", "--token-file", str(tmp_path / "token")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", 60)
        until(lambda: audit.exists() and kinds(audit), "the first look")
        yield f"http://127.0.0.1:{port}", audit
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors


@pytest.mark.timeout(600)
def test_a_promotion_by_hand_is_told_by_a_signed_delivery_long_before_the_next_look(
    mlflow_url: str, gate: tuple[str, Path], tmp_path: Path
) -> None:
    url, audit = gate
    api = f"{mlflow_url}/api/2.0/mlflow"
    events = [{"entity": "MODEL_VERSION_ALIAS", "action": action} for action in ("CREATED", "DELETED")]
    post(f"{api}/webhooks", {"name": "midwatch", "url": f"{url}/mlflow", "events": events, "secret": SECRET})
    time.sleep(1.1)  # until MLflow looks for webhooks again
    words = [sys.executable, "-P", "-m", "midwatch", "canary", "promote", "fraud", "2", "--gate", url]
    words += ["--token-file", str(tmp_path / "token"), "--by", "ana", "--json"]
    refused = subprocess.run(words, capture_output=True, text=True)
    assert (refused.returncode, json.loads(refused.stdout)["lacking"]) == (1, ["verdict", "evaluation", "bias_check"])
    post(f"{api}/registered-models/alias", {"name": "fraud", "alias": "champion", "version": "2"})
    until(lambda: "promotion-around-gate" in kinds(audit), "the delivery")
    (around,) = (one for one in evidence.read(audit) if one.kind == "promotion-around-gate")
    assert (around.data["version"], around.data["seen_by"]) == ("2", "webhook")
    for tag in ("evaluation", "bias_check"):
        document = {"name": "fraud", "version": "2", "key": tag, "value": "passed"}
        post(f"{api}/model-versions/set-tag", document)
    judged(audit, at=time.time())
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["promoted"]) == (0, True), done.stderr
    with urllib.request.urlopen(f"{api}/model-versions/get?name=fraud&version=2", timeout=30) as answer:
        tags = {one["key"]: one["value"] for one in json.loads(answer.read())["model_version"]["tags"]}
    assert tags["midwatch.promoted_by"] == "ana"
    assert kinds(audit)[-2:] == ["promotion-began", "promotion-done"]
