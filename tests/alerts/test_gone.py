"""What is gone leaves no `up` behind that could be 0: every alert on a target fires for one that is missing, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from alerts import expressions, inventory
from alerts.inventory import Entry
from alerts.proofs.case import Case, failures
from midwatch.spec import system_rules
from midwatch.spec.model import Platform
from tests.conftest import need_program, platform, platform_document

STEP = 15.0
ONLY_HERE = "server-.*"
"""Jobs of `midwatch up`, which writes their targets itself."""


def everything() -> Platform:
    """A platform with two exporters, a gate, servers of both kinds, a recovery exporter, and every system."""
    model = platform_document()["models"][0]
    canary = {"criteria": [{"metric": "errors", "negligible": "1%"}]}
    database = {"namespace": "data", "cluster": "orders", "endpoint_file": "x"}
    built = platform(
        exporter={"targets": ["a:9500", "b:9500"]},
        models=[
            model | {"canary": canary, "servers": {"targets": ["a:1", "b:1", "c:1"]}},
            model | {"name": "other", "servers": {"job": "others"}},
        ],
        disaster_recovery={
            "owner": "ml",
            "rto": "15m",
            "rpo": "5m",
            "stores": [{"name": "orders", "cloudnative_pg": database}],
        },
        systems={name: {"owner": "ml", "targets": ["x:1"]} for name in system_rules.shipped()},
    )
    return system_rules.expanded(built)


def selectors(entry: Entry) -> list[dict[str, str]]:
    """Matchers of each `up` in an alert's expression; empty where it reads anything else."""
    tree = expressions.parse(entry.rule["expr"])
    found = list(expressions.selectors(tree))
    if any(one.metric != "up" for one in found):
        return []
    return [{label: value for label, _, value in one.matchers if label != "__name__"} for one in found]


def of_targets() -> Iterator[Entry]:
    """Alerts that read `up` alone."""
    for entry in inventory.entries(everything()):
        if (read := selectors(entry)) and read[0]["job"] != ONLY_HERE:
            yield entry


TARGETS = {"midwatch-exporter": ["a:9500", "b:9500"], "model-fraud": ["a:1", "b:1", "c:1"]}


def series(entry: Entry) -> list[str]:
    """The `up` of every target that an alert is about."""
    read = selectors(entry)
    jobs = sorted({one["job"] for one in read})
    instances = sorted({one["instance"] for one in read if "instance" in one})
    return [
        f'up{{job="{job}",instance="{instance}"}}'
        for job in jobs
        for instance in instances or TARGETS.get(job, ["only:1"])
    ]


