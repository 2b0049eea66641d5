"""Which alert tells of a fault, whom it reaches and how soon: as the inventory of alerts has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos import experiments
from chaos.kinds.base import DEADMAN, NONE
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.spec.model import Platform
from tests.conftest import midwatch_here, platform_document

TEAM = {
    "name": "checkout",
    "owner": "shop",
    "alerts": [
        {
            "alert": "CheckoutSlow",
            "expr": "vector(0) > 1",
            "for": "10m",
            "severity": "ticket",
            "summary": "The checkout is slow",
        }
    ],
}


def document_of(expect: dict[str, Any] | None, kind: str = "kill_replica", **changes: Any) -> dict[str, Any]:
    """A platform with a plane operator, a team of its own, and one experiment."""
    document = platform_document(rules=[TEAM], plane_owner="plane", **changes)
    for owner in ("plane", "shop"):
        document["owners"][owner] = {"page": [f"{owner}-pager"], "ticket": [f"{owner}-desk"]}
        for channel in (f"{owner}-pager", f"{owner}-desk"):
            document["channels"][channel] = {"webhook": {"url": f"http://127.0.0.1:1/{channel}"}}
    alerting = {"over": "5m", "for": "1m", "min_events": 10}
    document["models"][0]["slos"][0]["alert"] = alerting
    document["chaos"] = {"experiments": [{"kind": kind, **({"expect": expect} if expect else {})}]}
    return document


def noticed(document: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the probe that waits for the alert."""
    (experiment,) = experiments.documents(Platform.model_validate(document)).values()
    probes = [one for one in experiment["method"] if one["provider"]["func"] == "noticed"]
    arguments: dict[str, Any] = probes[0]["provider"]["arguments"]
    return arguments


