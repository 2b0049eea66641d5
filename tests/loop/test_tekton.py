"""What Tekton says of the run of an episode, from objects as its controller writes them (v1, pipeline 1.6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from midwatch import kubernetes
from midwatch.spec.model import Platform
from monitors.loop.episode import Episode, Step
from monitors.loop.owner import Sight
from monitors.loop.owners import tekton
from tests.loop.parts import ID, asked, document, episode, pipeline_run, place, platform, seen

EVENT = "triggers.tekton.dev/triggers-eventid"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(status: str, reason: str) -> list[dict[str, str]]:
    return [{"type": "Succeeded", "status": status, "reason": reason, "message": "why"}]


def run(name: str = "r", created: float = 1101.0, labels: Mapping[str, str] = {}, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "training",
            "name": name,
            "uid": f"uid-{name}-{created:g}",
            "creationTimestamp": moment(created),
            "labels": dict(labels),
        },
        "spec": {"pipelineRef": {"name": "train"}},
        "status": {"startTime": moment(1110), "conditions": condition("Unknown", "Running")} | status,
    }


def task(name: str, of: dict[str, Any], status: str = "True", at: float | None = 1180, **labels: str) -> dict[str, Any]:
    told = {"conditions": condition(status, "Succeeded" if status == "True" else "Failed")}
    return {
        "metadata": {
            "namespace": "training",
            "name": f"r-{name}",
            "labels": {"tekton.dev/pipelineRun": "r", "tekton.dev/pipelineTask": name, **labels},
            "ownerReferences": [{"uid": of["metadata"]["uid"]}],
        },
        "status": told | ({"completionTime": moment(at)} if at else {}),
    }


class Cluster:
    """Runs and tasks, as a list with a selector of labels finds them."""

    def __init__(self, runs: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> None:
        self.objects = {"pipelineruns": runs, "taskruns": tasks}

    def request(self, method: str, path: str, *, query: Mapping[str, str] = {}, **_: Any) -> dict[str, Any]:
        name, _, value = query.get("labelSelector", "").partition("=")
        found = self.objects[path.rpartition("/")[2]]
        return {"items": [one for one in found if not name or one["metadata"]["labels"].get(name) == value]}

    def find(self, path: str, **_: Any) -> dict[str, Any] | None:
        name = path.rpartition("/")[2]
        return next((one for one in self.objects["pipelineruns"] if one["metadata"]["name"] == name), None)


@pytest.fixture
def by_webhook(tmp_path: Path) -> Platform:
    written = document(systems={"tekton": {"owner": "ml", "targets": ["t:1"], "observe": {}}})
    return platform(tmp_path, written)


def look(
    monkeypatch: pytest.MonkeyPatch,
    platform: Platform,
    found: Episode,
    runs: list[dict[str, Any]],
    tasks: list[dict[str, Any]] | None = None,
) -> list[Sight]:
    cluster = Cluster(runs, tasks or [])
    monkeypatch.setattr(kubernetes, "request", cluster.request)
    monkeypatch.setattr(kubernetes, "find", cluster.find)
    owner = tekton.build(place(platform))
    assert not isinstance(owner, str)
    return owner.look(found, 1500.0)


def said(sights: list[Sight]) -> dict[str, tuple[str, float | None]]:
    return {one.step.value: (one.result.value, one.at) for one in sights}


def test_a_run_is_found_by_the_id_of_its_event_alone(monkeypatch: pytest.MonkeyPatch, by_webhook: Platform) -> None:
    mine = run(labels={EVENT: "7"})
    others = [run("other", labels={EVENT: "8"}), run("old", labels={"tekton.dev/triggers-eventid": "7"})]
    found = look(monkeypatch, by_webhook, episode(*asked("7")), [*others, mine])
    assert [(one.step, one.id, one.at) for one in found] == [(Step.RUN_STARTED, "training/r", 1110.0)]
    assert look(monkeypatch, by_webhook, episode(*asked("9")), [*others, mine]) == []


def test_a_loop_that_dies_between_two_records_of_a_run_that_ended_has_the_missing_ones_asked_again(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    mine = run(labels={EVENT: "7"}, completionTime=moment(1200), conditions=condition("True", "Succeeded"))
    tasks = [task(name, mine) for name in ("train", "evaluate", "bias-check")]
    whole = look(monkeypatch, by_webhook, episode(*asked("7")), [mine], tasks)
    assert {one.step for one in whole} == {Step.RUN_STARTED, Step.TRAINED, Step.EVALUATION, Step.BIAS_CHECK}
    for count in range(len(whole)):
        kept = [seen(one.step, one.at, one.result, source="tekton", facts=dict(one.facts)) for one in whole[:count]]
        again = look(monkeypatch, by_webhook, episode(*asked("7"), *kept), [mine], tasks)
        assert {one.step for one in whole[count:]} <= {one.step for one in again}


def test_of_several_runs_of_one_event_the_one_that_trains_is_followed(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    told = run("announce", created=1100.0, labels={EVENT: "7"})
    mine = run("r", created=1102.0, labels={EVENT: "7"}, childReferences=[{"pipelineTaskName": "train"}])
    found = look(monkeypatch, by_webhook, episode(*asked("7")), [told, mine])
    assert [(one.step, one.id) for one in found] == [(Step.RUN_STARTED, "training/r")]


def test_nothing_is_looked_for_before_something_was_asked(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    assert look(monkeypatch, by_webhook, episode(), [run(labels={EVENT: ""})]) == []


def test_a_run_of_ours_is_found_by_its_name_unless_it_is_older_than_the_drift(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = platform(tmp_path, document(pipeline_run()))
    name = f"retrain-fraud-{ID}"
    assert said(look(monkeypatch, ours, episode(*asked()), [run(name)])) == {"run_started": ("done", 1110.0)}
    assert look(monkeypatch, ours, episode(*asked()), [run(name, created=500.0)]) == []


def test_the_tasks_that_train_and_check_are_steps_of_their_own(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    mine = run(labels={EVENT: "7"}, skippedTasks=[{"name": "security-scan", "reason": "When Expressions evaluated"}])
    tasks = [
        task("validate-data", mine, at=1120),
        task("train", mine, at=1180),
        task("bias-check", mine, "False", at=1190),
        task("evaluate", mine, "Unknown", at=None),
    ]
    assert said(look(monkeypatch, by_webhook, episode(*asked()), [mine], tasks)) == {
        "run_started": ("done", 1110.0),
        "data_validation": ("done", 1120.0),
        "trained": ("done", 1180.0),
        "bias_check": ("failed", 1190.0),
        "security_scan": ("skipped", None),
    }


def test_tasks_of_an_earlier_run_of_the_name_are_not_of_this_one(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    mine, earlier = run(labels={EVENT: "7"}), run(created=1.0)
    assert "trained" not in said(look(monkeypatch, by_webhook, episode(*asked()), [mine], [task("train", earlier)]))


ENDED = {"completionTime": moment(1200)}


@pytest.mark.parametrize(
    ("status", "tasks", "trained"),
    [
        (ENDED | {"conditions": condition("True", "Succeeded")}, [], ("done", 1200.0)),
        (ENDED | {"conditions": condition("False", "Failed")}, [], ("failed", 1200.0)),
        (ENDED | {"conditions": condition("False", "Cancelled")}, [], ("failed", 1200.0)),
        (
            ENDED | {"conditions": condition("False", "Failed"), "finallyStartTime": moment(1195)},
            [("fit", "True", {}), ("notify", "False", {"tekton.dev/memberOf": "finally"})],
            ("done", 1195.0),
        ),
        (
            ENDED | {"conditions": condition("False", "Failed"), "finallyStartTime": moment(1195)},
            [("fit", "False", {}), ("notify", "True", {"tekton.dev/memberOf": "finally"})],
            ("failed", 1200.0),
        ),
        (
            ENDED | {"conditions": condition("True", "Completed"), "skippedTasks": [{"name": "train", "reason": "w"}]},
            [],
            ("skipped", 1200.0),
        ),
        (
            ENDED | {"conditions": condition("False", "Failed"), "childReferences": [{"pipelineTaskName": "train"}]},
            [],
            ("failed", 1200.0),
        ),
    ],
    ids=[
        "succeeded",
        "failed",
        "cancelled",
        "a finally task failed",
        "a task failed",
        "training left out",
        "ended before its training did",
    ],
)
def test_the_end_of_a_run_says_of_its_training_what_it_means(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform, status: dict, tasks: list, trained: tuple
) -> None:
    mine = run(labels={EVENT: "7"}, **status)
    made = [task(name, mine, result, **labels) for name, result, labels in tasks]
    assert said(look(monkeypatch, by_webhook, episode(*asked()), [mine], made))["trained"] == trained


def test_what_a_run_left_out_and_the_run_in_the_registry_are_facts_of_its_end(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    mine = run(
        labels={EVENT: "7"},
        conditions=condition("True", "Completed"),
        completionTime=moment(1200),
        skippedTasks=[{"name": "register", "reason": "When Expressions evaluated to false"}],
        results=[{"name": "mlflow-run-id", "value": "abc"}],
    )
    (trained,) = [one for one in look(monkeypatch, by_webhook, episode(*asked()), [mine]) if one.step is Step.TRAINED]
    assert trained.facts == {"run": "skipped", "ended": "1200", "skipped": "register", "mlflow_run": "abc"}


def test_a_run_whose_end_is_on_record_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, by_webhook: Platform
) -> None:
    over = episode(*asked(), seen(Step.TRAINED, 1190.0, source="tekton", facts={"run": "succeeded"}))
    assert look(monkeypatch, by_webhook, over, [run(labels={EVENT: "7"})]) == []


def test_a_webhook_that_runs_no_pipeline_is_said_not_to_be_observed(tmp_path: Path) -> None:
    assert tekton.build(place(platform(tmp_path))) == (
        "systems.tekton has no observe, and the webhook runs no pipeline that is named"
    )
