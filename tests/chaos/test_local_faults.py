"""Every kind of fault on this machine's plane: it happens, it is seen, it is gone, and twice gone is harmless."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos import faults, kinds
from chaos.kinds import injection
from chaos.places.local import plane as planes
from chaos.places.local.faults import Hogs, PartKilled
from chaos.targets import TargetError
from midwatch import evidence, processes
from midwatch.spec.chaos import Chaos, Preconditions, Protected
from tests.chaos import paper
from tests.chaos.conftest import SmallPlane
from tests.chaos.paper import PaperPlane

SETTINGS: dict[str, dict[str, Any]] = {
    "kill_replica": {"model": "fraud", "target": "v2", "replicas": 1},
    "slow_model": {"model": "fraud", "target": "v2", "delay": "10ms"},
    "failing_model": {"model": "fraud", "target": "v2", "errors": 0.1},
    "corrupt_features": {"model": "fraud", "target": "v2", "scale": {"x": 2.0}},
    "lose_exporter": {},
    "lose_prometheus": {},
    "lose_alertmanager": {},
    "cut_network": {"model": "fraud", "target": "v2"},
    "fill_disk": {"seconds": 60},
    "exhaust_cpu": {"model": "fraud", "cores": 1, "seconds": 60.0},
    "exhaust_memory": {"model": "fraud", "size": 2**24, "seconds": 60.0},
    "lose_node": {"model": "fraud", "target": "v2", "replicas": 1, "notice": "500ms"},
    "skew_clock": {"shift": "500ms"},
    "deploy_bad_version": {"model": "fraud", "target": "v2", "bad_version": "v1"},
}


@pytest.fixture
def ledger(plane: SmallPlane, tmp_path: Path) -> faults.Ledger:
    return faults.Ledger(tmp_path, evidence.Log(tmp_path / "evidence.jsonl"))


def test_there_is_a_case_for_every_kind() -> None:
    assert set(SETTINGS) == set(kinds.table())


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "corrupt_features"])
def test_a_fault_happens_and_is_gone_again(plane: SmallPlane, ledger: faults.Ledger, kind: str) -> None:
    target = planes.LocalPlane(plane.state)
    prepared = target.prepare(injection(kind, SETTINGS[kind]))
    assert prepared.share <= 0.5
    for fault in prepared.faults:
        assert not fault.is_effective(), "before it is injected"
        ledger.inject(fault, seconds=60.0)
        assert fault.is_effective()
        assert fault.describe()
    assert len(ledger.open_faults()) == len(prepared.faults)
    assert list(ledger.open_faults().values()) == list(prepared.faults), "the ledger has all that a revert needs"
    assert ledger.revert_all() == []
    for fault in prepared.faults:
        fault.revert()
        assert fault.is_reverted()
    assert ledger.open_faults() == {}
    kinds = [one.kind for one in evidence.read(ledger.log.path)]
    assert kinds == ["fault-injecting", "fault-effective", "fault-reverted"] * len(prepared.faults)


def test_traffic_without_features_is_not_hit_by_a_corrupt_feed(plane: SmallPlane, ledger: faults.Ledger) -> None:
    (fault,) = (
        planes.LocalPlane(plane.state).prepare(injection("corrupt_features", SETTINGS["corrupt_features"])).faults
    )
    with pytest.raises(faults.FaultError, match="not seen to happen"):
        ledger.inject(fault, seconds=0.5)
    assert ledger.open_faults() == {}
    assert [one.kind for one in evidence.read(ledger.log.path)][-2:] == ["fault-unverified", "fault-reverted"]


def test_a_plane_that_is_not_there_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(planes.NoPlaneError, match="midwatch up --state"):
        planes.LocalPlane(tmp_path)
    (tmp_path / "plane.json").write_text('{"up": 4194305}')
    with pytest.raises(planes.NoPlaneError, match="has ended"):
        planes.LocalPlane(tmp_path)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("kill_replica", {"model": "fraud", "replicas": 3}, "at most 50% may be"),
        ("kill_replica", {"model": "fraud", "target": "v9"}, "no server v9"),
        ("deploy_bad_version", {"model": "fraud", "bad_version": "v9"}, "no server of version v9"),
        ("exhaust_memory", {"model": "fraud", "size": 2**50, "seconds": 1}, "that are free"),
        ("exhaust_cpu", {"model": "fraud", "cores": 10**6, "seconds": 1}, "at most 50% may be"),
    ],
    ids=["share", "server", "version", "memory", "cores"],
)
def test_a_target_that_is_none_or_too_much_is_refused(
    paper_plane: PaperPlane, kind: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TargetError, match=message):
        planes.LocalPlane(paper_plane.state).prepare(injection(kind, settings))


def test_a_protected_part_is_never_hit(paper_plane: PaperPlane) -> None:
    target = planes.LocalPlane(paper_plane.state)
    limits = Preconditions(protected=Protected(parts=["prometheus"]))
    target.platform = target.platform.model_copy(update={"chaos": Chaos(guard=limits)})
    with pytest.raises(TargetError, match="prometheus may not be hit"):
        target.prepare(injection("lose_prometheus", {}))


@pytest.fixture
def paper_plane(tmp_path: Path) -> Iterator[PaperPlane]:
    with paper.running(tmp_path) as plane:
        yield plane


@pytest.fixture
def two_regions(tmp_path: Path, make_document: Any) -> tuple[Path, Path]:
    """The state folder of a plane with an exporter in each of two regions, and the route of its clients."""
    file, route = tmp_path / "platform.yaml", tmp_path / "store" / "route.json"
    file.write_text(yaml.safe_dump(make_document()))
    route.parent.mkdir()
    names = ("alertmanager", "exporter", "exporter-b", "prometheus")
    regions = {"folder": str(route.parent), "exporters": {"a": "exporter", "b": "exporter-b", "clients": "http://x:1"}}
    own = processes.identify(os.getpid())
    assert own is not None
    inventory = {
        "up": os.getpid(),
        "platform": str(file),
        "held": str(tmp_path),
        "links": "",
        "results": "",
        "sink": {"url": "", "file": ""},
        "regions": regions,
        "parts": [{**asdict(own), "name": name, "url": f"http://{name}"} for name in names],
    }
    (tmp_path / "plane.json").write_text(json.dumps(inventory))
    return tmp_path, route


@pytest.mark.parametrize(("region", "exporter"), [("a", "exporter"), ("b", "exporter-b")])
@pytest.mark.parametrize("kind", ["lose_exporter", "fill_disk"])
def test_of_two_exporters_the_one_is_hit_that_events_go_to(
    two_regions: tuple[Path, Path], kind: str, region: str, exporter: str
) -> None:
    state, route = two_regions
    route.write_text(json.dumps({"term": 2, "region": region}))
    prepared = planes.LocalPlane(state).prepare(injection(kind, {}))
    assert (prepared.hit, [fault.target for fault in prepared.faults]) == ((exporter,), [exporter])
    assert exporter in prepared.candidates


@pytest.mark.parametrize("started", [1, None], ids=["another process", "not known"])
@pytest.mark.parametrize("kind", ["lose_exporter", "fill_disk"])
def test_a_process_that_has_the_number_of_a_part_is_not_hit(
    two_regions: tuple[Path, Path], kind: str, started: int | None
) -> None:
    state, route = two_regions
    route.write_text(json.dumps({"term": 2, "region": "a"}))
    document = json.loads((state / "plane.json").read_text())
    document["parts"] = [part | {"started": started} for part in document["parts"]]
    (state / "plane.json").write_text(json.dumps(document))
    with pytest.raises(TargetError, match="exporter does not run"):
        planes.LocalPlane(state).prepare(injection(kind, {}))
    (state / "plane.json").write_text(json.dumps(document | {"up_started": 1}))
    with pytest.raises(planes.NoPlaneError, match="has ended"):
        planes.LocalPlane(state)


def test_without_a_route_nobody_guesses_which_exporter_to_hit(two_regions: tuple[Path, Path]) -> None:
    state, route = two_regions
    for text in (None, "{", '{"term": 2, "region": "c"}'):
        if text is not None:
            route.write_text(text)
        with pytest.raises(TargetError, match="does not say to which exporter events go"):
            planes.LocalPlane(state).prepare(injection("lose_exporter", {}))


def test_a_process_that_has_another_ones_number_is_not_taken_for_it() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert own.is_alive
    assert not processes.Identity(pid=own.pid, started=own.started - 1).is_alive
    killed = PartKilled(target="x", inventory="/none", held="/none", pid=own.pid, started=own.started - 1)
    assert killed.is_effective()


def test_hogs_end_by_themselves_when_everybody_forgets_them() -> None:
    hogs = Hogs(target="machine", number="forgotten", takes="memory", count=1, size=2**20, seconds=3.0)
    hogs.inject()
    assert processes.wait_until(lambda: not hogs.is_reverted(), 60)
    assert processes.wait_until(hogs.is_reverted, 60)
    processes.reap()


def test_a_revert_that_does_not_work_is_told_and_stays_in_the_ledger(tmp_path: Path, plane: SmallPlane) -> None:
    ledger = faults.Ledger(tmp_path, evidence.Log(tmp_path / "evidence.jsonl"))
    place = planes.LocalPlane(plane.state)
    (fault,) = place.prepare(injection("slow_model", SETTINGS["slow_model"])).faults
    ledger.inject(fault)
    links = processes.Identity(**vars(processes.identify(plane.part("links")["pid"])))
    os.kill(links.pid, 19)  # the proxy hangs, so that nobody takes the revert up
    try:
        (problem,) = ledger.revert_all(seconds=0.3)
        assert "not seen to be gone" in problem
        assert len(ledger.open_faults()) == 1
    finally:
        os.kill(links.pid, 18)
    assert ledger.revert_all() == []


# What is read --------------------------------------------------------------------------------------------------------


def test_a_fault_is_read_as_it_was_written_with_every_type_checked() -> None:
    fault = Hogs(target="machine", number="1", takes="cpu", count=1, size=0, seconds=1.0)
    document = json.loads(json.dumps(faults.written(fault)))
    assert faults.read(document) == fault
    document["fault"]["count"] = "one"
    with pytest.raises(faults.FaultError, match="not as it was written"):
        faults.read(document)


@pytest.mark.parametrize(
    ("module", "message"),
    [("os", "no module of chaos or dr"), ("chaos.nowhere", "cannot be imported"), ("chaos.lease", "has no fault")],
)
def test_a_document_loads_faults_and_nothing_else(module: str, message: str) -> None:
    with pytest.raises(faults.FaultError, match=message):
        faults.read({"module": module, "kind": "system", "fault": {}})


def test_a_fault_that_cannot_be_read_is_a_problem_and_the_others_are_reverted(tmp_path: Path) -> None:
    ledger = faults.Ledger(tmp_path, evidence.Log(tmp_path / "evidence.jsonl"))
    ledger.take_over("001", {"module": "chaos.nowhere", "kind": "Gone", "fault": {}})
    hog = Hogs(target="machine", number="none-is-there", takes="cpu", count=1, size=0, seconds=1.0)
    ledger.take_over("002", faults.written(hog))
    (problem,) = ledger.revert_all()
    assert "chaos.nowhere" in problem
    assert [path.stem for path in (tmp_path / "faults").glob("*.json")] == ["001"]
