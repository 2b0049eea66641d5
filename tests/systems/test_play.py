"""The whole platform of the example on a player and a real Prometheus: every panel has data, every system answers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midwatch.app.systems import player, scenes, stage
from midwatch.prometheus import Client
from midwatch.spec import load, system_rules
from midwatch.spec.model import Platform
from tests.conftest import free_port, midwatch_here, need_program, wait_for
from tests.systems.conftest import NAMES

EXAMPLE = Path("examples/platform/platform.yaml")


@pytest.fixture(scope="module")
def whole() -> Platform:
    """The example, scraped every 3 seconds: a busy machine takes more than one for a scrape."""
    platform = load.load_platform(EXAMPLE)
    quick = platform.prometheus.model_copy(update={"scrape_interval": 3.0})
    return platform.model_copy(update={"prometheus": quick})


@pytest.fixture(scope="module")
def scraped(whole: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus that has scraped the player thrice."""
    program = need_program("prometheus")
    folder, port = tmp_path_factory.mktemp("play"), free_port()
    with player.serving(whole, "127.0.0.1", 0) as address:
        (folder / "prometheus.yml").write_text(stage.configuration(whole, address))
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            client, targets = (
                Client(f"http://127.0.0.1:{port}"),
                sum(len(use.targets) for use in whole.systems.values()),
            )
            while len(client.query("count_over_time(up[1m]) > 2 and up == 1")) < targets:
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def test_the_example_has_every_system(whole: Platform) -> None:
    assert sorted(whole.systems) == NAMES


def test_every_panel_of_every_system_has_data(scraped: str) -> None:
    done = midwatch_here(
        "dashboards", "verify", "--systems", "-f", EXAMPLE, "--prometheus", scraped, "--since", "1m", "--json"
    )
    findings = json.loads(done.stdout)["findings"]
    panels = [one for one in findings if one["kind"] == "panel"]
    assert len(panels) > 4 * len(NAMES)
    assert [(one["dashboard"], one["title"], one["reason"]) for one in panels if one["status"] != "ok"] == []


def test_every_system_answers(scraped: str) -> None:
    late = "up == 0"  # a scrape of a busy machine takes too long now and then
    while Client(scraped).query(late):
        time.sleep(0.2)
    done = midwatch_here("systems", "check", "-f", EXAMPLE, "--prometheus", scraped, "--json")
    said = json.loads(done.stdout)
    assert [one for one in said["systems"] if one["state"] != "answers" or one["missing"]] == []
    assert (done.returncode, said["ok"], len(said["systems"])) == (0, True, len(NAMES))


def test_the_example_has_no_problem() -> None:
    need_program("promtool")
    need_program("amtool")
    done = midwatch_here("check", "-f", EXAMPLE)
    assert (done.returncode, done.stderr.count("no problems")) == (0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_play_has_the_metrics_and_labels_of_the_folder(name: str, whole: Platform) -> None:
    (system,) = [one for one in system_rules.installed(whole) if one.name == name]
    played = {scene.name: scene for scene in scenes.of(system)}
    for newest, metric in system.described.metrics.items():
        if metric.is_in(system.version):
            scene = played[metric.name_in(newest, system.version)]
            assert scene.parts
            known: set[str] = {*metric.labels_in(system.version), "le", "quantile"}
            assert {label for part in scene.parts for label in part.labels} <= known


def test_what_is_played_rises_and_times_move_on(whole: Platform) -> None:
    (system,) = [one for one in system_rules.installed(whole) if one.name == "argo_cd"]
    play = scenes.of(system)
    first, later = (lines(player.text(play, 0.0, now)) for now in (10.0, 20.0))
    assert first.keys() == later.keys()
    rising = [name for name in first if later[name] > first[name]]
    assert any("argocd_app_sync_total" in name for name in rising)
    assert not any("argocd_app_info" in name for name in rising)


def lines(text: str) -> dict[str, Any]:
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}
