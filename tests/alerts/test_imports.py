"""Files of other tools: what is translated, and that nothing is dropped on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerts.imports import files
from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group
from alerts.rules import files as rule_files
from midwatch.errors import InvalidInputError
from midwatch.spec.rules import RuleFile

SLOTH = """
version: prometheus/v1
service: myservice
labels: {team: x}
slos:
  - name: requests-availability
    objective: 99.95
    description: Most answers are right.
    sli:
      events:
        error_query: sum(rate(http_requests_total{code=~"(5..|429)"}[{{.window}}]))
        total_query: sum(rate(http_requests_total[{{ .window }}]))
    alerting:
      name: High
      annotations: {runbook: "https://r"}
      page_alert: {labels: {severity: page}}
      ticket_alert: {disable: true}
"""
OPENSLO = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: web-availability}
spec:
  service: web
  description: a
  indicatorRef: ok
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: x, target: 0.995}]
  alertPolicies: [fast]
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: ok}
spec:
  ratioMetric:
    counter: true
    good: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{code!~"5.."}'}}}
    total: {metricSource: {type: Prometheus, spec: {query: 'sum(http_requests_total)'}}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast}
spec: {conditions: [{conditionRef: burn}]}
---
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: burn}
spec: {severity: page, condition: {kind: burnrate, op: gte, threshold: 14, lookbackWindow: 1h, alertAfter: 5m}}
"""
CALENDAR = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: depth}
spec:
  service: queue
  indicator:
    metadata: {name: d}
    spec: {thresholdMetric: {metricSource: {type: Prometheus, spec: {query: max(queue_depth)}}}}
  timeWindow: [{duration: 1M, calendar: {startTime: "2026-01-01 00:00:00", timeZone: Europe/Oslo}}]
  budgetingMethod: Timeslices
  objectives: [{op: lte, value: 100, target: 0.99, timeSliceWindow: 1m}]
"""
ALPHA = """
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: old-one}
spec:
  service: web
  timeWindows: [{unit: Day, count: 30, isRolling: true}]
  budgetingMethod: Occurrences
  objectives:
    - displayName: a
      target: 0.98
      ratioMetrics:
        incremental: true
        good: {source: prometheus, queryType: promql, query: 'good_total{a="b"}'}
        total: {source: prometheus, queryType: promql, query: all_total}
"""
PYRRA = """
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: api, namespace: monitoring, labels: {pyrra.dev/team: web, role: alert-rules}}
spec:
  target: "99.5"
  window: 2w
  indicator:
    ratio:
      errors: {metric: 'http_requests_total{code=~"5.."}'}
      total: {metric: http_requests_total}
      grouping: [route]
