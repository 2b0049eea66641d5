"""A drill of the loop as it is run: what it needs to begin, what it shows, keeps, puts back and publishes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midwatch import evidence, modules
from midwatch.app.render import rendered_files
from midwatch.spec import load
from midwatch.spec.loop_drill import Inject
from monitors.loop.drill import copies, kept, restoring
from tests.chaos.cluster import wait_until
from tests.conftest import midwatch_here
from tests.loop import drilled
from tests.loop.drilled import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def drill(world: World, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and what was said of a drill of the loop of fraud."""
    done = midwatch_here(
        "loop", "drill", "-f", world.file, "--model", "fraud", "--state", world.state, "--json", *words
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_a_loop_that_brings_a_better_version_in_time_is_met_and_the_copy_is_as_before(world: World) -> None:
    world.follow(drilled.goes_well)
    code, document, said = drill(world)
    assert (code, document["verdict"], document["reasons"]) == (0, "MET", []), said
    assert (document["old_version"], document["new_version"], document["episode"]) == ("v3", "v4", drilled.EPISODE)
    assert 0 < document["recovery_seconds"] < 600
    assert "version 3 of fraud-drill is champion again" in said
    assert world.champion == "3"
    assert document["run"] in world.marks  # every request carries the mark
    platform = load.load_platform(world.file)
    log = kept.DrillLog.of(platform, world.file)
    assert restoring.left(log.folder) is None
    assert (log.problems(), [one["verdict"] for one in log.results()]) == ([], ["MET"])
    published = {(one[0].name, *one[1].values()): one[2] for one in kept.samples(log.results())}
    assert published["ml_loop_drill_verdict", "fraud", "met"] == 1.0
    assert published["ml_loop_drill_recovery_seconds", "fraud"] == document["recovery_seconds"]
    _check_listing(world, log)


def _check_listing(world: World, log: kept.DrillLog) -> None:
    """Drills are listed with their page, and a changed ledger or result is named."""
    page = world.folder / "drills.html"
    listed = midwatch_here("loop", "drills", "-f", world.file, "--html", page)
    assert (listed.returncode, "MET" in listed.stdout) == (0, True)
    assert "amount times 100" in page.read_text()
    (ledger,) = log.folder.glob(f"drills/*/{kept.LEDGER}")
    ledger.write_bytes(ledger.read_bytes().replace(b'"answered":', b'"answered": ', 1))
    changed = midwatch_here("loop", "drills", "-f", world.file, "--json")
    assert changed.returncode == 1
    assert "its digest is another" in json.loads(changed.stdout)["problems"][0]
    log.chain.path.unlink()
    removed = midwatch_here("loop", "drills", "-f", world.file)
    assert (removed.returncode, "no record of the log tells of this drill" in removed.stderr) == (1, True)


def test_a_copy_that_cannot_be_put_back_costs_no_verdict_and_is_not_passed(world: World) -> None:
    world.write(restore=["false"])
    world.follow(drilled.goes_well)
    code, document, said = drill(world)
    assert (code, document["verdict"]) == (3, "MET"), said
    assert document["left_open"].startswith("loop.drill.restore ended with 1")
    assert "was not put back; midwatch loop drill --restore does" in said
    listed = midwatch_here("loop", "drills", "-f", world.file)
    assert (listed.returncode, "MET" in listed.stdout) == (0, True)
    assert "left something open" in drill(world)[2]


def test_a_version_that_was_promoted_by_hand_is_not_met(world: World) -> None:
    world.follow(drilled.is_promoted_by_hand)
    code, document, _ = drill(world)
    assert (code, document["verdict"]) == (3, "INCONCLUSIVE")
    assert any("nobody is on record as who promoted version 4" in one for one in document["reasons"])


def test_a_pipeline_that_does_nothing_breaches_the_promise_and_nothing_is_left(world: World) -> None:
    text = world.file.read_text().replace("recover_within: 10m", "recover_within: 2s")
    world.file.write_text(text)
    world.follow(drilled.does_nothing)
    code, document, _ = drill(world, "--limit", "3s")
    assert (code, document["verdict"], document["exceeds"]) == (1, "BREACHED", True)
    assert world.champion == "3"


def test_a_drill_that_is_killed_sends_nothing_more_and_the_copy_is_put_back(world: World) -> None:
    world.follow(drilled.goes_well)
    words = ["loop", "drill", "-f", str(world.file), "--model", "fraud", "--state", str(world.state)]
    process = subprocess.Popen(modules.command("midwatch", *words), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: world.champion == "4", 120)
    finally:
        process.kill()
        process.wait()
    folder = load.base_folder(world.file) / "evidence/loop"
    wait_until(lambda: world.champion == "3" and restoring.left(folder) is None, 120)

    def nothing_more_comes() -> bool:
        sent = sum(world.requests.values())
        time.sleep(0.5)
        return sum(world.requests.values()) == sent

    wait_until(nothing_more_comes, 60)  # what was on its way may still arrive
    kinds = [one.kind for one in evidence.read(folder / "evidence.jsonl")]
    assert kinds == [kept.STARTED]
    listed = midwatch_here("loop", "drills", "-f", world.file)
    assert (listed.returncode, "left no result, so nothing is proven by it" in listed.stderr) == (3, True)


def test_a_drill_that_is_asked_to_end_puts_back_what_it_changed_and_says_so(world: World) -> None:
    def end(world: World) -> None:
        drilled.goes_well(world)
        os.kill(os.getpid(), signal.SIGTERM)  # the command runs in this process, and is asked as an init would

    text = world.file.read_text().replace("interval: 500ms", "interval: 5m")  # nothing ends it by itself
    world.file.write_text(text)
    world.follow(end)
    code, document, said = drill(world)
    assert (code, document) != (0, {})
    assert "version 3 of fraud-drill is champion again" in said
    folder = load.base_folder(world.file) / "evidence/loop"
    assert [one.kind for one in evidence.read(folder / "evidence.jsonl")] == [kept.STARTED, "loop-drill-aborted"]


def test_a_result_whose_fields_are_of_another_kind_is_a_problem_and_ends_no_listing(tmp_path: Path) -> None:
    log = kept.DrillLog(folder=tmp_path)
    log.ledger("r").append("loop-drill-finished")
    digest = hashlib.sha256((tmp_path / "drills" / "r" / kept.LEDGER).read_bytes()).hexdigest()
    result = dict.fromkeys(kept.FIGURES, None) | {"verdict": "MET", "model": "fraud", "run": "r", "ledger": digest}
    others = {"log_problems": [], "phases": [], "requests": {}, "notes": []}
    log.append(kept.ENDED, **result | others, objectives={"recover_within": "soon"})
    log.append(kept.ENDED, **result | others | {"run": 7}, objectives={})
    (problem,) = log.problems()
    assert "objectives of it that are none" in problem.message
    assert [one["run"] for one in log.results()] == ["r"]


# What it needs to begin ----------------------------------------------------------------------------------------------


def refused(world: World, *words: str) -> str:
    code, _, said = drill(world, *words)
    assert code == 2
    assert not world.requests, "nothing was sent"
    return said


def test_a_copy_without_the_mark_in_the_registry_is_refused(world: World) -> None:
    world.tags.clear()
    assert "does not allow drills" in refused(world)


def test_a_copy_without_a_champion_is_refused_since_none_could_be_put_back(world: World) -> None:
    world.champion = ""
    assert "has no champion that a drill could put back" in refused(world)


def test_a_model_that_nobody_is_marked_as_the_copy_of_is_refused(world: World) -> None:
    done = midwatch_here("loop", "drill", "-f", world.file, "--model", "price", "--state", world.state)
    assert (done.returncode, "no model is marked as the copy of 'price'" in done.stderr) == (2, True)


def test_a_drill_does_not_begin_over_an_open_episode_or_without_the_loops_log(world: World, tmp_path: Path) -> None:
    world.follow(drilled.does_nothing)
    world.drifts = True
    world.requests["v3"] += 1
    wait_until(lambda: bool(world.log.episodes()))
    world.requests.clear()
    assert "is open: wait until it has ended" in refused(world)
    done = midwatch_here("loop", "drill", "-f", world.file, "--model", "fraud", "--state", tmp_path / "nowhere")
    assert (done.returncode, "no log of the loop" in done.stderr) == (2, True)


def test_what_a_drill_left_open_has_to_be_put_back_first(world: World) -> None:
    folder = load.base_folder(world.file) / "evidence/loop"
    world.versions.append(World._version("4", 1.0, "t4", ""))
    world.champion = "4"
    left = restoring.Open(run="r", model="fraud-drill", name="fraud-drill", alias="champion", champion="3")
    restoring.keep(folder, left)
    assert "left something open" in refused(world)
    done = midwatch_here("loop", "drill", "-f", world.file, "--model", "fraud", "--restore")
    assert (done.returncode, world.champion, restoring.left(folder)) == (0, "3", None)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "0 requests"),
        ('{"amount": 1}\n' * 5, "5 requests"),
        ('{"amount": 1}\nnot json\n', ":2: not JSON"),
        ('{"amount": "1"}\n', ":1: no number behind a key 'amount'"),
        ('{"amount": true}\n', ":1: no number behind a key 'amount'"),
    ],
    ids=["empty", "few", "no-json", "text", "boolean"],
)
def test_requests_that_show_nothing_are_refused_by_line(world: World, lines: str, said: str) -> None:
    (world.folder / "requests.jsonl").write_text(lines)
    assert said in refused(world)


