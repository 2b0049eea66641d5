"""The rendered templates: what the cluster takes, and that undecided never becomes a success."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app import cli, live
from midwatch.app.render import Target, rendered_files
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import canary as canary_spec
from midwatch.spec.model import Platform
from monitors.canary import argo, argo_check


def platform_of(make_document: Any, **more: Any) -> Platform:
    document = make_document(**more)
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}], "label": "rollouts_pod_template_hash"}
    return Platform.model_validate(document)


def documents(platform: Platform, target: Target = Target.KUBERNETES) -> dict[str, Any]:
    return {
        name: yaml.safe_load(text)
        for name, text in rendered_files(platform, target).items()
        if name.startswith("argo-rollouts/") and name.endswith(".yaml")
    }


@pytest.mark.parametrize("target", [Target.FILES, Target.KUBERNETES])
@pytest.mark.parametrize("gate", [{}, {"token_secret": {"name": "gate-token"}}], ids=["open", "token"])
def test_every_template_is_what_the_cluster_takes(make_document: Any, target: Target, gate: dict[str, Any]) -> None:
    platform = platform_of(make_document, gate=gate)
    found = documents(platform, target)
    assert [one["kind"] for one in found.values()] == ["AnalysisTemplate"] * 2 + ["ClusterAnalysisTemplate"]
    assert list(argo_check.check_files(rendered_files(platform, target))) == []
    assert ("Authorization" in json.dumps(found)) == bool(gate)
    assert rendered_files(platform, target) == rendered_files(platform, target)


def test_a_model_without_canary_has_none(make_platform: Any) -> None:
    assert argo.render_files(make_platform()) == {}


def outcome(metric: dict[str, Any], verdicts: list[str]) -> str:
    """Phase of an analysis after these measurements: the controller's rules (analysis/analysis.go)."""
    failed = inconclusive = streak = 0
    for number, verdict in enumerate(verdicts, 1):
        failed, inconclusive = failed + (verdict == "fail"), inconclusive + (verdict == "inconclusive")
        streak = streak + 1 if verdict == "pass" else 0
        if failed > metric["failureLimit"]:
            return "Failed"
        if inconclusive > metric["inconclusiveLimit"]:
            return "Inconclusive"
        if metric.get("consecutiveSuccessLimit") and streak >= metric["consecutiveSuccessLimit"]:
            return "Successful"
        if number >= metric["count"]:
            return "Inconclusive" if metric.get("consecutiveSuccessLimit") else "Successful"
    return "Running"


def test_undecided_is_never_a_success(make_document: Any) -> None:
    asked = documents(platform_of(make_document))["argo-rollouts/analysis-template-fraud.yaml"]["spec"]["metrics"][0]
    count = asked["count"]
    assert outcome(asked, ["inconclusive"] * count) == "Inconclusive"
    assert outcome(asked, ["inconclusive"] * (count - 1)) == "Running"
    assert outcome(asked, ["inconclusive"] * 9 + ["pass"]) == "Successful"
    assert outcome(asked, ["inconclusive"] * 9 + ["fail"]) == "Failed"
    del asked["consecutiveSuccessLimit"]  # the trap that the check is there for
    assert outcome(asked, ["inconclusive"] * count) == "Successful"


def test_the_job_asks_until_it_is_decided_and_has_no_third_answer(make_document: Any) -> None:
    job = documents(platform_of(make_document))["argo-rollouts/analysis-template-fraud-job.yaml"]["spec"]["metrics"][0]
    job = job["provider"]["job"]["spec"]
    command = job["template"]["spec"]["containers"][0]["command"]
    assert command[:3] == ["midwatch", "canary", "judge"]
    assert command[command.index("--wait") + 1] == "1h"
    assert job["activeDeadlineSeconds"] > 3600
    with pytest.raises(SystemExit) as ended:
        cli.main([*command[1:3], "--help"])
    assert ended.value.code == 0


