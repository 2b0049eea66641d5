"""Proofs: every alert fires in time and is silent otherwise, and what cannot be proven is said."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import expressions, inventory
from alerts.proofs import case, prove, search, series, written
from alerts.proofs.case import NotFoundError
from alerts.rules import shipped
from midwatch.spec import load
from midwatch.spec.rules import Proof
from tests.conftest import midwatch_here, need_program

DRIFT = {
    "reference": "r.npz",
    "window": "1h",
    "features": {"x": "numeric"},
    "retrain": {"webhook": {"url_file": "/u", "secret_file": "/s"}},
}
EVENTS = {
    "bad": 'sum(rate(http_requests_total{code=~"5.."}[{window}]))',
    "total": "sum(rate(http_requests_total[{window}]))",
}
SLOS = [
    {"name": "availability", "sli": "availability", "objective": "99.9%", "alert": {}},
    {"name": "by-version", "sli": "availability", "objective": "99.9%", "by": ["version"], "window": "7d"},
    {
        "name": "latency",
        "sli": {"latency": {"threshold": "250ms"}},
        "objective": "99%",
        "alert": {"severity": "ticket"},
        "window": {"calendar": "month", "time_zone": "Europe/Oslo"},
    },
    {"name": "accuracy", "sli": {"outcome": "correct"}, "objective": "75%", "window": "90d", "alert": {"over": "1h"}},
    {"name": "drift", "sli": "drift_free", "objective": "95%", "window": "7d"},
    {
        "name": "fair",
        "objective": "99%",
        "sli": {"fairness": {"attribute": "country", "metric": "equal_opportunity_difference", "limit": "10%"}},
    },
    {"name": "fresh", "sli": {"freshness": {"timestamp": "feature_time", "limit": "2h"}}, "objective": "99%"},
    {"name": "depth", "sli": {"gauge": {"value": "max(queue_depth)", "at_most": 100}}, "objective": "99%"},
    {"name": "old", "sli": "availability", "objective": "99.9%", "compatibility": "sloth"},
    {"name": "day", "sli": "availability", "objective": "99.9%", "window": "1d"},
]
SERVERS = [
    {"name": "k", "serving": "kserve"},
    {"name": "t", "serving": "triton"},
    {"name": "v", "serving": "vllm"},
    {"name": "s", "serving": "seldon"},
    {
        "name": "c",
        "serving": "custom",
        "serving_metrics": {
            "requests": 'reqs_total{app="c"}',
            "failures": 'reqs_total{app="c",code!="ok"}',
            "duration": 'took_ms{app="c"}',
            "duration_unit": "ms",
        },
    },
]
DRILLED = {
    "name": "fraud-drill",
    "owner": "ml",
    "task": "classification",
    "drift": DRIFT,
    "loop": {
        "recover_within": "2h",
        "drill": {
            "copies": "fraud",
            "url": "http://drill/predict",
            "requests": "r.jsonl",
            "inject": {"feature": "x", "factor": 10},
            "schedule": "0 4 * * 1",
        },
    },
}
LATENCY = {"name": "latency", "sli": {"latency": {"threshold": "1s"}}, "objective": "99%"}
ONLY_PAGE = {"burn_rate": {"ticket_quick": False, "ticket_slow": False, "page_slow": False}}


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> dict[str, prove.Proved]:
    """Proofs of a platform with every kind of objective, every profile and every shipped alert."""
    need_program("promtool")
    from tests.conftest import platform_document

    folder = tmp_path_factory.mktemp("platform")
    document = platform_document(prometheus={"scrape_interval": "1m", "evaluation_interval": "1m"})
    canary = {"criteria": [{"metric": "errors", "negligible": "1%"}]}
    fair = {"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "public": True}
    document["models"][0] |= {"drift": DRIFT, "slos": SLOS, "canary": canary, "groups": ["country"]}
    document["models"][0]["explanations"] = {}
    document["models"][0]["fairness"] = [fair | {"severity": "page", "unknown_after": "7d"}]
    for server in SERVERS:
        slos = [{"name": "availability", "sli": "availability", "objective": "99.9%", **ONLY_PAGE}]
        slos += [] if server["serving"] == "triton" else [LATENCY | ONLY_PAGE]
        document["models"].append({"owner": "ml", "task": "regression", "slos": slos, **server})
    unpromised = {"name": "bare", "owner": "ml", "task": "regression", "serving": "seldon", "servers": {"job": "bare"}}
    document["models"] += [unpromised, DRILLED]
    document["loop"] = {}
    document["exporter"] = {"kafka": {"brokers": ["kafka:9092"], "topics": ["predictions"]}}
    document["stream"] = {"kafka": {"servers": ["kafka:9092"], "topics": ["predictions"]}}
    observed = {"observe": {"url": "http://mlflow:5000"}, "owner": "ml", "targets": ["mlflow:5000"]}
    document |= {"systems": {"mlflow": observed}, "incidents": {"watch": True}}
    objective = {"name": "ok", "service": "shop", "objective": "99.5%", "sli": {"events": EVENTS}}
    (folder / "r.yaml").write_text(yaml.safe_dump({"owner": "ml", "objectives": [objective]}))
    (folder / "platform.yaml").write_text(yaml.safe_dump(document | {"rule_files": ["r.yaml"]}, sort_keys=False))
    platform = load.load_platform(folder / "platform.yaml")
    return {one.alert: one for one in prove.prove(platform)} | {"": len(list(inventory.entries(platform)))}  # type: ignore[dict-item]


def test_every_alert_that_is_shipped_or_generated_is_proven(everything) -> None:
    number = everything.pop("")
    assert len(everything) == number, "every alert has a name of its own"
    unproven = {name: one.reason for name, one in everything.items() if one.outcome is not prove.Outcome.PROVEN}
    assert unproven == {}
    names = {rule.alert for rule in shipped.written()}
    assert names <= {name.split()[0] for name in everything}


def test_a_total_outage_of_a_standard_objective_is_proven_to_page_within_two_minutes(
    make_document, tmp_path: Path
) -> None:
    need_program("promtool")
    document = make_document()
    document["models"][0]["slos"] = [{"name": "ok", "sli": "availability", "objective": "99.9%"} | ONLY_PAGE]
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (page,) = prove.prove(load.load_platform(tmp_path / "platform.yaml"), ["ErrorBudgetBurn"])
    assert (page.outcome, page.within is not None and page.within <= 120) == (prove.Outcome.PROVEN, True)


@pytest.mark.parametrize(
    ("expr", "wait"),
    [
        ("queue_length > 100", 300.0),
        ("rate(errors_total[5m]) > 2", 0.0),
        ('sum by (job) (rate(errors_total{code=~"5.."}[5m])) / sum by (job) (rate(requests_total[5m])) > 0.05', 60.0),
        ("absent(heartbeat)", 0.0),
        ('up{job="x"} == 0', 60.0),
        ("temperature < -40", 0.0),
        ("free_bytes / size_bytes < 0.1", 0.0),
        ("time() - last_success_timestamp_seconds > 3600", 0.0),
    ],
)
def test_simple_expressions_prove_themselves(expr: str, wait: float) -> None:
    need_program("promtool")
    rule = {"alert": "A", "expr": expr, "for": f"{wait:g}s", "labels": {"severity": "page"}}
    cases, within = search.cases(rule, wait)
    assert len(cases) == 2
    assert within >= wait
    assert cases[0].series != cases[1].series


@pytest.mark.parametrize("expr", ["a + b + c + d + e > 1000", "vector(0) > 1", "up{"])
def test_an_expression_that_trying_does_not_decide_is_unproven(expr: str) -> None:
    need_program("promtool")
    with pytest.raises(NotFoundError):
        search.cases({"alert": "A", "expr": expr, "for": "0s", "labels": {"severity": "page"}}, 0.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a{b="c"}', 'a{b="c"}'),
        ('a{b=~"5..|x"}', 'a{b="500"}'),
        ('a{b!="g"}', 'a{b="ok"}'),
        ('a{b=~"[a-c]+",c!~"x.*"}', 'a{b="a",c="g"}'),
    ],
)
def test_a_series_is_made_that_a_selector_finds(text: str, found: str) -> None:
    (selector,) = expressions.selectors(expressions.parse(text))
    assert series.instance(selector) == found


def platform_file(folder: Path, document: dict, rule: dict[str, Any]) -> Path:
    document["models"][0]["slos"] = []
    whole = {"alert": "Mine", "severity": "page", "owner": "ml", "summary": "s"} | rule
    (folder / "r.yaml").write_text(yaml.safe_dump({"alerts": [whole]}))
    (folder / "platform.yaml").write_text(yaml.safe_dump(document | {"rule_files": ["r.yaml"]}, sort_keys=False))
    return folder / "platform.yaml"


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return midwatch_here("alerts", "prove", "--json", "--alert", "Mine", "--alert", "DriftJudgeDown", "-f", *words)


def test_what_has_no_proof_is_listed_and_fails_when_strict(make_document, tmp_path: Path) -> None:
    need_program("promtool")
    file = platform_file(tmp_path, make_document(), {"expr": "a + b + c + d + e > 1000"})
    done = command(str(file), "-o", str(tmp_path / "tests"))
    assert (done.returncode, command(str(file), "--strict").returncode) == (3, 1)
    document = json.loads(done.stdout)
    (mine,) = (one for one in document["alerts"] if one["alert"].startswith("Mine"))
    assert (mine["outcome"], "write a proof" in mine["reason"], document["unproven"]) == ("unproven", True, 1)
    tests = sorted((tmp_path / "tests").glob("*.test.yml"))
    assert len(tests) == document["proven"]
    done = subprocess.run(["promtool", "test", "rules", *map(str, tests[:3])], cwd=tmp_path / "tests", check=False)
    assert done.returncode == 0, "the written tests run by themselves"


def test_a_written_proof_counts_and_one_that_is_wrong_fails(make_document, tmp_path: Path) -> None:
    need_program("promtool")
    proof = {"fires": {"a": "2000x20"}, "silent": {"a": "1x20"}, "within": "1m"}
    expr = "sum(a) + sum(b or vector(0)) + sum(c or vector(0)) + sum(d or vector(0)) + sum(e or vector(0)) > 1000"
    file = platform_file(tmp_path, make_document(), {"expr": expr, "proof": proof})
    assert command(str(file)).returncode == 0
    proof["fires"] = {"a": "1x20"}
    done = command(str(platform_file(tmp_path, make_document(), {"expr": expr, "proof": proof})))
    assert done.returncode == 1
    assert "does not fire within 1m" in done.stdout


LONG = {"within": "7d", "interval": "5m"}


@pytest.mark.parametrize(
    ("fires", "evaluation", "is_proven"),
    [
        ("1x2100", 1200.0, True),
        ("1x40 0x2 1x1970", 300.0, False),
        ("0x8 1x2100", 1200.0, True),
    ],
    ids=["held all the time", "interrupted for a moment", "begun between two evaluations"],
)
def test_a_written_proof_of_a_week_is_evaluated_as_seldom_as_misses_nothing(
    make_document, tmp_path: Path, fires: str, evaluation: float, is_proven: bool
) -> None:
    need_program("promtool")
    proof = LONG | {"fires": {"a": fires}, "silent": {"a": "0x2100"}}
    wait = {"for": "165h"} if fires.startswith("1") else {"for": "167h15m"}
    file = platform_file(tmp_path, make_document(), {"expr": "a > 0", "proof": proof, **wait})
    platform = load.load_platform(file)
    (entry,) = prove.chosen(platform, ["Mine"])
    assert written.evaluation_seconds(entry.alert.proof, entry.rule) == evaluation
    (mine,) = prove.prove(platform, ["Mine"])
    assert (mine.outcome is prove.Outcome.PROVEN) == is_proven


def test_a_range_of_the_expression_is_looked_at_twice() -> None:
    proof = Proof(fires={"a": "0x40000"}, silent={"a": "1x40000"}, within=7 * 86400.0)
    assert written.evaluation_seconds(proof, {"expr": "a > 0"}) == 1200.0
    assert written.evaluation_seconds(proof, {"expr": "changes(a[2m]) > 0"}) == 60.0


def test_the_first_stretch_is_seen_at_its_begin_unless_an_alert_keeps_firing_after_it() -> None:
    proof = Proof(fires={"a": "0x2 1x5800"}, silent={"a": "0x5800"}, within=86400.0 + 120)
    rule = {"expr": "a > 0", "for": "1d"}
    assert written.evaluation_seconds(proof, rule) == 60.0
    assert written.evaluation_seconds(proof, rule | {"keep_firing_for": "5m"}) == 15.0


def test_a_stated_time_that_few_numbers_divide_is_looked_at_as_seldom_as_another() -> None:
    # 50,023 samples are a prime number of them: none but a sample's own step divides it evenly.
    proof = Proof(fires={"a": "1x50100"}, silent={"a": "0x50100"}, within=50_023 * 15.0)
    assert 750.0 < written.evaluation_seconds(proof, {"expr": "a > 0"}) <= 50_023 * 15 / 500


# What a real Prometheus does -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "scrape", "is_proven"),
    [
        ("rate(errors_total[1m]) > 0", 60.0, False),
        ("rate(errors_total[4m]) > 0", 60.0, True),
        ("rate(errors_total[15s]) > 0", 15.0, False),
        ("rate(errors_total[1m]) > 0", 15.0, True),
        ("queue_length > 100", 60.0, True),
    ],
)
def test_a_range_is_proven_only_when_it_holds_two_scrapes(expr: str, scrape: float, is_proven: bool) -> None:
    need_program("promtool")
    rule = {"alert": "A", "expr": expr, "for": "60s", "labels": {"severity": "page"}}
    grid = case.Grid(scrape=scrape, evaluation=scrape)
    if not is_proven:
        with pytest.raises(NotFoundError, match="no series that was tried fires it"):
            search.cases(rule, 60.0, grid)
        return
    (fires, _), _ = search.cases(rule, 60.0, grid)
    assert (fires.interval, fires.evaluation) == (scrape / 2, scrape)
    assert all(values.startswith("_ ") for values in fires.series.values()), "samples lie between evaluations"


def test_what_has_to_hold_for_a_week_is_proven_by_few_evaluations() -> None:
    need_program("promtool")
    week = 7 * 86400.0
    rule = {"alert": "A", "expr": "rate(idle_total[1h]) > 0.8", "for": "7d", "labels": {"severity": "ticket"}}
    (fires, calm), within = search.cases(rule, week)
    assert week < within < week * 1.05
    assert within / fires.evaluation < 600
    assert all(len(values.split()) < 12_000 for values in fires.series.values())
    assert calm.silent_at == fires.fires_at


IMPOSSIBLE = {
    "a quantile beyond the last bucket": (
        "histogram_quantile(0.99, sum by (le) (rate(ml_request_duration_seconds_bucket[5m]))) > 10",
        "no series that was tried fires it",
    ),
    "a quantile of a histogram whose buckets nobody knows": (
        "histogram_quantile(0.99, sum by (le) (rate(wait_seconds_bucket[5m]))) > 1",
        "the buckets of wait_seconds_bucket are not known",
    ),
    "a bucket that is none": (
        'sum(rate(ml_request_duration_seconds_bucket{le="700"}[5m])) > 1',
        'ml_request_duration_seconds_bucket has no bucket le="700"',
    ),
    "a label that the metric does not have": (
        'sum(rate(ml_requests_total{status="500"}[5m])) > 1',
        "ml_requests_total has no label 'status'",
    ),
    "a side that has labels of the target": (
        "sum by (job) (errors) / errors_limit > 0.1",
        "no series that was tried fires it",
    ),
    "two targets where one is matched": ("used_bytes / on (job) free_bytes > 0.1", "two targets are an error"),
    "a limit of several targets": ("used_bytes > on (job) group_left () limit_bytes", "two targets are an error"),
    "a label that a match ignores": (
        'errors_total{code=~"5.."} / ignoring (code) requests_total > 0.1',
        "two series of errors_total that differ only in code",
    ),
    "a state that changes": (
        'argocd_app_info{health_status!="Healthy"} == 1',
        "`for` begins again whenever health_status of argocd_app_info changes",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_real_series_do_not_fire_is_not_proven(case: str) -> None:
    need_program("promtool")
    expr, reason = IMPOSSIBLE[case]
    rule = {"alert": "A", "expr": expr, "for": "10m", "labels": {"severity": "page"}}
    with pytest.raises(NotFoundError) as caught:
        search.cases(rule, 600.0)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "expr",
    [
        "histogram_quantile(0.99, sum by (le) (rate(ml_request_duration_seconds_bucket[5m]))) > 9.9",
        "sum by (job) (used_bytes) / on (job) sum by (job) (free_bytes) > 0.1",
        'errors_total{code="500"} / ignoring (code) sum without (code) (requests_total) > 0.1',
        'max without (health_status) (argocd_app_info{health_status!="Healthy"}) == 1',
        'argocd_app_info{health_status="Degraded"} == 1',
    ],
)
def test_what_real_series_fire_is_proven(expr: str) -> None:
    need_program("promtool")
    rule = {"alert": "A", "expr": expr, "for": "10m", "labels": {"severity": "page"}}
    assert len(search.cases(rule, 600.0)[0]) == 2


def test_buckets_of_the_platform_file_are_those_of_the_proof() -> None:
    need_program("promtool")
    quantile = "histogram_quantile(0.99, sum by (le) (rate(ml_request_duration_seconds_bucket[5m]))) > 20"
    rule = {"alert": "A", "expr": quantile, "for": "0s", "labels": {"severity": "page"}}
    bounds = {"ml_request_duration_seconds": [1.0, 30.0]}
    (fires, _), _ = search.cases(rule, 0.0, None, bounds)
    assert [name.partition('le="')[2].partition('"')[0] for name in fires.series] == ["1", "30", "+Inf"]


def test_series_that_a_rule_makes_the_same_alert_are_no_proof() -> None:
    need_program("promtool")
    rule = {"alert": "A", "expr": 'ALERTS{severity="info"} == 1', "for": "0s", "labels": {"severity": "ticket"}}
    with pytest.raises(NotFoundError, match="differ only in alertname"):
        search.cases(rule, 0.0)
    apart = rule | {"expr": 'max without (alertname, alertstate) (ALERTS{severity="info"}) == 1'}
    assert len(search.cases(apart, 0.0)[0]) == 2
    for_nobody = rule | {"labels": {"severity": "none"}}
    assert len(search.cases(for_nobody, 0.0)[0]) == 2


def test_a_promtool_that_takes_long_leaves_an_alert_unproven(make_document, tmp_path: Path, monkeypatch) -> None:
    need_program("promtool")
    file = platform_file(tmp_path, make_document(), {"expr": "queue > 1"})
    monkeypatch.setattr(case, "TIMEOUT_SECONDS", 0.001)
    (mine,) = prove.prove(load.load_platform(file), ["Mine"])
    assert (mine.outcome, "did not finish within" in mine.reason) == (prove.Outcome.UNPROVEN, True)


def test_progress_is_told_by_lines_where_there_is_no_terminal(make_document, tmp_path: Path) -> None:
    need_program("promtool")
    done = command(str(platform_file(tmp_path, make_document(), {"expr": "queue > 1"})))
    assert "2 of 2 alerts looked at" in done.stderr
    assert json.loads(done.stdout)["proven"] == 2


def test_objectives_are_proven_at_the_platforms_own_intervals(make_document, tmp_path: Path) -> None:
    need_program("promtool")
    document = make_document(prometheus={"scrape_interval": "1m", "evaluation_interval": "1m"})
    document["models"][0]["slos"] = [{"name": "ok", "sli": "availability", "objective": "99.9%"}]
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    results = prove.prove(load.load_platform(tmp_path / "platform.yaml"), ["ErrorBudgetBurn"])
    assert {one.outcome for one in results} == {prove.Outcome.PROVEN}, results
    assert all("interval: 1m" in one.test or "interval: '1m'" in one.test for one in results)
