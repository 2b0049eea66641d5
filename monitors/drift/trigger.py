"""Sending one trigger: a signed webhook (a Tekton EventListener takes it too), or a Tekton PipelineRun.

A webhook that was sent and not answered may have been taken: it is *unknown*, and never sent again. A PipelineRun has
its episode in its name, so Kubernetes itself refuses a second one and an unanswered attempt can be repeated.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from midwatch import kubernetes, object_names
from midwatch.spec import drift as spec
from monitors.drift.episodes import Trigger

TIMEOUT = 10.0
GATEWAY = (502, 504)
"""A gateway lost its server: the server may have taken the request."""

EPISODE_LABEL = "midwatch.dev/episode"
"""Label of a PipelineRun with the episode that it is of."""
TRACE_PARENT = "tekton.dev/deliveryTraceparent"
"""Annotation of a PipelineRun with the trace that Tekton goes on with (pipeline, docs/developers/tracing.md)."""

MOST_OF_NAME = 40
"""Characters of a model in a PipelineRun's name: Tekton makes names of pods of it, and labels of those."""
MOST_WORDS = 300
"""Bytes of an answer that are recorded."""
MOST_OF_REQUEST = 63
"""Characters of a request's id: those of the value of a label of Kubernetes, by which a run is found."""


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt, and what the other side said. `PENDING` is an attempt that may be repeated.

    `request` is the id that the other side gave it, such as the `eventID` of Tekton's answer; empty where it gave none.
    """

    trigger: Trigger
    said: str
    request: str = ""


def send(retrain: spec.Retrain, base: Path, document: Mapping[str, Any], trace_parent: str = "") -> Outcome:
    """Make one attempt; files are read anew each time, so that secrets can be rotated. Nothing is raised.

    With `trace_parent` (W3C Trace Context) the other side can go on with the trace.
    """
    try:
        if retrain.webhook is not None:
            return _post(retrain.webhook, base, document, trace_parent)
        assert retrain.pipeline_run is not None  # noqa: S101 - the platform file has exactly one
        return _create(retrain.pipeline_run, document, trace_parent)
    except (OSError, ValueError) as error:
        return Outcome(Trigger.PENDING, str(error))


def _post(webhook: spec.SignedWebhook, base: Path, document: Mapping[str, Any], trace_parent: str) -> Outcome:
    url = (base / webhook.url_file).read_text().strip()
    secret = (base / webhook.secret_file).read_bytes().strip()
    if not secret:
        raise ValueError(f"{webhook.secret_file} is empty")
    body = json.dumps(document, sort_keys=True).encode()
    headers = {
        **({"traceparent": trace_parent} if trace_parent else {}),
        "Content-Type": "application/json",
        "Idempotency-Key": str(document["episode"]),
        "X-Hub-Signature-256": signature(secret, body),
    }
    try:
        answer = urllib3.PoolManager().request(
            "POST", url, body=body, headers=headers, timeout=TIMEOUT, retries=False, redirect=False
        )
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
        return Outcome(Trigger.PENDING, f"no connection: {type(error).__name__}")
    except urllib3.exceptions.LocationValueError:
        return Outcome(Trigger.PENDING, f"{webhook.url_file} holds no address")
    except urllib3.exceptions.HTTPError as error:
        return Outcome(Trigger.UNKNOWN, f"no answer: {type(error).__name__}")
    said = f"{answer.status} {answer.data[:MOST_WORDS].decode(errors='replace')}".strip()
    return Outcome(_meaning(answer.status), said, _request_of(answer.data))


def _request_of(answer: bytes) -> str:
    """The id in an answer: `eventID` of an EventListener (triggers, pkg/sink/sink.go, type Response), else `id`."""
    try:
        document = json.loads(answer)
    except ValueError:
        return ""
    found = (document.get("eventID") or document.get("id")) if isinstance(document, dict) else None
    return str(found)[:MOST_OF_REQUEST] if isinstance(found, str | int) else ""


def signature(secret: bytes, body: bytes) -> str:
    """HMAC-SHA256 of the body, as GitHub's webhooks have it (RFC 2104): Tekton's `github` interceptor verifies it."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def _meaning(status: int) -> Trigger:
    if 200 <= status < 300:
        return Trigger.SENT
    if status in GATEWAY:
        return Trigger.UNKNOWN
    return Trigger.PENDING if status >= 500 or status in (408, 425, 429) else Trigger.FAILED


def _create(run: spec.PipelineRun, document: Mapping[str, Any], trace_parent: str) -> Outcome:
    try:
        created = kubernetes.create(
            "tekton.dev/v1", "PipelineRun", run.namespace, manifest(run, document, trace_parent)
        )
    except kubernetes.RefusedError as error:
        return Outcome(Trigger.FAILED, str(error))
    except kubernetes.UnreachableError as error:
        return Outcome(Trigger.PENDING, str(error))
    return Outcome(Trigger.SENT, "created" if created else "was there already")


def run_name(model: str, episode: str) -> str:
    """Name of the PipelineRun of an episode: a second one is refused by the cluster."""
    return f"retrain-{object_names.fitted(model, MOST_OF_NAME)}-{episode}"


def manifest(run: spec.PipelineRun, document: Mapping[str, Any], trace_parent: str = "") -> dict[str, Any]:
    """PipelineRun of an episode; its parameters are the file's, in which `{model}` and the like are replaced."""
    values = {name: str(value) for name, value in document.items()}
    labels = {"app.kubernetes.io/managed-by": "midwatch", EPISODE_LABEL: values["episode"]}
    traced = {TRACE_PARENT: trace_parent} if trace_parent else {}
    body: dict[str, Any] = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": run_name(values["model"], values["episode"]),
            "namespace": run.namespace,
            "labels": labels,
            "annotations": {"midwatch.dev/reason": values["reason"]} | traced,
        },
        "spec": {
            "pipelineRef": {"name": run.pipeline},
            "params": [{"name": name, "value": text.format_map(values)} for name, text in sorted(run.params.items())],
        },
    }
    if run.service_account is not None:
        body["spec"]["taskRunTemplate"] = {"serviceAccountName": run.service_account}
    return body
