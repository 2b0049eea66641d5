"""Files of other tools: what is translated, and that nothing is dropped on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerts.imports import files
from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group
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
    return RuleFile.model_validate({"name": "in", **files.translate(file, "ml")})


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
        (SLOTH, "events:", "raw: {error_ratio_query: x}\n      events:", "no counts to budget from"),
        (SLOTH, "labels: {severity: page}", "labels: {severity: page, routing: a}", "routes come from owner"),
        (SLOTH, "runbook:", "title: t, runbook:", "writes the annotations"),
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
    assert "150.0 is not between 0 and 100" in said
    assert len(caught.value.problems) >= 1


def test_a_file_of_nobodys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="neither Sloth, OpenSLO"):
        translated("apiVersion: v1\nkind: Pod\n", tmp_path)
    with pytest.raises(InvalidInputError, match="not YAML"):
        translated("a: [", tmp_path)


def test_a_rule_file_that_was_imported_is_loaded_by_the_platform(tmp_path: Path, make_document) -> None:
    from midwatch.spec import load

    (tmp_path / "in.yaml").write_text(SLOTH)
    document = files.translate(tmp_path / "in.yaml", "ml", compatibility="sloth")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(make_document(rule_files=["rules.yaml"])))
    (file,) = load.load_platform(tmp_path / "platform.yaml").rules
    assert file.objectives[0].compatibility == "sloth"
