"""Mistakes in routes and rules, each found by its id, and nothing found where there is none."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import expressions, inventory, verbatim
from alerts.lint import linter, problem, rules, traps
from alerts.routing import configuration, delivery, generate
from alerts.rules import shipped
from midwatch import catalogue, yamlfile
from midwatch.spec import load
from midwatch.spec.alertmanager_fields import secrets_of
from midwatch.spec.channels import INTEGRATIONS
from tests.conftest import midwatch_here, need_program

GOOD = """
route:
  receiver: chat
  group_by: [alertname]
  routes:
    - {matchers: ['alertname="Watchdog"'], receiver: nobody}
    - {matchers: ['severity="page"'], receiver: phone}
    - {matchers: ['severity="ticket"'], receiver: chat, active_time_intervals: [office]}
receivers:
  - name: nobody
  - name: phone
    pagerduty_configs: [{routing_key_file: key}]
  - name: chat
    slack_configs: [{api_url_file: key, channel: '#x', title: '{{ .CommonLabels.alertname | toUpper }}'}]
inhibit_rules:
  - {source_matchers: ['severity="page"', 'slo!=""'], target_matchers: ['severity="ticket"', 'slo!=""'], equal: [slo]}
time_intervals:
  - name: office
    time_intervals: [{times: [{start_time: '08:00', end_time: '16:00'}]}]
