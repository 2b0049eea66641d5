"""The flights, once: while they run every panel whose metrics exist has data, and at the end everything adds up."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dashboards import render, verify
from dashboards.verify import Status, Verification
from dr.stores.local_postgresql import programs as postgresql
from midwatch.errors import MissingProgramError
from midwatch.prometheus import Client
from midwatch.spec import load
from tests.conftest import need_program
from tests.up.test_up import UP, still_running

FLIGHTS = Path("examples/flights/platform.yaml")
VERIFY_SECONDS = 5.0
"""Between two looks at all panels: each is several hundred queries, and the flights need their cores."""


def has_postgresql() -> bool:
    try:
        postgresql.find(None)
    except MissingProgramError:
        return False
    return True


@dataclass(frozen=True)
class Story:
    code: int
    document: dict[str, Any]
    errors: str
    panels: list[Verification]
    left: list[int]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """One run for all tests, with the last look at the panels that was taken while it ran."""
    for program in ("prometheus", "prometheus-alertmanager"):
        need_program(program)
    state = tmp_path_factory.mktemp("flights") / "s"
    command = [*UP, str(FLIGHTS), "--duration", "50s", "--json", "--state", str(state)]
    log = state.with_name("log")
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        panels = looked_at(state, process)
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    document = json.loads(said) if said else {}
    return Story(process.returncode, document, log.read_text()[-3000:], panels, still_running(state))


def looked_at(state: Path, process: subprocess.Popen[str]) -> list[Verification]:
    """Findings of the last look at every panel before the traffic ended, or of the first one without a gap."""
    documents = render.documents(load.load_platform(FLIGHTS))
    found: list[Verification] = []
    while process.poll() is None and (not found or unexplained(found) or not is_whole(found)):
        time.sleep(VERIFY_SECONDS)
        if (url := prometheus_of(state)) is None:
            continue
        verifier = verify.Verifier(Client(url), verify.TimeRange(end=time.time(), since=60, scrape=1))
        looked = [one for document in documents for one in verifier.verify(document)]
        found = looked if process.poll() is None else found
    return found


def prometheus_of(state: Path) -> str | None:
    """Its address once there is traffic."""
    inventory = state / "plane.json"
    parts = json.loads(inventory.read_text())["parts"] if inventory.exists() else []
    urls = {part["name"]: part.get("url") for part in parts}
    return urls["prometheus"] if any(name.startswith("traffic") for name in urls) else None


def patience() -> float:
    """Seconds of drift after which a retraining is asked for."""
    drift = load.load_platform(FLIGHTS).models[0].drift
    assert drift is not None and drift.retrain is not None
    return drift.retrain.windows * drift.window


def held_before_asking(episode: dict[str, Any]) -> float:
    onset, asked = (datetime.fromisoformat(episode["times"][name]) for name in ("T0", "T2"))
    return (asked - onset).total_seconds()


CALM = {
    "How many more events would decide?",  # none, where it is decided
    "What do versions in use lack?",  # nothing, where each has what it needs
    "How long does each step usually take?",  # nobody knows it of episodes whose steps are ahead
}
"""Panels that are empty when all is well, or while the story is young."""


def unexplained(found: list[Verification]) -> list[Verification]:
    """What is empty although every metric it asks for is published."""
    return [
        one
        for one in found
        if one.status is Status.ERROR
        or (
            one.status is Status.EMPTY
            and one.kind == "panel"
            and one.title not in CALM
            and "unknown metric" not in one.reason
        )
    ]


def is_whole(found: list[Verification]) -> bool:
    """Whether labels, drift and everything else that takes a while are there: until then little is asked."""
    shown = {one.title for one in found if one.kind == "panel" and one.status is Status.OK}
    return {
        "Is it right?",
        "Which methods vote?",
        "Which targets answer?",
        "How long does it take to tell them?",
    } <= shown


@pytest.mark.timeout(900)
def test_every_panel_of_metrics_that_exist_has_data_while_the_flights_run(story: Story) -> None:
    assert unexplained(story.panels) == []
    assert is_whole(story.panels)


@pytest.mark.timeout(900)
def test_the_flights_story_adds_up(story: Story) -> None:
    document = story.document
    assert story.code == 0, story.errors
    assert document["predictions_sent"] == document["predictions_counted"] > 5000
    assert document["labels_joined"] == document["labels_sent"] > 5000
    assert document["predictions_waiting"] == document["predictions_sent"] - document["labels_joined"]
    assert document["targets_up"] == document["targets_total"] == 16 + has_postgresql()  # then region b has an exporter
    verdicts = {canary["canary"]: canary for canary in document["canaries"]}
    assert {name: canary["verdict"] for name, canary in verdicts.items()} == {"v3": "pass", "v2": "fail"}, [
        f"{name}: {canary['reason']}" for name, canary in verdicts.items()
    ]
    assert any(word in verdicts["v2"]["reason"] for word in ("latency", "accuracy"))
    alerts = {(alert["name"], alert["version"]): alert for alert in document["alerts"]}
    drift, slow = alerts["ModelInputDrift", "v1"], alerts["ModelLatencyHigh", "v2"]
    for alert in (drift, slow):
        assert (alert["severity"], alert["owner"]) == ("page", "ml-serving")
        assert alert["summary"]
        assert alert["runbook_url"].endswith(f"{alert['name']}.md")
    assert drift["resolved_at"] is not None
    assert document["episodes"]
    for episode in document["episodes"]:  # so short a fault is no reason to train again, where the traffic kept up
        assert episode["trigger"]["result"] == "none" or held_before_asking(episode) >= patience(), episode
    assert ("ModelLatencyHigh", "v1") not in alerts
    assert document["pages_delivered"] >= 2
    assert story.left == []