"""


def translated(text: str, folder: Path) -> RuleFile:
    file = folder / "in.yaml"
    file.write_text(text)
    return RuleFile.model_validate({"name": "in", **files.translate(file, "ml").document})


def test_sloth_is_translated(tmp_path: Path) -> None:
    (slo,) = translated(SLOTH, tmp_path).objectives
    assert (slo.service, slo.name, str(slo.objective), slo.runbook) == (
        "myservice",
        "requests-availability",
        "0.9995",
        "https://r",
    )
    assert slo.sli.events.bad == 'sum(rate(http_requests_total{code=~"(5..|429)"}[{window}]))'
    assert (slo.burn_rate.page_quick, slo.burn_rate.ticket_quick, slo.burn_rate.ticket_slow) == (True, False, False)
    assert slo.labels == {"team": "x"}


def test_openslo_is_translated_with_what_it_refers_to(tmp_path: Path) -> None:
    (slo,) = translated(OPENSLO, tmp_path).objectives
    assert slo.sli.events.good == 'sum(increase(http_requests_total{code!~"5.."}[{window}]))'
    assert slo.sli.events.total == "sum(increase(http_requests_total[{window}]))"
    assert (slo.window, str(slo.objective), slo.burn_rate.for_) == (28 * 86400, "0.995", 300.0)
    assert slo.burn_rate.page_quick.over == 3600
    assert slo.burn_rate.page_slow is False


def test_a_calendar_and_time_slices_of_openslo_are_translated(tmp_path: Path) -> None:
    (slo,) = translated(CALENDAR, tmp_path).objectives
    assert (slo.window.calendar, slo.window.time_zone) == ("month", "Europe/Oslo")
    assert (slo.sli.gauge.value, slo.sli.gauge.at_most) == ("max(queue_depth)", 100)


def test_openslo_v1alpha_is_translated(tmp_path: Path) -> None:
    (slo,) = translated(ALPHA, tmp_path).objectives
    assert (slo.sli.events.good, slo.window) == ('sum(increase(good_total{a="b"}[{window}]))', 30 * 86400)


def test_pyrra_is_translated_with_its_grouping(tmp_path: Path) -> None:
    (slo,) = translated(PYRRA, tmp_path).objectives
    assert slo.sli.events.bad == 'sum by (route) (increase(http_requests_total{code=~"5.."}[{window}]))'
    assert (slo.by, slo.labels, slo.window) == (["route"], {"team": "web"}, 14 * 86400)


@pytest.mark.parametrize(
    "text", [SLOTH, OPENSLO, CALENDAR, ALPHA, PYRRA], ids=["sloth", "v1", "calendar", "alpha", "pyrra"]
)
def test_what_was_translated_makes_rules_that_promtool_runs(text: str, tmp_path: Path, make_platform, promtool) -> None:
    file = translated(text, tmp_path)
    platform = make_platform(
        rules=[file.model_dump(by_alias=True)], models=[{"name": "m", "owner": "ml", "task": "regression"}]
    )
    groups = [rule_group(target) for target in objectives.of_platform(platform)]
    assert groups
    assert not promtool(groups, {"x": "0x10"}, [], "1m")


@pytest.mark.parametrize(
    ("text", "old", "new", "reason"),
    [
        (SLOTH, "labels: {severity: page}", "labels: {severity: page, 'a-b': a}", "not a label name"),
        (SLOTH, "runbook:", "a.b: t, runbook:", "not a name of an annotation"),
        (SLOTH, "    objective: 99.95", "    objective: 100", "not between 0 and 100"),
        (SLOTH, "service: myservice", "service: myservice\nowner: me", "does not know this key"),
        (OPENSLO, "counter: true", "counter: false", "counter is not true"),
        (OPENSLO, "sum(http_requests_total)", "avg(http_requests_total)", "not a counter's selector"),
        (OPENSLO, "indicatorRef: ok", "indicatorRef: gone", "there is no SLI 'gone'"),
        (OPENSLO, "duration: 28d", "duration: 1M", "no fixed length"),
        (OPENSLO, "type: Prometheus, spec: {query: 'sum", "type: Datadog, spec: {query: 'sum", "Datadog"),
        (OPENSLO, "conditions:", "notificationTargets: [a], conditions:", "routes come from owners"),
        (CALENDAR, "Timeslices", "Occurrences", "not Occurrences"),
        (PYRRA, "  window: 2w", "  window: 2w\n  alerting: {absent: true}", "absent()"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_line_and_reason(
    text: str, old: str, new: str, reason: str, tmp_path: Path
) -> None:
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(InvalidInputError) as caught:
        translated(text.replace(old, new, 1), tmp_path)
    said = str(caught.value)
    assert any(reason in one.message and abs(one.line - line) <= 1 for one in caught.value.problems), said


def test_three_documents_of_which_one_is_broken_write_nothing_and_all_problems_are_named(tmp_path: Path) -> None:
    broken = ALPHA.replace("target: 0.98", "target: 1.5").replace("count: 30", "count: 3000")
    with pytest.raises(InvalidInputError) as caught:
        translated("---".join([CALENDAR, broken, PYRRA]), tmp_path)
    said = str(caught.value)
    assert "150 is not between 0 and 100" in said
    assert len(caught.value.problems) >= 1


def test_a_file_of_nobodys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="neither Sloth, OpenSLO"):
        translated("apiVersion: v1\nkind: Pod\n", tmp_path)
    with pytest.raises(InvalidInputError, match="not YAML"):
        translated("a: [", tmp_path)


def test_a_rule_file_that_was_imported_is_loaded_by_the_platform(tmp_path: Path, make_document) -> None:
    from midwatch.spec import load

    (tmp_path / "in.yaml").write_text(SLOTH)
    document = files.translate(tmp_path / "in.yaml", "ml", compatibility="sloth").document
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(make_document(rule_files=["rules.yaml"])))
    (file,) = load.load_platform(tmp_path / "platform.yaml").rules
    assert file.objectives[0].compatibility == "sloth"


# Nothing is dropped or changed silently ------------------------------------------------------------------------------

GETTING_STARTED = """
version: prometheus/v1
service: shop
labels: {owner: them, repo: org/shop, tier: 2}
slo_plugins:
  chain: [{id: sloth.dev/contrib/alert_for/v1}, {id: sloth.dev/core/debug/v1, priority: 9, config: {msg: x}}]