def test_every_number_behind_the_key_is_changed_and_nothing_else() -> None:
    document = {"amount": 2, "rows": [{"amount": 3, "other": 4}, {"name": "amount"}]}
    changed, count = copies.with_drift(document, Inject(feature="amount", factor=10, shift=1))
    assert (changed, count) == ({"amount": 21, "rows": [{"amount": 31, "other": 4}, {"name": "amount"}]}, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inject": {"feature": "amount"}}, "changes nothing; write factor or shift"),
        ({"inject": {"feature": "size", "factor": 2}}, "fraud-drill watches no 'size'"),
        ({"copies": "fraud-drill"}, "there is no other model 'fraud-drill'"),
        ({"copies": "price"}, "there is no other model 'price'"),
        ({"url": "drill"}, "url"),
    ],
    ids=["no-change", "no-feature", "itself", "unknown", "url"],
)
def test_a_drill_that_shows_nothing_is_named_by_check(world: World, change: dict[str, Any], said: str) -> None:
    world.write(**change)
    done = midwatch_here("check", "-f", world.file)
    assert (done.returncode, said in done.stdout + done.stderr) == (2, True), done.stdout + done.stderr


# When it runs by itself ----------------------------------------------------------------------------------------------


def test_a_scheduled_drill_has_a_timer_on_the_machine_of_the_loop(world: World) -> None:
    assert not any("loop-drill" in path for path in rendered_files(load.load_platform(world.file)))
    world.write(schedule="0 4 1 * *")
    files = rendered_files(load.load_platform(world.file))
    assert "OnCalendar=*-*-01 04:00:00 UTC\n" in files["systemd/midwatch-loop-drill-fraud.timer"]
    service = files["systemd/midwatch-loop-drill-fraud.service"]
    (command,) = (line.partition("env midwatch ")[2] for line in service.splitlines() if line.startswith("ExecStart="))
    words = command.replace("/etc/midwatch/platform.yaml", str(world.file)).split()
    done = midwatch_here(*words)
    assert "/var/lib/midwatch/loop: no log of the loop" in done.stderr, "the command is read, and gets as far as that"


def test_a_schedule_that_nothing_in_a_cluster_would_run_is_refused(world: World) -> None:
    world.write(schedule="0 4 1 * *")
    world.file.write_text(world.file.read_text() + "kubernetes: {references: references}\n")
    done = midwatch_here("check", "-f", world.file)
    said = done.stdout + done.stderr
    assert (done.returncode, "loop.drill.schedule: nothing in a cluster would run it" in said) == (2, True), said
