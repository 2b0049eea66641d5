"""`midwatch check --prometheus` and `--cluster`: what runs is asked, and what does not answer is not taken for good."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerts import kubernetes as objects
from alerts import needed_jobs
from alerts import render as alerts
from alerts.rules import files
from midwatch import kubernetes
from midwatch.app import check, live
from midwatch.errors import Problem
from midwatch.prometheus import Sample
from tests.chaos.cluster import connected, nowhere
from tests.conftest import midwatch_here


def test_rule_files_and_objects_say_which_jobs_their_rules_name(make_platform) -> None:
    platform = make_platform()
    text = alerts.render_files(platform)["prometheus/rules/plane.yml"]
    assert text.startswith("# These rules name the scrape jobs midwatch-exporter")
    rule = yaml.safe_load(objects.render_objects(platform)["kubernetes/rules-plane.yaml"])
    assert "midwatch-exporter" in rule["metadata"]["annotations"]["midwatch.dev/jobs"].split(",")
    assert needed_jobs.heading({"groups": [{"rules": [{"expr": "up == 0"}]}]}) == ""


@pytest.mark.parametrize(
    ("scraped", "known", "told"),
    [
        ({"own"}, {}, None),
        ({"kube-state", "ow"}, {}, "call the job 'ow' so"),
        ({"monitoring/x"}, {"own": ["monitoring/x"]}, "call the job 'monitoring/x' so"),
        (set(), {}, "scrape it, under that name"),
    ],
    ids=["there", "close", "known by a metric", "nothing"],
)
def test_a_job_that_rules_name_and_nobody_scrapes_is_found(scraped: set[str], known: dict, told: str | None) -> None:
    document = {"groups": [{"rules": [{"expr": 'up{job="own"} == 0 or absent(up{job=~"o.+"})'}]}]}
    found = [str(one) for one in needed_jobs.find_problems({"plane.yml": document}, scraped, known)]
    by_name = [one for one in found if "the job 'own'" in one]
    assert bool(by_name) is (told is not None)
    assert told is None or told in by_name[0]
    assert any("the job 'o.+'" in one for one in found) is not bool({"own", "ow"} & scraped)


def test_a_real_prometheus_tells_which_of_its_jobs_is_meant(prometheus_server: str, make_platform) -> None:
    platform = make_platform(prometheus={"url": prometheus_server})
    told = [str(one) for one in live.prometheus_problems(platform)]
    assert any("the job 'midwatch-exporter'" in one and "scrape it" in one for one in told)
    rules = {"plane.yml": {"groups": [{"rules": [{"expr": 'rate(x{job="prometheus"}[5m])'}]}]}}
    known = {"prometheus": ["self"]}
    (problem,) = needed_jobs.find_problems(rules, {"self"}, known)
    assert "call the job 'self' so" in problem.remedy


@pytest.mark.parametrize(("replicas", "hides"), [(2, False), (1, True)])
def test_another_platforms_targets_in_a_job_hide_that_one_is_gone_and_are_found(
    make_platform, monkeypatch: pytest.MonkeyPatch, replicas: int, hides: bool
) -> None:
    platform = make_platform(kubernetes={"exporter": {"replicas": replicas}})
    scraped = {'count(group by (job, instance) (up{job="midwatch-exporter"}))': 2.0}

    class Scraping:
        def query(self, expr: object) -> list[Sample]:
            return [Sample(labels={}, value=scraped[str(expr)], time=0)] if str(expr) in scraped else []

    monkeypatch.setattr(live.Client, "of", lambda *_: Scraping())
    told = [str(one) for one in live.prometheus_problems(platform) if "the platform has" in str(one)]
    assert ["2 targets of the job 'midwatch-exporter', and the platform has 1" in one for one in told] == [True] * hides


@pytest.mark.parametrize("pods", [1, 3])
def test_the_alert_on_exporters_knows_how_many_pods_there_are_to_be(make_platform, pods: int) -> None:
    platform = make_platform(kubernetes={"exporter": {"replicas": pods}})
    rules = yaml.safe_load(alerts.render_files(platform)["prometheus/rules/plane.yml"])["groups"]
    (expr,) = (rule["expr"] for group in rules for rule in group["rules"] if rule.get("alert") == "ExporterDown")
    assert (f'count(up{{job="midwatch-exporter"}}) < {pods}' in expr) == (pods > 1)


def test_what_does_not_answer_is_said_and_is_no_pass(tmp_path: Path, make_document) -> None:
    file = tmp_path / "platform.yaml"
    document = make_document(prometheus={"url": "http://127.0.0.1:1"})
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    with connected(nowhere(tmp_path)):
        problems, unanswered = check._live_problems(file, [], cluster=True, prometheus=True)
    assert problems == []
    assert ["its jobs are not known" in str(one) for one in unanswered] == [True, False]
    assert "what it has is not known" in str(unanswered[1])


@pytest.mark.parametrize(
    ("live_problems", "unanswered", "code"), [([], [], 0), (["x"], [], 1), (["x"], ["y"], 1), ([], ["y"], 3)]
)
def test_the_exit_code_says_whether_what_runs_is_wrong_or_not_known(
    tmp_path: Path, make_document, monkeypatch: pytest.MonkeyPatch, live_problems: list, unanswered: list, code: int
) -> None:

    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(), sort_keys=False))
    monkeypatch.setattr(check, "_problems", lambda *_: ([], []))
    made = [[Problem(file="f", message=one) for one in some] for some in (live_problems, unanswered)]
    monkeypatch.setattr(check, "_live_problems", lambda *_, **__: tuple(made))
    assert midwatch_here("check", "-f", file, "--prometheus").returncode == code


def test_without_canaries_no_cluster_is_asked(make_platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(kubernetes, "request", asked)
    assert list(live.cluster_problems(make_platform(), [])) == []


def test_every_rule_file_is_searched(make_platform) -> None:
    documents = files.documents(make_platform())
    names = {one.name for document in documents.values() for one in needed_jobs.of_document(document)}
    assert {"midwatch-exporter"} <= names
