"""Rules of a system follow the version that the platform file states: names, labels, bounds, forms."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from dashboards import render
from midwatch import grafana, system_check
from midwatch.spec import system_rules
from midwatch.spec.system_rules import Installed
from midwatch.spec.systems import SystemFile, SystemUse
from tests.conftest import midwatch_here
from tests.systems.conftest import section
from tests.systems.test_faults_in_a_folder import GOOD


def renamed() -> dict[str, Any]:
    """A system whose second version has other names, labels and bounds, and whose third may spell one in two ways."""
    described = copy.deepcopy(GOOD)
    described["metrics"] = {
        "queue_depth": {
            "kind": "gauge",
            "help": "Waiting.",
            "labels": ["topic", "state", "pod"],
            "states": ["state"],
            "was": [{"name": "queue_length", "until": "2.0", "gone": "2.5"}],
            "labels_was": {"topic": [{"name": "subject", "until": "2.0"}]},
            "labels_until": {"pod": "3.0"},
        },
        "queue_wait_seconds": {
            "kind": "histogram",
            "help": "Wait.",
            "labels": ["topic"],
            "buckets": [1, 5, 10],
            "buckets_was": [{"buckets": [1, 20], "until": "2.0"}],
        },
        "queue_sent_total": {"kind": "counter", "help": "Sent.", "labels": ["topic"], "spellings": ["queue_sent"]},
    }
    described["alerts"][0] |= {
        "summary": "{{ $labels.topic }} is long",
        "expr": 'sum by (topic) (queue_depth{topic!="a b"}) > on (topic) group_left ()'
        " sum by (topic) (queue_wait_seconds_sum) and on () vector(<limit>)",
    }
    described["panels"][0]["queries"] = [{"expr": "sum by (topic) (queue_depth)", "legend": "{{topic}}"}]
    return described


def installed(version: str, described: dict[str, Any] | None = None, **use: Any) -> Installed:
    file = SystemFile.model_validate(described or renamed())
    whole = SystemUse.model_validate({"owner": "ml", "targets": ["a:1"], "version": version, **use})
    return Installed("queue", whole, file, 15.0)


def test_the_newest_version_is_written_as_it_stands() -> None:
    assert (
        installed("3.0").expr("sum by (topic) (queue_depth{topic=~'a'})") == "sum by (topic) (queue_depth{topic=~'a'})"
    )


def test_an_old_version_has_its_names_and_labels_everywhere() -> None:
    old = installed("1.0")
    assert old.expr('sum by (topic) (queue_depth{topic="topic"})') == 'sum by (subject) (queue_length{subject="topic"})'
    rule = old.alert(old.described.alerts[0], None)
    assert rule.summary == "{{ $labels.subject }} is long"
    assert set(rule.proof.fires if rule.proof else ()) == {'queue_length{subject="a", state="new"}'}
    assert old.legend("{{topic}} of {{state}}", "sum(queue_depth)") == "{{subject}} of {{state}}"
    assert old.tags(["topic", "state"], "queue_depth") == ("subject", "state")


def test_a_name_inside_of_another_or_of_a_text_is_left_alone() -> None:
    assert installed("1.0").expr('my_queue_depth{x="queue_depth"} + queue_depths') == (
        'my_queue_depth{x="queue_depth"} + queue_depths'
    )


@pytest.mark.parametrize(
    ("expr", "written"),
    [
        ("rate(queue_sent_total[5m])", 'rate({__name__=~"queue_sent_total|queue_sent"}[5m])'),
        ('queue_sent_total{topic="a"}', '{__name__=~"queue_sent_total|queue_sent", topic="a"}'),
        ("queue_sent_total{}", '{__name__=~"queue_sent_total|queue_sent"}'),
    ],
)
def test_a_metric_of_two_spellings_is_found_under_each(expr: str, written: str) -> None:
    assert installed("3.0").expr(expr) == written


def test_a_proof_has_one_spelling() -> None:
    assert installed("3.0").series('queue_sent_total{topic="a"}') == 'queue_sent_total{topic="a"}'


def test_labels_that_a_scrape_renames_are_asked_for_by_that_name() -> None:
    scraped = installed("1.0", exported_labels=["subject"])
    assert scraped.expr('sum by (topic) (queue_depth{topic="a"})') == (
        'sum by (exported_subject) (queue_length{exported_subject="a"})'
    )


def test_names_that_a_version_has_beside_its_own_are_known() -> None:
    metric = installed("2.0").described.metrics["queue_depth"]
    assert metric.names_exposed("queue_depth", (1, 9)) == {"queue_length"}
    assert metric.names_exposed("queue_depth", (2, 0)) == {"queue_depth", "queue_length"}
    assert metric.names_exposed("queue_depth", (2, 5)) == {"queue_depth"}


def test_each_version_that_changes_something_is_checked(tmp_path: Any) -> None:
    file = SystemFile.model_validate(renamed())
    assert system_check.versions(file) == [(1, 0), (2, 0), (2, 5), (3, 0)]


def test_a_bound_that_only_another_version_has_is_found_there(tmp_path: Any) -> None:
    described = renamed()
    described["alerts"][0]["expr"] = 'sum(rate(queue_wait_seconds_bucket{le=~"5([.]0+)?"}[5m])) > <limit>'
    said = [message for _, message, _ in system_check.of_versions("queue", SystemFile.model_validate(described))]
    assert said == ["queue_wait_seconds_bucket has no bound 5([.]0+)?"]


def test_two_forms_of_an_alert_have_one_name() -> None:
    described = renamed()
    first = described["alerts"][0]
    described["alerts"] = [{**first, "until": "2.0", "for": "1m"}, {**first, "since": "2.0"}]
    waits = {version: installed(version, described).rules().alerts[0].for_ for version in ("1.0", "2.0")}
    assert waits == {"1.0": 60.0, "2.0": 300.0}
    assert list(installed("1.0", described).left_out()) == []


def test_what_a_stated_version_does_not_have_is_said(write_platform: Any) -> None:
    old = section("argo_cd", version="2.14")
    done = midwatch_here("check", "-f", write_platform(argo_cd=old))
    assert done.returncode == 0
    assert "panel 'How long does a sync take?' is left out: it needs 3.1 or newer, and this is 2.14" in done.stderr


def test_rules_and_pages_with_renamed_labels_have_no_problem(write_platform: Any) -> None:
    done = midwatch_here("check", "-f", write_platform(argo_cd=section("argo_cd", exported_labels=["namespace"])))
    assert (done.returncode, done.stderr.count("no problems")) == (0, 1)


def test_the_page_says_it_too(platform_with: Any) -> None:
    platform = platform_with(argo_cd=section("argo_cd", version="2.14"))
    uid = grafana.dashboard_uid("test", grafana.system_page("argo_cd"))
    (page,) = [one for one in render.documents(platform) if one["uid"] == uid]
    assert "Version 2.14 has no panel 'How long does a sync take?'" in page["description"]


def test_every_shipped_objective_of_a_stated_version_is_found() -> None:
    for name in system_rules.shipped():
        described = system_rules.system(name)
        for slo in described.slos:
            version = slo.since or described.versions.oldest
            assert system_rules.shipped_slo(described, slo.name, version) == slo


def test_the_proof_of_a_name_of_another_version_has_that_name_and_no_translation_of_it(platform_with: Any) -> None:
    (rules,) = platform_with(tekton=section("tekton", version="1.9", slos=None)).rules
    alert = next(rule for rule in rules.alerts if rule.alert == "SystemSpeaksAnotherVersion")
    assert alert.proof is not None
    (series,) = alert.proof.fires
    assert re.findall(r'__name__="(\w+)"', series) == ["kn_workqueue_depth"]


def test_what_keda_published_in_milliseconds_is_compared_in_seconds(platform_with: Any) -> None:
    (rules,) = platform_with(keda=section("keda", version="2.13")).rules
    (newer,) = platform_with(keda=section("keda", version="2.14")).rules
    of_latency = [rule.expr for rule in rules.alerts if "latency" in rule.expr and rule.alert.startswith("Keda")]
    assert [" / 1000 > " in expr for expr in of_latency] == [True, True]
    assert not any("1000" in rule.expr for rule in newer.alerts)
    (objective,) = rules.objectives
    assert objective.sli.gauge is not None
    assert objective.sli.gauge.value == 'max(keda_scaler_metrics_latency{job="keda"}) / 1000'


@pytest.mark.parametrize("name", ["grafana", "loki", "mimir", "tempo"])
def test_the_first_failure_of_a_route_counts_in_the_objective(name: str, platform_with: Any) -> None:
    (rules,) = platform_with(**{name: section(name, slos=[{"name": "requests"}])}).rules
    (objective,) = rules.objectives
    assert objective.sli.events is not None
    assert "unless" in str(objective.sli.events.bad)
