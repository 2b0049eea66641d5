"""Runs of Tekton's pipelines, from objects as a cluster has them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from exporters.systems import successes
from exporters.systems.kinds import tekton
from exporters.systems.source import Sample
from midwatch import pipeline_runs
from midwatch.cluster_objects import seconds
from midwatch.errors import MidwatchError
from midwatch.spec.observed.tekton import PipelinePromise

CREATED, STARTED, ENDED = "2026-11-20T04:00:00Z", "2026-11-20T04:02:00Z", "2026-11-20T05:02:00Z"
EVENT = {
    "triggers.tekton.dev/triggers-eventid": "4f2e",
    "triggers.tekton.dev/eventlistener": "retraining",
    "triggers.tekton.dev/trigger": "drift",
}
TRUE, FALSE = "True", "False"


def run(
    name: str = "train-1",
    *,
    said: tuple[str, str] | None = None,
    created: str = CREATED,
    started: str | None = STARTED,
    ended: str | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    status: dict[str, Any] = {"startTime": started, "completionTime": ended}
    if said:
        status["conditions"] = [{"type": "Succeeded", "status": said[0], "reason": said[1]}]
    metadata = {"namespace": "ml", "name": name, "creationTimestamp": created, "labels": labels or {}}
    return {"metadata": metadata, "spec": {"pipelineRef": {"name": "train"}} | spec, "status": status}


def task(reason: str, *, of: str = "train-1", created: str = CREATED, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Succeeded", "status": "Unknown", "reason": reason}]
    metadata = {"namespace": "ml", "name": "t", "creationTimestamp": created, "labels": {"tekton.dev/pipelineRun": of}}
    return {"metadata": metadata, "spec": {}, "status": {"conditions": conditions, **status}}


def runs(*found: dict[str, Any]) -> list[pipeline_runs.Run]:
    return [pipeline_runs.run_of(one) for one in found]


def by(samples: Iterable[Sample], label: str, name: str) -> dict[str, float]:
    """Values of a metric by a label; every sample has the labels of its metric."""
    every = list(samples)
    assert all(set(sample.labels) == set(sample.metric.labels) for sample in every)
    return {sample.labels[label]: sample.value for sample in every if sample.metric.name == name}


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (run(said=(TRUE, "Succeeded")), "succeeded"),
        (run(said=(TRUE, "Completed")), "skipped"),
        (run(said=(FALSE, "Failed")), "failed"),
        (run(said=(FALSE, "PipelineRunTimeout")), "failed"),
        (run(said=(FALSE, "CouldntGetPipeline"), started=None), "failed"),
        (run(said=(FALSE, "Cancelled")), "cancelled"),
        (run(said=(FALSE, "StoppedRunningFinally")), "cancelled"),
        (run(said=("Unknown", "Running")), "running"),
        (run(said=("Unknown", "Started")), "running"),
        (run(said=("Unknown", "ResolvingPipelineRef")), "waiting"),
        (run(said=("Unknown", "PipelineRunPending"), started=None, status="PipelineRunPending"), "waiting"),
        (run(started=None), "waiting"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_became_of_a_run_is_what_tekton_says(found: dict[str, Any], outcome: str) -> None:
    assert pipeline_runs.run_of(found).outcome == outcome


@pytest.mark.parametrize(
    ("spec", "labels", "pipeline"),
    [
        ({}, {}, "train"),
        ({"pipelineRef": {"resolver": "cluster", "params": [{"name": "name", "value": "retrain"}]}}, {}, "retrain"),
        ({"pipelineRef": {"resolver": "git", "params": [{"name": "pathInRepo", "value": "p.yaml"}]}}, {}, "p.yaml"),
        ({"pipelineRef": None, "pipelineSpec": {}}, {"tekton.dev/pipeline": "train-1"}, "anonymous"),
        ({"pipelineRef": None, "pipelineSpec": {}}, {"tekton.dev/pipeline": "nightly"}, "nightly"),
    ],
    ids=["named", "cluster", "git", "inside", "labelled"],
)
def test_a_runs_own_name_is_no_pipeline(spec: dict[str, Any], labels: dict[str, str], pipeline: str) -> None:
    assert pipeline_runs.run_of(run(labels=labels, **spec)).pipeline == pipeline


def test_the_newest_end_counts_for_each_outcome() -> None:
    older = run("a", said=(TRUE, "Succeeded"), ended=ENDED)
    newer = run("b", said=(TRUE, "Succeeded"), started="2026-11-21T04:00:00Z", ended="2026-11-21T04:30:00Z")
    failed = run("c", said=(FALSE, "Failed"), ended="2026-11-22T05:00:00Z")
    for order in ([older, newer, failed], [failed, newer, older]):
        samples = list(tekton.last_runs(runs(*order)))
        ends = by(samples, "outcome", "tekton_pipeline_last_end_timestamp_seconds")
        assert ends == {"succeeded": seconds("2026-11-21T04:30:00Z"), "failed": seconds("2026-11-22T05:00:00Z")}
        assert by(samples, "outcome", "tekton_pipeline_last_duration_seconds")["succeeded"] == 1800


def test_a_wait_is_from_creation_to_start() -> None:
    samples = tekton.last_runs(runs(run(said=("Unknown", "Running"))))
    assert by(samples, "pipeline", "tekton_pipeline_last_wait_seconds") == {"train": 120}


def test_runs_that_wait_for_a_quota_or_a_node_are_seen_by_their_tasks() -> None:
    known = runs(run(said=("Unknown", "Running")), run("b", started=None, created="2026-11-20T03:00:00Z"))
    tasks = [
        task("ExceededResourceQuota", created="2026-11-20T04:03:00Z"),
        task("ExceededResourceQuota", created="2026-11-20T04:02:30Z"),
        task("Running"),
        task("Pending", of="gone", created="2026-11-20T04:04:00Z"),
    ]
    samples = list(tekton.oldest_waits(known, tasks))
    assert by(samples, "reason", "tekton_pipeline_oldest_waiting_timestamp_seconds") == {
        "NotStarted": seconds("2026-11-20T03:00:00Z"),
        "ExceededResourceQuota": seconds("2026-11-20T04:02:30Z"),
        "Pending": seconds("2026-11-20T04:04:00Z"),
    }
    assert {sample.labels["pipeline"] for sample in samples} == {"train", "anonymous"}


def test_a_task_that_is_tried_again_waits_since_its_newest_attempt() -> None:
    again = task("Pending", startTime="2026-11-20T06:00:00Z", retriesStatus=[{}])
    (wait,) = pipeline_runs.waits_of_tasks([again], {})
    assert wait.since == seconds("2026-11-20T06:00:00Z")


def test_a_pipeline_that_does_not_run_has_no_runs_under_way() -> None:
    ended, waiting = run(said=(TRUE, "Succeeded")), run("b", started=None)
    states = by(tekton.under_way(runs(ended)), "state", "tekton_pipeline_runs")
    assert states == {"waiting": 0, "running": 0}
    assert by(tekton.under_way(runs(ended, waiting)), "state", "tekton_pipeline_runs") == {"waiting": 1, "running": 0}


def test_runs_that_events_made_are_told_by_their_trigger_and_outcome() -> None:
    by_event = run("a", said=(FALSE, "Failed"), labels=EVENT)
    earlier = run("b", said=(FALSE, "Failed"), labels=EVENT, created="2026-11-19T04:00:00Z")
    samples = list(tekton.triggered(runs(by_event, earlier, run("c", said=(TRUE, "Succeeded")))))
    assert by(samples, "outcome", "tekton_trigger_last_run_timestamp_seconds") == {"failed": seconds(CREATED)}
    assert [(one.labels["listener"], one.labels["trigger"]) for one in samples] == [("retraining", "drift")]


# Promised pipelines ------------------------------------------------------------------------------------------------


DAY = 86400.0


def promised(file: successes.File, now: float, *found: dict[str, Any], may_skip: bool = False) -> dict[str, float]:
    pipelines = {"ml/train": PipelinePromise(succeed_within=DAY, may_skip=may_skip)}
    last = file.updated(tekton.last_successes(runs(*found), pipelines), pipelines, now)
    return {sample.metric.name: sample.value for sample in tekton.promised(pipelines, last)}


def test_a_success_is_kept_though_its_run_is_pruned_and_the_exporter_restarts(tmp_path: Path) -> None:
    ended = seconds(ENDED)
    promised(successes.File(tmp_path / "s" / "successes.json"), ended, run(said=(TRUE, "Succeeded"), ended=ENDED))
    values = promised(successes.File(tmp_path / "s" / "successes.json"), ended + 9 * DAY)
    assert values["tekton_pipeline_last_success_timestamp_seconds"] == ended
    assert values["tekton_pipeline_success_due_timestamp_seconds"] == ended + DAY
    assert values["tekton_pipeline_never_succeeded"] == 0


def test_one_that_never_succeeded_is_due_since_it_is_watched_and_has_no_last_success(tmp_path: Path) -> None:
    file = successes.File(tmp_path / "successes.json")
    promised(file, 1000.0)
    values = promised(file, 5000.0, run(said=(FALSE, "Failed"), ended=ENDED))
    assert values == {"tekton_pipeline_never_succeeded": 1, "tekton_pipeline_success_due_timestamp_seconds": 1000 + DAY}


@pytest.mark.parametrize("may_skip", [False, True])
def test_a_run_that_skipped_a_task_is_a_success_only_where_the_platform_file_says_so(
    may_skip: bool, tmp_path: Path
) -> None:
    skipped = run(said=(TRUE, "Completed"), ended=ENDED)
    values = promised(successes.File(tmp_path / "successes.json"), 0.0, skipped, may_skip=may_skip)
    assert values["tekton_pipeline_never_succeeded"] == (not may_skip)


def test_an_older_success_that_is_still_there_does_not_replace_a_newer_one_that_is_not(tmp_path: Path) -> None:
    file = successes.File(tmp_path / "successes.json")
    promised(file, 0.0, run(said=(TRUE, "Succeeded"), ended="2026-11-25T04:00:00Z"))
    values = promised(file, 0.0, run(said=(TRUE, "Succeeded"), ended=ENDED))
    assert values["tekton_pipeline_last_success_timestamp_seconds"] == seconds("2026-11-25T04:00:00Z")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"ml/train": {}}', b"\xff"])
def test_a_damaged_file_is_an_error_and_no_new_beginning(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "successes.json"
    path.write_bytes(content)
    with pytest.raises(MidwatchError, match=r"successes\.json: cannot be read"):
        promised(successes.File(path), 0.0)
    assert path.read_bytes() == content
