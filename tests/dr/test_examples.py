"""The worked examples of own stores, drilled as their first lines say: a Redis, a SQLite, a PostgreSQL pair."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from dr.drill import facts, ledger
from dr.postgres import session
from midwatch.ports import free_ports
from midwatch.spec import load, stores
from tests.conftest import need_program, platform_document
from tests.dr.conftest import need_postgresql, wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "stores"
GUIDE = ROOT / "docs" / "recovery.md"
DR = [sys.executable, "-P", "-m", "midwatch", "dr"]

Finished = tuple[Path, int, dict[str, Any], str]


def run(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def drilled(drill: str, folder: Path) -> Finished:
    done = run([*DR, "run", drill, "-f", "platform.yaml", "--json"], folder)
    return folder, done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.fixture(scope="module")
def example() -> Iterator[Callable[[str], Path]]:
    """A copy of an example, where PostgreSQL's user may go."""
    with ExitStack() as stack:

        def copy(name: str) -> Path:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="midwatch-test-")))
            home.chmod(0o755)
            return Path(shutil.copytree(EXAMPLES / name, home / name))

        yield copy


def redis(folder: Path) -> Iterator[str]:
    started = run(["python3", "store.py", "start", *map(str, free_ports(2))], folder)
    assert started.returncode == 0, started.stderr
    yield "lose-redis"
    run(["python3", "store.py", "stop"], folder)


def sqlite(folder: Path) -> Iterator[str]:
    copying = subprocess.Popen(["python3", "store.py", "keep-copying"], cwd=folder, stderr=subprocess.DEVNULL)
    wait_until((folder / "copy.db").exists)
    yield "lose-sqlite"
    copying.kill()
    copying.wait()


def postgresql(folder: Path) -> Iterator[str]:
    started = run(["./site.sh", "start", *map(str, free_ports(2))], folder)
    assert started.returncode == 0, started.stderr
    yield "lose-primary"
    run(["./site.sh", "stop"], folder)


RUNNING = {"redis": redis, "sqlite": sqlite, "postgresql": postgresql}
NEEDS = {"redis": lambda: need_program("redis-server"), "sqlite": lambda: None, "postgresql": need_postgresql}


@pytest.fixture(scope="module")
def finished(example: Callable[[str], Path]) -> Iterator[Callable[[str], Finished]]:
    """The drills of all examples whose programs are there, side by side: each waits most of its time."""
    with ThreadPoolExecutor(len(RUNNING)) as pool, ExitStack() as stack:
        started = {}
        for name, running in RUNNING.items():
            try:
                NEEDS[name]()
            except pytest.skip.Exception:
                continue
            folder = example(name)
            begun = running(folder)
            started[name] = pool.submit(drilled, next(begun), folder)
            stack.callback(next, begun, None)

        def finish(name: str) -> Finished:
            NEEDS[name]()
            return started[name].result()

        yield finish


def test_a_redis_fails_over_to_its_replica_without_a_loss(finished: Callable[[str], Finished]) -> None:
    folder, code, document, errors = finished("redis")
    assert code == 0, (document.get("reasons"), errors)
    assert document["writes"]["lost"] == 0
    assert "promoted the replica on port" in errors
    assert (folder / "route").read_text() == str(json.loads((folder / "servers").read_text())[1])


def test_a_sqlite_comes_back_from_its_newest_copy_and_the_loss_is_measured(finished: Callable[[str], Finished]) -> None:
    folder, code, document, errors = finished("sqlite")
    assert code == 0, (document.get("reasons"), errors)
    assert document["rpo_seconds"] < 30, "what was written since the last copy"
    assert document["writes"]["acknowledged"] == document["writes"]["kept"] + document["writes"]["lost"]
    (folder / "drills-allowed").unlink()
    _, code, _, errors = drilled("lose-sqlite", folder)
    assert code == 2
    assert "does not allow drills" in errors


def test_a_pair_made_by_hand_changes_places_twice(finished: Callable[[str], Finished]) -> None:
    folder, code, document, errors = finished("postgresql")
    assert code == 0, (document.get("reasons"), errors)
    assert [check["holds"] for check in document["checks"]] == [True, True]
    assert rebuilt(document) == "a is a standby of b; the servers have changed places"
    _, code, document, errors = drilled("lose-primary", folder)
    assert code == 0, (document.get("reasons"), errors)
    assert rebuilt(document) == "b is a standby of a; the servers have changed places"
    session.ask((folder / "a.conn").read_text(), "DELETE FROM midwatch_drill.allowed")
    _, code, _, errors = drilled("lose-primary", folder)
    assert code == 2
    assert "does not allow drills (its marker is missing): is it production?" in errors


def rebuilt(document: dict[str, Any]) -> str:
    events = ledger.read_recorded(Path(document["evidence"]["folder"]) / "recoverer.ledger")
    return next(event.how for event in events if isinstance(event, facts.Redundant))


# The guide -----------------------------------------------------------------------------------------------------------


def examples_of(kind: str) -> list[dict[str, Any]]:
    """The stores and drills that the guide shows of a kind, in its own section."""
    section = GUIDE.read_text().partition(f"### `{kind}`\n")[2].partition("\n### ")[0]
    return [yaml.safe_load(text.partition("```")[0]) for text in section.split("```yaml\n")[1:]]


@pytest.mark.parametrize("kind", stores.KINDS)
def test_the_guide_has_a_worked_example_of_every_kind_that_is_good(kind: str, tmp_path: Path) -> None:
    (shown,) = examples_of(kind)
    section = {"owner": "ml", **shown}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    recovery = load.load_platform(file).disaster_recovery
    assert recovery is not None
    assert {store.kind for store in recovery.stores} == {kind}
    assert recovery.drills, "with a drill"


@pytest.mark.parametrize(("name", "kind"), [("redis", "commands"), ("postgresql", "postgresql")])
def test_what_the_guide_shows_of_an_example_is_what_is_run(name: str, kind: str) -> None:
    (shown,) = examples_of(kind)
    section = yaml.safe_load((EXAMPLES / name / "platform.yaml").read_text())["disaster_recovery"]
    assert shown == {"stores": section["stores"], "drills": section["drills"]}
