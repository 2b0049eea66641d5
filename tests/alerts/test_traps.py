"""Each trap of real systems is found in rules of others by its id, and the rule that avoids it has no finding."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.lint import linter, traps
from midwatch import catalogue, system_facts
from midwatch.spec import system_rules
from midwatch.spec.systems import SystemFile

QUEUE: dict[str, Any] = {
    "title": "Queue",
    "question": "Does work get done?",
    "versions": {"oldest": "1.0", "read": "3.0"},
    "switch_on": "start it with --metrics",
    "counted_by": ["caller_queue_unreachable_total"],
    "metrics": {
        "queue_depth": {"kind": "gauge", "help": ".", "labels": ["topic", "state"], "states": ["state"]},
        "queue_age_seconds": {"kind": "gauge", "help": ".", "labels": ["topic"], "is_age": True},
        "queue_failures_total": {"kind": "counter", "help": ".", "labels": ["topic"], "born_at_one": True},
        "queue_wait_seconds": {
            "kind": "histogram",
            "help": ".",
            "labels": ["topic"],
            "buckets": [1, 5, 10],
            "born_at_one": True,
        },
        "queue_cleaned": {"kind": "gauge", "help": ".", "labels": ["topic"], "zero_is_never": True},
        "queue_open": {"kind": "gauge", "help": ".", "labels": ["topic"], "vanishes": True},
        "queue_workers": {
            "kind": "gauge",
            "help": ".",
            "labels": ["zone"],
            "was": [{"name": "queue_consumers", "until": "2.0"}],
        },
        "queue_old": {"kind": "gauge", "help": ".", "until": "2.0"},
        "queue_pods": {"kind": "gauge", "help": ".", "labels": ["pod", "topic"]},
        "queue_detail": {"kind": "gauge", "help": ".", "off_by_default": True},
    },
    "alerts": [
        {
            "alert": "QueueLong",
            "expr": "queue_depth > 1",
            "severity": "page",
            "summary": ".",
            "description": ".",
            "proof": {"within": "1m", "fires": {"queue_depth": "1"}, "silent": {"queue_depth": "0"}},
        }
    ],
    "panels": [
        {
            "section": "Work",
            "kind": "lines",
            "title": "How much?",
            "unit": "short",
            "shows": ".",
            "act": ".",
            "runbook": "QueueLong",
            "queries": [{"expr": "queue_depth"}],
        }
    ],
}


@pytest.fixture(autouse=True)
def _one_system(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The queue is the one system that is shipped."""
    described = SystemFile.model_validate(QUEUE)
    monkeypatch.setattr(system_rules, "shipped", lambda: ("queue",))
    monkeypatch.setattr(system_rules, "system", lambda _: described)
    known = (system_facts.every, catalogue.names)
    for cached in known:
        cached.cache_clear()
    yield
    for cached in known:
        cached.cache_clear()


AWARE = "sum(caller_queue_unreachable_total) > 0"
"""An alert on what the queue's callers count: with it in the file, nothing is said of that."""

