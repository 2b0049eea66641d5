"""AnalysisTemplates for Argo Rollouts (v1.8 or newer) that ask the gate, or run the judge as a Job.

A pass ends an analysis as Successful, a fail as Failed, and one that is never decided as Inconclusive, which pauses the
rollout: `consecutiveSuccessLimit: 1` with `failureLimit: 0` says so. Without them the controller takes a run that used
up its count undecided for a success.
"""

from __future__ import annotations

import math
from typing import Any

from midwatch import object_names, pod_security, pod_volumes, yamlfile
from midwatch.spec import model as spec
from midwatch.spec.values import format_duration

FOLDER = "argo-rollouts"
SHORTEST_INTERVAL = 10.0
"""Seconds between two questions; the verdict is the same however often it is asked for."""
ERRORS = 30
"""Errors in a row, every 10 s, before a gate that cannot be reached aborts the rollout: five minutes."""
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
        files[f"{FOLDER}/rollout-steps-{model.name}.txt"] = rollout_steps(model)
    return files


def _of(platform: spec.Platform, written: dict[str, Any]) -> dict[str, Any]:
    """An object that says whose it is."""
    written["metadata"]["labels"][object_names.PART_OF] = platform.platform
    return written


def template(platform: spec.Platform, model: spec.Model) -> dict[str, Any]:
    """AnalysisTemplate of one model, that asks the gate."""
    args = [{"name": "model", "value": model.name}, *_args(platform)]
    return _object("AnalysisTemplate", _name(model), args, [_web(platform, model)])


def cluster_template(platform: spec.Platform) -> dict[str, Any]:
    """ClusterAnalysisTemplate for every model: which one is an argument."""
    longest = max((model for model in platform.models if model.canary), key=_limit)
    args = [{"name": "model"}, *_args(platform)]
    return _object("ClusterAnalysisTemplate", f"midwatch-canary-{platform.platform}", args, [_web(platform, longest)])


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


def rollout_steps(model: spec.Model) -> str:
    """Steps of a Rollout that ask before each gives the canary more; text, because a Rollout is its owner's file."""
    assert model.canary is not None  # noqa: S101 - the caller has looked
    if model.canary.label == "version" and model.canary.selectors is None:
        args: list[dict[str, Any]] = [{"name": "baseline", "value": "v1"}, {"name": "canary", "value": "v2"}]
        told = "# The arms are values of the label `version`: write those of this rollout."
    else:
        args = [
            {"name": "baseline", "valueFrom": {"podTemplateHashValue": "Stable"}},
            {"name": "canary", "valueFrom": {"podTemplateHashValue": "Latest"}},
        ]
        told = f"# The arms are pod-template hashes: scrape them into the label `{model.canary.label}`."
    analysis = {"analysis": {"templates": [{"templateName": _name(model)}], "args": args}}
    steps = [step for weight in (10, 30, 60) for step in ({"setWeight": weight}, analysis)]
    rollout = {"spec": {"strategy": {"canary": {"steps": steps}}}}
    head = (
        f"# Into the Rollout of {model.name}. An inline step waits for the verdict; a background analysis would not\n"
        "# do: ended with the rollout, it counts as successful. Inconclusive pauses the rollout: look at the reason\n"
        "# in the AnalysisRun, then promote or abort.\n"
        f"{told}\n"
    )
    return head + yamlfile.dump_blocks(rollout)


def _name(model: spec.Model) -> str:
    return f"midwatch-canary-{model.name}"


def _object(kind: str, name: str, args: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "midwatch"}},
        "spec": {"args": args, "metrics": metrics},
    }


def _args(platform: spec.Platform) -> list[dict[str, Any]]:
    args: list[dict[str, Any]] = [{"name": "baseline"}, {"name": "canary"}, {"name": "start", "value": ""}]
    if secret := platform.gate.token_secret:
        args.append({"name": "token", "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}})
    return args


def _limit(model: spec.Model) -> float:
    return model.canary.limit if model.canary else 0.0


def _web(platform: spec.Platform, model: spec.Model) -> dict[str, Any]:
    assert model.canary is not None  # noqa: S101 - the caller has looked
    interval = max(SHORTEST_INTERVAL, model.canary.interval or platform.prometheus.scrape_interval)
    count = max(2, math.ceil(model.canary.limit / interval))
    web: dict[str, Any] = {
        "method": "POST",
        "url": f"{platform.gate.url.rstrip('/')}/verdict",
        "timeoutSeconds": 10,
        "jsonPath": "{$}",
        "jsonBody": {name: f"{{{{args.{name}}}}}" for name in ("model", "baseline", "canary", "start")},
    }
    if platform.gate.token_secret:
        web["headers"] = [{"key": "Authorization", "value": "Bearer {{args.token}}"}]
    return {
        "name": "canary",
        "initialDelay": format_duration(2 * interval),
        "interval": format_duration(interval),
        "count": count,
        "successCondition": 'result.verdict == "pass"',
        "failureCondition": 'result.verdict == "fail"',
        "consecutiveSuccessLimit": 1,
        "failureLimit": 0,
        "inconclusiveLimit": count,
        "consecutiveErrorLimit": ERRORS,
        "provider": {"web": web},
    }
