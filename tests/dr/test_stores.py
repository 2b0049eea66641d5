"""What every kind of store must do: it is found by its folder, and what it does not have is refused with the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dr import stores
from dr.stores.kind import Kind
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from midwatch.spec import stores as spec
from midwatch.spec.stores.base import Store
from tests.conftest import platform_document
from tests.dr.conftest import recovery_section


def problems(folder: Path, **changes: Any) -> list[str]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=recovery_section(**changes))))
    with pytest.raises(InvalidInputError) as raised:
        load.load_platform(file)
    return [str(problem) for problem in raised.value.problems]


def test_every_kind_of_the_platform_file_can_be_drilled_and_no_other() -> None:
    assert list(spec.KINDS) == stores.NAMES


@pytest.mark.parametrize("name", stores.NAMES)
def test_a_kind_has_its_own_drills_and_says_how_it_is_written_to(name: str) -> None:
    kind = stores.named(name)
    assert kind.name == name
    assert type(kind).setup is not Kind.setup
    assert issubclass(spec.KINDS[name], Store)
    assert list(spec.KINDS[name].faults)


def test_a_store_of_no_kind_of_two_or_of_a_misspelt_one_is_said(tmp_path: Path) -> None:
    files = {"source": "a", "backup": "b"}
    for store, expected in (
        ({"name": "x"}, "needs exactly one of cloudnative_pg, commands, files"),
        ({"name": "x", "files": files, "local_postgresql": {}}, "needs exactly one of"),
        ({"name": "x", "local_postgres": {}}, "did you mean local_postgresql?"),
        ("x", "'x' is not a mapping"),
        ({"files": files}, "disaster_recovery.stores[0].name: missing"),
        ({"name": "x", "files": files | {"sorce": "c"}}, "stores[0].files.sorce: unknown key; did you mean source?"),
        (
            {"name": "x", "files": files, "warn_afer": "1s"},
            "stores[0].warn_afer: unknown key; did you mean warn",
        ),
        ({"name": "x", "local_postgresql": {"version": 9}}, "stores[0].local_postgresql.version: "),
        ({"name": "x", "postgresql": {"commands": {}}}, "stores[0].postgresql.commands.fence: missing"),
    ):
        assert expected in " ".join(problems(tmp_path, stores=[store], drills=[])), store


def test_a_misspelt_fault_is_said_with_the_one_that_was_meant(tmp_path: Path) -> None:
    drills = [{"name": "x", "store": "store", "fault": "kill_primry"}]
    (text,) = problems(tmp_path, drills=drills)
    assert "disaster_recovery.drills[0].fault: 'kill_primry' is not one of" in text
    assert "did you mean kill_primary?" in text


def test_the_recoverer_goes_by_its_name_of_before_which_the_help_does_not_show() -> None:
    def said(*words: str) -> str:
        command = [sys.executable, "-P", "-m", "midwatch", "dr", *words, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "guard" not in said()
    assert "recoverer" in said()
    assert "--take-over" in said("guard")
