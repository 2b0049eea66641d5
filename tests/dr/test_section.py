"""What the platform file promises: refused where it cannot be kept, and rendered as schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dr import manifests
from dr.stores.local_postgresql import programs
from midwatch.app.up import regions
from midwatch.errors import InvalidInputError, MissingProgramError
from midwatch.spec import dr as spec
from midwatch.spec import load
from tests.conftest import platform
from tests.dr.conftest import recovery_section


def problems(write_platform: Any, **changes: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as raised:
        load.load_platform(write_platform(**changes))
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({"schedule": "0 4 * * 1"}, 1.25 * 7),
        ({"schedule": "0 4 1 * *"}, 1.25 * 31),
        ({"schedule": "0 4 1 * *", "max_age": "40d"}, 40.0),
        ({}, 90.0),
    ],
)
def test_a_drill_is_overdue_by_its_schedule(changes: dict[str, str], days: float) -> None:
    drill = spec.Drill.model_validate({"name": "d", "store": "s", "fault": "kill_primary", "spread": "0s"} | changes)
    assert drill.result_age == days * 86400


def test_an_archive_interval_that_cannot_keep_the_rpo_is_refused_with_the_arithmetic(write_platform) -> None:
    slow = {"name": "archive", "local_postgresql": {"standby": False, "archive_interval": "5m"}}
    (text,) = problems(write_platform, stores=[slow], drills=[])
    assert "an archive every 5m that takes up to 10s to be safe loses up to 310s; the RPO is 5m" in text
    assert "archive every 290s or more often" in text


@pytest.mark.parametrize(
    ("drill", "message"),
    [
        ({"store": "nothing", "fault": "kill_primary"}, "there is no store 'nothing'"),
        ({"store": "store", "fault": "lose_files"}, "lose_files does not fit a store of kind local_postgresql"),
        ({"store": "archive", "fault": "kill_primary"}, "kill_primary needs a standby, and archive has none"),
        ({"store": "store", "fault": "lose_store"}, "would promote its standby"),
        ({"store": "store", "fault": "kill_primary", "schedule": "0 4 1 * 1"}, "give one of them"),
        ({"store": "store", "fault": "kill_primary", "schedule": "99 4 * * 1"}, "minute"),
        ({"store": "store", "fault": "kill_primary", "schedule": "0 4 30 2 *"}, "it never is time"),
    ],
)
def test_a_drill_that_cannot_be_is_said_with_its_line(write_platform, drill: dict[str, str], message: str) -> None:
    (text,) = problems(write_platform, drills=[{"name": "x", **drill}])
    assert message in text
    assert "disaster_recovery.drills[0]" in text
    assert "platform.yaml:" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"rto": "0s"},
        {"verify_every": "0s"},
        {"guard": {"interval": "0s"}},
        {"guard": {"timeout": "0ms"}},
        {"drills": [{"name": "d", "store": "store", "fault": "kill_primary", "limit": "0s"}]},
        {"drills": [{"name": "d", "store": "store", "fault": "kill_primary", "max_age": "0s"}]},
        {"stores": [{"name": "a", "local_postgresql": {"standby": False, "archive_interval": "0s"}}], "drills": []},
        {"stores": [{"name": "a", "files": {"source": "a", "backup": "b", "interval": "0s"}}], "drills": []},
    ],
    ids=str,
)
def test_a_time_that_is_none_is_refused(write_platform, changes: dict[str, Any]) -> None:
    """No archive at all, and a restore or a look without a pause, are what they would mean."""
    (problem,) = problems(write_platform, **changes)
    assert "0s is no time; write more, such as 1s" in problem


def test_a_store_is_of_one_kind_and_its_owner_is_known(write_platform) -> None:
    text = " ".join(problems(write_platform, stores=[{"name": "x"}], drills=[]))
    assert "needs exactly one of cloudnative_pg, commands, files, local_postgresql" in text
    assert "there is no owner 'nobody'" in " ".join(problems(write_platform, owner="nobody"))
    probe = {"server": "v1", "path": "/", "body": {}}
    assert "no server is a replica of 'v1'" in " ".join(problems(write_platform, model=probe))
    late = {"name": "store", "local_postgresql": {}, "warn_after": "6m"}
    assert "comes when the RPO of 5m is gone" in " ".join(problems(write_platform, stores=[late], drills=[]))


def test_every_scheduled_drill_has_a_timer_and_a_cron_job_with_a_random_phase() -> None:
    drills = [{"name": "d", "store": "store", "fault": "kill_primary", "schedule": "30 4 * * 1", "spread": "30m"}]
    made = platform(
        disaster_recovery=recovery_section(drills=drills, kubernetes={"namespace": "ml", "evidence_claim": "kept"})
    )
    files = manifests.render_files(made)
    assert "OnCalendar=Mon *-*-* 04:30:00 UTC\nRandomizedDelaySec=1800" in files["systemd/midwatch-drill-d.timer"]
    text = manifests.render_kubernetes(made)[manifests.FILE]
    assert "kind: CronJob" in text
    assert "- --spread\n" in text
    assert "- 30m\n" in text
    assert "claimName: kept" in text


def test_without_postgresql_the_plane_runs_with_one_region_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    servers = [{"name": "v1", "command": ["x"]}, {"name": "v1-b", "command": ["x"], "replica_of": "v1"}]
    stores = [{"name": "store", "local_postgresql": {"up": True}}]
    made = platform(local={"servers": servers}, disaster_recovery=recovery_section(stores=stores, drills=[]))
    ports = {"exporter": 1, "exporter-b": 4, "server-v1": 2, "server-v1-b": 3}

    def nothing(_: int | None) -> None:
        raise MissingProgramError("PostgreSQL's server", "install it")

    monkeypatch.setattr(programs, "find", nothing)
    alone = regions.Regions(made, tmp_path / "p.yaml", tmp_path, ports)
    assert alone.missing == "without store: PostgreSQL's server was not found on PATH; install it"
    assert (alone.inventory(), alone.port_of("server-v1"), alone.port_of("exporter")) == (None, None, None)
    assert list(alone.exporters) == ["exporter"]
    monkeypatch.setattr(programs, "find", lambda _: None)
    both = regions.Regions(made, tmp_path / "p.yaml", tmp_path, ports)
    inventory = both.inventory()
    assert inventory is not None
    assert list(both.exporters) == ["exporter", "exporter-b"]
    assert inventory["region_a"] == ["server-v1", "exporter"]
    assert inventory["models"] == {"v1": f"http://127.0.0.1:{both.port_of('server-v1')}"}
    clients = f"http://127.0.0.1:{both.port_of('exporter')}"
    assert inventory["exporters"] == {"a": "exporter", "b": "exporter-b", "clients": clients}


def test_a_store_without_replicas_of_models_leaves_the_plane_with_one_exporter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stores = [{"name": "store", "local_postgresql": {"up": True}}]
    servers = [{"name": "v1", "command": ["x"]}]
    made = platform(local={"servers": servers}, disaster_recovery=recovery_section(stores=stores, drills=[]))
    monkeypatch.setattr(programs, "find", lambda _: None)
    plane = regions.Regions(made, tmp_path / "p.yaml", tmp_path, {"exporter": 1, "server-v1": 2})
    inventory = plane.inventory()
    assert inventory is not None
    assert (list(plane.exporters), plane.port_of("exporter")) == (["exporter"], None)
    assert (inventory["region_a"], inventory["exporters"]) == (["exporter"], None)
