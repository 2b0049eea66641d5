"""A Tekton Task that asks the gate to promote a version: the last one of a pipeline, and refused while something lacks.

The gate decides and does it, so that its log has the record; the Task needs no rights in the registry. An exit code
that is not 0 fails the TaskRun; one that is undecided may be tried again with the pipeline's `retries`.
"""

from __future__ import annotations

from typing import Any

from midwatch import object_names, pod_security, yamlfile
from midwatch.spec import promotion as spec
from midwatch.spec.model import Platform

PATH = "tekton/task-midwatch-promote.yaml"
NAME = "midwatch-promote"
TOKEN_FOLDER = "/etc/midwatch-gate"  # noqa: S105 - a folder, no password


def render_files(platform: Platform) -> dict[str, str]:
    """Text of the Task by its path below the output folder; nothing where no promotion is watched."""
    return {PATH: yamlfile.dump_blocks(task(platform))} if spec.watched(platform) else {}


def task(platform: Platform) -> dict[str, Any]:
    """The Task; its parameters are the model, the version, and what the gate's verdicts call that version."""
    words = ["canary", "promote", "$(params.model)", "$(params.version)", "--canary", "$(params.canary)"]
    words += [
        "--by",
        "tekton $(context.taskRun.namespace)/$(context.taskRun.name)",
        "--gate",
        "$(params.gate)",
        "--json",
    ]
    step: dict[str, Any] = {
        "name": "promote",
        "image": platform.gate.image,
        "command": ["midwatch"],
        "args": words,
        "computeResources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {**pod_security.of_container(), "runAsNonRoot": True, "runAsUser": pod_security.USER},
    }
    wanted: dict[str, Any] = {
        "description": "Makes a version champion of the registry, if the gate finds a verdict, an evaluation and a "
        "bias check; fails with what lacks.",
        "params": [
            {"name": "model", "type": "string", "description": "Model of the platform file."},
            {"name": "version", "type": "string", "description": "Version as the registry numbers it."},
            {
                "name": "canary",
                "type": "string",
                "default": "",
                "description": "The version as the gate's verdicts call it, where that is not how servers do.",
            },
            {"name": "gate", "type": "string", "default": platform.gate.url, "description": "Address of the gate."},
        ],
        "steps": [step],
    }
    if secret := platform.gate.token_secret:
        step["args"] = [*words, "--token-file", f"{TOKEN_FOLDER}/{secret.key}"]
        step["volumeMounts"] = [{"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True}]
        wanted["volumes"] = [{"name": "token", "secret": {"secretName": secret.name}}]
    labels = {object_names.NAME: "midwatch", object_names.PART_OF: platform.platform}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": {"name": NAME, "labels": labels},
        "spec": wanted,
    }
