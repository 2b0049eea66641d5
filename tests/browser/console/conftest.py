"""A console over a Prometheus and an Alertmanager that know what it shows, and one browser for all tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
import yaml

from midwatch import alertmanager, keyed_hash
from midwatch.app.console.access import Access
from midwatch.app.console.application import Application, Console
from midwatch.app.console.queries import Asked
from midwatch.app.console.state import State
from midwatch.app.console.what_changed import WhatChanged
from midwatch.app.incident import where
from midwatch.app.status import read
from midwatch.evidence import Log
from midwatch.ports import free_ports
from midwatch.prometheus import Client
from midwatch.spec import load
from monitors.loop.episode import Began, Ended, Outcome, Result, Seen, Step
from monitors.loop.episode_log import EpisodeLog
from tests.browser.console import seed
from tests.conftest import platform_document

TOKEN = b"a-token-of-the-tests"
KEY = b"the key of the groups of the tests"
EVIL = "\"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}'</section><!--live x-->"
"""What a name would be that wants to be more than text."""
NAMES = {
    "version": f"v2{EVIL}",
    "job": f"job{EVIL}",
    "feature": f"amount{EVIL}",
    "group": f"north{EVIL}",
    "episode": f"e2{EVIL}",
    "source": f"mlflow{EVIL}",
}


HASHED = [keyed_hash.digest(value, KEY) for value in ("young", "old")]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A console that runs: its address, what it is made of, and the platform file's folder."""

    url: str
    console: Console
    folder: Path


def write_platform(folder: Path) -> Path:
    """A platform file with something for every page."""
    document = platform_document()
    fraud = document["models"][0]
    fraud["groups"] = ["region", "age"]
    fair = {"measure": "demographic_parity", "attribute": "region"}
    fraud["fairness"] = [
        fair | {"ratio": "80%", "within": "age", "public": True},
        fair | {"difference": "5%", "public": True},
        {"attribute": "age", "measure": "accuracy_parity", "difference": "10%", "values": ["young", "old"]},
    ]
    fraud["explanations"] = {"by_group": True}
    fraud["drift"] = {
        "reference": "reference.npz",
        "window": "1h",
        "features": {"amount": "numeric"},
        "methods": ["ks", "psi"],
        "quorum": 2,
        "retrain": {"webhook": {"url_file": "url", "secret_file": "secret"}},
    }
    document["loop"] = {}
    fraud["canary"] = {"criteria": [{"metric": "errors", "tolerated_ratio": 1.1, "unacceptable_ratio": 1.5}]}
    prices = {"name": "prices", "owner": "ml", "task": "regression", "slos": []}
    document["models"].append(prices)
    document["exporter"] = {"personal": {"hash": ["age"], "key_file": "groups.key"}}
    (folder / "groups.key").write_bytes(KEY)
    document["chaos"] = {"experiments": [{"kind": "lose_exporter", "model": "fraud"}]}
    document["disaster_recovery"] = {
        "owner": "ml",
        "stores": [{"name": "orders", "local_postgresql": {}}],
        "drills": [{"name": "failover", "store": "orders", "fault": "kill_primary"}],
        "evidence": {"folder": "dr"},
    }
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def write_evidence(folder: Path) -> Path:
    """An evidence log with a record that wants to be more than text."""
    folder.mkdir()
    log = Log(folder / "evidence.jsonl")
    log.append(f"kind{EVIL}", said=EVIL)
    write_episodes(folder / "loop")
    return folder


def write_episodes(folder: Path) -> None:
    """The loop's log: an episode that ended, and the one that Prometheus knows as the newest."""
    folder.mkdir()
    log, now = EpisodeLog(folder), time.time()
    for episode, begun in (("e1", now - 90_000), (NAMES["episode"], now - 3000)):
        began = {"version": "v0", "onset": begun, "detected": begun + 600, "seen": begun + 610}
        log.append(Began(episode=episode, model="fraud", features=(NAMES["feature"],), **began))
        for step, seconds in ((Step.ASKED, 660), (Step.RUN_STARTED, 720), (Step.TRAINED, 1500)):
            seen = {"step": step, "result": Result.DONE, "source": NAMES["source"], "id": f"run{EVIL}"}
            log.append(Seen(episode=episode, at=begun + seconds, seen=begun + seconds + 5, said=EVIL, **seen))
    ended = {"outcome": Outcome.ABANDONED, "cause": "registered", "at": now - 80_000}
    log.append(Ended(episode="e1", said=f"it did not come {EVIL}", **ended))


def alerts() -> list[dict[str, object]]:
    labels = {"alertname": "ModelErrorBudgetBurn", "severity": "page", "owner": "ml", "model": "fraud"}
    annotations = {"summary": f"fraud burns {EVIL}", "description": EVIL, "runbook_url": "https://runbooks.invalid/x"}
    more = {"slo": "availability", "version": NAMES["version"]}
    return [{"labels": labels | more, "annotations": annotations}]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The console, with everything that it asks."""
    folder = tmp_path_factory.mktemp("console")
    file = write_platform(folder)
    evidence = write_evidence(folder / "evidence")
    known = seed.Seed(now=time.time())
    seed.a_model(
        known,
        "fraud",
        ["v1", NAMES["version"]],
        owner="ml",
        features=["age", "country", NAMES["feature"]],
        groups=["south", NAMES["group"]],
    )
    seed.a_platform(known, NAMES)
    seed.a_loop(known, "fraud", NAMES)
    seed.fairness(known, "fraud", ["v1", NAMES["version"]], {"region": ["south", NAMES["group"]], "age": HASHED})
    seed.attributions(known, "fraud", ["v1", NAMES["version"]], ["age", "country", NAMES["feature"]])
    seed.group_attributions(known, "fraud", "v1", ["south", NAMES["group"]], ["country", NAMES["feature"]])
    with (
        seed.running_prometheus(folder, known) as prometheus,
        seed.running_alertmanager(folder, alerts()) as manager,
        Serving(file, prometheus, manager, (evidence,)) as running,
    ):
        yield running


class Serving:
    """Serves a console in a thread for as long as the context lasts."""

    def __init__(
        self, file: Path, prometheus: str, manager: str, folders: tuple[Path, ...] = (), *, every: float = 0.5
    ) -> None:
        platform = load.load_platform(file)
        client = Client(prometheus, retries=0)
        asked = alertmanager.Client(manager)
        sources = read.Sources(prometheus=client, prometheus_url=prometheus, alertmanager=asked, platform=platform)
        port = free_ports()[0]
        console = Console(
            platform=platform,
            file=file,
            state=State(lambda: read.overview(sources)),
            asked=Asked(client, fresh_seconds=1.0, wait_seconds=10.0),
            what_changed=WhatChanged(where.of_platform(platform, file.parent, client)),
            alertmanager=asked,
            access=Access(token=TOKEN),
            every=every,
            default_span="1h",
            folders=folders,
        )
        config = uvicorn.Config(
            Application(console).app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._running = Running(url=f"http://127.0.0.1:{port}", console=console, folder=file.parent)

    def __enter__(self) -> Running:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self._running

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
