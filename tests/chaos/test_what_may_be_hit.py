"""What an experiment may hit: a share over all actions, nothing that is protected, one plane, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from chaoslib.exceptions import ActivityFailed

from chaos import actions, lease
from chaos.kinds import injection
from chaos.places.local import plane as planes
from chaos.places.local.plane import LocalPlane
from chaos.run import current, open_run, watchdog
from chaos.targets import Hit, TargetError
from dr.runner import drill as drills
from midwatch import processes
from midwatch.errors import Exit, InvalidInputError, MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import load
from tests.chaos import paper
from tests.chaos.paper import PaperPlane, action
from tests.conftest import midwatch_here


@pytest.fixture
def paper_plane(tmp_path: Path) -> Iterator[PaperPlane]:
    with paper.running(tmp_path) as plane:
        yield plane


def planned(plane: PaperPlane, file: Path, *options: object) -> tuple[int, dict[str, Any]]:
    done = midwatch_here("chaos", "plan", file, "--state", plane.state, "--json", *options)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


@pytest.fixture
def in_a_run(paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is the runner of a run."""
    place = LocalPlane(paper_plane.state)
    folder = place.home.runs / "r"
    folder.mkdir(parents=True)
    open_run.write(folder, open_run.OpenRun(log=str(place.home.evidence), key_file=None))
    monkeypatch.setenv(watchdog.RUN_VARIABLE, str(folder))
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Client, "query", lambda *_: [])
    return folder


# The share ---------------------------------------------------------------------------------------------------------


def test_the_share_holds_for_all_actions_of_an_experiment_in_its_plan(paper_plane: PaperPlane) -> None:
    kills = [action("kill_replica", model="fraud", target=name) for name in ("v1", "v2", "v3", "v4")]
    code, plan = planned(paper_plane, paper_plane.experiment(*kills))
    assert code == Exit.INCONCLUSIVE
    assert "3 of 4 targets would be hit" in plan["problem"]
    assert planned(paper_plane, paper_plane.experiment(*kills[:2]))[1]["problem"] == ""


def test_the_share_holds_for_all_actions_of_an_experiment_when_they_run(
    paper_plane: PaperPlane, in_a_run: Path
) -> None:
    """Also where each hits in another way."""
    for name in ("v1", "v2"):
        actions.kill_replica(model="fraud", target=name)
    for one_more in (actions.kill_replica, actions.cut_network, actions.failing_model):
        with pytest.raises(ActivityFailed, match="3 of 4 targets would be hit"):
            one_more(model="fraud", target="v3")
    assert paper_plane.parts["server-v3"].poll() is None
    assert list((paper_plane.state / "links").iterdir()) == []
    assert [one.name for one in current.of_process(None).hits()] == ["server-v1", "server-v2"]


