"""`midwatch explain` on a real Prometheus: a version that went live in a fleet, beside changes that hurt nobody."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from midwatch import evidence
from midwatch.app.incident import counting, explain
from midwatch.prometheus import QueryError
from tests.canary.arms import Past, prometheus_with
from tests.conftest import midwatch_here, platform_document

FIRED = 1_790_000_000.0 - 1_790_000_000.0 % 60
"""When the alert fires; the new version got traffic four minutes before."""

LIVE, HOURS, SCRAPE = FIRED - 240, 7, 30.0

SYSTEMS = {"kubernetes": {"owner": "ml", "targets": ["127.0.0.1:8080"]}}


def document() -> dict:
    made = platform_document(systems=SYSTEMS)
    fraud = made["models"][0]
    slos = [{"name": "availability", "sli": "availability", "objective": "99.9%"}]
    made["models"] = [fraud, *({"name": name, "owner": "ml", "task": "classification", "slos": slos} for name in "bc")]
    made["prometheus"] = {"scrape_interval": "30s"}
    return made


def fleet() -> Past:
    """Series of seven hours: three models, of which one gets a version with ten times the errors."""
    random = np.random.default_rng(5)
    past = Past(FIRED + 60)
    times = np.arange(FIRED - HOURS * 3600, FIRED + 61, SCRAPE)

    def add(values: np.ndarray, name: str, **labels: str) -> None:
        points = [(float(at), float(value)) for at, value in zip(times, values, strict=True) if np.isfinite(value)]
        past.series[tuple(sorted({"__name__": name, **labels}.items()))] = points

    for model in ("fraud", "b", "c"):
        for version in ("v1", "v2") if model == "fraud" else ("v1",):
            is_live = (
                times > LIVE if version == "v2" else times <= LIVE if model == "fraud" else np.ones_like(times) > 0
            )
            requests = np.where(is_live, random.poisson(300, len(times)), 0)
            errors = random.binomial(requests, 0.1 if version == "v2" else 0.01)
            for outcome, counts in (("ok", requests - errors), ("error", errors)):
                values = np.cumsum(counts).astype(float)
                values[(values == 0) & ~is_live] = np.nan
                labels = {"model": model, "version": version, "outcome": outcome, "instance": "x:1", "job": "e"}
                add(values, "ml_requests_total", **labels)
    add(np.ones(len(times)), "up", job="e", instance="x:1")
    replicas = np.where(times < FIRED - 3000, 3.0, 5.0)
    add(replicas, "kube_deployment_spec_replicas", job="kubernetes", namespace="ml", deployment="other")
    experiment = np.where((times > FIRED - 9000) & (times < FIRED - 8000), 1.0, 0.0)
    add(experiment, "chaos_experiment_running", experiment="kill-replica")
    about = {"alertname": "ModelErrorsHigh", "model": "fraud", "version": "v2", "slo": "availability", "owner": "ml"}
    about |= {"severity": "page"}
    add(np.where(times >= FIRED - 60, FIRED - 60, np.nan), "ALERTS_FOR_STATE", **about)
    add(np.where(times >= FIRED, 1.0, np.nan), "ALERTS", alertstate="firing", **about)
    other = {**about, "model": "b", "version": ""}
    add(np.where(times >= FIRED - 600, FIRED - 600, np.nan), "ALERTS_FOR_STATE", **other)
    return past


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_with(fleet(), tmp_path_factory.mktemp("past")) as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A platform file under Git, with a commit of a model that has nothing to do with it."""
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document() | {"incidents": {"answer_within": "30s"}}))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "values.yaml").write_text("replicas: 3\n")
    when = datetime.fromtimestamp(FIRED - 300, UTC).isoformat()
    name = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    environment = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, "PATH": "/usr/bin:/bin"}
    for words in (["init", "-q"], ["add", "c"], [*name, "commit", "-qm", "c gets three replicas"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, env=environment)
    return tmp_path / "platform.yaml"


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def explained(url: str, file: Path, *words: str, alert: str = "ModelErrorsHigh") -> dict:
    done = midwatch_here("explain", alert, "-f", file, "--prometheus", url, "--at", at(FIRED + 60), "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_version_that_went_live_is_the_first_suspect_and_the_others_are_rejected_with_reasons(
    url: str, file: Path
) -> None:
    incident = explained(url, file)
    first = incident["suspects"][0]
    assert first["change"]["scope"] == {"model": "fraud", "version": "v2"}
    assert first["probability"] > 0.8
    assert {one["aspect"]: one["is_for"] for one in first["evidence"]}["calm"]
    assert abs(incident["onset"]["likeliest"] - LIVE) <= 120
    assert incident["onset"]["is_counted"]
    rejected = {one["change"]["kind"]: one["reason"] for one in incident["rejected"]}
    assert rejected["configuration"].startswith("it touches model c, and the alert is about model fraud")
    assert "before" in rejected["experiment"]
    assert "version v2 of fraud" in incident["line"]
    assert incident["calibration"].startswith("uncalibrated")
    assert incident["unanswered"] == []


def test_the_runbook_and_the_links_are_those_of_the_alert_s_model_and_version(url: str, file: Path) -> None:
    incident = explained(url, file)
    assert 'model="fraud"' in incident["runbook"]
    assert "MODEL" not in incident["runbook"]
    assert len(incident["next_look"]) == 3
    assert {one["name"] for one in incident["links"]} >= {"Runbook", "Dashboard", "Logs", "Traces"}
    assert all("$model" not in one["url"] for one in incident["links"])
    own = "ModelErrorsHigh --label model=fraud --label version=v2 --label slo=availability"
    commands = {one["command"] for one in incident["commands"]}
    assert {f"midwatch who {own}", f"midwatch silence {own} --for 1h --why 'the cause is known'"} <= commands
    other = "ModelErrorsHigh --label model=b --label slo=availability"
    assert f"midwatch explain {other}" in commands, "another alert of the name, that began earlier"


def test_a_model_and_a_time_are_explained_by_the_objective_that_was_hurt(url: str, file: Path) -> None:
    words = ("explain", "--model", "fraud", "-f", file, "--prometheus", url, "--at", at(FIRED), "--json")
    incident = json.loads(midwatch_here(*words).stdout)
    assert incident["suspects"][0]["change"]["scope"] == {"model": "fraud", "version": "v2"}


def test_an_alert_that_prometheus_does_not_know_is_inconclusive_and_says_what_to_give(url: str, file: Path) -> None:
    done = midwatch_here("explain", "ModelSlow", "-f", file, "--prometheus", url, "--at", at(FIRED + 60))
    assert done.returncode == 3
    assert "Prometheus has no such alert" in done.stderr


def test_a_prometheus_that_is_not_there_is_inconclusive(file: Path) -> None:
    done = midwatch_here("explain", "ModelSlow", "-f", file, "--prometheus", "http://127.0.0.1:9")
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize(
    ("time", "code", "said"),
    [
        (at(FIRED - 86_400 * 30), 3, "no sample of the time that is asked about; nothing is known of what changed"),
        ("2999-01-01T00:00:00Z", 2, "--at: 2999-01-01T00:00:00Z has not come yet"),
        ("9999-12-31T23:59:59-12:00", 2, "has not come yet"),
        ("1970-01-01T00:00:00Z", 2, "nobody has measured anything at 1970-01-01"),
        ("0001-01-01T00:00:00+01:00", 2, "nobody has measured anything"),
    ],
    ids=["kept-no-more", "to-come", "last-of-all", "first", "before-all"],
)
def test_of_a_time_of_which_nothing_is_known_no_cause_is_ruled_out(
    url: str, file: Path, time: str, code: int, said: str
) -> None:
    done = midwatch_here("explain", "--model", "fraud", "-f", file, "--prometheus", url, "--at", time)
    assert (done.returncode, said in done.stderr, done.stdout) == (code, True, ""), done


def test_a_prometheus_that_answers_nothing_but_the_alert_is_inconclusive(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise QueryError("x", "it is busy")

    monkeypatch.setattr(explain, "_first_look", fails)
    monkeypatch.setattr(counting, "count", fails)
    words = ("ModelErrorsHigh", "-f", file, "--prometheus", url, "--at", at(FIRED + 60))
    done = midwatch_here("explain", *words)
    assert (done.returncode, "it is busy" in done.stderr and "nothing is known of what changed" in done.stderr) == (
        3,
        True,
    ), done


def test_addresses_and_commands_are_not_broken_in_a_narrow_terminal(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = ("explain", "ModelErrorsHigh", "-f", file, "--prometheus", url, "--at", at(FIRED + 60))
    lines = midwatch_here(*words).stdout.splitlines()
    incident = explained(url, file)
    assert {f"  {one['name']}: {one['url']}" for one in incident["links"]} <= set(lines)
    assert {f"  {one['command']}" for one in incident["commands"]} <= set(lines)


def test_a_confirmed_cause_is_kept_as_evidence_and_calibrates_what_is_said_next(url: str, file: Path) -> None:
    first = explained(url, file)["suspects"][0]["change"]
    again = explained(url, file, "--confirm", _id(url, file), "--by", "ada")
    assert again["suspects"][0]["change"] == first
    log = file.parent / "evidence" / "incidents.jsonl"
    assert evidence.verify(log).problems == ()
    (record,) = evidence.read(log)
    assert (record.kind, record.data["kind"], record.data["first"]) == ("incident-cause-confirmed", first["kind"], True)
    done = midwatch_here("explain", "calibration", "-f", file, "--json")
    assert done.returncode == 3, "one incident says nothing yet"
    assert json.loads(done.stdout)["incidents"] == 1


def _id(url: str, file: Path) -> str:
    """The id of the first suspect, as a person reads it."""
    done = midwatch_here("explain", "ModelErrorsHigh", "-f", file, "--prometheus", url, "--at", at(FIRED + 60))
    return done.stdout.split("[")[1].split("]")[0]


def test_a_cause_that_was_not_listed_is_refused_with_those_that_were(url: str, file: Path) -> None:
    words = ("--prometheus", url, "--at", at(FIRED + 60), "--confirm", "ffff")
    done = midwatch_here("explain", "ModelErrorsHigh", "-f", file, *words)
    assert done.returncode == 2
    assert "there is no such change; give one of " in done.stderr
    assert not (file.parent / "evidence").exists()


def test_a_log_that_is_not_there_is_named_as_unanswered(url: str, file: Path) -> None:
    file.write_text(yaml.safe_dump(document() | {"incidents": {"answer_within": "30s", "evidence": ["gone.jsonl"]}}))
    (unanswered,) = explained(url, file)["unanswered"]
    assert unanswered["source"].endswith("gone.jsonl")
