"""What is made of the platform file: experiments, rules, jobs; and what is wrong with it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from chaoslib.experiment import ensure_experiment_is_valid

from chaos import experiments, kinds
from chaos.document import extension
from chaos.kinds.base import DEADMAN, NONE
from midwatch.app.render import Target, rendered_files
from midwatch.errors import InvalidInputError
from midwatch.spec import cron, load
from midwatch.spec.experiments import AnyExperiment
from midwatch.spec.model import Platform
from tests.conftest import need_program

FLIGHTS = Path("examples/flights/platform.yaml")


@pytest.fixture(scope="module")
def flights() -> Any:
    return load.load_platform(FLIGHTS)


def test_the_example_has_an_experiment_of_every_kind(flights: Any) -> None:
    found = experiments.documents(flights)
    assert {extension(one)["kind"] for one in found.values()} == set(kinds.table())


def test_every_kind_is_in_the_spec_and_in_the_guide() -> None:
    union = {one.model_fields["kind"].annotation.__args__[0] for one in _kinds_of_the_spec()}
    assert union == set(kinds.table())
    table = Path("docs/chaos.md").read_text().split("| kind |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) >= set(kinds.table())


def _kinds_of_the_spec() -> tuple[Any, ...]:
    union, _ = get_args(AnyExperiment)
    return get_args(union)


def test_every_experiment_is_valid_and_has_all_its_parts(flights: Any) -> None:
    for name, document in experiments.documents(flights).items():
        ensure_experiment_is_valid(document)
        about = extension(document)
        assert about["blast_radius"], name
        assert about["expected_alert"], name
        assert document["rollbacks"], name
        (probe,) = document["steady-state-hypothesis"]["probes"]
        assert {one["name"] for one in probe["provider"]["arguments"]["objectives"]} == {
            "availability",
            "latency",
            "accuracy",
        }
        provider = document["method"][0]["provider"]
        assert provider["func"] == about["kind"]
        assert kinds.injection(provider["func"], provider["arguments"]).arguments() == provider["arguments"], name


def test_the_same_file_gives_the_same_bytes(flights: Any) -> None:
    assert experiments.render_files(flights) == experiments.render_files(load.load_platform(FLIGHTS))
    files = rendered_files(flights)
    assert json.loads(files["chaos/kill-replica.json"])["tags"] == ["midwatch", "kill_replica", "flight-delay"]


def test_an_expected_alert_is_one_that_the_platform_has(flights: Any) -> None:
    rendered = rendered_files(flights)
    known = {
        rule.get("alert")
        for path, text in rendered.items()
        if path.startswith("prometheus/rules/")
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    }
    for document in experiments.documents(flights).values():
        expected = extension(document)["expected_alert"]
        assert expected in known | {DEADMAN, NONE}


# Rules ---------------------------------------------------------------------------------------------------------------


def experiment_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(FLIGHTS.read_text())
    document["chaos"]["experiments"] = [{"kind": "kill_replica", "target": "v1", "schedule": "0 4 * * 1"}]
    built = Platform.model_validate(document)
    found: list[dict[str, Any]] = yaml.safe_load(rendered_files(built)["prometheus/rules/chaos.yml"])["groups"]
    return found


def test_a_missed_experiment_is_an_alert(tmp_path: Path) -> None:
    promtool = need_program("promtool")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": experiment_rules()}))
    last = 'chaos_experiment_last_run_timestamp_seconds{experiment="kill-replica"}'

    def case(series: str, at: str, fires: bool) -> dict[str, Any]:
        labels = {"severity": "ticket", "owner": "ml-serving", "experiment": "kill-replica"}
        expected = [{"exp_labels": labels}] if fires else []
        test = {"eval_time": at, "alertname": "ChaosExperimentOverdue", "exp_alerts": expected}
        inputs = [{"series": last, "values": series}] if series else []
        return {"interval": "1h", "input_series": inputs, "alert_rule_test": [test]}

    # The last run was at time 0: a week and a quarter is 8 days and 18 hours.
    cases = [
        case(f"0x{10 * 24}", "8d", False),
        case(f"0x{10 * 24}", "8d20h", True),
        case("", "2h", True),
        case("", "30m", False),
    ]
    for one in cases:
        for test in one["alert_rule_test"]:
            for alert in test["exp_alerts"]:
                alert["exp_annotations"] = experiment_rules()[0]["rules"][2]["annotations"]
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1h", "tests": cases}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    command = [promtool, "test", "rules", str(tmp_path / "tests.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_runbook_owner_and_severity() -> None:
    for rule in experiment_rules()[0]["rules"]:
        assert (Path("alerts/runbooks") / f"{rule['alert']}.md").is_file()
        assert rule["labels"]["owner"] == "ml-serving"
        assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 4 * * 1", 7),
        ("0 4 * * mon-fri", 3),
        ("*/15 * * * *", 1 / 96),
        ("0 9-17 * * *", 16 / 24),
        ("0 4 1 * *", 31),
        ("30 4 1,15 * 0", 7),
        ("0 0 29 feb *", 1461),
        ("5 4 * * 7", 7),
        ("0 1/6 * * *", 0.25),
    ],
)
def test_the_longest_gap_of_a_schedule(text: str, days: float) -> None:
    assert cron.parse(text).longest_gap() / 86400 == pytest.approx(days)


@pytest.mark.parametrize(
    "text", ["", "0 4 * *", "60 4 * * *", "0 4 * * 8", "a b c d e", "0 4 31 2 *", "5-1 * * * *", "*/0 * * * *"]
)
def test_a_schedule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no |never|five fields"):
        cron.parse(text).longest_gap()


# Wrong files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chaos", "message"),
    [
        ({"experiments": [{"kind": "kill_replicas"}]}, "did you mean kill_replica"),
        ({"experiments": [{"kind": "kill_replica", "delay": "1s"}]}, "kill_replica has no setting delay"),
        ({"experiments": [{"kind": "kill_replica"}, {"kind": "kill_replica"}]}, "a second experiment 'kill-replica'"),
        ({"experiments": [{"kind": "slow_model", "model": "frau"}]}, "there is no model 'frau'"),
        ({"experiments": [{"kind": "slow_model", "schedule": "daily"}]}, "five fields of cron"),
        ({"experiments": [{"kind": "corrupt_features"}]}, "no drift section"),
        ({"guards": {}}, "did you mean guard"),
        ({"guard": {"max_share": "150%"}}, "between 0% and 100%"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(load_text: Any, make_document: Any, chaos: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as refused:
        load_text(yaml.safe_dump(make_document(chaos=chaos)))
    assert "platform.yaml:" in str(refused.value)
    assert "chaos" in str(refused.value)


def test_nothing_is_rendered_for_a_platform_without_experiments(make_platform: Any) -> None:
    assert not any(
        "chaos" in path
        for target in (Target.FILES, Target.KUBERNETES)
        for path in rendered_files(make_platform(), target)
    )


def test_every_scheduled_experiment_has_a_timer_and_an_alert_when_it_is_missed(flights: Platform) -> None:
    assert flights.chaos is not None
    scheduled = {one.title for one in flights.chaos.experiments if one.schedule}
    files = rendered_files(flights)
    units = {Path(name).stem.removeprefix("midwatch-chaos-") for name in files if "systemd/midwatch-chaos-" in name}
    assert units == scheduled != set()
    service = files["systemd/midwatch-chaos-kill-replica.service"]
    assert "ExecStart=/usr/bin/env midwatch chaos run kill-replica --state /var/lib/midwatch --json\n" in service
    assert "OnCalendar=Mon *-*-* 10:00:00 UTC\nPersistent=false\n" in files["systemd/midwatch-chaos-kill-replica.timer"]
    rules = [rule for group in yaml.safe_load(files["prometheus/rules/chaos.yml"])["groups"] for rule in group["rules"]]
    overdue = {rule["labels"]["experiment"] for rule in rules if rule["alert"] == "ChaosExperimentOverdue"}
    assert overdue == scheduled
