"""Between drills: what is published, what is said of it, and which alerts that raises."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from alerts.rules import files as rule_files
from dr.drill.verdict import Verdict
from dr.drill_log import DrillLog
from dr.posture import exporter, gauges, status
from dr.samples import Lag
from dr.stores.files import copies
from midwatch import metrics
from midwatch.spec import dr as spec
from tests.conftest import need_program, platform
from tests.dr.conftest import recovery_section


def test_the_lag_of_a_copy_that_stopped_silently_grows_although_it_says_nothing() -> None:
    lag = Lag()
    assert [lag.measure(now, 100 * now, 500) for now in range(4, 12)][-3:] == [4, 5, 6]
    assert lag.measure(12, 1200, 1200) == 0


@pytest.fixture
def log(tmp_path: Path) -> DrillLog:
    made = DrillLog(folder=tmp_path / "evidence", key_file=None)
    home = tmp_path / "home"
    home.mkdir()
    for number, verdict in enumerate([Verdict.MET, Verdict.BREACHED]):
        document = {
            "run": str(number),
            "drill": "lose-primary",
            "store": "store",
            "verdict": verdict.value,
            "reasons": ["x"],
            "rto_seconds": 0.5 + number,
            "rpo_seconds": 0.1,
        }
        made.keep(document, home)
    return made


def section(**changes: Any) -> spec.DisasterRecovery:
    made = platform(disaster_recovery=recovery_section(**changes)).disaster_recovery
    assert made is not None
    return made


def test_the_posture_publishes_the_last_run_of_every_drill(log: DrillLog) -> None:
    log.chain.append("restore-verified", store="archive", point=time.time() - 30)
    text = exporter.render(gauges.Watch(section(), log, {}).look()).decode()
    labels = 'drill="lose-primary",store="store"'
    assert f'dr_drill_verdict{{{labels},verdict="breached"}} 1.0' in text
    assert f'dr_drill_verdict{{{labels},verdict="met"}} 0.0' in text
    assert f"dr_drill_recovery_seconds{{{labels}}} 1.5" in text
    assert f"dr_drill_last_met_timestamp_seconds{{{labels}}}" in text
    assert 'dr_objective_seconds{kind="rpo"} 300.0' in text
    assert 'dr_newest_restorable_age_seconds{region="archive",store="archive"} 30.' in text
    assert all(line.split("{")[0] in metrics.CATALOGUE for line in text.splitlines() if not line.startswith("#"))


def test_the_posture_of_a_folder_is_its_newest_copy(tmp_path: Path, log: DrillLog) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").write_bytes(b"x" * 100)
    store = {"name": "models", "files": {"source": "models", "backup": "copies"}}
    recovery = section(stores=[store], drills=[])
    watch = gauges.Watch(recovery, log, gauges.collectors(recovery, tmp_path / "platform.yaml", {}))
    assert 'dr_store_answers{store="models"} 0.0' in exporter.render(watch.look()).decode()
    copies.take(tmp_path / "models", tmp_path / "copies", now=time.time() - 60, keep=3)
    text = exporter.render(watch.look()).decode()
    assert 'dr_store_answers{store="models"} 1.0' in text
    assert 'dr_backup_size_bytes{store="models"} 100.0' in text
    assert 'dr_replication_lag_seconds{region="archive",store="models"} 60.' in text


def test_the_status_names_what_is_breached_overdue_and_not_known(log: DrillLog) -> None:
    recovery = section()
    at_risk = (metrics.DR_REPLICATION_LAG, {"store": "store", "region": "b"}, 120.0)
    found = {one.store: one for one in status.judge(recovery, log, [at_risk], time.time() + 10 * 86400)}
    text = " ".join(found["store"].problems)
    assert "drill lose-primary was breached: x" in text
    assert "is overdue" in text
    assert "2m of writes have no second copy" in text
    assert found["store"].worst_rto_seconds == 1.5
    assert "drill bad-delete was never run" in found["sync"].unknown


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("local_postgresql", "name its running cluster with --cluster"),
        ("files", "there is no copy yet: its recoverer takes them"),
        ("commands", "a store of kind commands publishes no lag: only a drill measures what would be lost"),
    ],
)
def test_the_status_gives_advice_that_fits_the_kind(log: DrillLog, kind: str, advice: str) -> None:
    words = ["true"]
    names = ("inject", "is_effective", "check", "recover", "observe", "read", "integrity", "allowed")
    settings = {
        "local_postgresql": {},
        "files": {"source": "models", "backup": "copies", "interval": "1m"},
        "commands": dict.fromkeys(names, words),
    }
    recovery = section(stores=[{"name": "mine", kind: settings[kind]}], drills=[])
    (found,) = status.judge(recovery, log, [], time.time())
    assert advice in " ".join(found.unknown)
    assert ("--cluster" in " ".join(found.unknown)) == (kind == "local_postgresql")


def test_the_status_says_what_a_restore_would_lack(log: DrillLog) -> None:
    here = {"store": "archive"}
    samples = [
        (metrics.DR_ARCHIVE_FLAWS, here, 2.0),
        (metrics.DR_BACKUP_FAILING, here, 1.0),
        (metrics.DR_RESTORE_GOOD, here, 0.0),
    ]
    found = {one.store: one for one in status.judge(section(), log, samples, time.time())}
    text = " ".join(found["archive"].problems)
    assert "2 archived segments are missing or damaged" in text
    assert "the newest backup could not be made" in text
    assert "the last restore failed" in text
    assert not any("restore" in problem for problem in found["store"].problems)


def test_every_recovery_alert_fires_when_it_should_and_has_a_runbook(tmp_path: Path) -> None:
    need_program("promtool")
    stores = [*recovery_section()["stores"], {"name": "models", "files": {"source": "a", "backup": "b"}}]
    made_for = platform(disaster_recovery=recovery_section(stores=stores), prometheus={"scrape_interval": "15s"})
    made = list({one.name: one for one in rule_files.OF_PLATFORM["recovery.yml"](made_for)}.values())
    rules = {"groups": [{"name": "g", "rules": [one.rule for one in made]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    tests = []
    for one in made:
        assert one.proof is not None
        assert (Path("alerts/runbooks") / f"{one.name}.md").exists(), one.name
        for series, fires in ((one.proof.fires, True), (one.proof.silent, False)):
            labels = one.rule["labels"]
            tests.append(
                {
                    "interval": f"{one.proof.interval:g}s",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [],
                    "alert_rule_test": [
                        {"eval_time": f"{round(one.proof.within)}s", "alertname": one.name}
                        | ({"exp_alerts": [{"exp_labels": labels}]} if fires else {})
                    ],
                }
            )
    # Labels of a firing alert include those of its series: what is asked is only whether one fires at all.
    firing = [test for test in tests if "exp_alerts" in test["alert_rule_test"][0]]
    for number, test in enumerate(tests):
        file = tmp_path / f"test-{number}.yml"
        case = test["alert_rule_test"][0]
        case.pop("exp_alerts", None)
        file.write_text(
            json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": test["interval"], "tests": [test]})
        )
    files = [str(tmp_path / f"test-{number}.yml") for number in range(len(tests))]
    for number, test in enumerate(tests):
        done = subprocess.run(["promtool", "test", "rules", files[number]], capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == (test in firing), (made[number // 2].name, done.stdout + done.stderr)
