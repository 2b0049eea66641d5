"""What is observed of Tekton: runs of pipelines, what they wait for, and what triggered them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from midwatch.spec.base import Finding, Name, Strict
from midwatch.spec.observed.base import Observed, Resource, outside
from midwatch.spec.placeholders import Value
from midwatch.spec.values import Duration, NamespacedName

PIPELINE_RUNS = Resource(group="tekton.dev", version="v1", plural="pipelineruns")
TASK_RUNS = Resource(group="tekton.dev", version="v1", plural="taskruns")


class PipelinePromise(Strict):
    """What is promised of a pipeline's runs."""

    succeed_within: Annotated[Duration, Field(ge=60.0)]
    """How old its last success may be: the longest time between two runs, and how long one takes."""
    may_skip: bool = False
    """Whether a run that skipped a task by a `when` is a success: Tekton says `Completed` of it, not `Succeeded`."""


class TektonObserved(Observed):
    """PipelineRuns and TaskRuns, asked of the Kubernetes API with the pod's own account or the user's kubeconfig."""

    system: ClassVar[str] = "tekton"

    namespaces: list[Name] = []
    """Namespaces that are looked into; every one without them, which takes a role of the whole cluster."""
    pipelines: dict[NamespacedName, PipelinePromise] = {}
    """Pipelines that have to succeed, as `NAMESPACE/NAME`. Runs are pruned, so their last success is kept on disk."""
    wait_within: Annotated[Duration, Field(ge=60.0)] = 1800.0
    """How long a run or a task may wait for its start: a node with an accelerator comes within half an hour."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What is listed of the Kubernetes API."""
        return (PIPELINE_RUNS, TASK_RUNS)

    @property
    def places(self) -> Sequence[str]:
        """Namespaces that the resources are listed in; without any, the whole cluster."""
        return self.namespaces

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        return {**super().placeholders(), "wait_within": timedelta(seconds=self.wait_within)}

    def find_problems(self, models: Sequence[str]) -> Iterator[Finding]:  # noqa: ARG002 - the signature of every kind
        """Pipelines in namespaces that are not looked into."""
        return outside("pipelines", self.pipelines, self.namespaces)
