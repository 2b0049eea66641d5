"""What holds for every system that is shipped: a new folder brings these tests with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
import yaml

from alerts import inventory
from alerts.objectives import objective
from alerts.proofs import prove
from alerts.proofs.prove import Outcome
from dashboards import reader, render
from midwatch import catalogue, grafana, jobs, system_check
from midwatch.app import prometheus
from midwatch.app.render import Target, rendered_files
from midwatch.metrics import Kind
from midwatch.spec import system_rules
from midwatch.spec.model import Platform
from midwatch.spec.systems import SystemRules, Versioned, job_name
from tests.conftest import need_program
from tests.systems.conftest import FOLDERS, NAMES, section

pytestmark = pytest.mark.parametrize("name", NAMES)


OF_EVERY_SYSTEM = {alert.alert for alert in system_rules.every_system().alerts}

Part = TypeVar("Part", bound=Versioned)


def there(name: str, parts: Sequence[Part]) -> list[Part]:
    """Those that the newest version has."""
    return [part for part in parts if part.is_in(system_rules.system(name).versions.read)]


def without_promises(platform: Platform) -> Platform:
    """A platform whose models promise nothing: their alerts have the names of objectives of systems."""
    models = [model.model_copy(update={"slos": []}) for model in platform.models]
    return platform.model_copy(update={"models": models})


def by_the_minute(platform: Platform) -> Platform:
    """The same platform, which scrapes and evaluates seldom: three days of budgets are a quarter of the work."""
    rarely = platform.prometheus.model_copy(update={"scrape_interval": 120.0, "evaluation_interval": 120.0})
    return platform.model_copy(update={"prometheus": rarely})


def test_the_folder_has_no_problem(name: str) -> None:
    assert system_check.check_folder(FOLDERS / name) == []


def test_the_folder_holds_data_only(name: str) -> None:
    kinds = {path.suffix for path in (FOLDERS / name).rglob("*") if path.is_file()}
    assert kinds <= {".yaml", ".md", ".prom"}


def test_the_installed_package_finds_it(name: str) -> None:
    assert name in system_rules.shipped()
    assert system_rules.folder(name).joinpath("system.yaml").is_file()


def test_every_setting_has_a_reason_of_a_sentence(name: str) -> None:
    for setting in system_rules.system(name).settings.values():
        assert setting.reason.endswith(".")


def test_every_runbook_says_what_to_look_at_and_what_to_do(name: str) -> None:
    for page in sorted((FOLDERS / name / "runbooks").glob("*.md")):
        headings = [line for line in page.read_text().splitlines() if line.startswith("#")]
        assert headings == [f"# {page.stem}", "## First three looks", "## Stop the bleeding", "## When it is over"]


def test_it_expands_to_a_rule_file_of_its_owner(name: str, platform_with: Any) -> None:
    (rules,) = platform_with(**{name: section(name)}).rules
    assert isinstance(rules, SystemRules)
    assert (rules.name, rules.owner) == (job_name(name), "ml")
    described = system_rules.system(name)
    own = {one.alert for one in there(name, described.alerts)}
    assert own <= {rule.alert for rule in rules.alerts} <= own | OF_EVERY_SYSTEM
    assert {slo.name for slo in rules.objectives} == {one.name for one in there(name, described.slos)}


def test_nothing_is_left_to_fill_in(name: str, platform_with: Any) -> None:
    platform = platform_with(**{name: section(name)})
    text = "".join(rendered_files(platform).values()) + "".join(rendered_files(platform, Target.KUBERNETES).values())
    for setting in (*system_rules.system(name).settings, "job", "each", "scrape_wait", "counted"):
        assert f"<{setting}" not in text


def test_alerts_link_to_the_systems_page_and_to_their_runbook(name: str, platform_with: Any) -> None:
    platform = platform_with(**{name: section(name)})
    uid = grafana.dashboard_uid("test", grafana.system_page(name))
    assert uid in {document["uid"] for document in render.documents(platform)}
    for entry in inventory.entries(platform):
        if entry.place[:2] == ("systems", name) and entry.objective is None:
            annotations = entry.rule["annotations"]
            assert f"/d/{uid}?" in annotations["dashboard_url"]
            assert annotations["runbook_url"].endswith(f"/{entry.name}")
            inside = FOLDERS if entry.name in OF_EVERY_SYSTEM else FOLDERS / name
            assert (inside / "runbooks" / f"{entry.name}.md").is_file()


def test_every_alert_is_proven(name: str, platform_with: Any) -> None:
    need_program("promtool")
    platform = without_promises(platform_with(**{name: section(name)}))
    own = [entry for entry in inventory.entries(platform) if entry.place[:2] == ("systems", name)]
    titles = {entry.title for entry in own}
    names = {entry.name for entry in own}
    promises = names & {objective.ALERT}
    proved = prove.prove(platform, sorted(names - promises))
    proved += prove.prove(by_the_minute(platform), sorted(promises)) if promises else []
    proved = [one for one in proved if one.alert in titles]
    assert {one.alert for one in proved} == titles
    assert len(proved) >= len(there(name, system_rules.system(name).alerts))
    assert {one.alert: one.reason for one in proved if one.outcome is not Outcome.PROVEN} == {}
    assert {receiver for one in proved for receiver in one.receivers} <= {"ml-page", "ml-ticket"}


def test_every_form_that_an_older_version_has_is_proven(name: str, platform_with: Any) -> None:
    need_program("promtool")
    described = system_rules.system(name)
    (newest,) = platform_with(**{name: section(name, slos=None)}).rules
    proven = {(rule.expr, str(rule.proof)) for rule in newest.alerts}
    for version in system_check.versions(described):
        platform = platform_with(**{name: section(name, slos=None, version=system_rules.version_text(version))})
        (rules,) = platform.rules
        other = [rule for rule in rules.alerts if (rule.expr, str(rule.proof)) not in proven]
        proven |= {(rule.expr, str(rule.proof)) for rule in other}
        names = sorted({rule.alert for rule in other if rule.alert not in OF_EVERY_SYSTEM})
        proved = (
            [one for one in prove.prove(platform, names) if one.alert.split()[-1] == job_name(name)] if names else []
        )
        assert {one.alert: one.reason for one in proved if one.outcome is not Outcome.PROVEN} == {}, version


def test_every_panel_of_the_page_has_a_unit_a_note_and_a_runbook(name: str, platform_with: Any) -> None:
    platform = platform_with(**{name: section(name)})
    uid = grafana.dashboard_uid("test", grafana.system_page(name))
    (document,) = [one for one in render.documents(platform) if one["uid"] == uid]
    described = system_rules.system(name)
    assert document["description"].startswith(described.question)
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert {panel["title"] for panel in panels} == {panel.title for panel in there(name, described.panels)}
    for panel in panels:
        text = str(panel["fieldConfig"])
        assert "'unit'" in text
        assert "**When it is bad:**" in panel["description"]
        assert panel["links"]
    assert reader.unknown_variables(document) == {}
    annotations = {one.name for one in there(name, described.annotations)}
    assert {one["name"] for one in document["annotations"]["list"]} >= annotations


def test_a_scrape_job_has_its_targets(name: str, platform_with: Any) -> None:
    platform = platform_with(**{name: section(name, https=True, token_file="/run/secrets/t", ca_file="/etc/ca.pem")})
    (job,) = [one for one in jobs.of_platform(platform) if one.name == job_name(name)]
    text = prometheus.render(platform, [job], "http://127.0.0.1:9093")
    (config,) = yaml.safe_load(text)["scrape_configs"]
    scrape = system_rules.system(name).scrape
    assert config["metrics_path"] == scrape.path
    assert config.get("params", {}) == scrape.params
    assert config["scheme"] == "https"
    assert config["authorization"] == {"credentials_file": "/run/secrets/t"}
    assert config["tls_config"] == {"ca_file": "/etc/ca.pem"}
    assert config["static_configs"] == [{"targets": ["first.example:9000", "second.example:9000"]}]


def test_the_catalogue_has_its_metrics(name: str) -> None:
    for metric in catalogue.of_system(name):
        suffix = "_bucket" if metric.kind is Kind.HISTOGRAM else ""
        exposed = catalogue.find(metric.name + suffix)
        assert exposed is not None
        assert set(metric.labels) <= exposed.labels


def test_two_renderings_are_the_same(name: str, platform_with: Any) -> None:
    first = rendered_files(platform_with(**{name: section(name)}))
    assert rendered_files(platform_with(**{name: section(name)})) == first