"""
ALERTS = [
    {"alertname": "A", "severity": "page", "slo": "a"},
    {"alertname": "B", "severity": "ticket", "slo": "a"},
    {"alertname": "Watchdog", "severity": "none"},
]

WHOLE_DAY = {"start_time": "00:00", "end_time": "24:00"}
BREAKS: dict[str, Any] = {
    "route-unreachable": [
        lambda c: c["route"]["routes"].insert(0, {"receiver": "chat"}),
        lambda c: c["route"]["routes"].append({"matchers": ['severity="page"', 'team="x"'], "receiver": "chat"}),
        lambda c: c["route"]["routes"][1].update(routes=[{"matchers": ['severity="ticket"'], "receiver": "chat"}]),
        lambda c: c["route"]["routes"].append({"matchers": ['a="1"', 'a!="1"'], "receiver": "chat"}),
        lambda c: c["route"]["routes"].append({"matchers": ['a="1"', 'a=~"2|3"'], "receiver": "chat"}),
    ],
    "receiver-silent": [lambda c: c["receivers"][1].pop("pagerduty_configs")],
    "receiver-unused": [lambda c: c["receivers"].append({"name": "x", "webhook_configs": [{"url_file": "key"}]})],
    "inhibit-without-equal": [lambda c: c["inhibit_rules"][0].pop("equal")],
    "inhibit-equal-unknown": [lambda c: c["inhibit_rules"][0]["equal"].append("cluster")],
    "inhibit-through-missing-label": [
        lambda c: c["inhibit_rules"][0].update(
            source_matchers=['severity="page"'], target_matchers=['severity="ticket"']
        )
    ],
    "inhibit-itself": [
        lambda c: c["inhibit_rules"][0].update(target_matchers=c["inhibit_rules"][0]["source_matchers"])
    ],
    "inhibit-mutual": [
        lambda c: c["inhibit_rules"].append(
            {
                "source_matchers": c["inhibit_rules"][0]["target_matchers"],
                "target_matchers": c["inhibit_rules"][0]["source_matchers"],
                "equal": ["slo"],
            }
        )
    ],
    "inhibit-empty-source": [lambda c: c["inhibit_rules"][0].update(source_matchers=[])],
    "interval-always": [
        lambda c: (
            c["time_intervals"].append({"name": "z", "time_intervals": [{"times": [WHOLE_DAY]}]}),
            c["route"]["routes"][1].update(mute_time_intervals=["z"]),
        )
    ],
    "interval-unused": [lambda c: c["route"]["routes"][2].pop("active_time_intervals")],
    "interval-active-and-muted": [lambda c: c["route"]["routes"][2].update(mute_time_intervals=["office"])],
    "repeat-below-group": [lambda c: c["route"].update(repeat_interval="1m", group_interval="5m")],
    "group-by-unknown": [lambda c: c["route"].update(group_by=["alertname", "clutser"])],
    "secret-in-clear": [
        lambda c: c["receivers"][2].update(slack_configs=[{"api_url": "https://hooks/x", "channel": "#x"}])
    ],
    "secret-missing": [lambda c: c["receivers"][1]["pagerduty_configs"][0].update(routing_key_file="gone")],
    "template-missing": [lambda c: c.update(templates=["nothing/*.tmpl"])],
    "template-unknown-function": [
        lambda c: c["receivers"][2]["slack_configs"][0].update(title="{{ .Status | shout }}"),
        lambda c: c["receivers"][2]["slack_configs"][0].update(title="{{ trimSpace .Status }}"),
    ],
    "deprecated-key": [
        lambda c: c["route"]["routes"][1].update(match={"severity": "page"}),
        lambda c: c["inhibit_rules"][0].update(source_match={"severity": "page"}),
        lambda c: c.update(mute_time_intervals=[]),
    ],
    "feature-too-new": [
        lambda c: c["receivers"][1].update(msteams_configs=[{"webhook_url_file": "key"}]),
        lambda c: c["inhibit_rules"][0].update(name="x"),
        lambda c: c["route"]["routes"][1].update(matchers=['"ünï"="x"', 'severity="page"']),
    ],
    "interval-alternatives": [
        lambda c: c["time_intervals"][0]["time_intervals"].append({"weekdays": ["monday:friday"]})
    ],
    "matcher-pattern-as-value": [lambda c: c["route"]["routes"][1].update(matchers=['severity="page|critical"'])],
    "matcher-single-quotes": [lambda c: c["route"]["routes"][1].update(matchers=["severity='page'"])],
    "matcher-alert": [lambda c: c["route"]["routes"][1].update(matchers=['severity="page"', 'alert="A"'])],
    "matcher-double-equals": [lambda c: c["route"]["routes"][1].update(matchers=["severity==page", 'severity!="x"'])],
    "severity-unrouted": [lambda c: c["route"]["routes"].pop(2)],
    "watchdog-at-person": [lambda c: c["route"]["routes"].pop(0)],
    "alert-at-default": [lambda c: c["route"]["routes"].pop(1)],
}


def found(document: dict, folder: Path) -> dict[str, problem.LintProblem]:
    (folder / "key").write_text("secret")
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True))
    config = configuration.load(file, (0, 25))
    context = problem.Context(config=config, version=(0, 25), alerts=ALERTS, folder=folder, look_at_files=True)
    return {one.id: one for one in problem.run(linter.CHECKS, context)}


def test_a_good_configuration_has_no_finding(tmp_path: Path) -> None:
    assert found(yaml.safe_load(GOOD), tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, breaks in BREAKS.items() for number in range(len(breaks))]
)
def test_each_mistake_is_found_with_its_place_and_a_remedy(name: str, number: int, tmp_path: Path) -> None:
    document = yaml.safe_load(GOOD)
    BREAKS[name][number](document)
    findings = found(document, tmp_path)
    assert name in findings, findings
    assert findings[name].line
    assert findings[name].remedy


@pytest.mark.parametrize(
    ("kind", "secret"), [(kind, secret) for kind, one in INTEGRATIONS.items() for secret in sorted(one.secrets)]
)
def test_every_secret_of_every_integration_is_found_in_clear(kind: str, secret: str, tmp_path: Path) -> None:
    document = yaml.safe_load(GOOD)
    document["receivers"][1][f"{kind}_configs"] = [{secret: "clear"}]
    (written,) = verbatim.read(tmp_path / "a.yml", yaml.safe_dump(document))
    config = configuration.Config(document=written, route=configuration.parse(GOOD, "a.yml").route)
    context = problem.Context(config=config, version=(0, 31), folder=tmp_path)
    problems = problem.run({"secret-in-clear": linter.CHECKS["secret-in-clear"]}, context)
    assert [one.path.partition("[")[0] for one in problems] == ["receivers"]


def test_every_secret_in_global_is_found_in_clear(tmp_path: Path) -> None:
    secrets = secrets_of("global")
    value = "https://slack.com/api/chat.postMessage"
    text = GOOD + f"global: {{{', '.join(f'{secret}: {value}' for secret in sorted(secrets))}}}\n"
    context = problem.Context(config=configuration.parse(text, "a.yml"), version=(0, 35), folder=tmp_path)
    problems = problem.run({"secret-in-clear": linter.CHECKS["secret-in-clear"]}, context)
    assert {one.path.removeprefix("global.") for one in problems} == secrets


def test_every_check_has_a_mistake_that_it_finds() -> None:
    assert set(BREAKS) == set(linter.CHECKS)


def test_what_amtool_accepts_is_still_looked_at(tmp_path: Path) -> None:
    """The broken configurations are loaded by the real amtool, which says nothing of most."""
    amtool = need_program("amtool")
    document = yaml.safe_load(GOOD)
    BREAKS["route-unreachable"][0](document)
    BREAKS["inhibit-without-equal"][0](document)
    (tmp_path / "a.yml").write_text(yaml.safe_dump(document))
    (tmp_path / "key").write_text("x")
    done = subprocess.run([amtool, "check-config", "a.yml"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0


# Rules ---------------------------------------------------------------------------------------------------------------

RULES = {
    "metric-unknown": {"expr": "ml_request_total > 1"},
    "label-unknown": {"expr": 'rate(ml_requests_total{modell="m"}[5m]) > 1'},
    "counter-without-rate": {"expr": "ml_requests_total > 100"},
    "range-expensive": {"expr": "increase(ml_requests_total[30d]) > 1"},
    "owner-missing": {"owner": None},
    "runbook-missing": {"runbook": None},
    "alert-unrouted": {"owner": None},
    "range-below-scrapes": {"expr": "rate(x_total[15s]) > 1"},
    "rate-over-sum": {"expr": "rate(sum(x_total)[5m:15s]) > 1"},
    "delta-of-counter": {"expr": "delta(x_total[5m]) > 1"},
    "or-beside-arithmetic": {"expr": "(sum(a) + sum(b) or vector(0)) > 1"},
    "timestamp-zero": {"expr": "time() - backup_last_success_timestamp_seconds > 86400"},
    "quantile-beyond-buckets": {
        "expr": "histogram_quantile(0.9, sum by (le) (rate(ml_request_duration_seconds_bucket[5m]))) > 60"
    },
    "bucket-unknown": {"expr": 'rate(ml_request_duration_seconds_bucket{le="0.3"}[5m]) > 1'},
    "template-label-removed": {"expr": "sum(rate(x_total[5m])) > 1", "summary": "bad on {{ $labels.instance }}"},
    "label-overwritten": {"expr": 'ALERTS{severity="info"} == 1'},
    "sides-unmatched": {"expr": "sum by (zone) (x) / sum by (cluster) (y) > 1"},
    "match-label-missing": {"expr": "sum by (model) (x) / on (job) sum by (model) (y) > 1"},
    "ratio-of-itself": {"expr": 'x{status!="ok"} / x > 0.01'},
    "state-restarts-for": {"expr": 'app_info{health_status!="Healthy"} == 1', "for": "15m"},
}

SOUND = {
    "two scrapes and more": "rate(x_total[1m]) > 1",
    "a range of samples that needs one": "max_over_time(x[15s]) > 1",
    "a sum of rates": "sum(rate(x_total[5m])) > 1",
    "a rate over a maximum of rates": "max_over_time(sum(rate(x_total[5m]))[1h:1m]) > 1",
    "a difference of a gauge": "delta(temperature_celsius[5m]) > 1",
    "a gauge that is named like a counter": "disk_total < 100",
    "parts that are filled": "(sum(a) or vector(0)) + (sum(b) or vector(0)) > 1",
    "a sum that is filled on purpose": "((sum(a) + sum(b)) or vector(0)) > 1",
    "a time that is guarded": "time() - (job_last_success_timestamp_seconds > 0) > 86400",
    "a time of ours": "time() - dr_drill_last_met_timestamp_seconds > 86400",
    "a quantile within the buckets": (
        "histogram_quantile(0.9, sum by (le) (rate(ml_request_duration_seconds_bucket[5m]))) > 1"
    ),
    "alerts that are aggregated": 'max without (alertname, alertstate) (ALERTS{severity="info"}) == 1',
    "sides with the same labels": "sum by (zone) (x) / sum by (zone) (y) > 1",
    "sides that are matched": "sum by (zone, pod) (x) / on (zone) group_left () sum by (zone) (y) > 1",
    "sides that are matched by none": "sum(x) / on () sum(y) > 1",
    "sides that are matched by labels of series": "x / on (job) sum by (job) (y) > 1",
    "a label that is taken over": "x * on (job) group_left (team) max by (job, team) (y) > 1",
    "a number instead of nothing": "x > 1 or on (job) vector(2)",
    "a ratio of two selections": 'x{status="bad"} / ignoring (status) x{status="good"} > 0.01',
    "a state that is taken out": 'max without (health_status) (app_info{health_status!="Healthy"}) == 1',
}

LABELS_MISSING = {
    "sum by (model) (x) / on (job) sum by (job) (y) > 1": "on (job), and the left side of / has no label job",
    "x unless on (job, pod) sum by (pod) (y)": "on (job), and the right side of unless has no label job",
    "x and on (job) vector(1)": "on (job), and the right side of and has no label job",
    'x unless on (zone) absent(y{job="a"})': "on (zone), and the right side of unless has no label zone",
    "x * on (job) group_left (team) sum by (job) (y) > 1": (
        "group_left (team), and the right side of * has no label team"
    ),
    "sum by (job) (y) * on (job) group_right (team) x > 1": (
        "group_right (team), and the left side of * has no label team"
    ),
}

KEPT_LABELS = {
    "sum by (instance) (x) > 1": "instance",
    "sum without (pod) (x) > 1": "instance",
    "max(x) by (zone) > 1": "zone",
    'label_replace(sum by (pod) (x), "cluster", "$1", "pod", "(.*)") > 1': "cluster",
    "x > 1 or absent(x)": "cluster",
    'absent(x{job="a"})': "job",
    "a / on (pod) group_left (node) b > 1": "node",
    "topk(3, x) > 1": "instance",
    'count_values("version", x) > 1': "version",
    "x unless on (pod) y": "instance",
}

REMOVED_LABELS = {
    "sum(x) > 1": "instance",
    "sum by (pod) (x) > 1": "instance",
    "sum without (pod) (x) > 1": "pod",
    "absent(x)": "instance",
    "a / on (pod) b > 1": "instance",
    "a * ignoring (pod) b > 1": "pod",
    "histogram_quantile(0.9, rate(x_bucket[5m])) > 1": "le",
    'count_values by (pod) ("version", x) > 1': "instance",
}


def platform_with(document: dict, folder: Path, **changes: Any) -> Path:
    rule = {
        "alert": "QueueLong",
        "expr": "queue_length > 100",
        "severity": "page",
        "owner": "ml",
        "summary": "s",
        "runbook": "https://x",
    } | changes
    (folder / "r.yaml").write_text(yaml.safe_dump({"alerts": [{k: v for k, v in rule.items() if v is not None}]}))
    (folder / "platform.yaml").write_text(yaml.safe_dump(document | {"rule_files": ["*r.yaml"]}, sort_keys=False))
    return folder / "platform.yaml"


def look(file: Path, live: set[str] | None = None) -> linter.Report:
    """What is found in rules and routes; the small platforms here have their dashboards on loopback."""
    report = linter.lint(file, None, None, live=live, secrets=False)
    return replace(report, problems=[one for one in report.problems if one.id != "dashboard-loopback"])


@pytest.mark.parametrize(
    ("url", "is_found"),
    [
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
        ("http://[::1]:3000", True),
        ("https://grafana.example", False),
    ],
    ids=["address", "name", "version 6", "elsewhere"],
)
def test_links_to_dashboards_on_loopback_are_found_where_people_get_them(
    make_document, tmp_path: Path, url: str, is_found: bool
) -> None:
    file = tmp_path / "platform.yaml"
    document = make_document(grafana={"url": url})
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    found = [one for one in linter.lint(file, None, None, live=None, secrets=False).problems if "loopback" in one.id]
    assert len(found) == is_found
    document["channels"] = {name: {"webhook": {"url": "http://x/y"}} for name in document["channels"]}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    assert linter.lint(file, None, None, live=None, secrets=False).problems == []


@pytest.mark.parametrize("name", RULES)
def test_mistakes_of_a_teams_rule_are_found_in_its_own_file(name: str, make_document, tmp_path: Path) -> None:
    good = look(platform_with(make_document(), tmp_path))
    assert (good.problems, "queue_length" in good.unjudged) == ([], True)
    findings = {one.id: one for one in look(platform_with(make_document(), tmp_path, **RULES[name])).problems}
    assert name in findings
    assert findings[name].file.endswith("r.yaml")
    assert findings[name].line


@pytest.mark.parametrize("expr", SOUND.values(), ids=SOUND)
def test_what_says_what_it_means_has_no_finding(expr: str, make_document, tmp_path: Path) -> None:
    assert look(platform_with(make_document(), tmp_path, expr=expr, **{"for": "5m"})).problems == []


@pytest.mark.parametrize(
    ("expr", "label", "is_kept"),
    [(*one, True) for one in KEPT_LABELS.items()] + [(*one, False) for one in REMOVED_LABELS.items()],
)
def test_a_template_may_say_the_labels_that_the_expression_keeps(
    expr: str, label: str, is_kept: bool, make_document, tmp_path: Path
) -> None:
    problems = look(platform_with(make_document(), tmp_path, expr=expr, summary=f"{{{{ $labels.{label} }}}}")).problems
    assert ("template-label-removed" not in {one.id for one in problems}) == is_kept


QUANTILE = "histogram_quantile(0.9, sum by (le, model) (rate(ml_request_duration_seconds_bucket[5m])))"


@pytest.mark.parametrize(
    ("expr", "is_reached"),
    [
        (f"12 < {QUANTILE}", False),
        (f"{QUANTILE} == 12", False),
        (f"max({QUANTILE}) > 11", False),
        (f"{QUANTILE} * 1000 > 20000", False),
        (f"{QUANTILE} * 1000 > 9000", True),
        (f"max_over_time({QUANTILE}[1h:]) >= 10", True),
        (f"{QUANTILE} < 12", True),
        (f"sum({QUANTILE}) > 12", True),
    ],
)
def test_a_quantile_beyond_the_last_bucket_is_found_in_whatever_form(
    expr: str, is_reached: bool, make_document, tmp_path: Path
) -> None:
    problems = look(platform_with(make_document(), tmp_path, expr=expr)).problems
    assert ("quantile-beyond-buckets" not in {one.id for one in problems}) == is_reached


def test_a_label_is_missed_by_either_name_that_templates_have_for_it(make_document, tmp_path: Path) -> None:
    file = platform_with(make_document(), tmp_path, expr="sum(x) > 1", summary="{{ .Labels.zone }}")
    assert "template-label-removed" in {one.id for one in look(file).problems}


@pytest.mark.parametrize(
    ("summary", "is_missed"),
    [
        ('{{ range query "y" }}{{ .Labels.zone }} {{ end }}', False),
        ('{{ with query "y" }}{{ if . }}{{ (first .).Labels.zone }}{{ end }}{{ end }}', False),
        ('{{ range query "y" }}{{ .Labels.zone }}{{ end }} {{ .Labels.zone }}', True),
        ('{{ range query "y" }}{{ $labels.zone }}{{ end }}', True),
        ("{{ if true }}{{ .Labels.zone }}{{ end }}", True),
        ("{{ range .Labels.zone }}x{{ end }}", True),
    ],
)
def test_labels_of_what_a_template_asks_for_are_not_those_of_the_alert(
    summary: str, is_missed: bool, make_document, tmp_path: Path
) -> None:
    problems = look(platform_with(make_document(), tmp_path, expr="sum(x) > 1", summary=summary)).problems
    assert ("template-label-removed" in {one.id for one in problems}) == is_missed


def test_a_counter_of_others_is_known_by_how_another_rule_reads_it(make_document, tmp_path: Path) -> None:
    file = platform_with(make_document(), tmp_path, expr="jobs_total > 100")
    assert look(file).problems == []
    rule = yaml.safe_load((tmp_path / "r.yaml").read_text())["alerts"][0]
    rated = rule | {"alert": "JobsFail", "expr": "rate(jobs_total[5m]) > 1"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"alerts": [rule, rated]}))
    assert [one.id for one in look(file).problems] == ["counter-without-rate"]


def test_an_alert_for_nobody_on_purpose_has_no_finding_and_reaches_nobody(make_document, tmp_path: Path) -> None:
    inhibitor = {"expr": 'ALERTS{severity="info"} == 1', "severity": "none", "alert": "InfoInhibitor"}
    file = platform_with(make_document(), tmp_path, **inhibitor)
    assert look(file).problems == []
    config = configuration.parse(yamlfile.dump(generate.alertmanager_config(load.load_platform(file))), "a.yml")
    assert delivery.receivers(config, {"alertname": "InfoInhibitor", "owner": "ml", "severity": "none"}) == ["nobody"]


def test_every_rule_check_has_a_mistake_that_it_finds() -> None:
    assert set(rules.CHECKS) - set(traps.CHECKS) == {*RULES, "record-unused"} - set(traps.CHECKS)


def test_a_live_prometheus_tells_which_metrics_are_there(make_document, tmp_path: Path) -> None:
    looked = look(platform_with(make_document(), tmp_path), live={"up"})
    messages = [one.message for one in looked.problems if one.id == "metric-unknown"]
    assert "QueueLong: Prometheus has no metric 'queue_length'" in messages
    assert looked.unjudged == []


def test_every_metric_of_a_shipped_alert_is_in_the_catalogue(make_platform, make_document, tmp_path: Path) -> None:
    document = make_document()
    document["models"][0]["drift"] = {
        "reference": "r.npz",
        "features": {"x": "numeric"},
        "retrain": {"webhook": {"url_file": "/u", "secret_file": "/s"}},
    }
    document["chaos"] = {"experiments": [{"kind": "kill_replica", "model": "fraud", "schedule": "0 4 * * 1"}]}
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    fair = {"attribute": "country", "measure": "accuracy_parity", "difference": "5%", "public": True}
    document["models"][0] |= {"groups": ["country"], "fairness": [fair | {"unknown_after": "7d"}]}
    document["incidents"] = {"watch": True}
    document["exporter"] = {"kafka": {"brokers": ["kafka:9092"], "topics": ["predictions"]}}
    document["stream"] = {"kafka": {"servers": ["kafka:9092"], "topics": ["predictions"]}}
    unpromised = {"name": "bare", "owner": "ml", "task": "regression", "serving": "seldon", "servers": {"job": "bare"}}
    document["models"].append(unpromised)
    entries = list(inventory.entries(make_platform(**document)))
    assert {rule.alert for rule in shipped.written()} <= {entry.name for entry in entries}
    unknown = {
        (entry.name, selector.metric)
        for entry in entries
        if entry.group is None
        for selector in expressions.selectors(expressions.parse(entry.rule["expr"]))
        if catalogue.find(selector.metric) is None
    }
    assert unknown == set()
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    report = look(tmp_path / "platform.yaml")
    assert (report.problems, report.unjudged) == ([], [])


def test_labels_that_scraping_adds_to_metrics_of_others_are_not_judged(make_document, tmp_path: Path) -> None:
    report = look(platform_with(make_document(), tmp_path, expr='up{cluster="a"} == 0'))
    assert (report.problems, report.unjudged) == ([], [])


def test_a_record_that_nothing_reads_is_found(make_platform, load_text) -> None:
    platform = make_platform()
    groups = [{"name": "g", "rules": [{"record": "a:b:c", "expr": "up"}, {"alert": "A", "expr": "x:y:z > 1"}]}]
    looked = rules.Rules(document=configuration.parse(GOOD, "a").document, alerts=[], groups=groups)
    assert platform
    assert [one.id for one in rules.run(looked)] == ["record-unused"]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return midwatch_here("alerts", *words)


def test_the_command_lists_findings_of_any_configuration_and_its_codes_say_which(tmp_path: Path) -> None:
    document = yaml.safe_load(GOOD)
    (tmp_path / "key").write_text("x")
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(document))
    assert command("check", "--alertmanager", str(file), "--alertmanager-version", "0.25").returncode == 0
    BREAKS["inhibit-without-equal"][0](document)
    file.write_text(yaml.safe_dump(document))
    done = command("check", "--alertmanager", str(file), "--json")
    assert done.returncode == 1
    assert [one["id"] for one in json.loads(done.stdout)["findings"]] == ["inhibit-without-equal"]
    file.write_text("route: [")
    done = command("check", "--alertmanager", str(file))
    assert (done.returncode, "not YAML" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_a_platform_without_an_objective_has_no_problem(tmp_path: Path, make_document: Any) -> None:
    for program in ("promtool", "amtool"):
        need_program(program)
    document = make_document(models=[{"name": "demand", "owner": "ml", "task": "regression"}])
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    done = midwatch_here("check", "-f", tmp_path / "platform.yaml")
    assert done.returncode == 0, done.stderr


FOREIGN = """
groups:
- name: g
  rules:
  - {record: jobs:failed:sum, expr: sum(jobs_failed_total)}
  - alert: jobs_fail
    expr: rate(jobs:failed:sum[5m]) > 0
    for: 1y
    labels: {severity: warning}
    annotations: {summary: "{{ $labels.instance }}"}
