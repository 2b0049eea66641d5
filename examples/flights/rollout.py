"""Rolls a new version out, as Argo Rollouts would: a share of the traffic, the gate's verdict, then all of it or none.

Nobody tells it of a version: it looks into the registry, and waits until a server answers with what it finds. Which
share of the traffic each version gets is written to a file, which the router reads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import urllib3
from mlflow_rest import Mlflow, MlflowError
from retraining import CHAMPION, MODEL

LOOK_SECONDS = 0.5
"""Between two looks at the registry and at a server."""
ASK_SECONDS = 1.0
"""Between two questions to the gate."""
SHARE = 0.4
"""Of the traffic, while a version is tried."""
FIRST_OF_NEW = 4
"""Number of the first version that is rolled out: those before it are there from the start."""
TIMEOUT = 10.0
LIMIT_SECONDS = 90.0
"""How long a version may be tried; one that is not decided by then gets nothing."""


def write_shares(folder: Path, shares: dict[str, float]) -> None:
    """Say which share of the traffic each version gets; the version of before has the rest."""
    partial = folder / "traffic.partial"
    partial.write_text(json.dumps(shares))
    partial.replace(folder / "traffic.json")


def read_shares(folder: Path) -> dict[str, float]:
    """Shares of the traffic by version."""
    try:
        shares: dict[str, float] = json.loads((folder / "traffic.json").read_text())
    except FileNotFoundError:
        return {}
    return shares


class Rollout:
    """Looks for a version that is newer than those that were there at the start, and rolls it out."""

    def __init__(self, mlflow: Mlflow, gate: str, server: str, folder: Path, promote: list[str]) -> None:
        self._mlflow, self._gate, self._server, self._folder, self._promote = mlflow, gate, server, folder, promote
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def run(self) -> None:
        """One rollout, from the version's registration to its end."""
        number = self._registered()
        version = f"v{number}"
        self._wait_until_served(version)
        write_shares(self._folder, {version: SHARE})
        say(f"{version} gets {SHARE:.0%} of the traffic")
        verdict, reason = self._judged(version)
        say(f"the gate says {verdict} of {version}: {reason}")
        if verdict != "pass" or not self._promoted(number):
            write_shares(self._folder, {})
            say(f"{version} gets nothing more")
            return
        write_shares(self._folder, {version: 1.0})
        say(f"{version} gets all of the traffic")

    def _registered(self) -> str:
        while True:
            try:
                newest = self._mlflow.newest(MODEL)
            except (OSError, MlflowError):
                newest = None
            if newest is not None and int(newest) >= FIRST_OF_NEW:
                return newest
            time.sleep(LOOK_SECONDS)

    def _wait_until_served(self, version: str) -> None:
        while True:
            try:
                if self._ask("GET", f"{self._server}/healthz").get("version") == version:
                    return
            except (urllib3.exceptions.HTTPError, ValueError):
                pass  # it starts, or is busy: it is asked again
            time.sleep(LOOK_SECONDS)

    def _judged(self, version: str) -> tuple[str, str]:
        body = {"model": MODEL, "baseline": CHAMPION, "canary": version, "start": ""}
        deadline = time.monotonic() + LIMIT_SECONDS
        verdict, reason = "inconclusive", "nobody was asked"
        while verdict == "inconclusive" and time.monotonic() < deadline:
            time.sleep(ASK_SECONDS)
            try:
                said = self._ask("POST", f"{self._gate}/verdict", json=body)
                verdict, reason = str(said["verdict"]), str(said["reason"])
            except (urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
                reason = f"the gate gives no verdict: {error}"
        return verdict, reason

    def _ask(self, method: str, url: str, **content: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._pool.request(method, url, **content).json()
        return answer

    def _promoted(self, number: str) -> bool:
        """Whether the version is champion now: the promotion gate moves the alias, or refuses."""
        done = subprocess.run([*self._promote, MODEL, number], capture_output=True, text=True, check=False)
        say(f"promotion of {number} ended with {done.returncode}: {(done.stdout + done.stderr).strip()}")
        return done.returncode == 0


def say(text: str) -> None:
    """One line for the log."""
    print(text, file=sys.stderr, flush=True)


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing of requests."""


def main() -> None:
    """Watch until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--registry", required=True, help="URL of MLflow")
    parser.add_argument("--gate", required=True, help="URL of the canary gate")
    parser.add_argument("--server", required=True, help="URL of the server of the new version")
    parser.add_argument("--folder", type=Path, required=True, help="where the shares of the traffic are written")
    parser.add_argument("promote", nargs="+", help="command that promotes: the model and the version's number follow")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write_shares(given.folder, {})
    rollout = Rollout(Mlflow(given.registry), given.gate, given.server, given.folder, given.promote)
    Thread(target=rollout.run, name="rollout", daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", given.port), _Healthy).serve_forever()


if __name__ == "__main__":
    main()