def cases(entry: Entry) -> dict[str, Case]:
    """All targets scraped, none there at all, and one or all that go stale."""
    names, steps = series(entry), int(entry.for_ // STEP) + 8
    fires_at = [(steps + 4) * STEP]
    base: dict[str, Any] = {"interval": STEP, "evaluation": STEP, "alert": entry.name, "severity": entry.severity}
    well, gone = f"1x{steps + 6}", "1x3 stale"
    made = {
        "all are scraped": Case(series=dict.fromkeys(names, well), silent_at=fires_at, **base),
        "none was ever there": Case(series={"unrelated": well}, fires_at=fires_at, **base),
        "all went away": Case(series=dict.fromkeys(names, gone), fires_at=fires_at, **base),
    }
    if entry.name != "ModelUnreachable":  # which is about the last one
        made["the first went away"] = Case(
            series={name: gone if name == names[0] else well for name in names}, fires_at=fires_at, **base
        )
    return made


def test_every_job_of_ours_that_can_be_down_has_an_alert_on_its_targets() -> None:
    jobs = {one["job"] for entry in of_targets() for one in selectors(entry)}
    systems = {one.job for one in system_rules.installed(everything())}
    ours = {"midwatch-exporter", "midwatch-gate", "midwatch-recovery", "model-fraud", "others"}
    assert jobs >= ours
    assert jobs - ours <= systems


@pytest.mark.parametrize("entry", list(of_targets()), ids=lambda entry: f"{entry.title} {entry.rule['expr'][:60]}")
def test_a_target_that_is_gone_is_as_bad_as_one_that_does_not_answer(entry: Entry) -> None:
    need_program("promtool")
    tried = cases(entry)
    failed, said = failures({"name": "gone", "rules": [entry.rule]}, list(tried.values()))
    assert not failed, f"{[name for number, name in enumerate(tried) if number in failed]}: {said}"


@pytest.mark.parametrize(
    "metric", ["prometheus_config_last_reload_successful", "alertmanager_config_last_reload_successful"]
)
def test_what_watches_the_watch_and_is_not_scraped_is_told(metric: str) -> None:
    need_program("promtool")
    (entry,) = (one for one in inventory.entries(everything()) if one.rule["expr"] == f"absent({metric})")
    base: dict[str, Any] = {"interval": STEP, "evaluation": STEP, "alert": entry.name, "severity": entry.severity}
    at = [entry.for_ + 8 * STEP]
    tried = [
        Case(series={metric: "1x100"}, silent_at=at, **base),
        Case(series={"unrelated": "1x100"}, fires_at=at, **base),
        Case(series={metric: "1x3 stale"}, fires_at=at, **base),
    ]
    failed, said = failures({"name": "gone", "rules": [entry.rule]}, tried)
    assert not failed, said


def test_an_exporter_that_says_nothing_of_its_drift_judge_has_none() -> None:
    need_program("promtool")
    drift = {"reference": "r.npz", "features": {"x": "numeric"}}
    watched = platform(models=[platform_document()["models"][0] | {"drift": drift}])
    (entry,) = (one for one in inventory.entries(watched) if one.name == "DriftJudgeDown")
    base: dict[str, Any] = {"interval": STEP, "evaluation": STEP, "alert": entry.name, "severity": entry.severity}
    at, target = [entry.for_ + 8 * STEP], '{job="midwatch-exporter",instance="a:9500"}'
    up, judge = f"up{target}", f"midwatch_drift_worker_up{target}"
    tried = [
        Case(series={up: "1x60", judge: "1x60"}, silent_at=at, **base),
        Case(series={up: "1x60", judge: "0x60"}, fires_at=at, **base),
        Case(series={up: "1x60"}, fires_at=at, **base),
        Case(series={up: "1x60", judge: "1x3 stale"}, fires_at=at, **base),
        Case(series={up: "0x60"}, silent_at=at, **base),  # ExporterDown tells of that
    ]
    failed, said = failures({"name": "gone", "rules": [entry.rule]}, tried)
    assert not failed, said


def test_a_store_that_a_running_recovery_exporter_does_not_speak_of_is_unknown() -> None:
    need_program("promtool")
    (entry,) = (one for one in inventory.entries(everything()) if one.name == "RecoveryStoreUnknown")
    base: dict[str, Any] = {"interval": STEP, "evaluation": STEP, "alert": entry.name, "severity": entry.severity}
    at, up = [entry.for_ + 8 * STEP], 'up{job="midwatch-recovery",instance="a:1"}'
    answers = 'dr_store_answers{store="orders",instance="a:1",job="midwatch-recovery"}'
    tried = [
        Case(series={up: "1x60", answers: "1x60"}, silent_at=at, **base),
        Case(series={up: "1x60", answers: "0x60"}, fires_at=at, **base),
        Case(series={up: "1x60"}, fires_at=at, **base),
        Case(series={up: "1x60", answers: "1x3 stale"}, fires_at=at, **base),
        Case(series={up: "0x60"}, silent_at=at, **base),  # RecoveryExporterDown tells of that
    ]
    failed, said = failures({"name": "gone", "rules": [entry.rule]}, tried)
    assert not failed, said
