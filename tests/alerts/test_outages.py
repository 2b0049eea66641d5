"""Every model of every profile raises alerts in an outage, and none while all is well."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import check, expressions, inventory, tuning
from alerts.lint import linter
from alerts.proofs import prove, series
from alerts.render import render_files
from alerts.rules import served
from midwatch import jobs, serving
from midwatch.app import prometheus
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from midwatch.spec.model import Model, Platform
from tests.conftest import midwatch_here, need_program

CUSTOM = """
    serving_metrics:
      requests: app_requests_total{app="x"}
      failures: app_requests_total{app="x", code=~"5.."}
      duration: app_duration_ms{app="x"}
      duration_unit: ms
      version_label: rev
"""

HEAD = """
apiVersion: midwatch/v1
platform: p
prometheus: {scrape_interval: 2m, evaluation_interval: 4m}
owners: {ml: {page: [oncall], ticket: [oncall]}}
channels: {oncall: {pagerduty: {routing_key_file: /run/k}}}
models:
"""


def model_text(serving_kind: str) -> str:
    task = "generation" if serving_kind == "vllm" else "classification"
    more = CUSTOM if serving_kind == "custom" else "\n"
    return f"  - name: {serving_kind}\n    owner: ml\n    task: {task}\n    serving: {serving_kind}{more}"


SCRAPE, EVALUATION = "2m", "4m"
"""Long, so that a day and a half of them is quick."""

SERVINGS = [*serving.PROFILES, "custom"]


@pytest.fixture
def everyone(load_text) -> Platform:
    """A model of each profile; the servers of Triton and vLLM are known, and nobody has an objective."""
    known = {"triton": "    servers: {targets: ['t:8002']}\n", "vllm": "    servers: {job: vllm}\n"}
    return load_text(HEAD + "".join(model_text(name) + known.get(name, "") for name in SERVINGS))


def only(text: str) -> expressions.Selector:
    (selector,) = expressions.selectors(expressions.parse(text))
    return selector


def placed(text: str, model: Model) -> str:
    """A series of a model's server, with the labels of its scrape."""
    name, _, labels = text.partition("{")
    inner = labels.rstrip("}")
    return f'{name}{{{inner}{"," if inner else ""}job="{model.job or "somebody"}",instance="{model.name}:1"}}'


class Exposition:
    """What the server of a model publishes: series of promtool, from its profile's own selectors."""

    def __init__(self, model: Model) -> None:
        self.model, self.profile = model, serving.profile_of(model)
        failure = only(self.profile.failures[0])
        self.failed = placed(series.instance(failure), model)
        counted = only(self.profile.requests[0])
        unlike = failure if failure.metric == counted.metric else None
        self.fine = placed(series.instance(counted, unlike=unlike), model)
        spent, answered = (only(text) for text in (self.profile.time_spent, self.profile.answered))
        self.spent, self.answered = (placed(series.instance(one), model) for one in (spent, answered))
        self.up = f'up{{job="{model.job or "somebody"}",instance="{model.name}:1"}}'

    def values(self, *, up: str, fine: str, failed: str, spent: str, answered: str) -> dict[str, str]:
        return {self.up: up, self.failed: failed, self.spent: spent, self.answered: answered, self.fine: fine}


def case(expositions: list[Exposition], expected: dict[str, dict[str, set[str]]], **values: str) -> dict[str, Any]:
    """One test of promtool: what fires at which time of each model."""
    firing = 'count by (alertname, model) (ALERTS{alertstate="firing", model!=""})'
    return {
        "interval": SCRAPE,
        "input_series": [
            {"series": name, "values": text} for one in expositions for name, text in one.values(**values).items()
        ],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": time,
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}", model="{model}"}}', "value": 1}
                    for model, alerts in of_models.items()
                    for alert in sorted(alerts)
                ],
            }
            for time, of_models in expected.items()
        ],
    }