slos:
  # We allow one bad request in a thousand.
  - name: availability
    objective: 99.9
    plugins: {chain: [{id: sloth.dev/contrib/info_labels/v1, config: {labels: {plug-l1: in}}}]}
    sli:
      events:
        error_query: sum(rate(requests_total{code=~"5.."}[{{.window}}]))
        total_query: sum(rate(requests_total[{{.window}}]))
    alerting:
      name: ShopErrors
      labels: {category: availability}
      annotations: {summary: Many errors}
      page_alert: {for: 5m, labels: {severity: pageteam, routing_key: them}}
      ticket_alert: {labels: {severity: slack}}
"""


def of_service(make_platform, file: RuleFile) -> objectives.Objective:
    platform = make_platform(rules=[file.model_dump(by_alias=True)])
    return next(one for one in objectives.of_platform(platform) if one.model is None)


def test_names_labels_and_annotations_of_sloth_reach_the_alerts_and_what_is_renamed_is_told(
    tmp_path: Path, make_platform
) -> None:
    (tmp_path / "in.yaml").write_text(GETTING_STARTED)
    imported = files.translate(tmp_path / "in.yaml", "ml")
    file = RuleFile.model_validate({"name": "in", **imported.document})
    objective = of_service(make_platform, file)
    page, ticket = (rule for rule in rule_group(objective)["rules"] if "alert" in rule)
    assert (page["alert"], page["for"], ticket["for"]) == ("ShopErrors", "5m", "0s")
    assert page["annotations"]["summary"] == ticket["annotations"]["summary"] == "Many errors"
    kept = {"repo": "org/shop", "tier": "2", "category": "availability", "plug_l1": "in", "routing_key": "them"}
    assert page["labels"].items() >= {**kept, "exported_owner": "them", "exported_severity": "pageteam"}.items()
    assert (page["labels"]["severity"], page["labels"]["owner"]) == ("page", "ml")
    assert "routing_key" not in ticket["labels"]
    said = "\n".join(map(str, imported.notes))
    for word in ("exported_owner", "exported_severity: pageteam", "exported_severity: slack", "plug_l1", "debug"):
        assert word in said


def test_a_comment_above_an_objective_stays_there(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(GETTING_STARTED)
    text = files.translate(tmp_path / "in.yaml", "ml").text()
    assert "# We allow one bad request in a thousand.\n- name: availability\n" in text
    assert yaml.safe_load(text)["objectives"][0]["name"] == "availability"


def test_sloths_records_carry_the_labels_of_the_service(tmp_path: Path, make_platform) -> None:
    (tmp_path / "in.yaml").write_text(GETTING_STARTED)
    document = files.translate(tmp_path / "in.yaml", "ml", compatibility="sloth").document
    file = RuleFile.model_validate({"name": "in", **document})
    objective = of_service(make_platform, file)
    rules = rule_group(objective)["rules"]
    assert {rule["labels"]["tier"] for rule in rules if "record" in rule} == {"2"}
    assert [rule["alert"] for rule in rules if "alert" in rule] == ["ShopErrors", "ShopErrors"]


def test_a_ratio_without_events_is_an_objective_whose_minutes_weigh_the_same(
    tmp_path: Path, make_platform, promtool
) -> None:
    raw = GETTING_STARTED[: GETTING_STARTED.index("      events:")] + (
        "      raw: {error_ratio_query: '1 - sum(avg_over_time(satisfaction[{{.window}}]))'}\n"
    )
    file = translated(raw, tmp_path)
    objective = of_service(make_platform, file)
    burn = 'sum(round(slo:burn_rate:ratio5m{model="shop", slo="availability"} / 100))'
    expected = [{"expr": burn, "eval_time": "2h", "exp_samples": [{"labels": "{}", "value": 5}]}]
    assert not promtool([rule_group(objective)], {"satisfaction": "0.5x500"}, expected, "30s")


@pytest.mark.parametrize(
    ("text", "old", "new", "reason"),
    [
        (GETTING_STARTED, "sloth.dev/contrib/alert_for/v1", "mine/v1", "the plugin mine/v1"),
        (GETTING_STARTED, "objective: 99.9\n", "objective: 99.9\n    interval: {all: 5m}\n", "evaluated together"),
        (GETTING_STARTED, "labels: {owner: them", "labels: {'a/b': them", "'a/b' is not a label name"),
        (PYRRA, "pyrra.dev/team: web", "pyrra.dev/a-b: web", "'a-b' is not a label name"),
        (OPENSLO, "metadata: {name: ok}", "metadata: {name: ok, labels: {a: b}}", "alerts carry those of the SLO"),
        (OPENSLO, "metadata: {name: web-availability}", "metadata: {name: web-availability, labels: {a/b: c}}", "a/b"),
        (PYRRA, "  window: 2w", "  window: 2w\n  alerting: {absent: true}", "absent()"),
    ],
)
def test_what_can_be_left_out_is_refused_unless_that_is_wanted_and_then_listed(
    text: str, old: str, new: str, reason: str, tmp_path: Path
) -> None:
    assert old in text
    file = tmp_path / "in.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInputError) as caught:
        files.translate(file, "ml")
    assert any(reason in one.message and one.line for one in caught.value.problems)
    imported = files.translate(file, "ml", lossy=True)
    assert any(reason in one.message and one.line for one in imported.dropped)


@pytest.mark.parametrize(
    ("text", "old", "new", "reason"),
    [
        (GETTING_STARTED, "events:", "plugin: {id: p}\n      other:", "the plugin p is code"),
        (GETTING_STARTED, "labels: {owner: them, repo: org/shop, tier: 2}", "labels: [x]", "is not a mapping"),
        (GETTING_STARTED, "objective: 99.9", "objective: 99.9%", "is not a number"),
        (
            GETTING_STARTED,
            "sum(rate(requests_total[{{.window}}]))",
            "sum(rate(requests_total[{{.window}}])))",
            "not PromQL",
        ),
        (GETTING_STARTED, "for: 5m", "for: soon", "not a duration"),
        (OPENSLO, "target: 0.995", 'target: "99.5%"', "is not a number"),
        (OPENSLO, "threshold: 14", "threshold: 14x", "is not a number"),
        (OPENSLO, "lookbackWindow: 1h", "lookbackWindow: 1M", "not a duration"),
        (OPENSLO, "alertAfter: 5m", "alertAfter: 5", "not a duration"),
        (OPENSLO, "alertPolicies: [fast]", "alertPolicies: fast", "is not a list"),
        (CALENDAR, "value: 100", "value: 100ms", "is not a number"),
        (CALENDAR, "2026-01-01 00:00:00", "2026-01-02 00:00:00", "begin on a first day"),
        (CALENDAR.replace("1M", "1w"), "2026-01-01 00:00:00", "2026-01-04 00:00:00", "begin on a Monday"),
        (CALENDAR.replace("1M", "1Q"), "2026-01-01 00:00:00", "2026-02-01 00:00:00", "begin in January"),
        (ALPHA, "count: 30", "count: -1", "-1 Day"),
        (PYRRA, "metadata: {name: api", "metadata: {name: [api]", "is not a text"),
    ],
)
def test_what_cannot_be_meant_gives_a_line_and_no_traceback(
    text: str, old: str, new: str, reason: str, tmp_path: Path
) -> None:
    assert old in text
    (tmp_path / "in.yaml").write_text(text.replace(old, new, 1))
    for lossy in (False, True):
        with pytest.raises(InvalidInputError) as caught:
            files.translate(tmp_path / "in.yaml", "ml", lossy=lossy)
        assert any(reason in one.message and one.line for one in caught.value.problems), str(caught.value)


def test_metadata_of_openslo_and_pyrra_reach_the_alerts(tmp_path: Path) -> None:
    described = "metadata: {name: web-availability, labels: {tier: gold}, annotations: {runbook: 'https://r', a: b}}"
    (slo,) = translated(OPENSLO.replace("metadata: {name: web-availability}", described, 1), tmp_path).objectives
    assert (slo.labels, slo.runbook, slo.annotations["a"]) == ({"tier": "gold"}, "https://r", "b")
    own = (
        "{pyrra.dev/team: web, app.kubernetes.io/managed-by: Helm, release: x}, annotations: {pyrra.dev/runbook_url: u}"
    )
    (slo,) = translated(PYRRA.replace("{pyrra.dev/team: web, role: alert-rules}", own, 1), tmp_path).objectives
    assert (slo.labels, slo.runbook) == ({"team": "web"}, "u")


def test_a_name_that_changes_is_told_and_refused_where_records_keep_it(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(GETTING_STARTED.replace("service: shop", "service: My_Shop"))
    assert any("my-shop" in one.message for one in files.translate(tmp_path / "in.yaml", "ml").notes)
    with pytest.raises(InvalidInputError, match="would be named 'my-shop'"):
        files.translate(tmp_path / "in.yaml", "ml", compatibility="sloth")


def test_values_of_others_are_texts_as_written_and_merge_keys_work(tmp_path: Path) -> None:
    text = GETTING_STARTED.replace("tier: 2", "tier: 1.10, on: yes").replace(
        "ticket_alert: {labels: {severity: slack}}", "ticket_alert: {<<: {disable: yes}, labels: {severity: slack}}"
    )
    (slo,) = translated(text, tmp_path).objectives
    assert (slo.labels["tier"], slo.labels["on"]) == ("1.10", "yes")
    assert (slo.burn_rate.ticket_quick, slo.burn_rate.page_quick) == (False, True)


RULES = """
groups:
- name: node
  rules:
  - record: instance:cpu:ratio
    expr: 1 - avg by (instance) (rate(cpu_seconds_total{mode="idle"}[5m]))
    labels: {level: instance}
  # Nobody wants to be woken by a full disk.
  # See the capacity plan.
  - alert: DiskFull
    expr: disk_free_bytes / disk_size_bytes < 0.1
    for: 10m
    labels: {severity: critical, team: infra}
    annotations: {summary: "{{ $labels.instance }} is full", description: Free some., plan: "https://p"}
