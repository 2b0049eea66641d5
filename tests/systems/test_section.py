"""`systems` in the platform file: what is wrong is said with its place, and versions and settings reach the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.proofs import prove
from alerts.proofs.prove import Outcome
from alerts.rules import files as rule_files
from midwatch import catalogue, grafana, server_metrics, serving, system_check
from midwatch.app import prometheus
from midwatch.errors import InvalidInputError
from midwatch.spec import load, system_rules
from midwatch.spec.system_rules import Installed
from midwatch.spec.system_settings import BoundedSetting
from midwatch.spec.systems import SystemFile, SystemUse
from tests.conftest import need_program, platform_document
from tests.systems.conftest import NAMES, section
from tests.systems.test_faults_in_a_folder import GOOD

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown system": (
        {"argo": section("argo_cd")},
        "systems.argo: there is no system 'argo'; did you mean argo_cd?",
    ),
    "an unknown setting": (
        {"argo_cd": section("argo_cd", settings={"unhealthy": "5m"})},
        "systems.argo_cd.settings.unhealthy: there is no setting 'unhealthy'; did you mean unhealthy_for?",
    ),
    "a setting of another type": (
        {"argo_cd": section("argo_cd", settings={"unhealthy_for": 5})},
        "systems.argo_cd.settings.unhealthy_for: 5 is not a duration",
    ),
    "a pattern that is none": (
        {"argo_cd": section("argo_cd", settings={"projects": "ml("})},
        "systems.argo_cd.settings.projects: 'ml(' is not a regular expression",
    ),
    "an unknown owner": (
        {"argo_cd": section("argo_cd", owner="mll")},
        "systems.argo_cd.owner: there is no owner 'mll'; did you mean ml?",
    ),
    "an unknown objective": (
        {"argo_cd": section("argo_cd", slos=[{"name": "sync"}])},
        "systems.argo_cd.slos[0].name: there is no objective of this system 'sync'; did you mean syncs?",
    ),
    "a version that is not described": (
        {"argo_cd": section("argo_cd", version="1.8")},
        "systems.argo_cd.version: 1.8 is not described; 2.14 is the oldest",
    ),
    "a target that is an address": (
        {"argo_cd": section("argo_cd", targets=["http://argocd:8082/metrics"])},
        "systems.argo_cd.targets[0]: 'http://argocd:8082/metrics' is not HOST:PORT; write an address",
    ),
    "an unknown key": (
        {"argo_cd": section("argo_cd", setting={})},
        "systems.argo_cd.setting: unknown key; did you mean settings?",
    ),
}


def setting(system: str, key: str, value: Any) -> dict[str, Any]:
    return {system: section(system, settings={key: value})}


USELESS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a wait that never ends": (
        setting("vault", "sealed_for", "400d"),
        "settings.sealed_for: 400d is too much: Leases of an hour end",
        "write at most 1h",
    ),
    "a wait beyond what Python counts": (
        setting("vault", "sealed_for", "99999999999999w"),
        "settings.sealed_for:",
        "write at most 1h",
    ),
    "no wait": (setting("vault", "sealed_for", "0s"), "settings.sealed_for: 0ms is too little: ", "at least 30s"),
    "a number for a duration": (setting("vault", "sealed_for", 90.0), "settings.sealed_for: 90.0 is not a dur", ""),
    "no number": (setting("vault", "slow_milliseconds", float("nan")), "slow_milliseconds: nan is not a number", "500"),
    "no end": (setting("vault", "slow_milliseconds", float("inf")), "slow_milliseconds: inf is not a number", "500"),
    "less than nothing": (setting("vault", "slow_milliseconds", -1), "slow_milliseconds: -1 is too little: ", "1"),
    "too great a number": (setting("vault", "slow_milliseconds", 10**400), "is not a number", "500"),
    "a share of nothing": (setting("argo_cd", "slow_share", "0%"), "slow_share: 0% is too little: ", "least 0.1%"),
    "a share of all": (setting("argo_cd", "slow_share", "100%"), "slow_share: 100% is too much: ", "at most 50%"),
    "a share that is no number": (setting("argo_cd", "slow_share", "nan%"), "slow_share: nan% is not between", ""),
    "a window without scrapes": (setting("argo_cd", "failed_within", "1ms"), "failed_within: 1ms is too", "least 3m"),
    "a pattern of nothing": (
        setting("argo_cd", "projects", ""),
        "projects: an empty pattern finds nothing",
        "write .*",
    ),
    "a pattern cut short": (
        setting("argo_cd", "projects", "("),
        "projects: '(' is not a regular expression: missing ): (",
        "correct it",
    ),
    "a template for a pattern": (setting("argo_cd", "projects", "{{ .x }}"), "projects: '{{ .x }}' has {{", "itself"),
    "a template for a name": (setting("argo_cd", "applications", ["{{x}}"]), "applications: '{{x}}' has {{", "itself"),
    "a name twice": (setting("argo_cd", "applications", ["a", "a"]), "applications: a twice", "write each once"),
    "a setting without value": (setting("vault", "sealed_for", None), "sealed_for: no value", "or remove the key"),
    "port 0": ({"vault": section("vault", targets=["v:0"])}, "targets[0]: 'v:0' has no port from 1 to 65535", "write"),
    "a port beyond the last": ({"vault": section("vault", targets=["v:99999"])}, "targets[0]: 'v:99999' has no", ""),
    "a template for a host": ({"vault": section("vault", targets=["{{x}}:1"])}, "'{{x}}:1' is not HOST:PORT", "write"),
    "a version of the future": (
        {"vault": section("vault", version="99.0")},
        "version: 99.0 is not described",
        "2.6.2 is the newest that is known",
    ),
    "a file without name": ({"vault": section("vault", ca_file="")}, "ca_file: names no file", "or remove the key"),
}


@pytest.mark.parametrize("case", USELESS)
def test_what_makes_an_alert_useless_is_said_at_its_own_line(
    case: str, write_platform: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    systems, message, remedy = USELESS[case]
    path = write_platform(**systems)
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(path)
    (problem,) = caught.value.problems
    said = str(problem)
    assert message in said
    assert remedy in said.partition(message)[2]
    key = problem.path.rsplit(".", 1)[-1].partition("[")[0]
    lines = path.read_text().splitlines()
    assert f"{key}:" in lines[problem.line - 1] or f"{key}:" in lines[problem.line - 2]
    assert capfd.readouterr().err == ""


def test_settings_are_told_beside_what_is_wrong_with_the_rest_of_the_section(write_platform: Any) -> None:
    settings = {"sealed_for": "400d", "slow_milliseconds": -1}
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(write_platform(vault=section("vault", targets=["v:0"], version="99.0", settings=settings)))
    assert [problem.path for problem in caught.value.problems] == [
        "systems.vault.targets[0]",
        "systems.vault.settings.sealed_for",
        "systems.vault.settings.slow_milliseconds",
        "systems.vault.version",
    ]


def test_a_window_has_two_scrapes_at_least(tmp_path: Path) -> None:
    document = platform_document(systems={"argo_cd": section("argo_cd")}, prometheus={"scrape_interval": "6m"})
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInputError, match=r"failed_within: a window of 10m has no two scrapes.*at least 12m"):
        load.load_platform(tmp_path / "platform.yaml")


def test_a_newer_version_of_the_same_major_is_taken(platform_with: Any) -> None:
    assert platform_with(argo_cd=section("argo_cd", version="3.99")).rules


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_counts_has_both_bounds(name: str) -> None:
    settings = system_rules.system(name).settings
    counted = {key: one for key, one in settings.items() if isinstance(one, BoundedSetting)}
    assert {key for key, one in counted.items() if not (one.at_least and one.at_most)} == set()


@pytest.mark.parametrize("bound", ["at_least", "at_most"])
@pytest.mark.parametrize("name", NAMES)
def test_alerts_are_proven_with_every_setting_at_its_bound(name: str, bound: str, platform_with: Any) -> None:
    need_program("promtool")
    settings = {
        key: value
        for key, one in system_rules.system(name).settings.items()
        if isinstance(one, BoundedSetting) and (value := one.bound_texts()[bound == "at_most"].partition(":")[0])
    }
    numbers = {key: float(value) for key, value in settings.items() if value.replace(".", "").isdigit()}
    (usual,) = platform_with(**{name: section(name)}).rules
    known = [(alert.expr, alert.for_, alert.proof) for alert in usual.alerts]  # proven for every system
    platform = platform_with(**{name: section(name, settings={**settings, **numbers})})
    (rules,) = platform.rules
    alerts = {alert.alert for alert in rules.alerts if (alert.expr, alert.for_, alert.proof) not in known}
    proved = prove.prove(platform, sorted(alerts)) if alerts else []
    assert {one.alert.split()[0] for one in proved} == alerts
    assert {one.alert: one.reason for one in proved if one.outcome is not Outcome.PROVEN} == {}


def test_what_rules_say_of_a_system_stands_at_the_setting(platform_with: Any) -> None:
    platform = platform_with(argo_cd=section("argo_cd", settings={"projects": "ml"}))
    (rules,) = platform.rules
    number = next(at for at, one in enumerate(rules.alerts) if one.alert == "ArgoCdSyncFailed")
    assert system_rules.place_of_part(platform, rules, "alerts", number) == (
        ("systems", "argo_cd", "settings", "projects"),
        "alert ArgoCdSyncFailed",
    )
    assert system_rules.place_of_part(platform, rules, "objectives", 1)[0] == ("systems", "argo_cd", "slos", 1)


@pytest.mark.parametrize("case", WRONG)
def test_it_is_said_with_its_place(case: str, write_platform: Any) -> None:
    systems, message = WRONG[case]
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(write_platform(**systems))
    (said,) = [str(problem) for problem in caught.value.problems]
    assert message in said
    assert "platform.yaml:" in said


def test_problems_of_several_systems_come_together(write_platform: Any) -> None:
    broken = {"argo_cd": section("argo_cd", owner="mll", settings={"unhealthy": "5m"}), "argo": section("argo_cd")}
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(write_platform(**broken))
    assert [problem.path for problem in caught.value.problems] == [
        "systems.argo_cd.owner",
        "systems.argo_cd.settings.unhealthy",
        "systems.argo",
    ]


def test_without_systems_nothing_is_added(platform_with: Any) -> None:
    assert platform_with().rules == []


def test_settings_reach_alerts_and_their_proofs(platform_with: Any) -> None:
    need_program("promtool")
    settings = {"unhealthy_for": "45m", "projects": 'ml|"odd"', "down_severity": "ticket"}
    platform = platform_with(argo_cd=section("argo_cd", settings=settings))
    group = rule_files.documents(platform)["team-argo-cd.yml"]["groups"][-1]
    rules = [rule for rule in group["rules"] if "alert" in rule]
    unhealthy = next(rule for rule in rules if rule["alert"] == "ArgoCdApplicationUnhealthy")
    assert unhealthy["for"] == "45m"
    assert 'project=~"ml|\\"odd\\""' in unhealthy["expr"]
    assert {rule["labels"]["severity"] for rule in rules if rule["alert"] == "ArgoCdDown"} == {"ticket"}
    proved = prove.prove(platform, ["ArgoCdApplicationUnhealthy", "ArgoCdDown"])
    assert {one.outcome for one in proved} == {Outcome.PROVEN}


def test_a_version_has_what_it_had(platform_with: Any) -> None:
    described = SystemFile.model_validate(GOOD)
    use = SystemUse(owner="ml", targets=["a:1"])
    old = Installed("queue", use.model_copy(update={"version": (1, 5)}), described, 15.0)
    new = Installed("queue", use, described, 15.0)
    assert old.expr("sum(queue_workers) + queue_workers_more") == "sum(queue_consumers) + queue_workers_more"
    assert new.expr("sum(queue_workers)") == "sum(queue_workers)"
    platform_with(argo_cd=section("argo_cd", version="2.14"))
    assert [panel.title for panel in system_rules.system("argo_cd").panels if not panel.is_in((2, 14))] == [
        "How long does a sync take?"
    ]


def test_settings_that_make_an_alert_impossible_are_found_where_they_stand(
    write_platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = SystemFile.model_validate(GOOD)
    quantile = "histogram_quantile(0.9, sum by (le) (rate(queue_wait_seconds_bucket[5m]))) > <limit>"
    alert = described.alerts[0].model_copy(update={"expr": quantile})
    monkeypatch.setattr(system_rules, "system", lambda _: described.model_copy(update={"alerts": [alert]}))
    path = write_platform(argo_cd={"owner": "ml", "targets": ["a:1"], "settings": {"limit": 60}})
    platform, document = load.load_with_places(path)
    (said,) = map(str, system_check.find_problems(platform, document))
    assert "systems.argo_cd.settings.limit: alert QueueLong: a quantile of queue_wait_seconds is at most 10" in said
    line = next(at for at, text in enumerate(path.read_text().splitlines(), 1) if "limit: 60" in text)
    assert said.startswith(f"{path}:{line}:")


def test_in_a_cluster_the_scrape_job_is_an_object_with_its_secrets(platform_with: Any) -> None:
    folder = "/etc/prometheus/secrets/vault"
    platform = platform_with(vault=section("vault", token_file=f"{folder}/token", ca_file=f"{folder}/ca.crt"))
    found = yaml.safe_load(prometheus.render_objects(platform)["kubernetes/scrape-vault.yaml"])
    assert found["spec"] == {
        "jobName": "vault",
        "metricsPath": "/v1/sys/metrics",
        "params": {"format": ["prometheus"]},
        "scheme": "HTTPS",
        "staticConfigs": [{"targets": ["first.example:9000", "second.example:9000"]}],
        "authorization": {"type": "Bearer", "credentials": {"name": "vault", "key": "token"}},
        "tlsConfig": {"ca": {"secret": {"name": "vault", "key": "ca.crt"}}},
    }
    with pytest.raises(InvalidInputError, match="names no Kubernetes Secret"):
        prometheus.render_objects(platform_with(vault=section("vault", token_file="/run/secrets/t")))


def test_long_names_still_have_a_uid_that_grafana_takes() -> None:
    pages = [grafana.system_page("kube_state_metrics"), grafana.system_page("kube_state_metrics_of_serving")]
    uids = {grafana.dashboard_uid("p" * 63, page) for page in pages}
    assert len(uids) == 2
    assert all(8 <= len(uid) <= grafana.MAX_UID for uid in uids)


def test_the_catalogue_has_the_metrics_of_every_model_server() -> None:
    for profile in serving.PROFILES.values():
        for text in (*profile.requests, *profile.failures):
            assert catalogue.find(text.partition("{")[0]) is not None, text
        if profile.duration:
            assert catalogue.find(f"{profile.duration.partition('{')[0]}_bucket") is not None
    assert set(server_metrics.CATALOGUE) >= {"vllm:request_success_total", "nv_inference_request_failure"}
