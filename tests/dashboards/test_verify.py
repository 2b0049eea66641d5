"""Verifying against a live Prometheus says for each panel whether it has data, and why not."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from dashboards import reader, render, verify
from dashboards.verify import Status
from midwatch.prometheus import Client, RejectedError
from tests.conftest import free_port, midwatch_here
from tests.dashboards.test_documents import file_document, whole


def requests(model: str, version: str) -> str:
    return f'ml_requests_total{{model="{model}",version="{version}",outcome="ok"}}'


SERIES = {
    requests("fraud", "v1"): lambda point: point * 10,
    requests("fraud", "v2"): lambda point: point,
    requests("price", "v1"): lambda point: point,
    'ml_drift_effect{model="fraud",version="v1",feature="x",method="ks"}': lambda _: 0.1,
    'ml_drift_effect{model="fraud",version="v1",feature="x",method="psi"}': lambda _: 0.1,
    'ml_drift_windows_total{model="fraud",version="v1",verdict="stable"}': lambda point: point,
    'ml_drift_quorum{model="fraud"}': lambda _: 2,
    'slo:objective:ratio{model="fraud",slo="availability",owner="ml"}': lambda _: 0.999,
}


def findings(past, page: str, **chosen: str) -> list[verify.Verification]:
    document = next(one for one in render.documents(whole()) if one["uid"].endswith(page))
    time = verify.TimeRange(end=past.end, since=600, scrape=15)
    return list(verify.Verifier(past.client, time, chosen).verify(document))


def of(found: list[verify.Verification], title: str) -> list[verify.Verification]:
    return [one for one in found if one.title == title]


def test_a_panel_of_one_model_is_asked_for_each_model(past) -> None:
    found = of(findings(past, "model"), "How much traffic does it get?")
    assert [(one.values["model"], one.status, one.series) for one in found] == [
        ("fraud", Status.OK, 2),
        ("price", Status.OK, 1),
    ]


def test_a_section_that_repeats_is_asked_for_each_value(past) -> None:
    found = of(findings(past, "drift"), "How far is each feature from the reference?")
    assert [(one.values["method"], one.status) for one in found] == [("ks", Status.OK), ("psi", Status.OK)]


def test_a_variable_can_be_chosen(past) -> None:
    found = findings(past, "model", model="price")
    assert {one.values.get("model", "price") for one in found if one.kind == "panel"} == {"price"}
    assert of(found, "$model")[0].reason == "chosen"


def test_an_empty_panel_says_why(past) -> None:
    found = findings(past, "model", model="price")
    (unknown,) = of(found, "How slow is it?")
    assert (unknown.status, unknown.reason) == (Status.EMPTY, "unknown metric: ml_request_duration_seconds_bucket")
    (drift,) = of(findings(past, "drift", model="price"), "What were the verdicts?")
    assert drift.reason == 'no series for these labels: ml_drift_windows_total{model="price",version=~".*"}'


def test_a_line_that_is_only_promised_is_no_data(past) -> None:
    (found,) = of(findings(past, "drift", model="fraud"), "How many methods vote for drift?")
    assert (found.status, found.reason) == (Status.EMPTY, "unknown metric: ml_drift_votes")
    assert found.queries == {"A": "unknown metric: ml_drift_votes"}


def test_a_panel_with_data_names_its_empty_queries(past) -> None:
    (found,) = of(findings(past, "model", model="price"), "How many requests fail?")
    assert found.status is Status.OK
    assert found.queries == {"B": 'no series for these labels: slo:objective:ratio{model="price",slo=~"availability"}'}


def test_nothing_happened_is_quiet_and_what_loki_is_asked_is_skipped(past) -> None:
    found = findings(past, "model")
    (retrainings,) = of(found, "Retrainings")
    assert (retrainings.status, retrainings.reason) == (Status.QUIET, "unknown metric: midwatch_retrain_triggers_total")
    assert of(found, "What do its servers say?")[0].status is Status.SKIPPED


def test_a_newest_version_is_the_canary_until_another_is_chosen(past) -> None:
    (both,) = of(findings(past, "canary", model="fraud"), "Do they get their share?")
    assert (both.values["baseline"], both.values["canary"], both.series) == ("v1", "v2", 2)


def test_what_prometheus_rejects_is_an_error_with_its_words(past) -> None:
    document = json.loads(json.dumps(render.documents(whole())[1]))
    panel = document["panels"][1]
    panel["targets"][0]["expr"] = "sum(ml_requests_total) + on (a) ml_requests_total"
    time = verify.TimeRange(end=past.end, since=600, scrape=15)
    (found,) = of(list(verify.Verifier(past.client, time).verify(document)), panel["title"])
    assert found.status is Status.ERROR
    assert "query A" in found.reason and "many-to-many" in found.reason


def test_a_variable_the_dashboard_does_not_have_is_an_error(past) -> None:
    document = json.loads(json.dumps(render.documents(whole())[1]))
    document["panels"][1]["targets"][0]["expr"] = 'ml_requests_total{model="$modell"}'
    time = verify.TimeRange(end=past.end, since=600, scrape=15)
    (found,) = of(list(verify.Verifier(past.client, time).verify(document)), document["panels"][1]["title"])
    assert (found.status, found.reason) == (Status.ERROR, "query A: there is no variable $modell")


def test_grafanas_windows_are_filled_in_by_grafanas_rule() -> None:
    assert verify.TimeRange(end=0, since=600, scrape=15).built_in() == {
        "__interval": "10s",
        "__rate_interval": "1m",
        "__range": "10m",
    }
    assert verify.TimeRange(end=0, since=86400, scrape=15).built_in()["__rate_interval"] == "1455s"


def test_what_grafana_fills_in_is_filled_in_and_nothing_else() -> None:
    text = 'label_replace(x{a=~"$a", b="${b:regex}"}, "c", "$1", "d", "(.*)")'
    filled = reader.filled(text, {"a": "1|2", "b": "3"})
    assert filled == 'label_replace(x{a=~"1|2", b="3"}, "c", "$1", "d", "(.*)")'


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "platform.yaml"
    path.write_text(yaml.safe_dump(file_document()))
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return midwatch_here("dashboards", "verify", *arguments)


def test_the_command_passes_without_errors_and_strictly_fails_on_what_is_empty(past, file: Path) -> None:
    done = run("-f", str(file), "--prometheus", past.url, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit"]) == (0, 0)
    assert document["counts"] == {"error": 0} | Counter(one["status"] for one in document["findings"])
    assert run("-f", str(file), "--prometheus", past.url, "--strict").returncode == 1


def test_the_table_names_dashboard_panel_and_reason(past, file: Path) -> None:
    done = run("-f", str(file), "--prometheus", past.url, "--var", "model=fraud")
    assert "● ok" in done.stdout and "○ empty" in done.stdout
    assert "unknown" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(tuple("123456789"))


def test_a_table_that_is_piped_breaks_no_name_and_no_reason(past, file: Path, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("dashboards.cli.time", SimpleNamespace(time=lambda: past.end))  # both see the same past
    options = ("-f", str(file), "--prometheus", past.url, "--var", "model=fraud")
    lines = run(*options).stdout.splitlines()
    findings = json.loads(run(*options, "--json").stdout)["findings"]
    assert len(lines) == len(findings) + 2
    for finding, line in zip(findings, lines[1:], strict=False):
        assert finding["title"] in line and finding["reason"] in line


def test_no_answer_and_no_data_are_inconclusive(past, file: Path, prometheus_server: str) -> None:
    nobody = run("-f", str(file), "--prometheus", f"http://127.0.0.1:{free_port()}")
    assert nobody.returncode == 3
    assert "nothing was verified" in nobody.stderr
    nothing = run(
        "-f", str(file), "--prometheus", prometheus_server, "--since", "1m", "--var", "model=nobody", "--json"
    )
    statuses = {one["status"] for one in json.loads(nothing.stdout)["findings"] if "model" in one["values"]}
    assert statuses <= {"empty", "quiet"}


@pytest.mark.parametrize(
    "wrong",
    [["--var", "model"], ["--since", "soon"], ["--token-file", "/nowhere/token"], ["--prometheus", "ftp://x"]],
    ids=["no value", "no duration", "no file", "no http"],
)
def test_wrong_options_are_usage_in_a_line(file: Path, wrong: list[str]) -> None:
    done = run("-f", str(file), *wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_rejected_query_is_not_taken_for_no_answer(past) -> None:
    with pytest.raises(RejectedError):
        Client(past.url).query("sum(")
