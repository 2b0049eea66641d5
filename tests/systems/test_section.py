"""`systems` in the platform file: what is wrong is said with its place, and versions and settings reach the rules."""

from __future__ import annotations

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
from midwatch.spec.systems import SystemFile, SystemUse
from tests.conftest import need_program
from tests.systems.conftest import section
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
        "systems.argo_cd.targets[0]: 'http://argocd:8082/metrics' does not match",
    ),
    "an unknown key": (
        {"argo_cd": section("argo_cd", setting={})},
        "systems.argo_cd.setting: unknown key; did you mean settings?",
    ),
}


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
    rules = rule_files.documents(platform)["team-argo-cd.yml"]["groups"][-1]["rules"]
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
    assert "systems.argo_cd: alerts[0].expr of the system: a quantile of queue_wait_seconds is at most 10" in said
    assert said.startswith(f"{path}:")


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
