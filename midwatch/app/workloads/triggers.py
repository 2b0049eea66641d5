"""Which PipelineRuns the exporter or the loop may make: those of the platform file, although its right is to make any.

A PipelineRun runs anything as any service account of its namespace, where nobody says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from midwatch import admission, object_names
from midwatch.admission import Demand
from midwatch.app.workloads.pods import Object, Place
from midwatch.spec.drift import PipelineRun

DEFAULT_ACCOUNTS = ("", "default")
"""Tekton's own, before and after its webhook has filled it in (pipeline, default-service-account)."""


def restrictions(place: Place, account: str, component: str, runs: Sequence[PipelineRun]) -> list[Object]:
    """A policy for the account of a part, and its binding; none where drift triggers no pipeline."""
    demands = admission.any_of(_demand(run, component) for run in runs)
    if not demands:
        return []
    name = object_names.of_account_in_cluster(account, place.platform.platform, place.settings.namespace)
    metadata = place.metadata(name, component)
    metadata.pop("namespace")
    return admission.policy(metadata, account, place.settings.namespace, demands)


def _demand(run: PipelineRun, component: str) -> Demand:
    accounts = [run.service_account] if run.service_account else list(DEFAULT_ACCOUNTS)
    spec = [
        f"object.metadata.namespace == '{run.namespace}'",
        f"object.spec.?pipelineRef.?name.orValue('') == {json.dumps(run.pipeline)}",
        f"object.spec.?taskRunTemplate.?serviceAccountName.orValue('') in {json.dumps(accounts)}",
        "!has(object.spec.pipelineRef.resolver)",
        "!has(object.spec.pipelineSpec)",
        "!has(object.spec.taskRunSpecs)",
        "!has(object.spec.workspaces)",
        "!(has(object.spec.taskRunTemplate) && has(object.spec.taskRunTemplate.podTemplate))",
    ]
    return Demand(
        group="tekton.dev",
        resources=("pipelineruns",),
        operation="CREATE",
        expression=" && ".join(spec),
        message=f"the {component} starts the pipelines of the platform file, as the accounts that it names",
    )
