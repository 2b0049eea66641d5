"""What is made of what systems are asked for: proven rules, panels, runbooks. A new system brings these along."""

from __future__ import annotations

import time
from typing import Any

from alerts import check, inventory
from alerts.proofs import prove
from alerts.proofs.prove import Outcome
from dashboards import render, verify
from midwatch import grafana, system_check, system_expressions
from midwatch.app.render import rendered_files
from midwatch.prometheus import Client
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


def test_a_real_prometheus_can_answer_every_panel(asked: str, platform_with: Any, prometheus_server: str) -> None:
    platform = platform_with(**{asked: observing(asked)})
    uid = grafana.dashboard_uid("test", grafana.system_page(asked))
    (document,) = [one for one in render.documents(platform) if one["uid"] == uid]
    verifier = verify.Verifier(Client(prometheus_server), verify.TimeRange(end=time.time(), since=600.0, scrape=15.0))
    answers = {one.title: one for one in verifier.verify(document)}
    titles = {panel.title for panel in system_rules.observed(asked).panels}
    assert titles <= set(answers)
    assert [one.reason for one in answers.values() if one.status is verify.Status.ERROR] == []
