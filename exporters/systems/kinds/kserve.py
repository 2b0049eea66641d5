"""Whether InferenceServices are ready, and whether a change to their model took effect, from the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.systems.source import Sample
from midwatch import cluster_objects, metrics
from midwatch.cluster_objects import Object
from midwatch.spec.model import Platform
from midwatch.spec.observed.kserve import INFERENCE_SERVICES, KserveObserved

TRANSITIONS = {
    "UpToDate": "up_to_date",
    "InProgress": "in_progress",
    "BlockedByFailedLoad": "blocked_by_failed_load",
    "InvalidSpec": "invalid_spec",
}
"""States of a change, as KServe writes them (0.15.2, pkg/apis/serving/v1beta1/inference_service_status.go)."""
UNKNOWN = "unknown"
"""A state that KServe has not said, or that we do not know."""
_MODELS = {
    "Pending": "pending",
    "Standby": "standby",
    "Loading": "loading",
    "Loaded": "loaded",
    "FailedToLoad": "failed_to_load",
}
_FAILURES = {
    "ModelLoadFailed": "model_load_failed",
    "RuntimeUnhealthy": "runtime_unhealthy",
    "RuntimeDisabled": "runtime_disabled",
    "NoSupportingRuntime": "no_supporting_runtime",
    "RuntimeNotRecognized": "runtime_not_recognized",
    "InvalidPredictorSpec": "invalid_predictor_spec",
}


@dataclass(frozen=True)
class Kserve:
    """The Kubernetes API that InferenceServices are in."""

    settings: KserveObserved

    def read(self, now: float) -> list[Sample]:  # noqa: ARG002 - every sample is a state or a timestamp
        """Samples of all InferenceServices."""
        settings = self.settings
        found = cluster_objects.objects(INFERENCE_SERVICES, settings.namespaces, settings.timeout)
        return [*(sample for one in found for sample in of_service(one)), *missing(settings.services, found)]


def build(platform: Platform, observed: Any, state: Path) -> Kserve:  # noqa: ARG001 - the signature of every kind
    """The source of the section."""
    return Kserve(observed)


def of_service(found: Object) -> Iterator[Sample]:
    """Samples of an InferenceService. Every state has a series, so that a change of it is no new series."""
    namespace, name = cluster_objects.name_of(found)
    labels = {"namespace": namespace, "service_name": name}
    model = cluster_objects.status(found).get("modelStatus") or {}
    is_ready = cluster_objects.condition(found, "Ready").get("status") == "True"
    yield Sample(metric=metrics.INFERENCE_SERVICE_READY, labels=labels, value=is_ready)
    told = TRANSITIONS.get(model.get("transitionStatus", ""), UNKNOWN)
    for state in (*TRANSITIONS.values(), UNKNOWN):
        yield Sample(
            metric=metrics.INFERENCE_SERVICE_TRANSITION, labels={**labels, "state": state}, value=state == told
        )
    states = model.get("states") or {}
    for which in ("active", "target"):
        now = _MODELS.get(states.get(f"{which}ModelState", ""), UNKNOWN)
        for state in (*_MODELS.values(), UNKNOWN):
            of_state = {**labels, "which": which, "state": state}
            yield Sample(metric=metrics.INFERENCE_SERVICE_MODEL, labels=of_state, value=state == now)
    if failure := model.get("lastFailureInfo"):
        reason = _FAILURES.get(failure.get("reason", ""), UNKNOWN)
        yield Sample(metric=metrics.INFERENCE_SERVICE_LAST_FAILURE, labels={**labels, "reason": reason}, value=1)


def missing(wanted: Sequence[str], found: Iterable[Object]) -> Iterator[Sample]:
    """For each InferenceService that has to be there, whether it is not."""
    there = {cluster_objects.name_of(one) for one in found}
    for text in wanted:
        namespace, _, name = text.partition("/")
        labels = {"namespace": namespace, "service_name": name}
        yield Sample(metric=metrics.INFERENCE_SERVICE_MISSING, labels=labels, value=(namespace, name) not in there)