"""


def test_rule_files_of_prometheus_are_translated_with_their_comments(tmp_path: Path, make_document) -> None:
    from midwatch.spec import load

    (tmp_path / "in.yaml").write_text(RULES)
    with pytest.raises(InvalidInputError, match="no runbook; give one for all with --runbook"):
        files.translate(tmp_path / "in.yaml", "ml")
    imported = files.translate(tmp_path / "in.yaml", "ml", runbook="https://wiki/{alert}")
    text = imported.text()
    assert "# Nobody wants to be woken by a full disk.\n# See the capacity plan.\n- alert: DiskFull\n" in text
    (tmp_path / "rules.yaml").write_text(text)
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(make_document(rule_files=["rules.yaml"])))
    platform = load.load_platform(tmp_path / "platform.yaml")
    (group,) = rule_files.documents(platform)["team-rules.yml"]["groups"]
    record, alert = group["rules"]
    assert (record["record"], record["labels"]) == ("instance:cpu:ratio", {"level": "instance"})
    assert alert["labels"] == {"severity": "page", "owner": "ml", "team": "infra", "exported_severity": "critical"}
    assert alert["annotations"]["runbook_url"] == "https://wiki/DiskFull"
    assert alert["annotations"]["plan"] == "https://p"
    assert [one.message for one in imported.notes if "exported_severity" in one.message]


def test_no_comment_of_a_file_is_lost(tmp_path: Path) -> None:
    text = """# The file.
