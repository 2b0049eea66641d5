"""AnalysisTemplates for Argo Rollouts (v1.8 or newer) that ask the gate, or run the judge as a Job.

They ask by the Prometheus provider, whose client errs on everything that is not an answer of that API. The web provider
passes a canary on a login page, and its JSON `null` ends the controller.

A pass ends an analysis as Successful, a fail as Failed, and one that is never decided as Inconclusive, which pauses the
rollout: `consecutiveSuccessLimit: 1` with `failureLimit: 0` says so. Without them the controller takes a run that used
up its count undecided for a success.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from midwatch import object_names, pod_security, pod_volumes, yamlfile
from midwatch.spec import model as spec
from midwatch.spec.canary import Canary
from midwatch.spec.values import format_duration
from monitors.canary import argo_query

FOLDER = "argo-rollouts"
SHORTEST_INTERVAL = 10.0
"""Seconds between two questions; the verdict is the same however often it is asked for."""
RETRY_SECONDS = 10.0
"""After an error the controller asks again so late (DefaultErrorRetryInterval in analysis/analysis.go)."""
PLATFORM_MAP = "midwatch-platform"
"""ConfigMap with the platform file, for the Job."""


def render_files(platform: spec.Platform) -> dict[str, str]:
    """Text of each file by its path below the output folder."""
    models = [model for model in platform.models if model.canary]
    if not models:
        return {}
    objects = {"cluster-analysis-template": cluster_template(platform)}
    for model in models:
        objects[f"analysis-template-{model.name}"] = template(platform, model)
        objects[f"analysis-template-{model.name}-job"] = job_template(platform, model)
    files = {f"{FOLDER}/{name}.yaml": yamlfile.dump_blocks(_of(platform, one)) for name, one in objects.items()}
    for model in models:
        files |= rollout_steps(model)
    return files


def _of(platform: spec.Platform, written: dict[str, Any]) -> dict[str, Any]:
    """An object that says whose it is."""
    written["metadata"]["labels"][object_names.PART_OF] = platform.platform
    return written


def templates(platform: spec.Platform) -> list[dict[str, Any]]:
    """Every template that asks the gate."""
    models = [model for model in platform.models if model.canary]
    return [cluster_template(platform), *(template(platform, model) for model in models)] if models else []


def template(platform: spec.Platform, model: spec.Model) -> dict[str, Any]:
    """AnalysisTemplate of one model, that asks the gate."""
    args = [{"name": "model", "value": model.name}, *_args(platform)]
    return _object("AnalysisTemplate", _name(model), args, [_metric(platform, model)])


def cluster_template(platform: spec.Platform) -> dict[str, Any]:
    """ClusterAnalysisTemplate for every model: which one is an argument."""
    longest = max((model for model in platform.models if model.canary), key=_limit)
    args = [{"name": "model"}, *_args(platform)]
    return _object(
        "ClusterAnalysisTemplate", f"midwatch-canary-{platform.platform}", args, [_metric(platform, longest)]
    )


def job_template(platform: spec.Platform, model: spec.Model) -> dict[str, Any]:
    """AnalysisTemplate of one model for a cluster without the gate.

    A Job has no third answer: what is not decided in time fails, and is not passed.
    """
    assert model.canary is not None  # noqa: S101 - the caller has looked
    wait = format_duration(model.canary.limit)
    command = ["midwatch", "canary", "judge", "--file", "/etc/midwatch/platform.yaml", "--model", model.name]
    command += ["--baseline", "{{args.baseline}}", "--canary", "{{args.canary}}", "--wait", wait, "--json"]
    container = {
        "name": "judge",
        "image": platform.gate.image,
        "command": command,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": pod_security.of_container(),
        "volumeMounts": [{"name": "platform", "mountPath": "/etc/midwatch", "readOnly": True}],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod_security.of_pod(),
        "containers": [container],
        "volumes": [{"name": "platform", **pod_volumes.platform_file(platform, PLATFORM_MAP)}],
    }
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": math.ceil(model.canary.limit) + 120,
        "template": {"spec": pod},
    }
    metric = {"name": "canary", "count": 1, "failureLimit": 0, "provider": {"job": {"spec": job}}}
    args: list[dict[str, Any]] = [{"name": "baseline"}, {"name": "canary"}]
    return _object("AnalysisTemplate", f"{_name(model)}-job", args, [metric])


def rollout_steps(model: spec.Model) -> dict[str, str]:
    """Steps of a Rollout that ask before each gives the canary more: an object where the platform file names it.

    Else a text, because a Rollout is its owner's file.
    """
    assert model.canary is not None  # noqa: S101 - the caller has looked
    rollout = model.canary.rollout
    path = f"{FOLDER}/rollout-steps-{model.name}"
    if rollout is None:
        return {f"{path}.txt": _to_edit(model, model.canary)}
    args = [
        {"name": "baseline", "valueFrom": _value_from(rollout.baseline, "Stable")},
        {"name": "canary", "valueFrom": _value_from(rollout.canary, "Latest")},
    ]
    place = {"namespace": rollout.namespace} if rollout.namespace else {}
    document = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": rollout.name, **place},
        **_with_steps(model, args, rollout.weights),
    }
    head = (
        "# kubectl apply --server-side --field-manager=midwatch: it owns the steps alone, and the owner's file leaves\n"
        "# them out. A patch for Kustomize as well.\n"
    )
    return {f"{path}.yaml": head + yamlfile.dump_blocks(document)}


def _value_from(field: str | None, hash_of: str) -> dict[str, Any]:
    return {"fieldRef": {"fieldPath": field}} if field else {"podTemplateHashValue": hash_of}


def _with_steps(model: spec.Model, args: list[dict[str, Any]], weights: Iterable[int]) -> dict[str, Any]:
    analysis = {"analysis": {"templates": [{"templateName": _name(model)}], "args": args}}
    steps = [step for weight in weights for step in ({"setWeight": weight}, analysis)]
    return {"spec": {"strategy": {"canary": {"steps": steps}}}}


def _to_edit(model: spec.Model, canary: Canary) -> str:
    if canary.label == "version" and canary.selectors is None:
        args: list[dict[str, Any]] = [{"name": "baseline", "value": "v1"}, {"name": "canary", "value": "v2"}]
        told = "# The arms are values of the label `version`: write those of this rollout."
    else:
        args = [
            {"name": "baseline", "valueFrom": {"podTemplateHashValue": "Stable"}},
            {"name": "canary", "valueFrom": {"podTemplateHashValue": "Latest"}},
        ]
        told = f"# The arms are pod-template hashes: scrape them into the label `{canary.label}`."
    head = (
        f"# Into the Rollout of {model.name}. An inline step waits for the verdict; a background analysis would not\n"
        "# do: ended with the rollout, it counts as successful. Inconclusive pauses the rollout: look at the reason\n"
        "# in the AnalysisRun, then promote or abort. With canary.rollout in the platform file this is an object.\n"
        f"{told}\n"
    )
    return head + yamlfile.dump_blocks(_with_steps(model, args, (10, 30, 60)))


def _name(model: spec.Model) -> str:
    return f"midwatch-canary-{model.name}"


def _object(kind: str, name: str, args: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "labels": {object_names.NAME: "midwatch"}},
        "spec": {"args": args, "metrics": metrics},
    }


def _args(platform: spec.Platform) -> list[dict[str, Any]]:
    args: list[dict[str, Any]] = [{"name": "baseline"}, {"name": "canary"}, {"name": "start", "value": ""}]
    if secret := platform.gate.token_secret:
        args.append({"name": "token", "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}})
    return args


def _limit(model: spec.Model) -> float:
    return model.canary.limit if model.canary else 0.0


def _metric(platform: spec.Platform, model: spec.Model) -> dict[str, Any]:
    assert model.canary is not None  # noqa: S101 - the caller has looked
    interval = max(SHORTEST_INTERVAL, model.canary.interval or platform.prometheus.scrape_interval)
    count = max(2, math.ceil(model.canary.limit / interval))
    timeout = math.ceil(platform.gate.longest_answer + 1)
    gate: dict[str, Any] = {
        "address": platform.gate.url,
        "query": argo_query.query(
            platform.platform,
            ("model", "baseline", "canary", "start"),
            region=platform.regions.here if platform.regions else None,
        ),
        "timeout": timeout,
    }
    if platform.gate.token_secret:
        gate["headers"] = [{"key": "Authorization", "value": "Bearer {{args.token}}"}]
    return {
        "name": "canary",
        "initialDelay": format_duration(2 * interval),
        "interval": format_duration(interval),
        "count": count,
        "successCondition": argo_query.SUCCESS,
        "failureCondition": argo_query.FAILURE,
        "consecutiveSuccessLimit": 1,
        "failureLimit": 0,
        "inconclusiveLimit": count,
        # A gate that hangs takes the timeout before each of the waits.
        "consecutiveErrorLimit": max(1, int(platform.gate.patience / (RETRY_SECONDS + timeout))),
        "provider": {"prometheus": gate},
    }