"""


def test_anybodys_rule_file_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(FOREIGN)
    done = command("check", "--rules", str(file), "--json")
    assert done.returncode == 1
    found = [(one["id"], one["line"]) for one in json.loads(done.stdout)["findings"]]
    assert found == [("rate-over-sum", 6)]
    file.write_text(FOREIGN.replace("rate(jobs:failed:sum[5m])", "sum(rate(jobs_failed_total[1m]))"))
    assert [one.id for one in linter.lint_rules([file], live=None).problems] == ["template-label-removed"]
    slow = linter.lint_rules([file], live=None, scrape_interval=60.0).problems
    assert {one.id for one in slow} == {"template-label-removed", "range-below-scrapes"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b", "no list of groups"),
        (FOREIGN.replace("> 0", "> > 0"), "not PromQL"),
        (FOREIGN.replace("expr: rate(jobs:failed:sum[5m]) > 0", "expr: [1]"), "not a rule"),
        (FOREIGN.replace("record: jobs:failed:sum", "record: []"), "not a rule"),
        ("groups: [", "not YAML"),
    ],
)
def test_what_is_no_rule_file_is_refused_with_its_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(text)
    done = command("check", "--rules", str(tmp_path / "rules.yml"))
    assert (done.returncode, reason in done.stderr, "Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize("expr", LABELS_MISSING)
def test_labels_that_sides_are_matched_by_and_do_not_have_are_found(make_document, tmp_path: Path, expr: str) -> None:
    found = look(platform_with(make_document(), tmp_path, expr=expr)).problems
    assert [one.message.partition(": ")[2] for one in found if one.id == "match-label-missing"] == [
        LABELS_MISSING[expr]
    ]