CASES: dict[str, list[tuple[str, str]]] = {
    "quantile-beyond-buckets": [
        (
            "histogram_quantile(0.9, sum by (le) (rate(queue_wait_seconds_bucket[5m]))) > 10",
            "histogram_quantile(0.9, sum by (le) (rate(queue_wait_seconds_bucket[5m]))) > 9",
        ),
        (
            "1000 < 1000 * max(histogram_quantile(0.9, rate(queue_wait_seconds_bucket[5m]))) / 1 or "
            "max(histogram_quantile(0.9, rate(queue_wait_seconds_bucket[5m])) * 1000) > 60000",
            "max(histogram_quantile(0.9, rate(queue_wait_seconds_bucket[5m])) * 1000) > 6000",
        ),
        (
            "1000 * histogram_quantile(0.9, rate(queue_wait_seconds_bucket[5m])) > 60000",
            "1000 * histogram_quantile(0.9, rate(queue_wait_seconds_bucket[5m])) > 6000",
        ),
        (
            'histogram_quantile(0.9, rate({__name__=~"queue_wait_seconds_bucket"}[5m])) > 60',
            'histogram_quantile(0.9, rate({__name__=~"queue_wait_seconds_bucket"}[5m])) > 6',
        ),
    ],
    "birth-unseen": [
        (
            "increase(queue_failures_total[5m]) > 0",
            "increase(queue_failures_total[5m]) > 0"
            " or (queue_failures_total unless queue_failures_total offset 5m) > 0",
        ),
        ("sum by (topic) (rate(queue_failures_total[5m])) != 0", "sum(increase(queue_failures_total[5m])) > 5"),
        ("rate(queue_failures_total[5m]) > 0.003", "rate(queue_failures_total[5m]) > 0.05"),
        (
            "increase(queue_wait_seconds_count[5m]) > 0",
            "histogram_quantile(0.5, rate(queue_wait_seconds_bucket[5m])) > 0.001",
        ),
        ("increase(queue_failures_total[5m]) >= 1", "increase(queue_failures_total[5m]) > 1"),
        ("0 < increase(queue_failures_total[5m])", "5 < increase(queue_failures_total[5m])"),
        ("changes(queue_failures_total[5m]) >= 0.5", "rate(queue_failures_total[5m]) / rate(x_total[5m]) > 0.1"),
    ],
    "state-restarts-for": [
        ('queue_depth{state="new"} > 1 unless queue_depth > 5', 'queue_depth{state="new"} > 1'),
        ("queue_depth > 1", "sum by (topic) (queue_depth) > 1"),
        ("sum by (topic, state) (queue_depth) > 1", "max without (state) (queue_depth) > 1"),
    ],
    "age-without-heartbeat": [
        ("queue_age_seconds > 60", "queue_age_seconds > 60 or on () (up == 0)"),
        ("max by (topic) (queue_age_seconds) > 60", "absent(queue_age_seconds) or queue_age_seconds > 60"),
    ],
    "timestamp-zero": [
        ("time() - queue_cleaned > 3600", "time() - (queue_cleaned > 0) > 3600"),
        ("queue_cleaned - time() < 3600", "(queue_cleaned > 0) - time() < 3600"),
        ("min(queue_cleaned) < time() + 3600", "min(queue_cleaned > 0) < time() + 3600"),
        ("(time() - 60) >= queue_cleaned", "queue_cleaned > time()"),
        ("time() - other_last_success_time > 60", "time() - (other_last_success_time != 0) > 60"),
    ],
    "absent-when-worst": [
        ("queue_open < 1", "up == 1 unless on (job) (queue_open == 1)"),
        ("min(queue_open) == 0", "absent(queue_open == 1)"),
    ],
    "name-of-other-version": [
        ("queue_consumers < 1", "queue_workers < 1"),
        ("queue_old > 1", "queue_consumers < 1 or queue_workers < 1"),
    ],
    "label-of-target": [
        ('sum(queue_pods{pod="a"}) > 1', 'sum(queue_pods{topic="a"}) > 1'),
        ("sum by (exported_pod) (queue_pods) > 1", "sum by (topic) (queue_pods) > 1"),
    ],
    "or-beside-arithmetic": [
        ("a + b or vector(0)", "(a or vector(0)) + (b or vector(0))"),
        ("a or vector(0) + b > 5", "(a or vector(0)) > 5"),
    ],
    "off-by-default": [("queue_detail > 1", "queue_detail > 1 or absent(queue_detail)")],
}


