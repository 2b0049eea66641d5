"""What MLflow, Argo CD and Argo Rollouts say of the version of an episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from midwatch import argo_applications, kubernetes
from midwatch.argo_applications import Application
from midwatch.rest import StatusError
from monitors.loop.episode import Step
from monitors.loop.owner import Sight
from monitors.loop.owners import argo_cd, argo_rollouts, mlflow
from tests.loop.parts import ID, document, episode, place, platform, registered, seen

OBSERVE = {"url": "http://mlflow.invalid", "served_as": "v{version}"}


class Api:
    """Answers of MLflow 3.17 to what is asked of it."""

    def __init__(self, versions: list[dict[str, Any]], runs: dict[str, dict[str, Any]], champion: str = "3") -> None:
        self.versions, self.runs, self.champion = versions, runs, champion

    def document(self, path: str, /, **asked: str) -> dict[str, Any]:
        name = path.removeprefix("/api/2.0/mlflow/")
        if name == "registered-models/get":
            return {"registered_model": {"name": "fraud", "aliases": [{"alias": "champion", "version": self.champion}]}}
        if name == "model-versions/search":  # its aliases are empty: mlflow#16734
            return {"model_versions": self.versions}
        if name == "runs/get" and asked["run_id"] in self.runs:
            return {"run": self.runs[asked["run_id"]]}
        if name == "experiments/get-by-name":
            return {"experiment": {"experiment_id": "1"}}
        raise StatusError(f"{path}: 404 RESOURCE_DOES_NOT_EXIST", 404)

    def found(self, path: str, body: dict[str, Any], /) -> dict[str, Any]:
        assert body["filter"] == f"tags.`midwatch.episode` = '{ID}'"
        return {"runs": [one for one in self.runs.values() if tags_of(one).get("midwatch.episode") == ID]}


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in run["data"]["tags"]}


def version(number: str, created: float = 1200.0, run_id: str = "", **tags: str) -> dict[str, Any]:
    return {
        "name": "fraud",
        "version": number,
        "creation_timestamp": created * 1000,
        "run_id": run_id,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }


def run(run_id: str, status: str = "FINISHED", metrics: dict[str, float] | None = None, **tags: str) -> dict[str, Any]:
    return {
        "info": {"run_id": run_id, "status": status, "start_time": 1_110_000, "end_time": 1_190_000},
        "data": {
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "metrics": [{"key": key, "value": one, "timestamp": 1_195_000} for key, one in (metrics or {}).items()],
        },
    }


def of_episode(episode: str = ID) -> dict[str, str]:
    return {"midwatch.episode": episode}


def look(folder: Path, api: Api, *records: Any, experiment: str | None = None) -> list[Sight]:
    written = document(systems={"mlflow": {"owner": "ml", "targets": ["m:1"], "observe": OBSERVE}})
    written["models"][0]["loop"] = {"experiment": experiment} if experiment else {}
    owner = mlflow.build(place(platform(folder, written)))
    assert not isinstance(owner, str)
    owner.api = api  # type: ignore[assignment]
    return owner.look(episode(*records), 1500.0)


def said(sights: list[Sight]) -> dict[str, tuple[str, str, float | None]]:
    return {one.step.value: (one.result.value, one.id, one.at) for one in sights}


@pytest.mark.parametrize(
    ("versions", "runs", "found"),
    [
        ([version("4", **of_episode())], {}, "4"),
        ([version("4", run_id="r")], {"r": run("r", **of_episode())}, "4"),
        ([version("4", run_id="r")], {"r": run("r", **of_episode("other"))}, None),
        ([version("4", run_id="r", **of_episode("other"))], {"r": run("r", **of_episode())}, None),
        ([version("4")], {}, None),
        ([version("4", **of_episode()) | {"status": "FAILED_REGISTRATION"}], {}, None),
        ([version("4", **of_episode()) | {"status": "READY"}], {}, "4"),
        ([version("4", created=900.0, **of_episode())], {}, None),
        ([version("4", **of_episode()), version("5", created=1300.0, **of_episode())], {}, "5"),
    ],
    ids=[
        "by its tag",
        "by the tag of its run",
        "of another episode's run",
        "of another episode, by its own tag",
        "by nothing but its time",
        "that could not be registered",
        "that is ready",
        "older than the drift",
        "the newest of two",
    ],
)
def test_a_version_is_of_an_episode_by_what_ties_it(
    tmp_path: Path, versions: list, runs: dict, found: str | None
) -> None:
    sights = said(look(tmp_path, Api(versions, runs)))
    assert sights.get("registered", ("", None))[1] == found


def test_a_version_is_tied_by_the_run_that_the_pipeline_named(tmp_path: Path) -> None:
    trained = seen(Step.TRAINED, 1190.0, source="tekton", facts={"run": "succeeded", "mlflow_run": "r"})
    assert said(look(tmp_path, Api([version("4", run_id="r")], {}), trained))["registered"] == ("done", "4", 1200.0)


def test_a_version_that_was_registered_later_does_not_take_the_place_of_the_one_on_record(tmp_path: Path) -> None:
    api = Api([version("4", **of_episode()), version("5", created=1300.0, **of_episode())], {})
    assert said(look(tmp_path, api, registered()))["registered"] == ("done", "4", 1200.0)


def test_the_run_of_a_version_says_when_it_was_trained_and_how_it_was_evaluated(tmp_path: Path) -> None:
    api = Api([version("4", run_id="r")], {"r": run("r", metrics={"accuracy": 0.9}, **of_episode())})
    assert said(look(tmp_path, api)) == {
        "run_started": ("done", "r", 1110.0),
        "trained": ("done", "r", 1190.0),
        "registered": ("done", "4", 1200.0),
        "evaluation": ("done", "4", 1195.0),
    }


def test_a_run_of_the_experiment_is_seen_before_there_is_a_version(tmp_path: Path) -> None:
    api = Api([], {"r": run("r", "FAILED", **of_episode()), "other": run("other", **of_episode("other"))})
    assert said(look(tmp_path, api, experiment="training")) == {
        "run_started": ("done", "r", 1110.0),
        "trained": ("failed", "r", 1190.0),
    }
    assert look(tmp_path, api) == []


def test_tags_say_how_checks_ended(tmp_path: Path) -> None:
    tags = {"midwatch.bias_check": "failed", "midwatch.security_scan": "passed", "midwatch.data_validation": "maybe"}
    found = said(look(tmp_path, Api([version("4", **tags, **of_episode())], {})))
    assert (found["bias_check"][0], found["security_scan"][0]) == ("failed", "done")
    assert "data_validation" not in found and "evaluation" not in found


def test_an_alias_that_moved_is_a_promotion_and_back_again_a_rollback(tmp_path: Path) -> None:
    api = Api([version("4", **of_episode())], {}, champion="4")
    promoted = next(one for one in look(tmp_path, api) if one.step is Step.PROMOTED)
    assert promoted.said == "alias champion is version 4, before a verdict on its canary was seen"
    judged = seen(Step.CANARY_JUDGED, 1250.0)
    promoted = next(one for one in look(tmp_path, api, judged) if one.step is Step.PROMOTED)
    assert promoted.said == "alias champion is version 4"
    api.champion = "3"
    assert "promoted" not in said(look(tmp_path, api))
    back = said(look(tmp_path, api, seen(Step.PROMOTED, None, seen=1260.0)))
    assert back["rolled_back"] == ("done", "3", None)


# Argo ---------------------------------------------------------------------------------------------------------------


def rollout(monkeypatch: pytest.MonkeyPatch, folder: Path, **status: Any) -> dict[str, tuple[str, str, float | None]]:
    written = document()
    criteria = [{"metric": "errors", "tolerated_ratio": 1.1, "unacceptable_ratio": 1.5}]
    written["models"][0]["canary"] = {"criteria": criteria, "rollout": {"name": "fraud", "namespace": "ml"}}
    template = {"spec": {"containers": [{"image": "registry.invalid/fraud:v4"}]}}
    found = {"metadata": {"namespace": "ml", "name": "fraud"}, "spec": {"template": template}, "status": status}
    monkeypatch.setattr(kubernetes, "find", lambda *_, **__: found)
    owner = argo_rollouts.build(place(platform(folder, written)))
    assert not isinstance(owner, str)
    assert owner.look(episode(), 1500.0) == []
    other = registered()
    assert owner.look(episode(seen(Step.REGISTERED, 1.0, id="5", facts={"served_as": "v5"})), 1500.0) == []
    return said(owner.look(episode(other), 1500.0))


def test_a_rollout_with_the_version_has_it_deployed_and_one_that_was_aborted_has_it_rolled_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert rollout(monkeypatch, tmp_path, currentPodHash="abc") == {}
    running = rollout(monkeypatch, tmp_path, currentPodHash="abc", updatedReplicas=1)
    assert running == {"deployed": ("done", "ml/fraud", None)}
    aborted = {"abort": True, "abortedAt": "1970-01-01T00:20:00Z", "message": "metric failed"}
    back = rollout(monkeypatch, tmp_path, currentPodHash="abc", **aborted)
    assert back == {"rolled_back": ("done", "ml/fraud", 1200.0)}


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        ({"phase": "Succeeded", "finishedAt": "1970-01-01T00:20:10Z"}, {"deployed": ("done", "argocd/fraud", 1210.0)}),
        ({"phase": "Failed", "finishedAt": "1970-01-01T00:20:10Z"}, {"deployed": ("failed", "argocd/fraud", 1210.0)}),
        ({"phase": "Succeeded", "finishedAt": "1970-01-01T00:19:00Z"}, {}),
        ({"phase": "Running"}, {}),
    ],
    ids=["succeeded", "failed", "before the version was there", "runs"],
)
def test_argo_cd_says_what_its_last_operation_made_of_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, operation: dict, found: dict
) -> None:
    carried = {"fraud": {"model": "fraud", "image": ".*/fraud:(.+)"}}
    observe = {"namespace": "argocd", "carries": carried}
    written = document(systems={"argo_cd": {"owner": "ml", "targets": ["a:1"], "observe": observe}})
    owner = argo_cd.build(place(platform(tmp_path, written)))
    assert not isinstance(owner, str)
    application = Application.of(
        {
            "metadata": {"name": "fraud", "namespace": "argocd"},
            "status": {"operationState": operation, "summary": {"images": ["registry.invalid/fraud:v4"]}},
        }
    )
    monkeypatch.setattr(argo_applications, "ask", lambda _: [application])
    assert said(owner.look(episode(registered()), 1500.0)) == found
