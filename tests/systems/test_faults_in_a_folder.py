"""What is wrong with a system's folder is found, with file and line: each case breaks one thing of a good one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import system_check

GOOD: dict[str, Any] = {
    "title": "Queue",
    "question": "Does work get done?",
    "versions": {"oldest": "1.0", "read": "3.0"},
    "metrics": {
        "queue_depth": {"kind": "gauge", "help": "Waiting.", "labels": ["topic", "state"], "states": ["state"]},
        "queue_age_seconds": {"kind": "gauge", "help": "Age.", "labels": ["topic"], "is_age": True},
        "queue_failures_total": {"kind": "counter", "help": "Failed.", "labels": ["topic"], "born_at_one": True},
        "queue_wait_seconds": {"kind": "histogram", "help": "Wait.", "labels": ["topic"], "buckets": [1, 5, 10]},
        "queue_cleaned_timestamp_seconds": {
            "kind": "gauge",
            "help": "When.",
            "labels": ["topic"],
            "zero_is_never": True,
        },
        "queue_open": {"kind": "gauge", "help": "Open.", "labels": ["topic"], "vanishes": True},
        "queue_workers": {
            "kind": "gauge",
            "help": "Workers.",
            "labels": ["zone"],
            "labels_since": {"zone": "2.0"},
            "was": [{"name": "queue_consumers", "until": "2.0"}],
        },
    },
    "settings": {"limit": {"type": "number", "default": 100, "reason": "More than a minute's work."}},
    "alerts": [
        {
            "alert": "QueueLong",
            "expr": "sum by (topic) (queue_depth) > <limit>",
            "for": "5m",
            "severity": "ticket",
            "summary": "Long",
            "description": "Work waits.",
            "proof": {
                "within": "6m",
                "fires": {'queue_depth{topic="a", state="new"}': "<limit + 1>x40"},
                "silent": {'queue_depth{topic="a", state="new"}': "0x40"},
            },
        }
    ],
    "panels": [
        {
            "section": "Work",
            "kind": "lines",
            "title": "How much waits?",
            "unit": "short",
            "shows": "Waiting.",
            "act": "add workers.",
            "runbook": "QueueLong",
            "queries": [{"expr": "sum(queue_depth)", "legend": "all"}, {"expr": "sum(queue_workers)"}],
        }
    ],
}


def found_in(folder: Path, change: Callable[[dict[str, Any]], Any], page: str = "# QueueLong\n") -> list[str]:
    """What is found in a good folder after a change."""
    described = copy.deepcopy(GOOD)
    change(described)
    (folder / "runbooks").mkdir(parents=True)
    if page:
        (folder / "runbooks" / "QueueLong.md").write_text(page)
    (folder / "system.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return [str(problem) for problem in system_check.check_folder(folder)]


def alert(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda described: described["alerts"][0].update(changes)


def expr(text: str) -> Callable[[dict[str, Any]], None]:
    def change(described: dict[str, Any]) -> None:
        described["alerts"][0].update({"expr": f"({text}) and on () vector(<limit>)"})

    return change


def fires(series: str) -> Callable[[dict[str, Any]], None]:
    return lambda described: described["alerts"][0]["proof"].update(fires={series: "1x40"})


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(described: dict[str, Any]) -> None:
        inside: Any = described
        for part in path[:-1]:
            inside = inside[part]
        del inside[path[-1]]

    return change


def extra_setting(described: dict[str, Any]) -> None:
    described["settings"]["spare"] = {"type": "duration", "default": "5m", "reason": "None."}


def test_a_good_folder_has_no_problem(tmp_path: Path) -> None:
    assert found_in(tmp_path / "queue", lambda _: None) == []


BROKEN = {
    "a misspelt metric": (expr("queue_deph > 1"), "there is no metric 'queue_deph'; did you mean queue_depth?"),
    "an unknown label": (expr('sum(queue_depth{colour="red"}) > 1'), "queue_depth has no label 'colour'"),
    "a placeholder without a setting": (
        alert(summary="over <limmit>"),
        "<limmit> is no setting; did you mean <limit>?",
    ),
    "a setting that nothing uses": (extra_setting, "settings.spare: nothing uses this setting"),
    "a panel without unit": (without("panels", 0, "unit"), "panels[0]: unit: missing"),
    "an alert without proof": (without("alerts", 0, "proof"), "alerts[0]: proof: missing"),
    "a setting without reason": (without("settings", "limit", "reason"), "settings.limit: reason: missing"),
    "a histogram without buckets": (without("metrics", "queue_wait_seconds", "buckets"), "a histogram has buckets"),
    "a quantile beyond the last bound": (
        expr("histogram_quantile(0.9, sum by (le) (rate(queue_wait_seconds_bucket[5m]))) > 10"),
        "a quantile of queue_wait_seconds is at most 10, its last bound, and never beyond 10",
    ),
    "a bound that is none": (
        expr('sum(rate(queue_wait_seconds_bucket{le=~"7([.]0+)?"}[5m])) > 1'),
        "queue_wait_seconds_bucket has no bound 7([.]0+)?; its bounds are 1, 5, 10",
    ),
    "a bound in one spelling only": (
        expr('sum(rate(queue_wait_seconds_bucket{le="5"}[5m])) > 1'),
        "queue_wait_seconds_bucket has no bound 5",
    ),
    "a proof with an invented bound": (
        fires('queue_wait_seconds_bucket{topic="a", le="300"}'),
        "queue_wait_seconds_bucket has no bound 300",
    ),
    "a proof with an invented label": (fires('queue_depth{colour="red"}'), "queue_depth has no label 'colour'"),
    "an increase that misses births": (
        expr("sum(increase(queue_failures_total[5m])) > 0"),
        "queue_failures_total is born at 1, and increase of a new series is 0",
    ),
    "a state that begins the wait anew": (
        alert(expr='queue_depth{state="stuck"} > <limit>'),
        "state of queue_depth is a state: each change of it begins `for` anew",
    ),
    "an age without a heartbeat": (
        expr("max(queue_age_seconds) > 60"),
        "queue_age_seconds is an age, and stands still when its publisher does",
    ),
    "a label before its version": (
        expr('sum(queue_workers{zone="a"}) < 1'),
        "queue_consumers has no label 'zone'",
    ),
    "a time that is 0 for never": (
        expr("time() - max by (topic) (queue_cleaned_timestamp_seconds) > 60"),
        "queue_cleaned_timestamp_seconds is 0 until it first happened",
    ),
    "a value that vanishes at its worst": (
        expr("min by (topic) (queue_open) < 1"),
        "queue_open has no series when what it says is at its worst",
    ),
    "a label to aggregate by that nothing has": (
        expr("sum by (subject) (queue_depth) > 1"),
        "nothing inside has the label 'subject', by which it is aggregated",
    ),
    "a label that the target has too": (
        lambda one: one["metrics"]["queue_depth"].update(labels=["topic", "state", "instance"]),
        "the target has the label instance, too: this one is kept as exported_instance",
    ),
    "two forms whose ranges meet": (
        lambda one: one["alerts"].append({**one["alerts"][0], "since": "2.0"}),
        "a second alert 'QueueLong'",
    ),
    "a metric that is off by default": (
        lambda one: one["metrics"]["queue_depth"].update(off_by_default=True),
        "say in switch_on how it is switched on",
    ),
    "a guard whose callers nobody asks": (
        lambda one: one.update(counted_by=["caller_unreachable_total"]),
        "no alert reads what counts requests that pass while this is down",
    ),
    "not PromQL": (expr("sum(queue_depth"), "not PromQL"),
    "a name of names that is no setting": (alert(per="topics"), "topics is no setting of names"),
    "a second alert of one name": (lambda one: one["alerts"].append(one["alerts"][0]), "a second alert 'QueueLong'"),
    "a panel's runbook that is not there": (
        lambda one: one["panels"][0].update(runbook="QueueShort"),
        "there is no runbooks/QueueShort.md",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_it_is_found_with_its_line(case: str, tmp_path: Path) -> None:
    change, message = BROKEN[case]
    found = found_in(tmp_path / "queue", change)
    (said,) = [one for one in found if message in one]
    assert ":" in said.removeprefix(str(tmp_path))
    assert int(said.removeprefix(f"{tmp_path}/queue/system.yaml:").partition(":")[0]) >= 1


@pytest.mark.parametrize(("page", "message"), [("", "has no runbook"), ("# Other\n", "has another title")])
def test_an_alert_needs_a_page_with_its_name(page: str, message: str, tmp_path: Path) -> None:
    assert any(message in one for one in found_in(tmp_path / "queue", lambda _: None, page))


def test_a_metric_outside_its_versions_is_found(tmp_path: Path) -> None:
    def change(described: dict[str, Any]) -> None:
        described["metrics"]["queue_depth"]["since"] = "2.0"

    found = found_in(tmp_path / "queue", change)
    assert any("version 1.0 has no metric 'queue_depth'" in one for one in found)


def test_a_version_range_of_what_reads_it_helps(tmp_path: Path) -> None:
    def change(described: dict[str, Any]) -> None:
        described["metrics"]["queue_depth"]["since"] = "2.0"
        described["alerts"][0]["since"] = "2.0"
        described["panels"][0]["since"] = "2.0"

    assert found_in(tmp_path / "queue", change) == []


def test_a_counted_increase_sees_births(tmp_path: Path) -> None:
    assert found_in(tmp_path / "queue", expr("sum(<counted queue_failures_total over 5m>) > 0")) == []