def found(folder: Path, *exprs: str, wait: str = "5m", **keys: Any) -> list[str]:
    """Ids of what is found in a file of alerts with these expressions."""
    file = folder / "rules.yml"
    alerts = [{"alert": f"A{number}", "expr": expr, "for": wait} for number, expr in enumerate(exprs)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": alerts}]}))
    report = linter.lint_rules([file], live=keys.pop("live", None), **keys)
    assert all(one.line > 0 and one.remedy for one in report.problems)
    return [one.id for one in report.problems if one.id in traps.CHECKS]


@pytest.mark.parametrize(("trap", "number"), [(trap, n) for trap, cases in CASES.items() for n in range(len(cases))])
def test_the_trap_is_found_and_what_avoids_it_is_not(trap: str, number: int, tmp_path: Path) -> None:
    wrong, right = CASES[trap][number]
    assert trap in found(tmp_path, wrong, AWARE)
    assert trap not in found(tmp_path, right, AWARE)


def test_a_guard_whose_callers_nobody_asks_is_said_once(tmp_path: Path) -> None:
    wrong = "sum(queue_depth) > 1"
    assert found(tmp_path, wrong, wrong) == ["fail-open-uncounted"]
    assert found(tmp_path, wrong, AWARE) == []


RECORDED = [
    ("quantile-beyond-buckets", "histogram_quantile(0.9, rate(queue_wait_seconds_bucket[5m]))", "max(%s) > 60"),
    ("birth-unseen", "sum(increase(queue_failures_total[5m]))", "max_over_time(%s[30m]) > 0"),
    ("state-restarts-for", 'queue_depth{state!="done"}', "%s > 1"),
    ("timestamp-zero", "time() - queue_cleaned", "%s > 3600"),
]


@pytest.mark.parametrize(("trap", "record", "alert"), RECORDED)
def test_a_trap_is_found_behind_records(trap: str, record: str, alert: str, tmp_path: Path) -> None:
    rules = [
        {"record": "a:b", "expr": record},
        {"record": "a:c", "expr": "a:b * 1"},
        {"alert": "A", "expr": alert % "a:c", "for": "5m"},
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    assert [one.id for one in linter.lint_rules([file], live=None).problems if one.id != "fail-open-uncounted"] == [
        trap
    ]


def test_a_state_is_no_trap_where_nothing_is_waited_for(tmp_path: Path) -> None:
    assert found(tmp_path, "queue_depth > 1", AWARE, wait="0s") == []


TESTS = """
rule_files: [rules.yml]
tests:
  - interval: 1m
    input_series:
      - {series: 'queue_wait_seconds_bucket{topic="a", le="60"}', values: 0+1x10}
      - {series: 'queue_wait_seconds_bucket{topic="a", le="5.0"}', values: 0+1x10}
      - {series: 'queue_wait_seconds_bucket{topic="a", le="+Inf"}', values: 0+1x10}
      - {series: 'other_bucket{le="60"}', values: 0+1x10}
"""


def test_a_bucket_that_only_a_test_has_is_found(tmp_path: Path) -> None:
    file = tmp_path / "tests.yml"
    file.write_text(textwrap.dedent(TESTS))
    (problem,) = linter.lint_rules([file], live=None).problems
    assert (problem.id, problem.line) == ("test-series-invented", 6)
    assert "le='60', and queue has the bounds 1, 5, 10" in problem.message


PODS, ASKED = 'sum(queue_pods{pod="a"}) > 1', frozenset({"queue_pods"})


@pytest.mark.parametrize(
    ("expr", "exported", "is_wrong"),
    [
        (PODS, {("queue_pods", "pod")}, True),
        (PODS, set(), False),
        ("sum by (exported_pod) (queue_pods) > 1", {("queue_pods", "pod")}, False),
        ("sum by (exported_pod) (queue_pods) > 1", set(), True),
    ],
)
def test_a_prometheus_that_is_asked_knows_whose_a_label_is(
    expr: str, exported: set[tuple[str, str]], is_wrong: bool, tmp_path: Path
) -> None:
    ids = found(tmp_path, expr, AWARE, live=ASKED | {"caller_queue_unreachable_total"}, exported=frozenset(exported))
    assert ids == (["label-of-target"] if is_wrong else [])


def test_a_name_that_a_prometheus_has_is_of_its_version(tmp_path: Path) -> None:
    live = frozenset({"queue_consumers", "caller_queue_unreachable_total"})
    assert found(tmp_path, "queue_consumers < 1", AWARE, live=live, exported=frozenset()) == []


def test_every_trap_has_a_case_here() -> None:
    assert set(traps.CHECKS) == {*CASES, "fail-open-uncounted", "test-series-invented"}


def test_the_guide_names_every_trap() -> None:
    text = Path("docs/alerts.md").read_text()
    assert [name for name in traps.CHECKS if f"`{name}`" not in text] == []