def test_the_steps_are_inline_and_the_arms_are_pods_or_versions(make_document: Any) -> None:
    platform = platform_of(make_document)
    text = rendered_files(platform)["argo-rollouts/rollout-steps-fraud.txt"]
    steps = yaml.safe_load(text)["spec"]["strategy"]["canary"]["steps"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [10, 30, 60]
    analysis = steps[1]["analysis"]
    assert analysis["templates"] == [{"templateName": "midwatch-canary-fraud"}]
    assert [arg["valueFrom"]["podTemplateHashValue"] for arg in analysis["args"]] == ["Stable", "Latest"]
    declared = documents(platform)["argo-rollouts/analysis-template-fraud.yaml"]["spec"]["args"]
    assert {arg["name"] for arg in analysis["args"]} == {arg["name"] for arg in declared if len(arg) == 1}
    document = make_document()
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    by_version = rendered_files(Platform.model_validate(document))["argo-rollouts/rollout-steps-fraud.txt"]
    assert "value: v1" in by_version


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"count": 0}, "never ends"),
        ({"count": 1, "failureLimit": 1}, "must be >= failureLimit + consecutiveSuccessLimit (1 + 1)"),
        ({"consecutiveSuccessLimit": 0}, "a count used up undecided is a success"),
        ({"consecutiveSuccessLimit": -1}, "consecutiveSuccessLimit must be >= 0"),
        ({"consecutiveSuccessLimit": 0, "failureLimit": -1}, "cannot both be disabled"),
        ({"failureLimit": -2}, "failureLimit must be >= 0"),
        ({"inconclusiveLimit": -1}, "inconclusiveLimit must be >= 0"),
        ({"inconclusiveLimit": 9999}, "count must be >= inconclusiveLimit"),
        ({"consecutiveErrorLimit": -1}, "consecutiveErrorLimit must be >= 0"),
        ({"interval": None}, "interval must be specified"),
        ({"interval": "soon"}, "no duration of Go"),
        ({"failureCondition": None}, "undecided is decided"),
        ({"count": [1]}, "is not of type"),
        ({"inconclusive": 3}, "inconclusive"),
        ({"provider": {}}, "no provider"),
        ({"provider": {"web": {"url": "x"}, "job": {"spec": {"template": {}}}}}, "2 providers"),
        ({"provider": {"web": {"jsonPath": "{$}"}}}, "'url' is a required property"),
        ({"provider": {"web": {"url": "x", "jsonBody": {}, "body": "y", "method": "GET"}}}, "needs method POST"),
        ({"provider": {"web": {"url": "{{args.elsewhere}}"}}}, "elsewhere is used and not declared"),
        ({"provider": {"web": {"url": "x", "jsonPath": "{.verdict}"}}}, "only web metrics decide"),
        ({"provider": {"web": {"url": "x", "jsonPath": "{$}"}}}, "the body `null` ends the controller"),
        ({"provider": {"web": {"url": "x"}}}, "the body `null` ends the controller"),
        ({"successCondition": "result[0] >= 0"}, "others can take undecided for decided"),
        ({"failureCondition": "result[0] < -1"}, "others can take undecided for decided"),
        ({"provider": {"prometheus": {"query": "x", "adress": "y"}}}, "adress"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_template_that_is_wrong_is_found(make_document: Any, change: dict[str, Any], told: str) -> None:
    good = documents(platform_of(make_document))["argo-rollouts/analysis-template-fraud.yaml"]
    broken = copy.deepcopy(good)
    metric = broken["spec"]["metrics"][0]
    for name, value in change.items():
        metric.pop(name, None)
        if value is not None:
            metric[name] = value
    assert told in " ".join(problem.message for problem in argo_check.check_template("t.yaml", broken))
    assert list(argo_check.check_template("t.yaml", good)) == []


def test_a_web_metric_is_believed_only_where_another_decides_too(make_document: Any) -> None:
    template = documents(platform_of(make_document))["argo-rollouts/analysis-template-fraud.yaml"]
    asked = template["spec"]["metrics"][0]
    web = {**asked, "name": "web", "provider": {"web": {"url": "http://gate/passed", "jsonPath": "{.verdict}"}}}
    template["spec"]["metrics"] = [web, asked]

    def told() -> bool:
        found = argo_check.check_template("t.yaml", template)
        return any("only web metrics decide" in problem.message for problem in found)

    assert not told()
    template["spec"]["dryRun"] = [{"metricName": "can.*"}]  # what is run dry decides nothing
    assert told()
    template["spec"]["dryRun"] = [{"metricName": "web"}]
    assert not told()


def test_steps_of_a_rollout_that_the_platform_file_names_are_an_object(make_document: Any) -> None:
    document = make_document()
    named = {"name": "fraud-model", "namespace": "ml", "weights": [5, 50]}
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}], "rollout": named}
    files = rendered_files(Platform.model_validate(document))
    assert "argo-rollouts/rollout-steps-fraud.txt" not in files
    rollout = yaml.safe_load(files["argo-rollouts/rollout-steps-fraud.yaml"])
    assert (rollout["kind"], rollout["metadata"]) == ("Rollout", {"name": "fraud-model", "namespace": "ml"})
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [5, 50]
    args = {one["name"]: one["valueFrom"] for one in steps[1]["analysis"]["args"]}
    assert args == {"baseline": {"podTemplateHashValue": "Stable"}, "canary": {"podTemplateHashValue": "Latest"}}
    fields = {"baseline": "metadata.annotations['stable']", "canary": "spec.template.metadata.labels.version"}
    document["models"][0]["canary"]["rollout"] = {"name": "fraud-model", **fields}
    files = rendered_files(Platform.model_validate(document))
    steps = yaml.safe_load(files["argo-rollouts/rollout-steps-fraud.yaml"])["spec"]["strategy"]["canary"]["steps"]
    args = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in steps[1]["analysis"]["args"]}
    assert args == fields
    assert len(steps) == 6