groups:
# The group.
- name: g
  rules:
  - alert: Full   # trailing, for Åse
    # Why this much.
    expr: "free{a='#'} < 0.1"
    labels: {severity: page}
    annotations: {summary: "# is no comment", runbook: "https://r"}
  # Of the record.
  - record: a:b
    expr: |
      sum(up)  # of PromQL
    # Inside of it.
    labels: {c: d}
# The end.
"""
    (tmp_path / "in.yaml").write_text(text)
    lines = files.translate(tmp_path / "in.yaml", "ml").text().splitlines()
    alert, record = lines.index("- alert: Full"), lines.index("- record: 'a:b'")
    assert lines[alert - 4 : alert] == ["# The file.", "# The group.", "# trailing, for Åse", "# Why this much."]
    assert lines[record - 3 : record] == ["# Of the record.", "# Inside of it.", "# The end."]


def test_an_operators_object_is_a_rule_file_too(tmp_path: Path) -> None:
    inside = RULES.replace("\n", "\n  ").replace("critical", "warning")
    text = f"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {{name: x}}\nspec:\n  {inside}"
    (tmp_path / "in.yaml").write_text(text)
    (alert,) = files.translate(tmp_path / "in.yaml", "ml", runbook="https://w").document["alerts"]
    assert (alert["severity"], alert["for"]) == ("ticket", "10m")


def test_a_severity_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(RULES.replace("critical", "sometimes"))
    with pytest.raises(InvalidInputError, match="severity 'sometimes' is not one of page, critical"):
        files.translate(tmp_path / "in.yaml", "ml", runbook="https://w")


POLICY = """
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: there}
spec: {type: Prometheus, connectionDetails: {url: "http://p"}}
"""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("spec:\n  ratioMetric:", "spec:\n  surprise: 5\n  ratioMetric:", "surprise: cannot be translated"),
        ("spec: {conditions:", "spec: {alertWhenNoData: true, conditions:", r"alertWhenNoData: cannot .* absent\(\)"),
        ("spec: {conditions:", "spec: {alertWhenBreaching: false, conditions:", "alertWhenBreaching: cannot"),
        ("spec: {type: Prometheus, conn", "spec: {type: Datadog, conn", "spec.type: cannot be translated: Datadog"),
        ("[{conditionRef: burn}]", "[{conditionRef: burn, weight: 2}]", "weight: cannot be translated"),
    ],
)
def test_what_stands_beside_an_slo_is_not_dropped(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text = OPENSLO + POLICY
    assert old in text
    (tmp_path / "in.yaml").write_text(text)
    files.translate(tmp_path / "in.yaml", "ml")
    (tmp_path / "in.yaml").write_text(text.replace(old, new))
    with pytest.raises(InvalidInputError, match=reason):
        files.translate(tmp_path / "in.yaml", "ml")


def test_what_is_written_nowhere_is_said(tmp_path: Path) -> None:
    text = OPENSLO.replace(
        "spec: {conditions:", "spec: {description: Wakes them., alertWhenResolved: true, conditions:"
    )
    (tmp_path / "in.yaml").write_text(text + POLICY)
    said = "\n".join(map(str, files.translate(tmp_path / "in.yaml", "ml").notes))
    for words in ("description: is not written", "send_resolved", "queries go to the Prometheus"):
        assert words in said


def test_a_policy_may_stand_inside_an_slo(tmp_path: Path) -> None:
    inline = "alertPolicies: [{kind: AlertPolicy, metadata: {name: x}, spec: {conditions: [{conditionRef: burn}]}}]"
    (tmp_path / "in.yaml").write_text(OPENSLO)
    before = files.translate(tmp_path / "in.yaml", "ml").document
    (tmp_path / "in.yaml").write_text(OPENSLO.replace("alertPolicies: [fast]", inline))
    assert files.translate(tmp_path / "in.yaml", "ml").document == before


def test_an_object_of_sloth_that_is_no_service_is_refused_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("apiVersion: sloth.slok.dev/v1\nkind: AlertWindows\nspec: {sloPeriod: 7d}\n")
    with pytest.raises(InvalidInputError, match="AlertWindows; write burn_rate") as refused:
        files.translate(tmp_path / "in.yaml", "ml")
    assert len(refused.value.problems) == 1


def test_what_midwatch_refuses_of_a_translation_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(SLOTH.replace("sum(rate(http_requests_total[{{ .window }}]))", "x[{{.window}}]"))
    with pytest.raises(InvalidInputError) as refused:
        files.translate(tmp_path / "in.yaml", "ml")
    said = str(refused.value)
    assert "in.yaml:6: slos[0]: cannot be translated" in said
    assert "function-after" not in said
    assert "Value error" not in said


def test_a_rule_that_is_none_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("groups: [{name: g, rules: [5, {expr: up}]}]\n")
    with pytest.raises(InvalidInputError) as refused:
        files.translate(tmp_path / "in.yaml", "ml")
    assert [one.message for one in refused.value.problems] == ["is not a mapping", "neither an alert nor a record"]
