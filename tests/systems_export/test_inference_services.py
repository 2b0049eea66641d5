"""InferenceServices of KServe, from objects as a cluster has them."""

from __future__ import annotations

from typing import Any

import pytest

from exporters.systems.kinds import kserve


def service(*, ready: str | None = "True", model: dict[str, Any] | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {"conditions": [{"type": "Ready", "status": ready}]} if ready else {}
    if model is not None:
        status["modelStatus"] = model
    return {"metadata": {"namespace": "ml", "name": "fraud"}, "spec": {}, "status": status}


def said(found: dict[str, Any], name: str) -> dict[tuple[str, ...], float]:
    """Values of a metric by its labels beside the service's own."""
    samples = [
        sample for sample in kserve.of_service(found) if sample.metric.name == f"kserve_inference_service_{name}"
    ]
    assert all(set(sample.labels) == set(sample.metric.labels) for sample in samples)
    return {tuple(sample.labels[key] for key in sample.metric.labels[2:]): sample.value for sample in samples}


def chosen(values: dict[tuple[str, ...], float]) -> set[tuple[str, ...]]:
    return {key for key, value in values.items() if value}


BLOCKED = {
    "transitionStatus": "BlockedByFailedLoad",
    "states": {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"},
    "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "no such bucket", "exitCode": 1},
}


def test_a_change_that_is_blocked_is_seen_though_the_service_looks_ready() -> None:
    found = service(ready="True", model=BLOCKED)
    assert said(found, "ready") == {(): 1}
    assert chosen(said(found, "transition")) == {("blocked_by_failed_load",)}
    assert chosen(said(found, "model_state")) == {("active", "loaded"), ("target", "failed_to_load")}
    assert said(found, "last_failure") == {("model_load_failed",): 1}


def test_every_state_has_a_series_so_that_a_change_is_none() -> None:
    one, other = service(model=BLOCKED), service(model={"transitionStatus": "UpToDate", "states": {}})
    for name in ("transition", "model_state"):
        assert said(one, name).keys() == said(other, name).keys()


@pytest.mark.parametrize(
    "found",
    [
        service(ready=None),
        service(model={"transitionStatus": "", "states": {"activeModelState": "", "targetModelState": ""}}),
        service(ready="Unknown", model={"transitionStatus": "SomethingNew"}),
        {"metadata": {"namespace": "ml", "name": "fraud"}, "spec": {}},
    ],
    ids=["no_status", "empty", "new", "not_seen_yet"],
)
def test_what_kserve_has_not_said_is_unknown_and_never_up_to_date(found: dict[str, Any]) -> None:
    assert chosen(said(found, "transition")) == {("unknown",)}
    assert chosen(said(found, "model_state")) == {("active", "unknown"), ("target", "unknown")}
    assert said(found, "last_failure") == {}


@pytest.mark.parametrize("ready", ["False", "Unknown", None])
def test_what_is_not_said_to_be_ready_is_not(ready: str | None) -> None:
    assert said(service(ready=ready), "ready") == {(): 0}


def test_the_inventory_decides_what_is_missing() -> None:
    samples = kserve.missing(["ml/fraud", "ml/offers"], [service()])
    assert {sample.labels["service_name"]: sample.value for sample in samples} == {"fraud": 0, "offers": 1}