def run_promtool(platform: Platform, tests: list[dict[str, Any]], folder: Path) -> str:
    rules = {Path(name).name: text for name, text in render_files(platform).items() if "/rules/model-" in name}
    for name, text in rules.items():
        (folder / name).write_text(text)
    document = {"rule_files": sorted(rules), "evaluation_interval": EVALUATION, "tests": tests}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    command = [need_program("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_profile_raises_what_it_should_in_each_outage_and_nothing_before(everyone, tmp_path: Path) -> None:
    servers = [Exposition(model) for model in everyone.models]
    gone = {
        one.model.name: {"ModelNoData", "ModelTrafficVanished"}
        | ({"ModelUnreachable", "ServerDown"} if one.model.job else set())
        for one in servers
    }
    # A server that nobody named is known to be down for the hour after it was last seen.
    seen = {
        name: alerts | ({"ServerDown"} if name not in ("midwatch", "triton", "vllm") else set())
        for name, alerts in gone.items()
    }
    failing = {
        one.model.name: {"ModelFailing", *(["ModelServerErrors"] if one.model.serving != "midwatch" else [])}
        for one in servers
    }
    slow = {one.model.name: {"ModelSlow"} for one in servers}
    tests = [
        # A day of 60 requests a minute, then the servers are away for eight hours.
        case(
            servers,
            {"1496m": {}, "1548m": seen, "1980m": gone},
            up="1x750 0x240",
            fine="0+120x750",
            failed="0x750",
            spent="0+24x750",
            answered="0+120x750",
        ),
        case(
            servers,
            {"116m": {}, "140m": failing},
            up="1x71",
            fine="0+120x60 14400x11",
            failed="0x60 120+120x11",
            spent="0+24x71",
            answered="0+120x71",
        ),
        case(
            servers,
            {"116m": {}, "156m": slow},
            up="1x79",
            fine="0+120x79",
            failed="0x79",
            spent="0+720000000x60 43200000000+7200000000x19",  # Triton's are microseconds
            answered="0+120x79",
        ),
    ]
    assert run_promtool(everyone, tests, tmp_path) == ""


def test_bounds_of_a_histogram_in_milliseconds_are_recorded_in_seconds(load_text, promtool) -> None:
    platform = load_text(HEAD + model_text("custom"))
    records = served.of_model(platform, platform.models[0])
    (bucket,) = [one for one in records if one["record"] == "model:ml_request_duration_seconds_bucket:rate"]
    bounds = {"5": "0.005", "2.5": "0.0025", "25": "0.025", "250.0": "0.2500", "1000": "1.000", "+Inf": "+Inf"}
    labels = [f'{{model="custom", serving="custom", version="r", le="{second}"}}' for second in bounds.values()]
    rounded = f"round({bucket['record']}, 0.001)"
    found = promtool(
        [{"name": "g", "rules": [bucket]}],
        {f'app_duration_ms_bucket{{app="x",rev="r",le="{bound}"}}': "0+60x20" for bound in bounds},
        [{"expr": rounded, "eval_time": "10m", "exp_samples": [{"labels": one, "value": 1} for one in labels]}],
        "1m",
    )
    assert found == ""


@pytest.mark.parametrize("kind", ["triton", "midwatch"])
def test_a_nightly_model_is_calm_by_day_and_silent_too_long_after_a_missed_night(
    load_text, tmp_path: Path, kind: str
) -> None:
    platform = load_text(HEAD + model_text(kind) + "    schedule: nightly\n")
    (model,) = platform.models
    (night,) = [Exposition(model)]
    names = {entry.name for entry in inventory.entries(platform) if entry.origin == kind}
    assert "ModelNoData" in names
    assert "finding" not in midwatch_here("check", "-f", str(tmp_path / "platform.yaml")).stdout
    assert names.isdisjoint({"ModelTrafficVanished", "ModelUnreachable", "ServerDown"})
    # An hour of work, a day without any, and the night after it is missed: a day and a quarter is too long.
    worked = {"up": "1x30", "fine": "0+120x30", "failed": "0x30", "spent": "0+24x30", "answered": "0+120x30"}
    missed = case([night], {"1500m": {}, "1900m": {kind: {"ModelNoData"}}}, **worked)
    assert run_promtool(platform, [missed], tmp_path) == ""


@pytest.mark.parametrize("kind", ["kserve", "midwatch"])
def test_silence_of_a_model_that_works_once_a_month_is_proven(load_text, kind: str) -> None:
    need_program("promtool")
    platform = load_text(HEAD + model_text(kind) + '    schedule: "0 3 1 * *"\n')
    (proved,) = prove.prove(platform, ["ModelNoData"])
    assert (proved.outcome, proved.reason) == (prove.Outcome.PROVEN, "")


# Tuning ------------------------------------------------------------------------------------------------------------


def test_a_shipped_alert_waits_and_calls_as_the_platform_file_says_and_is_still_proven(load_text) -> None:
    tuned = "    alerts: {ModelNoData: {for: 2h, severity: page}, ModelSlow: {keep_firing_for: 1h}}\n"
    platform = load_text(HEAD + model_text("vllm") + tuned)
    entries = {entry.name: entry for entry in inventory.entries(platform) if entry.origin == "vllm"}
    assert (entries["ModelNoData"].rule["for"], entries["ModelNoData"].severity) == ("2h", "page")
    assert entries["ModelSlow"].rule["keep_firing_for"] == "1h"
    need_program("promtool")
    (proved,) = prove.prove(platform, ["ModelNoData"])
    assert (proved.outcome, proved.receivers) == (prove.Outcome.PROVEN, ("ml-page",))


def test_an_alert_that_is_off_is_not_rendered_and_its_reason_is_shown(load_text, tmp_path) -> None:
    text = HEAD + model_text("vllm") + "    alerts: {ModelSlow: {off_because: prompts differ by day}}\n"
    text += "systems: {vault: {owner: ml, targets: ['v:8200'], alerts: {VaultSlow: {off_because: no users}}}}\n"
    platform = load_text(text)
    names = {entry.name for entry in inventory.entries(platform)}
    assert {"ModelSlow", "VaultSlow"}.isdisjoint(names)
    assert [(one.alert, one.of, one.reason) for one in tuning.turned_off(platform)] == [
        ("ModelSlow", "vllm", "prompts differ by day"),
        ("VaultSlow", "vault", "no users"),
    ]
    done = midwatch_here("alerts", "check", "-f", str(tmp_path / "platform.yaml"))
    assert "off: ModelSlow of vllm: prompts differ by day" in done.stderr


def test_an_alert_of_a_system_waits_as_the_platform_file_says_and_is_still_proven(load_text) -> None:
    text = HEAD + model_text("midwatch")
    text += "systems: {vault: {owner: ml, targets: ['v:8200'], alerts: {VaultSealed: {for: 3h, severity: ticket}}}}\n"
    platform = load_text(text)
    (entry,) = [entry for entry in inventory.entries(platform) if entry.name == "VaultSealed"]
    assert (entry.rule["for"], entry.severity) == ("3h", "ticket")
    need_program("promtool")
    assert {one.outcome for one in prove.prove(platform, ["VaultSealed"])} == {prove.Outcome.PROVEN}


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ("{ModelNoDatum: {for: 1h}}", "there is no shipped alert of a model 'ModelNoDatum'; did you mean ModelNoData?"),
        ("{ModelNoData: off}", "off without a reason; write {off_because: WHY}"),
        ("{ModelNoData: {}}", "says nothing"),
        ("{ModelNoData: {off_because: quiet, for: 1h}}", "is off: remove what else is written"),
    ],
    ids=["unknown name", "off without a reason", "nothing", "off and tuned"],
)
def test_tuning_that_means_nothing_is_refused_with_its_line(tmp_path: Path, alerts: str, said: str) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(HEAD + model_text("vllm") + f"    alerts: {alerts}\n")
    with pytest.raises(InvalidInputError) as refused:
        check.ensure_tuning(*load.load_with_places(file))
    (problem,) = refused.value.problems
    assert said in str(problem)
    assert problem.line == 12