def test_actions_in_the_background_count_each_other(paper_plane: PaperPlane, in_a_run: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        ran = [pool.submit(actions.kill_replica, model="fraud", target=name) for name in ("v1", "v2", "v3", "v4")]
    assert sum(one.exception() is None for one in ran) == 2
    assert sum(process.poll() is not None for process in paper_plane.parts.values()) == 2


def test_what_earlier_actions_hit_counts_after_its_revert_too(paper_plane: PaperPlane) -> None:
    earlier = [Hit(name="server-v1"), Hit(name="server-v2")]
    place = LocalPlane(paper_plane.state)
    place.prepare(injection("cut_network", {"model": "fraud", "target": "v2"}), earlier)
    with pytest.raises(TargetError, match="server-v1, server-v2 are hit by earlier actions"):
        place.prepare(injection("cut_network", {"model": "fraud", "target": "v3"}), earlier)


@pytest.mark.parametrize("how", ["dead", "held down", "behind a bad link"])
def test_what_is_down_already_counts(paper_plane: PaperPlane, how: str) -> None:
    place = LocalPlane(paper_plane.state)
    if how == "dead":
        paper_plane.kill("server-v4")
    else:
        folder, name = {"held down": ("held", "server-v4")}.get(how, ("links", "traffic--v4.json"))
        (paper_plane.state / folder / name).touch()
    place.prepare(injection("kill_replica", {"model": "fraud", "target": "v1"}))
    with pytest.raises(TargetError, match="server-v4 are hit by earlier actions or down already"):
        place.prepare(injection("kill_replica", {"model": "fraud", "target": "v1", "replicas": 2}))


def test_an_exporter_that_gets_no_events_is_down(paper_plane: PaperPlane) -> None:
    (paper_plane.state / "links" / "events--exporter.json").touch()
    paper_plane.kill("alertmanager")
    with pytest.raises(TargetError, match="3 of 3 targets"):
        LocalPlane(paper_plane.state).prepare(injection("lose_prometheus", {}))


def test_cores_and_memory_add_up(paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(planes, "_available_memory", lambda: 1000 * 2**20)
    cpu = [action("exhaust_cpu", model="fraud", cores=2, seconds=1.0) for _ in range(2)]
    memory = [action("exhaust_memory", model="fraud", size=300 * 2**20, seconds=1.0) for _ in range(2)]
    for one in (cpu, memory):
        assert planned(paper_plane, paper_plane.experiment(one[0]))[1]["problem"] == ""
        assert "at most 50% may be" in planned(paper_plane, paper_plane.experiment(*one))[1]["problem"]


def test_a_run_beyond_the_allowed_share_is_refused_and_hits_nothing(
    paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "adopt_orphans", lambda: None)  # this very process would
    file = paper_plane.experiment(action("kill_replica", model="fraud", replicas=3))
    done = midwatch_here("chaos", "run", file, "--state", paper_plane.state, "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["refused"], result["verdict"]) == (Exit.INCONCLUSIVE, True, "inconclusive")
    assert "3 of 4 targets would be hit" in result["reasons"][0]
    assert all(process.poll() is None for process in paper_plane.parts.values())


# Protection ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "protected"),
    [
        ("kill_replica", {}, "server-v1"),
        ("slow_model", {}, "server-v1"),
        ("cut_network", {}, "server-v1"),
        ("failing_model", {}, "server-v1"),
        ("corrupt_features", {"scale": {"x": 2.0}}, "server-v1"),
        ("deploy_bad_version", {"bad_version": "v2"}, "server-v1"),
        ("lose_node", {}, "server-v1"),
        ("slow_model", {}, "fraud"),
        ("skew_clock", None, "exporter"),
        ("fill_disk", None, "exporter"),
        ("lose_exporter", None, "exporter"),
    ],
)
def test_protection_follows_the_part_whatever_way_leads_to_it(
    tmp_path: Path, kind: str, settings: dict[str, Any] | None, protected: str
) -> None:
    arguments = {} if settings is None else {"model": "fraud", "target": "v1", **settings}
    with paper.running(tmp_path, paper.document_of(protected={"parts": [protected]})) as plane:
        with pytest.raises(TargetError, match=f"{protected} may not be hit"):
            LocalPlane(plane.state).prepare(injection(kind, arguments))
        if settings is not None and protected != "fraud":
            LocalPlane(plane.state).prepare(injection(kind, {**arguments, "target": "v3"}))


def test_an_unknown_protected_part_is_a_problem_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(paper.document_of(protected={"parts": ["exporter", "server-v9"]})))
    with pytest.raises(InvalidInputError, match=r"parts\[1\]: there is no part 'server-v9'; did you mean server-v"):
        load.load_platform(file)


# One plane -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "configuration",
    [
        {"state": "/elsewhere"},
        {"state": {"type": "env", "key": "ANOTHER_STATE", "default": "/elsewhere"}},
        {"where": "kubernetes"},
        {"platform": "/elsewhere/platform.yaml"},
        {"state": {"type": "probe", "name": "x", "provider": {"type": "process", "path": "true"}}},
    ],
    ids=["literal", "another variable", "where", "platform", "only known at the run"],
)
def test_a_file_that_names_another_plane_is_refused(paper_plane: PaperPlane, configuration: dict[str, Any]) -> None:
    file = paper_plane.experiment(action("kill_replica", model="fraud"), configuration=configuration)
    code, plan = planned(paper_plane, file)
    assert code == Exit.USAGE
    assert f"{file}:" in plan["said"]
    assert "configuration." in plan["said"]


