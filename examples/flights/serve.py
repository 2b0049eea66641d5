"""A model server for one version: predicts, measures itself, and tells the exporter of each prediction.

With `--registry` the version need not be there yet: the server is up, serves nothing, and looks into MLflow's registry
until it finds it.
v2 asks a remote feature service before it answers, which takes 120 ms: that is its flaw, made with a sleep.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # single rows: threads only cost

import train
import uvicorn
from mlflow_rest import Mlflow, MlflowError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from midwatch import instrument, telemetry
from midwatch.client import EventLog, Prediction

MODEL = "flight-delay"
PATH = f"/v1/models/{MODEL}:predict"
GROUPS = ("carrier", "origin")
LOOKUP_SECONDS = {"v2": 0.12}
LOOK_SECONDS = 0.5
"""Between two looks into the registry for a version that is not there."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    """KServe's v1 protocol for one version: `{"instances": [{feature: value}]}` in, predictions with their ids out."""

    def __init__(self, version: str, classifier: train.Classifier, log: EventLog, registry: CollectorRegistry) -> None:
        self._version, self._classifier, self._log, self._registry = version, classifier, log, registry
        self._threshold = train.THRESHOLDS.get(version, train.THRESHOLD)

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/metrics":
            await _respond(send, 200, generate_latest(self._registry), CONTENT_TYPE_LATEST)
        elif scope["path"] == PATH:
            await self._predict(await _body(receive), send, _waited(scope["headers"]))
        else:
            body = json.dumps({"version": self._version}).encode()
            await _respond(send, 200 if scope["path"] == "/healthz" else 404, body)

    async def _predict(self, body: bytes, send: Send, waited: float) -> None:
        begun = time.perf_counter() - waited
        try:
            instances = json.loads(body)["instances"]
        except (ValueError, KeyError, TypeError):
            await _respond(send, 400, b'{"error": "send {\\"instances\\": [...]}"}')
            return
        if self._version in LOOKUP_SECONDS:
            await asyncio.sleep(LOOKUP_SECONDS[self._version])
        answers = [self._answer(instance, begun) for instance in instances]
        await _respond(send, 200, json.dumps({"predictions": answers, "version": self._version}).encode())

    def _answer(self, features: dict[str, Any], begun: float) -> dict[str, Any]:
        score = self._classifier.probability(features)
        prediction = "late" if score >= self._threshold else "on_time"
        identifier = str(uuid.uuid4())
        self._log.send(
            Prediction(
                id=identifier,
                model=MODEL,
                version=self._version,
                ts=time.time(),
                duration_seconds=time.perf_counter() - begun,
                prediction=prediction,
                score=score,
                features=features,
                groups={name: features[name] for name in GROUPS},
            )
        )
        return {"id": identifier, "prediction": prediction, "score": score}


def _waited(headers: Any) -> float:
    """Seconds that a request has waited on its way, if a router says when it came (X-Request-Start, as Heroku's)."""
    for name, value in headers:
        if name == b"x-request-start":
            return max(0.0, time.time() - float(value.removeprefix(b"t=")))
    return 0.0


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _respond(send: Send, status: int, body: bytes, content_type: str = "application/json") -> None:
    """Answer; without its type Prometheus 3 takes no metrics."""
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Waiting:
    """Stands for a version that is not in the registry yet: healthy, without metrics, and with no answers."""

    def __init__(self) -> None:
        self.app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Answer one request, by the version once it is there."""
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/metrics":
            await _respond(send, 200, b"", CONTENT_TYPE_LATEST)
        elif scope["type"] == "http":
            await _respond(send, 200 if scope["path"] == "/healthz" else 503, b'{"version": null}')

    def wait_for(self, version: str, mlflow: Mlflow, build: Callable[[train.Classifier], Any]) -> None:
        """Look for the version until it is there, and let it answer from then on."""
        while self.app is None:
            try:
                found = mlflow.version(MODEL, version.removeprefix("v"))
                if found is not None:
                    self.app = build(train.load_file(str(mlflow.folder_of(found) / "model.pkl")))
                    return
            except (OSError, MlflowError) as error:
                print(f"the registry does not say where {version} is: {error}", file=sys.stderr, flush=True)
            time.sleep(LOOK_SECONDS)


def main() -> None:
    """Serve until SIGTERM, then send what the log still holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--exporter", required=True, help="URL of the exporter")
    parser.add_argument("--registry", help="URL of MLflow: the version is waited for there")
    given = parser.parse_args()
    telemetry.setup(f"{MODEL}-{given.version}")
    registry = CollectorRegistry()
    with EventLog(given.exporter) as log:

        def build(classifier: train.Classifier) -> Any:
            measures = instrument.Server(MODEL, given.version, registry=registry, framework="scikit-learn")
            instrument.publish(log, registry)
            app = App(given.version, classifier, log, registry)
            return measures.middleware(app, paths=[PATH])  # type: ignore[arg-type]

        if given.registry:
            app = waiting = Waiting()
            look = (given.version, Mlflow(given.registry), build)
            threading.Thread(target=waiting.wait_for, args=look, name="registry", daemon=True).start()
        else:
            app = build(train.load(given.version))
        uvicorn.run(app, port=given.port, access_log=False, log_level="warning", loop="uvloop", lifespan="off")


if __name__ == "__main__":
    main()
