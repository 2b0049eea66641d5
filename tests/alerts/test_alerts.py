"""Rules and routes: what fires, what stays silent, who is told; judged by promtool and amtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import alerting_rule, check, render
from alerts.objectives import objective as objectives
from alerts.routing import generate
from alerts.rules import attributions, fairness, loop, promotions, recovery, regions, regressions, shipped
from midwatch.app.render import rendered_files
from midwatch.spec import model
from tests import conftest
from tests.conftest import need_program
from tests.dr.conftest import recovery_section

OFF = {"page_quick": False, "page_slow": False, "ticket_quick": False, "ticket_slow": False}
DRIFT = {
    "reference": "r.npz",
    "window": "1m",
    "features": {"x": "numeric"},
    "retrain": {"webhook": {"url_file": "/run/secrets/url", "secret_file": "/run/secrets/key"}},
}


def fraud_platform() -> model.Platform:
    models = conftest.platform_document()["models"]
    models[0]["drift"] = DRIFT
    models[0]["canary"] = {"criteria": [{"metric": "errors"}]}
    for slo in models[0]["slos"]:
        slo["alert"] = {"over": "5m", "for": "2m", "min_events": 50}
        slo["burn_rate"] = OFF
    chaos = {"experiments": [{"kind": "kill_replica", "schedule": "0 4 * * 1"}]}
    return conftest.platform(models=models, chaos=chaos)


@pytest.fixture
def platform() -> model.Platform:
    return fraud_platform()


@pytest.fixture
def files(platform) -> dict[str, str]:
    return rendered_files(platform)


def rules(files: dict[str, str]) -> list[dict]:
    found = []
    for name, text in files.items():
        if "/rules/" in name:
            assert text.count("\n---") == 0, "Prometheus reads only the first document of a file"
            found += [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]
    return found


def test_promtool_and_amtool_accept_what_is_rendered(files) -> None:
    need_program("promtool")
    need_program("amtool")
    assert check.check_files(files) == []


def test_a_program_that_takes_long_is_a_problem_and_no_traceback(files, monkeypatch: pytest.MonkeyPatch) -> None:
    need_program("promtool")
    asked: list[int] = []
    monkeypatch.setattr(check, "_timeout", lambda count: asked.append(count) or 1e-6)
    problems = check.check_files(files)
    assert asked == [len(files)], "the time that a program has grows with what it reads"
    assert [problem.message.partition(" within")[0] for problem in problems] == [
        "promtool did not finish",
        "amtool did not finish",
    ]


def test_what_promtool_rejects_is_a_problem_with_its_file(files) -> None:
    need_program("promtool")
    files["prometheus/rules/plane.yml"] = files["prometheus/rules/plane.yml"].replace("up{", "up{{")
    (problem,) = check.check_files(files)
    assert problem.file == "prometheus/prometheus.yml"
    assert "promtool" in problem.message


def test_every_alert_has_owner_severity_summary_and_a_runbook_page(files) -> None:
    for rule in rules(files):
        name = rule["alert"]
        page = Path("alerts/runbooks") / f"{name}.md"
        assert page.read_text().startswith(f"# {name}\n"), name
        assert rule["annotations"]["summary"]
        assert not re.search("<[a-z_]+>", str(rule)), f"{name}: a placeholder that nothing fills in"
        if name != alerting_rule.DEADMAN:
            assert rule["labels"]["owner"] == "ml"
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["runbook_url"].endswith(name)
            assert rule["annotations"]["description"]


def test_no_runbook_page_is_without_an_alert(files) -> None:
    names = {rule["alert"] for rule in rules(files)} | {rule.alert for rule in shipped.written()} | {objectives.ALERT}
    published = {"source": "models", "backup": "copies"}
    for section in (recovery_section(), recovery_section(stores=[{"name": "m", "files": published}], drills=[])):
        names |= {one.name for one in recovery.of_platform(conftest.platform(disaster_recovery=section))}
    names |= {
        one.name for one in loop.of_platform(conftest.platform(loop={}, models=[looped("fraud"), looped("copy")]))
    }
    names |= {*promotions.NAMES, regressions.ALERT, *fairness.NAMES, attributions.ALERT, *regions.NAMES}
    assert {path.stem for path in Path("alerts/runbooks").glob("*.md")} == names


def looped(name: str) -> dict[str, Any]:
    """A model whose episodes are followed, or the one that takes copies of another for drills."""
    retrain = {"webhook": {"url_file": "u", "secret_file": "s"}}
    drill = {"copies": "fraud", "url": "http://c/", "requests": "r", "inject": {"feature": "x", "factor": 2}}
    settings: dict[str, Any] = {"recover_within": "2h"}
    if name != "fraud":
        settings["drill"] = drill | {"schedule": "0 4 1 * *"}
    return {
        "name": name,
        "owner": "ml",
        "task": "classification",
        "drift": {"reference": "r.npz", "features": {"x": "numeric"}, "retrain": retrain},
        "canary": {"criteria": [{"metric": "errors", "negligible": "1%"}]},
        "loop": settings,
    }


COUNTERS = {
    "failed": 'canary_verdict{model="fraud",baseline="v1",canary="v2",verdict="fail"}',
    "ok": 'ml_requests_total{model="fraud",version="v1",outcome="ok"}',
    "error": 'ml_requests_total{model="fraud",version="v1",outcome="error"}',
    "fast": 'ml_request_duration_seconds_bucket{model="fraud",version="v1",le="0.25"}',
    "all": 'ml_request_duration_seconds_count{model="fraud",version="v1"}',
    "right": 'ml_settled_outcomes_total{model="fraud",version="v1",predicted="a",actual="a"}',
    "right too": 'ml_settled_outcomes_total{model="fraud",version="v1",predicted="b",actual="b"}',
    "wrong": 'ml_settled_outcomes_total{model="fraud",version="v1",predicted="a",actual="b"}',
    "votes": 'ml_drift_votes{model="fraud",version="v1"}',
    "detected": 'ml_drift_detected{model="fraud",version="v1"}',
    "ended": 'ml_drift_window_end_timestamp_seconds{model="fraud",version="v1"}',
    "other votes": 'ml_drift_votes{model="fraud",version="v1",instance="other"}',
    "other detected": 'ml_drift_detected{model="fraud",version="v1",instance="other"}',
    "other ended": 'ml_drift_window_end_timestamp_seconds{model="fraud",version="v1",instance="other"}',
    "up": 'up{job="midwatch-exporter",instance="e"}',
    "other up": 'up{job="midwatch-exporter",instance="other"}',
    "judge": 'midwatch_drift_worker_up{job="midwatch-exporter",instance="e"}',
    "other judge": 'midwatch_drift_worker_up{job="midwatch-exporter",instance="other"}',
    "gate": 'up{job="midwatch-gate",instance="g"}',
    "prometheus": "prometheus_config_last_reload_successful",
    "alertmanager": "alertmanager_config_last_reload_successful",
    "restarts": 'midwatch_drift_worker_restarts_total{instance="e"}',
    "behind": 'midwatch_drift_worker_behind_seconds{instance="e"}',
    "skipped": 'midwatch_drift_skipped_bytes_total{instance="e"}',
    "lost": 'midwatch_drift_lost_rows_total{instance="e"}',
    "kept": 'midwatch_exporter_events_total{kind="event",result="dropped",reason="not_durable"}',
    "damage": "midwatch_exporter_journal_corruptions_total",
}
HEALTHY = {
    "ok": "0+100x60",
    "fast": "0+99.9x60",
    "all": "0+100x60",
    "right": "0+90x60",
    "wrong": "0+10x60",
    "up": "1x60",
    "judge": "1x60",
    "gate": "1x60",
    "prometheus": "1x60",
    "alertmanager": "1x60",
    "restarts": "0x60",
    "behind": "0x60",
    "skipped": "0x60",
    "lost": "0x60",
    "votes": "0x60",
    "detected": "0x60",
    "ended": "0+60x60",
}

CASES = {
    "all is well": ({}, set()),
    "a canary that failed": ({"failed": "1x60"}, {"CanaryFailed"}),
    "one percent of errors": ({"error": "0+1x60"}, {"ModelErrorsHigh"}),
    "only errors": ({"ok": None, "error": "0+100x60"}, {"ModelErrorsHigh"}),
    "too few requests to say": ({"ok": "0+1x60", "error": "0+1x60"}, set()),
    "errors that are over": ({"error": "0+9x30 270x30"}, set()),
    "slow": ({"fast": "0+90x60"}, {"ModelLatencyHigh"}),
    "all slow": ({"fast": "0x60"}, {"ModelLatencyHigh"}),
    "wrong, over several classes": ({"right too": "0+5x60", "wrong": "0+40x60"}, {"ModelAccuracyLow"}),
    "only wrong": ({"right": None, "wrong": "0+90x60"}, {"ModelAccuracyLow"}),
    "few labels": ({"right": None, "wrong": "0+2x60"}, set()),
    "drift": ({"votes": "2x60", "detected": "1x60"}, {"ModelInputDrift"}),
    "drift of its own kind": ({"detected": "1x60"}, {"ModelInputDrift"}),
    "drift that a calm window interrupts": ({"detected": "1x54 0x6"}, {"ModelInputDrift"}),
    "drift that is over": ({"detected": "1x50 0x10"}, set()),
    "votes below the quorum": ({"votes": "1x60"}, set()),
    "drift that nobody judges any more": ({"detected": "1x60", "ended": "0+60x40 2400x20"}, set()),
    "drift of long ago at an exporter that nothing goes to": (
        {"other votes": "2x60", "other detected": "1x60", "other ended": "0+60x40 2400x20"},
        set(),
    ),
    "drift at the exporter that events go to now": (
        {"ended": "0+60x40 2400x20", "other votes": "2x60", "other detected": "1x60", "other ended": "0+60x60"},
        {"ModelInputDrift"},
    ),
    "no traffic": ({"ok": "0+100x30 3000x30", "fast": None, "all": None}, {"ModelNoData", "ModelTrafficVanished"}),
    "never any traffic": ({"ok": None, "fast": None, "all": None, "right": None, "wrong": None}, {"ModelNoData"}),
    "exporter away": ({"up": "1x20 0x40"}, {"ExporterDown"}),
    "exporter gone": ({"up": "1x20 stale", "judge": "1x20 stale"}, {"ExporterDown"}),
    "one of two exporters away": (
        {"up": "1x60", "other up": "1x20 0x40", "other judge": "1x20 stale"},
        {"ExporterDown"},
    ),
    "judge away": ({"judge": "0x60"}, {"DriftJudgeDown"}),
    "a judge that ends every few minutes": ({"restarts": "0x20 1x8 2x8 3x8 4x16"}, {"DriftJudgeRestarts"}),
    "a judge that ended once": ({"restarts": "0x20 1x40"}, set()),
    "a judge that is behind": ({"behind": "0+60x60"}, {"DriftJudgeBehind"}),
    "a judge that was behind for a moment": ({"behind": "0x50 400x4 2x6"}, set()),
    "a judge that skipped what it had not read": ({"skipped": "0x40 1000x20"}, {"DriftJudgeSkips"}),
    "a judge without room for inferences": ({"lost": "0x40 5x20"}, {"DriftJudgeSkips"}),
    "full disk": ({"kept": "0x55 100x5"}, {"ExporterCannotKeepEvents"}),
    "damage": ({"damage": "0x50 1x10"}, {"ExporterJournalDamaged"}),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What promtool says of all cases together: reading the rules takes it longer than judging one case."""
    promtool = need_program("promtool")
    folder, files = tmp_path_factory.mktemp("cases"), rendered_files(fraud_platform())
    for name, text in files.items():
        if "/rules/" in name:
            (folder / Path(name).name).write_text(text)
    names = sorted({rule["alert"] for rule in rules(files)})
    test = {
        "rule_files": [path.name for path in sorted(folder.glob("*.yml"))],
        "evaluation_interval": "2m",
        "tests": [
            {
                "name": case,
                "interval": "1m",
                "input_series": [
                    {"series": COUNTERS[key], "values": text} for key, text in (HEALTHY | changes).items() if text
                ],
                "promql_expr_test": [
                    {
                        "expr": f'count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}})',
                        "eval_time": "56m",
                        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}]
                        if name in firing | {alerting_rule.DEADMAN}
                        else [],
                    }
                    for name in names
                ],
            }
            for case, (changes, firing) in CASES.items()
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    return subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("case", CASES)
def test_exactly_the_alerts_that_should_fire_do(case: str, judged: subprocess.CompletedProcess[str]) -> None:
    said = judged.stdout + judged.stderr
    wrong = set(re.findall("name: (.*),$", said, re.M))
    assert wrong <= CASES.keys()
    assert bool(wrong) == (judged.returncode != 0), said
    assert case not in wrong, said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=ModelErrorsHigh", "owner=ml", "severity=page"], "ml-page"),
        (["alertname=ModelNoData", "owner=ml", "severity=ticket"], "ml-ticket"),
        ([f"alertname={alerting_rule.DEADMAN}", "severity=none"], generate.NOBODY),
        (["alertname=Stranger"], generate.UNROUTED),
    ],
    ids=["page", "ticket", "deadman", "no owner"],
)
def test_alerts_go_where_owner_and_severity_say(files, tmp_path: Path, labels: list[str], receiver: str) -> None:
    amtool = need_program("amtool")
    file = tmp_path / "alertmanager.yml"
    file.write_text(files["alertmanager/alertmanager.yml"])
    command = [amtool, "config", "routes", "test", f"--config.file={file}", *labels]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == receiver


def test_with_a_sink_nobody_else_is_told(platform) -> None:
    document = yaml.safe_load(
        render.render_files(platform, sink_url="http://127.0.0.1:3/deliver")["alertmanager/alertmanager.yml"]
    )
    integrations = [kind for receiver in document["receivers"] for kind in receiver if kind != "name"]
    assert set(integrations) == {"webhook_configs"}
    urls = {hook["url"] for receiver in document["receivers"] for hook in receiver.get("webhook_configs", [])}
    assert urls == {"http://127.0.0.1:3/deliver/oncall", "http://127.0.0.1:3/deliver/chat"}


def test_secrets_are_files_in_what_is_rendered(make_platform) -> None:
    channels = {
        "oncall": {"slack": {"api_url_file": "/run/s", "channel": "#x"}},
        "chat": {
            "email": {
                "to": "a@b.c",
                "from": "m@b.c",
                "smarthost": "b.c:25",
                "auth_username": "m",
                "auth_password_file": "/run/p",
            }
        },
    }
    text = render.render_files(make_platform(channels=channels))["alertmanager/alertmanager.yml"]
    assert "api_url_file: /run/s" in text
    assert "auth_password_file: /run/p" in text
