"""Sections, panels and rights that come with what is observed of a cluster's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters.systems import manifests
from midwatch import metrics
from midwatch.errors import InvalidInputError
from midwatch.spec import load, system_rules
from midwatch.spec.model import Platform
from tests.conftest import platform_document


def write(tmp_path: Path, account: bool = True, **observed: dict[str, Any]) -> Path:
    systems = {name: {"owner": "ml", "targets": ["a:1"], "observe": one} for name, one in observed.items()}
    exporter = {"account": {"namespace": "midwatch"}} if account else {}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(systems=systems, systems_exporter=exporter)))
    return file


def loaded(tmp_path: Path, account: bool = True, **observed: dict[str, Any]) -> Platform:
    return load.load_platform(write(tmp_path, account, **observed))


@pytest.mark.parametrize("name", ["explainer", "feast", "kserve", "kubernetes", "tekton"])
def test_every_metric_that_is_published_is_shown(name: str) -> None:
    prefix = {"kserve": "kserve_inference", "feast": "feast_feature_view"}.get(name, f"{name}_")
    shown = " ".join(query.expr for panel in system_rules.observed(name).panels for query in panel.queries)
    alerted = " ".join(alert.expr for alert in system_rules.observed(name).alerts)
    published = [metric for metric in metrics.CATALOGUE if metric.startswith(prefix)]
    assert published
    assert [metric for metric in published if metric not in shown and metric not in alerted] == []


@pytest.mark.parametrize(
    ("name", "section", "said"),
    [
        ("kubernetes", {"time_zone": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
        ("kubernetes", {"cron_jobs": ["nightly"]}, "cron_jobs"),
        ("kubernetes", {"namespaces": ["a"], "cron_jobs": ["ml/x"]}, "add ml to namespaces"),
        ("tekton", {"namespaces": ["a"], "pipelines": {"ml/x": {"succeed_within": "1h"}}}, "add ml to namespaces"),
        ("tekton", {"pipelines": {"ml/x": {}}}, "succeed_within"),
        ("explainer", {"endpoints": {}}, "endpoints"),
        ("explainer", {"endpoints": {"a": {"url": "http://a/v1/models/a:explain", "row": []}}}, "row"),
        ("kserve", {"namespaces": ["a"], "services": ["ml/x"]}, "add ml to namespaces"),
    ],
)
def test_a_section_that_cannot_be_right_is_one_error(
    name: str, section: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        loaded(tmp_path, **{name: section})
    (problem,) = refused.value.problems
    assert said in str(problem)
    assert ": systems." in str(problem)


def roles(platform: Platform) -> list[tuple[str, str | None, set[str]]]:
    """Kind, namespace and resources of each role that is rendered."""
    documents = [one for text in manifests.render_files(platform).values() for one in yaml.safe_load_all(text)]
    found = [one for one in documents if one["kind"] in ("Role", "ClusterRole")]
    assert {verb for one in found for rule in one["rules"] for verb in rule["verbs"]} <= {"list"}
    resources = [{name for rule in one["rules"] for name in rule["resources"]} for one in found]
    places = [(one["kind"], one["metadata"].get("namespace")) for one in found]
    return [(*place, names) for place, names in zip(places, resources, strict=True)]


def test_rights_are_those_of_the_namespaces_that_are_looked_into(tmp_path: Path) -> None:
    platform = loaded(
        tmp_path,
        argo_cd={"namespace": "argocd"},
        kserve={"namespaces": ["ml", "other"]},
        kubernetes={"namespaces": ["ml"]},
        tekton={},
    )
    assert roles(platform) == [
        ("ClusterRole", None, {"pipelineruns", "taskruns"}),
        ("Role", "argocd", {"applications"}),
        ("Role", "ml", {"cronjobs", "inferenceservices", "jobs"}),
        ("Role", "other", {"inferenceservices"}),
    ]


def test_nothing_is_rendered_without_an_account_or_without_anything_to_list(tmp_path: Path) -> None:
    assert manifests.render_files(loaded(tmp_path, account=False, tekton={})) == {}
    assert manifests.render_files(loaded(tmp_path, argo_cd={"url": "https://argocd.example"})) == {}
