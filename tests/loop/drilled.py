"""A small world that a drill of the loop is run in: a model server, its counters, a registry, and a loop's log.

Only the far ends are made up: what a server answers, what Prometheus and MLflow say. The drill, its requests, its
ledger and the log of episodes are real.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from monitors.drift.episodes import Trigger
from monitors.loop.drill.looking import PROMOTED_BY
from monitors.loop.episode import Asked, Asking, Began, Ended, Outcome, Result, Seen, Step
from monitors.loop.episode_log import EpisodeLog
from tests.conftest import platform_document

EPISODE = "0123456789abcdef"
WINDOW = 0.25
"""Seconds of a window of drift."""
LONGEST = 200.0


class World:
    """Answers as server, Prometheus and MLflow. `share` is the share of requests that v4 answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.windows: Counter[tuple[str, str]] = Counter()
        self.share, self.number, self.drifts = 0.0, 0, False
        self.tags = {"midwatch.drills": "allowed"}
        self.versions: list[dict[str, Any]] = [self._version("3", time.time() - 86400, "t3", "gate")]
        self.champion = "3"
        self.trained_on_drift: set[str] = set()
        self.marks: set[str] = set()
        self.stop = threading.Event()
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.respond(world.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                world.marks.add(self.headers.get("X-Midwatch-Drill", ""))
                self.respond(world.post(self.path, body))

            def respond(self, document: Any) -> None:
                content = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(BrokenPipeError):
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.state = folder / "state"
        self.state.mkdir()
        self.log = EpisodeLog(self.state)
        self.log._log.append("loop-key", said="so that the log is there")
        self.file = folder / "platform.yaml"
        self.write()
        self.judge = threading.Thread(target=self._judge_windows, daemon=True)
        self.judge.start()

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()

    def write(self, **drill: Any) -> None:
        """The platform file, and recorded requests."""
        document = platform_document()
        drift = {
            "reference": "r.npz",
            "window": "1s",
            "min_samples": 2,
            "features": {"amount": "numeric"},
            "retrain": {"webhook": {"url_file": "u", "secret_file": "s"}},
        }
        settings = {
            "copies": "fraud",
            "url": f"{self.url}/predict",
            "requests": "requests.jsonl",
            "inject": {"feature": "amount", "factor": 100},
            "rate": 100,
            "before": "600ms",
            **drill,
        }
        document["models"].append(
            {
                "name": "fraud-drill",
                "owner": "ml",
                "task": "classification",
                "drift": drift,
                "loop": {"recover_within": "10m", "drill": settings},
            }
        )
        document["loop"] = {"interval": "500ms"}
        document["prometheus"] = {"url": self.url}
        observe = {"url": self.url, "served_as": "v{version}"}
        document["systems"] = {"mlflow": {"owner": "ml", "targets": ["mlflow:5000"], "observe": observe}}
        self.file.write_text(yaml.safe_dump(document, sort_keys=False))
        lines = [json.dumps({"rows": [{"amount": 1 + number}]}) for number in range(30)]
        (self.folder / "requests.jsonl").write_text("\n".join(lines))

    # Server, Prometheus and MLflow -----------------------------------------------------------------------------------

    def post(self, path: str, body: bytes) -> Any:
        if path.startswith("/api/v1/query"):
            return self._series(parse_qs(body.decode())["query"][0])
        document = json.loads(body)
        if path == "/predict":
            with self.lock:
                self.number += 1
                version = "v4" if self.number % 100 < 100 * self.share else "v3"
                self.requests[version] += 1
                self.drifts = document["rows"][0]["amount"] > 31
            return {"version": version}
        if path.endswith("/registered-models/alias"):
            self.champion = document["version"]
        if path.endswith("/model-versions/set-tag"):
            (version,) = (one for one in self.versions if one["version"] == document["version"])
            version["tags"].append({"key": document["key"], "value": document["value"]})
        return {}

    def get(self, path: str) -> Any:
        parts = urlsplit(path)
        if parts.path.endswith("/registered-models/get"):
            aliases = [{"alias": "champion", "version": self.champion}]
            tags = [{"key": key, "value": value} for key, value in self.tags.items()]
            return {"registered_model": {"name": "fraud-drill", "aliases": aliases, "tags": tags}}
        if parts.path.endswith("/model-versions/search"):
            return {"model_versions": self.versions}
        if parts.path.endswith("/runs/get"):
            tags = [{"key": "midwatch.episode", "value": EPISODE}]
            began = next(one["creation_timestamp"] for one in self.versions if one["run_id"] == "t4") - 100
            return {
                "run": {"info": {"run_id": "t4", "status": "FINISHED", "start_time": began}, "data": {"tags": tags}}
            }
        return {}

    def _series(self, query: str) -> dict[str, Any]:
        """What Prometheus has of the copy: windows by version and verdict, or requests by version."""
        with self.lock:
            counts = (
                {("version", version, "verdict", verdict): count for (version, verdict), count in self.windows.items()}
                if "ml_drift_windows_total" in query
                else {("version", version): count for version, count in self.requests.items()}
            )
        found = [
            {"metric": dict(zip(labels[::2], labels[1::2], strict=True)), "value": [time.time(), str(count)]}
            for labels, count in counts.items()
        ]
        return {"status": "success", "data": {"resultType": "vector", "result": found}}

    @staticmethod
    def _version(number: str, created: float, run: str, promoted_by: str) -> dict[str, Any]:
        tags = [{"key": PROMOTED_BY, "value": promoted_by}] if promoted_by else []
        return {"version": number, "creation_timestamp": int(created * 1000), "run_id": run, "tags": tags}

    def _judge_windows(self) -> None:
        """The drift judge: a window of each version that had traffic."""
        before: Counter[str] = Counter()
        while not self.stop.wait(WINDOW):
            with self.lock:
                for version, count in self.requests.items():
                    if count > before[version]:
                        is_drift = self.drifts and version not in self.trained_on_drift
                        self.windows[version, "drift" if is_drift else "stable"] += 1
                before = Counter(self.requests)

    # The loop --------------------------------------------------------------------------------------------------------

    def follow(self, story: Callable[[World], None]) -> threading.Thread:
        """What the loop sees, once requests drift, as a thread."""
        thread = threading.Thread(target=self._follow, args=(story,), daemon=True)
        thread.start()
        return thread

    def _follow(self, story: Callable[[World], None]) -> None:
        self.wait(lambda: self.windows["v3", "drift"] > 0)
        now = time.time()
        self.log.append(
            Began(episode=EPISODE, model="fraud-drill", version="v3", onset=now - 1, detected=now, seen=now)
        )
        self.log.append(Asking(episode=EPISODE, attempt=1, at=now))
        self.log.append(Asked(episode=EPISODE, result=Trigger.SENT, said="202", at=now, request="event-7"))
        self.see(Step.ASKED, "webhook", "event-7")
        story(self)

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST
        while not condition() and not self.stop.wait(0.02):
            assert time.monotonic() < deadline

    def see(self, step: Step, source: str, number: str, result: Result = Result.DONE, **facts: str) -> None:
        now = time.time()
        self.log.append(
            Seen(episode=EPISODE, step=step, result=result, source=source, id=number, at=now, seen=now, facts=facts)
        )

    def register(self) -> None:
        self.versions.append(self._version("4", time.time(), "t4", ""))
        self.trained_on_drift.add("v4")
        self.see(Step.RUN_STARTED, "mlflow", "t4")
        self.see(Step.TRAINED, "mlflow", "t4")
        self.see(Step.REGISTERED, "mlflow", "4", served_as="v4", run_id="t4")

    def judge_canary(self) -> None:
        self.share = 0.5
        self.wait(lambda: self.requests["v4"] > 60)
        self.see(Step.CANARY_BEGUN, "prometheus", "v4")
        self.see(Step.CANARY_JUDGED, "gate", "v4")

    def promote(self, by: str) -> None:
        if by:
            self.versions[-1]["tags"].append({"key": PROMOTED_BY, "value": by})
        self.champion = "4"
        self.see(Step.PROMOTED, "mlflow", "4")
        self.share = 1.0
        self.see(Step.ALL_TRAFFIC, "prometheus", "v4")

    def end_well(self) -> None:
        since = self.windows["v4", "stable"]
        self.wait(lambda: self.windows["v4", "stable"] >= since + 4)
        self.see(Step.WELL, "drift", "v4")
        now = time.time()
        self.log.append(
            Ended(episode=EPISODE, outcome=Outcome.BETTER, cause="drift_gone", at=now, said="2 calm windows")
        )


def goes_well(world: World) -> None:
    world.register()
    world.judge_canary()
    world.promote("midwatch canary gate")
    world.end_well()


def is_promoted_by_hand(world: World) -> None:
    world.register()
    world.judge_canary()
    world.promote("")
    world.end_well()


def does_nothing(world: World) -> None:
    """The run succeeds, and registers nothing."""
