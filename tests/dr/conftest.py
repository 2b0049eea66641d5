"""PostgreSQL for tests: a folder that its user may pass through, and a cluster that several tests share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dr import children
from dr.stores.local_postgresql import cluster, endpoint
from dr.stores.local_postgresql.programs import DEBIAN
from tests.conftest import need_program, platform_document


def need_postgresql() -> None:
    if not list(DEBIAN.glob("*/bin/postgres")):
        need_program("postgres")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder below the temporary one: pytest's own are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="midwatch-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_cluster(open_folder: Path) -> Iterator[Callable[..., cluster.Cluster]]:
    """Starts a local store with its endpoint; everything is stopped afterwards."""
    need_postgresql()
    started: list[Any] = []

    def start(**settings: Any) -> cluster.Cluster:
        made = cluster.create(open_folder / "store", cluster.Settings(store="s", **settings))
        started.append(made)
        cluster.start(made)
        endpoint.describe(made.folder, [endpoint.Listener(port=made.endpoint, targets=made.ports)])
        process = endpoint.start(made.folder)
        started.append(process)
        wait_until(lambda: made.control.exists())
        return made

    yield start
    for thing in reversed(started):
        cluster.stop(thing) if isinstance(thing, cluster.Cluster) else children.stop(thing)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def recovery_section(**changes: Any) -> dict[str, Any]:
    section: dict[str, Any] = {
        "owner": "ml",
        "evidence": {"folder": "evidence"},
        "stores": [
            {"name": "store", "local_postgresql": {}, "warn_after": "1s"},
            {"name": "sync", "local_postgresql": {"synchronous": True}},
            {"name": "archive", "local_postgresql": {"standby": False, "archive_interval": "1s"}},
        ],
        "drills": [
            {
                "name": "lose-primary",
                "store": "store",
                "fault": "kill_primary",
                "warmup": "1s",
                "schedule": "0 4 * * 1",
            },
            {"name": "lose-sync", "store": "sync", "fault": "kill_primary", "warmup": "1s"},
            {"name": "corrupted-backup", "store": "archive", "fault": "corrupt_backup", "warmup": "1s"},
            {"name": "bad-delete", "store": "sync", "fault": "bad_delete", "warmup": "1s"},
            {"name": "silent-standby", "store": "store", "fault": "stop_replication", "warmup": "1s"},
            {"name": "restore-latest", "store": "archive", "fault": "lose_store", "warmup": "1s"},
            {"name": "lose-region", "store": "store", "fault": "lose_region", "warmup": "1s"},
            {"name": "split-brain", "store": "store", "fault": "split_brain", "warmup": "1s"},
            {"name": "failback", "store": "store", "fault": "failback", "warmup": "1s"},
        ],
    }
    return section | changes


def platform_file(folder: Path, **changes: Any) -> Path:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=recovery_section(**changes))))
    return file


@pytest.fixture
def write_platform(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        return platform_file(tmp_path, **changes)

    return write
