"""The guide on systems and the recipe for another one, tried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.proofs import prove
from alerts.proofs.prove import Outcome
from midwatch import system_check, system_tables
from midwatch.spec import load, system_rules
from midwatch.spec.systems import SystemFile, SystemUse
from tests.conftest import need_program, platform_document

GUIDE, RECIPE = Path("docs/systems.md"), Path("docs/contributing/systems.md")


def blocks(guide: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", guide.read_text(), re.M | re.S)


def block(guide: Path) -> Any:
    return blocks(guide)[0]


def test_the_tables_are_those_of_the_folders() -> None:
    assert GUIDE.read_text() == system_tables.refreshed(GUIDE.read_text()), "python -m midwatch.system_tables FILE"


def test_every_key_of_a_systems_section_is_in_the_guide() -> None:
    text = GUIDE.read_text()
    assert [name for name in SystemUse.model_fields if f"`{name}" not in text] == []


@pytest.mark.parametrize(
    ("number", "systems"),
    [(0, {"argo-cd", "vault"}), (1, {"mlflow", "argo-cd"}), (2, {"kubernetes", "tekton", "kserve"}), (3, {"feast"})],
)
def test_the_sections_of_the_guide_load(number: int, systems: set[str], tmp_path: Path) -> None:
    document = platform_document(**yaml.safe_load(blocks(GUIDE)[number]))
    document["owners"]["ml-platform"] = document["owners"]["ml"]
    document["plane_owner"] = "ml-platform"
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    assert {rules.name for rules in load.load_platform(tmp_path / "platform.yaml").rules} == systems


def test_the_system_of_the_recipe_has_no_problem_and_every_alert_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_program("promtool")
    folder = tmp_path / "queue"
    (folder / "runbooks").mkdir(parents=True)
    (folder / "system.yaml").write_text(block(RECIPE))
    described = SystemFile.model_validate(yaml.safe_load(block(RECIPE)))
    for alert in described.alerts:
        (folder / "runbooks" / f"{alert.alert}.md").write_text(f"# {alert.alert}\n")
    assert system_check.check_folder(folder) == []
    monkeypatch.setattr(system_rules, "shipped", lambda: ("queue",))
    monkeypatch.setattr(system_rules, "system", lambda _: described)
    use = {"owner": "ml", "targets": ["a:1"], "slos": [{"name": "work"}]}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(platform_document(systems={"queue": use})))
    platform = load.load_platform(tmp_path / "platform.yaml")
    proved = prove.prove(platform, ["QueueLong", "QueueFails", "ErrorBudgetBurn"])
    own = [one for one in proved if "queue" in one.alert]
    assert len(own) == 4
    assert {one.alert: one.reason for one in own if one.outcome is not Outcome.PROVEN} == {}