def checked(folder: Path, document: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    done = midwatch_here("check", "-f", file, "--json")
    return done.returncode, json.loads(done.stdout)["problems"]


def test_a_misspelt_alert_is_a_problem_of_the_file_with_its_line_and_a_suggestion(tmp_path: Path) -> None:
    code, problems = checked(tmp_path, document_of({"alert": "ModelErorsHigh"}))
    assert code == 2
    problem = problems[0]
    assert problem["path"] == "chaos.experiments[0].expect.alert"
    assert problem["message"] == "there is no alert 'ModelErorsHigh'"
    assert problem["remedy"] == "did you mean ModelErrorsHigh?"
    line = (tmp_path / "platform.yaml").read_text().splitlines()[problem["line"] - 1]
    assert "ModelErorsHigh" in line


@pytest.mark.parametrize(
    "broken",
    [
        {"exporter": {"label_retention": 24}},
        {"maintenance": [{"nam": "x"}]},
        {"platform": None},
        {"plane_owner": "nobody"},
    ],
    ids=str,
)
def test_a_misspelt_alert_is_told_with_what_is_wrong_elsewhere(tmp_path: Path, broken: dict[str, Any]) -> None:
    document = document_of({"alert": "ModelErorsHigh"})
    code, problems = checked(tmp_path, {**document, **broken})
    assert code == 2
    assert len(problems) > 1
    (alert,) = [problem for problem in problems if problem["path"].startswith("chaos")]
    assert alert["path"] == "chaos.experiments[0].expect.alert"
    assert alert["remedy"] == "did you mean ModelErrorsHigh?"


@pytest.mark.parametrize("alert", ["ModelErrorsHigh", "CheckoutSlow", "VaultSealed"])
def test_an_alert_of_what_is_wrong_is_not_called_unknown(tmp_path: Path, alert: str) -> None:
    document = document_of({"alert": alert}, systems={"vault": {"owner": "oncal", "targets": ["v"]}})
    document["models"][0]["slos"][0]["alert"] = {"ovr": "5m"}
    document["rules"] = [{"name": "checkout", "alerts": [{**TEAM["alerts"][0], "for": 10}]}]
    _, problems = checked(tmp_path, document)
    assert problems
    assert [problem["path"] for problem in problems if problem["path"].startswith("chaos")] == []


def test_a_misspelt_alert_hides_nothing_that_promtool_says(tmp_path: Path) -> None:
    document = document_of({"alert": "ModelErorsHigh"})
    document["rules"] = [{**TEAM, "alerts": [{**TEAM["alerts"][0], "summary": "{{ $labels.x }"}]}]
    code, problems = checked(tmp_path, document)
    assert code == 2
    assert problems[0]["path"] == "chaos.experiments[0].expect.alert"
    assert any("promtool" in problem["message"] for problem in problems[1:])


@pytest.mark.parametrize("command", [["render"], ["chaos", "list"], ["chaos", "plan", "kill-replica"]])
def test_every_command_that_needs_the_experiment_refuses_a_misspelt_alert(tmp_path: Path, command: list[str]) -> None:
    document = document_of({"alert": "ModelErorsHigh"})
    document["chaos"]["kubernetes"] = {"namespace": "ml"}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    where = ["--where", "kubernetes"] if "plan" in command else []
    output = ["-o", tmp_path / "out"] if command == ["render"] else ["--state", tmp_path]
    done = midwatch_here(*command, "-f", file, *where, *output)
    assert done.returncode == 2
    assert "did you mean ModelErrorsHigh?" in done.stderr
    assert f"{file}:" in done.stderr


def test_an_alert_on_the_plane_reaches_the_channel_of_its_operator_and_severity() -> None:
    arguments = noticed(document_of({"alert": "ServerDown"}))
    assert arguments["channels"] == ["plane-desk"]
    assert arguments["labels"] == {}


def test_a_teams_own_ticket_reaches_that_teams_ticket_channel() -> None:
    arguments = noticed(document_of({"alert": "CheckoutSlow"}))
    assert arguments["channels"] == ["shop-desk"]


def test_a_named_alert_without_a_time_may_take_what_its_rule_needs() -> None:
    assert noticed(document_of({"alert": "CheckoutSlow"}))["within"] > 600
    assert noticed(document_of({"alert": "CheckoutSlow", "within": "20s"}))["within"] == 20
    quick = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    assert noticed(document_of({"alert": "ExporterDown"}, prometheus=quick))["within"] == 300


def test_a_models_own_alert_is_told_from_another_models_by_its_labels() -> None:
    document = document_of(None)
    other = {**document["models"][0], "name": "other", "owner": "shop"}
    document["models"].append(other)
    document["chaos"]["experiments"][0]["model"] = "other"
    arguments = noticed(document)
    assert arguments["alert"] == "ModelErrorsHigh"
    assert (arguments["labels"]["model"], arguments["channels"]) == ("other", ["shop-pager"])


def test_an_alert_on_another_model_is_none_on_this_one(tmp_path: Path) -> None:
    document = document_of({"alert": "ModelErrorsHigh"})
    document["models"].append({**document["models"][0], "name": "other", "slos": []})
    document["chaos"]["experiments"][0]["model"] = "other"
    code, problems = checked(tmp_path, document)
    assert code == 2
    assert problems[0]["message"] == "there is no alert 'ModelErrorsHigh' that anybody is told of for other"


def test_an_objective_without_an_alert_of_its_own_is_told_by_its_error_budget() -> None:
    arguments = noticed(document_of(None, "slow_model"))
    assert arguments["alert"] == "ErrorBudgetBurn"
    assert arguments["labels"] == {"model": "fraud", "severity": "page", "slo": "latency"}
    assert arguments["channels"] == ["oncall"]


def test_a_fault_whose_alert_the_platform_does_not_have_is_a_problem(tmp_path: Path) -> None:
    document = document_of(None, "slow_model")
    tiers = ("page_quick", "page_slow", "ticket_quick", "ticket_slow")
    document["models"][0]["slos"][1]["burn_rate"] = dict.fromkeys(tiers, False)
    code, problems = checked(tmp_path, document)
    assert (code, problems[0]["path"]) == (2, "chaos.experiments[0]")
    assert "fraud has no alert ModelLatencyHigh" in problems[0]["message"]


@pytest.mark.parametrize("word", [DEADMAN, NONE])
def test_the_special_words_are_no_alerts_and_stay(tmp_path: Path, word: str) -> None:
    _, problems = checked(tmp_path, document_of({"alert": word}))
    assert [one for one in problems if "chaos" in one["path"]] == []


def test_an_alert_that_tells_nobody_cannot_be_expected() -> None:
    with pytest.raises(MidwatchError, match="there is no alert 'MidwatchDeadman' that anybody is told of"):
        noticed(document_of({"alert": "MidwatchDeadman"}))


@pytest.mark.parametrize("local", [{}, {"servers": [{"name": "web", "command": ["x"]}]}], ids=["no server", "others"])
def test_a_server_that_is_not_there_is_no_target(make_document, load_text, local: dict[str, Any]) -> None:
    experiments = [{"kind": "slow_model", "target": "wep"}]
    document = make_document(chaos={"experiments": experiments}, **({"local": local} if local else {}))
    with pytest.raises(InvalidInputError, match=r"there is no server 'wep'; (did you mean web|known: none)"):
        load_text(yaml.safe_dump(document))