def test_metrics_and_arguments_need_names_of_their_own(make_document: Any) -> None:
    good = documents(platform_of(make_document))["argo-rollouts/analysis-template-fraud.yaml"]
    good["spec"]["metrics"] *= 2
    good["spec"]["args"] += [{"name": "canary"}]
    told = [problem.message for problem in argo_check.check_template("t.yaml", good)]
    assert told == ["a second metric 'canary'", "a second argument canary"]


@pytest.mark.parametrize(
    ("canary", "told"),
    [
        ({"criteria": [{"metric": "latncy"}]}, "criteria[0].metric: there is no metric 'latncy'; did you mean"),
        ({"criteria": [{"name": "x"}]}, "criteria[0].metric: missing; add metric"),
        ({"criteria": []}, "criteria: empty; write at least 1"),
        ({"criteria": [{"metric": "errors"}, {"metric": "errors"}]}, "criteria[1]: a second criterion 'errors'"),
        ({"criteria": [{"metric": "errors", "tolerated_ratio": 2}]}, "unacceptable_ratio 1.5 is not above"),
        ({"criteria": [{"metric": "errors", "negligible": "60%"}]}, "write less than 50%"),
        ({"criteria": [{"metric": "counters", "name": "c", "total": "t"}]}, "needs exactly one of events and good"),
        ({"criteria": [{"metric": "gauge", "name": "g", "series": "rate(x[5m])"}]}, "is not a series"),
        ({"criteria": [{"metric": "accuracy"}], "source": "servers"}, "servers publish no accuracy"),
        ({"criteria": [{"metric": "errors"}], "interval": "1s"}, "is shorter than the scrape interval"),
        ({"criteria": [{"metric": "errors"}], "score": {"pass": 50, "marginal": 80}}, "marginal 80 is above pass 50"),
        ({"criteria": [{"metric": "errors"}], "rollout": {"name": "r", "weights": [30, 10]}}, "do not increase"),
        (
            {
                "criteria": [{"metric": "errors"}],
                "rollout": {"name": "r", "baseline": "status.x", "canary": "status.x"},
            },
            "status.x would be both baseline and canary",
        ),
        (
            {"criteria": [{"metric": "errors"}], "rollout": {"name": "r", "canary": "spec.labels['version']"}},
            "rollout.canary: \"spec.labels['version']\" is not a field of a Rollout",
        ),
    ],
    ids=[
        "metric",
        "no metric",
        "none",
        "twice",
        "order",
        "negligible",
        "counters",
        "gauge",
        "source",
        "interval",
        "score",
        "weights",
        "arms",
        "field",
    ],
)
def test_a_canary_section_that_is_wrong_is_named_with_its_line(
    make_document: Any, tmp_path: Path, capsys: Any, canary: dict[str, Any], told: str
) -> None:
    document = make_document()
    document["models"][0]["canary"] = canary
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(SystemExit) as ended:
        cli.main(["render", "-f", str(file), "-o", str(tmp_path / "build")])
    errors = capsys.readouterr().err
    assert (ended.value.code, told in errors) == (2, True), errors
    assert f"{file}:" in errors
    assert not (tmp_path / "build").exists()


def test_prometheus_scrapes_the_gate_where_there_is_a_canary(make_document: Any, make_platform: Any) -> None:
    def jobs(platform: Platform) -> dict[str, Any]:
        configuration = yaml.safe_load(rendered_files(platform)["prometheus/prometheus.yml"])
        return {one["job_name"]: one["static_configs"][0]["targets"] for one in configuration["scrape_configs"]}

    assert jobs(platform_of(make_document))["midwatch-gate"] == ["127.0.0.1:9600"]
    assert "midwatch-gate" not in jobs(make_platform())


# Templates and Rollouts of others ----------------------------------------------------------------------------------