# Where servers are -------------------------------------------------------------------------------------------------


def test_targets_of_a_models_servers_become_a_scrape_job_and_a_job_of_others_does_not(everyone) -> None:
    found = {job.name: job.targets for job in jobs.of_models(everyone)}
    assert found == {"model-triton": ("t:8002",)}
    text = yaml.safe_load(prometheus.render_files(everyone)["prometheus/prometheus.yml"])
    assert "model-triton" in [one["job_name"] for one in text["scrape_configs"]]
    assert "kubernetes/scrape-model-triton.yaml" in prometheus.render_objects(everyone)


def test_an_outage_is_told_once(everyone) -> None:
    (document,) = [yaml.safe_load(text) for name, text in render_files(everyone).items() if "alertmanager" in name]
    silenced = {one["source_matchers"][0]: one["target_matchers"][0] for one in document["inhibit_rules"]}
    assert silenced == {
        'alertname="ModelUnreachable"': 'alertname=~"ModelNoData|ModelTrafficVanished|ServerDown"',
        'alertname="ModelTrafficVanished"': 'alertname=~"ModelNoData"',
    }


def test_the_rules_of_every_profile_have_no_findings(tmp_path: Path) -> None:
    text = "".join(line for line in HEAD.splitlines(keepends=True) if not line.startswith("prometheus:"))
    (tmp_path / "platform.yaml").write_text(text + "".join(map(model_text, SERVINGS)))
    platform, document = load.load_with_places(tmp_path / "platform.yaml")
    assert [str(one) for one in linter.problems(platform, document)] == []