def test_a_file_that_names_this_plane_is_not_refused(paper_plane: PaperPlane) -> None:
    configuration = {"state": str(paper_plane.state), "where": "local"}
    file = paper_plane.experiment(action("kill_replica", model="fraud"), configuration=configuration)
    assert planned(paper_plane, file)[0] == Exit.PASS


def test_an_action_that_is_told_another_plane_hits_neither(
    paper_plane: PaperPlane, in_a_run: Path, tmp_path: Path
) -> None:
    with paper.running(tmp_path / "other") as other, pytest.raises(ActivityFailed, match="names state"):
        actions.kill_replica(model="fraud", configuration={"state": str(other.state)})
    assert paper_plane.parts["server-v1"].poll() is None
    assert list(in_a_run.glob("faults/*")) == []


@pytest.mark.parametrize("command", [["plan", "x"], ["run", "x"], ["stop"]], ids=lambda words: words[0])
def test_another_platform_file_than_the_planes_is_refused(paper_plane: PaperPlane, command: list[str]) -> None:
    other = paper_plane.state.parent / "other.yaml"
    other.write_bytes(paper_plane.file.read_bytes())
    done = midwatch_here("chaos", *command, "--state", paper_plane.state, "-f", other)
    assert done.returncode == Exit.USAGE
    assert f"runs {paper_plane.file}, not {other}" in done.stderr
    assert not (paper_plane.state / "chaos").exists()
    file = paper_plane.experiment(action("kill_replica", model="fraud"))
    assert planned(paper_plane, file, "-f", paper_plane.file)[0] == Exit.PASS


# One at a time -------------------------------------------------------------------------------------------------------


def test_a_plan_says_that_something_runs_or_is_left_open(paper_plane: PaperPlane) -> None:
    file = paper_plane.experiment(action("kill_replica", model="fraud"))
    home = LocalPlane(paper_plane.state).home
    with lease.on_this_machine(home.lock):
        code, plan = planned(paper_plane, file)
        assert code == Exit.INCONCLUSIVE
        assert "another experiment runs, or a drill" in plan["refusals"][0]
    left = home.runs / "left" / "faults"
    left.mkdir(parents=True)
    (left / "001.json").write_text("{}")
    code, plan = planned(paper_plane, file)
    assert code == Exit.INCONCLUSIVE
    assert "left something open" in plan["refusals"][0]
    (left / "001.json").unlink()
    assert planned(paper_plane, file)[0] == Exit.PASS


def test_only_one_experiment_runs_at_a_time(paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "adopt_orphans", lambda: None)
    file = paper_plane.experiment(action("kill_replica", model="fraud"))
    with lease.on_this_machine(LocalPlane(paper_plane.state).home.lock):
        second = midwatch_here("chaos", "run", file, "--state", paper_plane.state)
    assert second.returncode == Exit.INCONCLUSIVE
    assert "another experiment runs" in second.stderr


def test_a_drill_of_the_plane_and_an_experiment_keep_each_other_out(paper_plane: PaperPlane, tmp_path: Path) -> None:
    store = {"name": "store", "local_postgresql": {}}
    recovery: dict[str, Any] = {"owner": "ml", "rto": "1m", "rpo": "1m", "stores": [store]}
    recovery["drills"] = [{"name": "lose-a", "store": "store", "fault": "lose_region"}]
    document = paper.document_of() | {"disaster_recovery": recovery}
    paper_plane.file.write_text(yaml.safe_dump(document))
    request = drills.Request(platform_file=paper_plane.file, drill="lose-a", state=paper_plane.state)
    home = LocalPlane(paper_plane.state).home
    with lease.on_this_machine(home.lock), pytest.raises(lease.LeaseTakenError, match="another experiment runs"):
        drills.run(request, lambda _text: None)
    (home.runs / "left" / "faults").mkdir(parents=True)
    (home.runs / "left" / "faults" / "001.json").write_text("{}")
    with pytest.raises(MidwatchError, match="experiment left left something open"):
        drills.run(request, lambda _text: None)
    assert not lease.is_held(home.lock)