def written(platform: Platform) -> dict[str, Any]:
    """Manifests of a repository, by what is wrong with them."""
    web = {"url": f"{platform.gate.url}/verdict", "jsonPath": "{.verdict}"}
    limits = {"count": 3, "interval": "9s", "consecutiveSuccessLimit": 1, "failureLimit": 0}
    conditions = {"successCondition": 'result == "pass"', "failureCondition": 'result == "fail"'}
    metric = {"name": "m", **limits, **conditions, "provider": {"web": web}}
    others = {"name": "m", "provider": {"web": {"url": "http://other/"}}}
    datadog = {"name": "d", "provider": {"datadog": {"query": "x"}}}
    arms = [{"name": "baseline", "value": "v1"}, {"name": "canary", "value": "v2"}]
    latest = [{"name": one["name"], "valueFrom": {"podTemplateHashValue": "Latest"}} for one in arms]
    named = {"templates": [{"templateName": argo.templates(platform)[1]["metadata"]["name"]}]}

    def template(name: str, *metrics: Any) -> dict[str, Any]:
        return {"kind": "AnalysisTemplate", "metadata": {"name": name}, "spec": {"metrics": list(metrics)}}

    def rollout(name: str, analysis: dict[str, Any], key: str = "steps") -> dict[str, Any]:
        canary = {"steps": [{"setWeight": 1}, {"analysis": analysis}]} if key == "steps" else {key: analysis}
        place = {"name": name, "namespace": "ml"}
        return {"kind": "Rollout", "metadata": place, "spec": {"strategy": {"canary": canary}}}

    return {
        "fooled": template("fooled", metric),
        "of others": template("others", others),
        "beside another": template("both", others, datadog),
        "good": rollout("good", {**named, "args": arms}),
        "background": rollout("background", {**named, "args": arms}, "analysis"),
        "same": rollout("same", {**named, "args": [arms[0], {"name": "canary", "value": "v1"}]}),
        "unknown": rollout("unknown", {**named, "args": [*arms, {"name": "model", "value": "fruad"}]}),
        "hash": rollout("hash", {**named, "args": latest}),
        "none": rollout("none", {"templates": [{"templateName": "midwatch-canary-x"}]}),
    }


@pytest.mark.parametrize(
    ("one", "told"),
    [
        ("fooled", "AnalysisTemplate fooled: spec.metrics: only web metrics decide"),
        ("of others", None),
        ("beside another", None),
        ("good", None),
        ("background", "counts as successful"),
        ("same", "baseline and canary are both 'v1'"),
        ("unknown", "the gate knows no model 'fruad'"),
        ("hash", "baseline and canary are both Latest"),
        ("none", "there is no template midwatch-canary-x"),
    ],
)
def test_manifests_of_others_are_searched_before_they_are_applied(
    make_document: Any, tmp_path: Path, one: str, told: str | None
) -> None:
    platform = platform_of(make_document)
    manifest = {"apiVersion": "argoproj.io/v1alpha1", **written(platform)[one]}
    unrelated = {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}
    file = tmp_path / "manifests" / "all.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump_all([unrelated, manifest]))
    warnings: list[Problem] = []
    problems = list(map(str, live.manifest_problems(platform, file.parent, warnings)))
    assert len(problems) == (told is not None), problems
    assert told is None or (told in problems[0] and problems[0].startswith(f"{file}:")), problems
    assert len(warnings) == (one == "of others")


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {"metrics": {}},
        {"metrics": [{"name": "x"}]},
        {"metrics": [{"name": "x", "provider": []}]},
        {"metrics": [{"name": "x", "provider": {"web": "u"}}]},
        {"args": [{}]},
        {"dryRun": [{"metricName": 1}]},
    ],
    ids=str,
)
def test_a_manifest_that_is_not_formed_as_its_kind_is_named(make_document: Any, tmp_path: Path, spec: Any) -> None:
    file = tmp_path / "template.yaml"
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "t"}}
    file.write_text(yaml.safe_dump({**kind, "spec": spec}))
    with pytest.raises(InvalidInputError, match=f"{file}:1: spec"):
        live.manifest_problems(platform_of(make_document), file, [])


def test_a_model_whose_template_would_be_called_as_another_models_job_is_refused(make_document) -> None:
    document = make_document()
    canary = {"criteria": [{"metric": "errors", "negligible": "1%"}]}
    first = {**document["models"][0], "canary": canary}
    second = {"name": "fraud-job", "owner": "ml", "task": "regression", "canary": canary}
    built = Platform.model_validate({**document, "models": [first, second]})
    assert [place for place, _, _ in canary_spec.check(built)] == [("models", 1, "name")]
    alone = Platform.model_validate({**document, "models": [{**second, "name": "other-job"}, first]})
    assert list(canary_spec.check(alone)) == []
