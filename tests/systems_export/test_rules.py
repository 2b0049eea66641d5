"""What is made of what systems are asked for: proven rules, panels, runbooks. A new system brings these along."""

from __future__ import annotations

from typing import Any

from alerts import check, inventory
from alerts.proofs import prove
from alerts.proofs.prove import Outcome
from midwatch import system_check, system_expressions
from midwatch.app.render import rendered_files
from midwatch.spec import system_rules
from midwatch.spec.system_rules import Installed
from tests.conftest import need_program
from tests.systems.conftest import FOLDERS
from tests.systems_export.conftest import observing


def test_every_alert_on_what_is_asked_is_proven(asked: str, platform_with: Any) -> None:
    need_program("promtool")
    platform = platform_with(**{asked: observing(asked)})
    names = sorted({alert.alert for alert in system_rules.observed(asked).alerts})
    own = {entry.title for entry in inventory.entries(platform) if entry.name in names}
    proved = [one for one in prove.prove(platform, names) if one.alert in own]
    assert {one.alert: one.reason for one in proved if one.outcome is not Outcome.PROVEN} == {}
    assert {one.alert.split()[0] for one in proved} == set(names)
    check.ensure_rules(platform, rendered_files(platform))


def test_expressions_read_what_is_published(asked: str, platform_with: Any) -> None:
    (installed,) = system_rules.installed(platform_with(**{asked: observing(asked)}))
    assert list(system_expressions.problems(installed, installed.described)) == []
    assert system_check.check_folder(FOLDERS / asked) == []


def test_every_alert_on_what_is_asked_has_a_runbook(asked: str) -> None:
    for alert in system_rules.observed(asked).alerts:
        pages = [folder / "runbooks" / f"{alert.alert}.md" for folder in (FOLDERS, FOLDERS / asked)]
        (page,) = [page for page in pages if page.is_file()]
        headings = [line for line in page.read_text().splitlines() if line.startswith("#")]
        assert headings == [f"# {page.stem}", "## First three looks", "## Stop the bleeding", "## When it is over"]


def test_without_the_section_nothing_of_it_is_rendered(asked: str, platform_with: Any) -> None:
    platform = platform_with(**{asked: observing(asked) | {"observe": None}})
    text = "".join(rendered_files(platform).values())
    assert "midwatch_source_up" not in text
    assert "midwatch-systems" not in text


def test_an_alert_on_a_model_is_its_owners(platform_with: Any) -> None:
    (installed,) = system_rules.installed(platform_with(mlflow=observing("mlflow")))
    owned = Installed("mlflow", installed.use, system_rules.system("mlflow"), 15.0, {"fraud": "data-science"})
    owners = {rule.alert: rule.owner for rule in owned.rules().alerts}
    assert (owners["ChampionDisagrees"], owners["RegistryChampionUnfit"]) == ("data-science", None)
