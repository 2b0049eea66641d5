"""Takes the trigger of a retraining, as Tekton's EventListener would: 202 with an id, and nothing said of the run.

A trigger is signed (`X-Hub-Signature-256`), and one with a known `Idempotency-Key` is answered with the same id and
starts nothing. Runs follow one another. At its start the versions that are there already are registered, v1 as
champion. With `--prepare URL` it only writes where triggers are to be sent and the secret that signs them.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import queue
import secrets
import shutil
import sys
import threading
import time
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the servers have the other core: threads that wait for one only cost

import data
import retraining
import train
from mlflow_rest import Mlflow
from retraining import MODEL

URL_FILE, SECRET_FILE = data.CACHE / "retrain-url", data.CACHE / "retrain-secret"
MAX_BODY = 64 * 1024
REGISTRY_SECONDS = 120.0
"""How long the registry may take to start."""


def prepare(url: str) -> None:
    """Write where triggers go, and a secret unless there is one."""
    data.CACHE.mkdir(exist_ok=True)
    URL_FILE.write_text(f"{url}/retrain\n")
    if not SECRET_FILE.exists():
        SECRET_FILE.touch(mode=0o600)
        SECRET_FILE.write_text(secrets.token_hex(32))


class Runs:
    """Triggers by their keys, and the runs that they start, one after the other."""

    def __init__(self, mlflow: Mlflow, folder: Path) -> None:
        self._mlflow, self._folder = mlflow, folder
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue()
        threading.Thread(target=self._work, name="runs", daemon=True).start()

    def take(self, key: str, episode: str) -> str:
        """The id of a trigger; a new one starts a run."""
        with self._lock:
            if key not in self._ids:
                self._ids[key] = str(uuid.uuid4())
                self._waiting.put((episode, self._ids[key]))
            return self._ids[key]

    def _work(self) -> None:
        while True:
            episode, request = self._waiting.get()
            begun = time.monotonic()
            try:
                number = retraining.Retraining(self._mlflow, self._folder, episode, request).run()
            except Exception:  # it is in the registry as a run that failed; the next trigger must find somebody
                traceback.print_exc()
                continue
            print(f"registered version {number} after {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)


def handler(runs: Runs, secret: bytes) -> type[BaseHTTPRequestHandler]:
    """What answers requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if self.path != "/retrain" or not 0 < length <= MAX_BODY:
                self._say(404 if self.path != "/retrain" else 413, {"error": "POST a trigger to /retrain"})
                return
            body = self.rfile.read(length)
            wanted = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
            if not hmac.compare_digest(wanted, self.headers.get("X-Hub-Signature-256", "")):
                self._say(401, {"error": "the signature is not that of the secret"})
                return
            try:
                episode = str(json.loads(body)["episode"])
            except (ValueError, KeyError, TypeError):
                self._say(400, {"error": "a trigger has an episode"})
                return
            key = self.headers.get("Idempotency-Key", episode)
            self._say(202, {"eventID": runs.take(key, episode)})

        def do_GET(self) -> None:
            self._say(200 if self.path == "/healthz" else 404, {})

        def _say(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing of requests."""

    return Handler


def register_what_is_there(mlflow: Mlflow) -> None:
    """Put the versions that were trained before into an empty registry; the careless one without an evaluation."""
    measured = json.loads((data.CACHE / "evaluation.json").read_text())
    experiment = mlflow.experiment(MODEL)
    mlflow.ensure_model(MODEL, {"owner": "ml-serving"})
    for version in sorted(train.THRESHOLDS):
        run = mlflow.start_run(experiment, version, {})
        model = mlflow.log_model(experiment, run, MODEL)
        retraining.write_model(model.artifacts, b"", run.id)
        shutil.copyfile(data.CACHE / f"model-{version}.joblib", model.artifacts / "model.pkl")
        mlflow.finish_model(model)
        if version != "v2":
            about = {"model_id": model.id, "dataset_name": "september", "dataset_digest": "2013-09"}
            mlflow.log_metrics(run, measured[version], **about)
        mlflow.end_run(run, "FINISHED")
        mlflow.register(MODEL, run, model, {} if version == "v2" else {"evaluation": "september"})
    mlflow.set_alias(MODEL, "champion", retraining.CHAMPION.removeprefix("v"))


def wait_for(mlflow: Mlflow) -> None:
    """Wait until the registry answers."""
    deadline = time.monotonic() + REGISTRY_SECONDS
    while True:
        try:
            mlflow.experiment(MODEL)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return


def main() -> None:
    """Serve until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepare", metavar="URL", help="write where triggers go, and the secret, and end")
    parser.add_argument("--port", type=int)
    parser.add_argument("--registry", help="URL of MLflow")
    parser.add_argument("--folder", type=Path, help="of the warehouse")
    given = parser.parse_args()
    if given.prepare:
        prepare(given.prepare)
        return
    mlflow = Mlflow(given.registry)
    wait_for(mlflow)
    register_what_is_there(mlflow)
    given.folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(mlflow, given.folder)
    ThreadingHTTPServer(("127.0.0.1", given.port), handler(runs, SECRET_FILE.read_bytes().strip())).serve_forever()


if __name__ == "__main__":
    main()
