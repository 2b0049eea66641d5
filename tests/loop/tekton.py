"""Tekton's own programs beside a real API server: the pipelines' controller, and an EventListener's sink.

No kubelet runs. `Kubelet` is the one thing that is faked, and only at its edge: it says of each pod of Tekton how its
container ended, with the termination message in which the entrypoint hands over results of a task. All else is real:
what the sink answers, which labels a run gets, when tasks are skipped, what the status of a run says.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from midwatch import kubernetes
from midwatch.errors import MidwatchError
from tests.chaos import cluster
from tests.conftest import free_port

NAMESPACE = "training"
SYSTEM = "tekton-pipelines"
RUNS = f"/apis/tekton.dev/v1/namespaces/{NAMESPACE}/pipelineruns"
TASK_RUNS = f"/apis/tekton.dev/v1/namespaces/{NAMESPACE}/taskruns"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
TRIGGERS = f"/apis/triggers.tekton.dev/v1beta1/namespaces/{NAMESPACE}"

CONTROLLER, SINK = "tekton-pipelines-controller", "tekton-eventlistenersink"

SETTINGS = (
    "config-defaults",
    "config-events",
    "config-leader-election-controller",
    "config-logging",
    "config-observability",
    "config-registry-cert",
    "config-spire",
    "config-tracing",
    "config-wait-exponential-backoff",
    "feature-flags",
)
"""ConfigMaps that the controller wants to be there; empty ones are its defaults."""
IMAGES = ("entrypoint", "nop", "sidecarlogresults", "workingdirinit", "shell", "shell-image-win")

TASK_RESULT = 1
"""Type of a task's own result in a termination message (pkg/result of Tekton Pipelines 1.6)."""

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a pod's container ended: its results by name, or not well."""

    results: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0


Work = Callable[[Object], Ended]
"""What the container of a pod would do; it is given the pod's TaskRun."""


@contextmanager
def controller(folder: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The pipelines' controller, which looks after the namespace of the trainings."""
    program = cluster.controller(CONTROLLER)
    for name in (NAMESPACE, SYSTEM):
        cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    # No controller manager makes it.
    cluster.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    cluster.define(program.parent / "crds")
    for name in SETTINGS:
        cluster.create(f"/api/v1/namespaces/{SYSTEM}/configmaps", {"metadata": {"name": name}})
    command = [str(program), f"-kubeconfig={config}", "-disable-ha", f"-namespace={NAMESPACE}"]
    for name in IMAGES:
        command += [f"-{name if name.endswith('win') else f'{name}-image'}", "registry.invalid/image"]
    environment = {
        "SYSTEM_NAMESPACE": SYSTEM,
        "METRICS_DOMAIN": "tekton.dev/pipeline",
        "METRICS_PROMETHEUS_PORT": str(free_port()),
        "PROFILING_PORT": str(free_port()),
        "PROBES_PORT": str(free_port()),
        "KUBERNETES_MIN_VERSION": "v1.28.0",
    }
    with _running(command, environment, folder / "tekton.log") as process:
        yield process


@contextmanager
def sink(folder: Path, config: Path, listener: str) -> Iterator[str]:
    """URL of what the pod of an EventListener runs. Its kinds have to be there: see `define_triggers`."""
    port = free_port()
    command = [str(cluster.controller(SINK)), f"-kubeconfig={config}", f"-el-name={listener}"]
    command += [f"-el-namespace={NAMESPACE}", f"-port={port}"]
    environment = {
        "NAMESPACE": NAMESPACE,
        "NAME": listener,
        "SYSTEM_NAMESPACE": NAMESPACE,
        "K_METRICS_CONFIG": "{}",
        "K_LOGGING_CONFIG": "{}",
        "METRICS_PROMETHEUS_PORT": str(free_port()),
        "PROFILING_PORT": str(free_port()),
    }
    log = folder / "sink.log"
    with _running(command, environment, log) as process:
        cluster.wait_until(lambda: process.poll() is not None or _listens(port), 60)
        assert process.poll() is None, log.read_text()[-3000:]
        yield f"http://127.0.0.1:{port}"


def define_triggers(folder: Path) -> None:
    """Create Triggers' kinds, and an interceptor that nothing names: a sink does not start without one that has TLS."""
    cluster.define(cluster.controller(SINK).parent / "crds")
    authority = base64.b64encode((folder / "tls.crt").read_bytes()).decode()
    interceptor = {
        "apiVersion": "triggers.tekton.dev/v1alpha1",
        "kind": "ClusterInterceptor",
        "metadata": {"name": "unused", "labels": {"server/type": "https"}},
        "spec": {"clientConfig": {"url": "https://127.0.0.1:1", "caBundle": authority}},
    }
    cluster.create("/apis/triggers.tekton.dev/v1alpha1/clusterinterceptors", interceptor)


def create_listener(name: str, metadata: Object) -> None:
    """An EventListener that makes a PipelineRun of each trigger: that of docs/retraining.md without its interceptor."""
    version = "triggers.tekton.dev/v1beta1"
    keys = ("model", "episode")
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": metadata,
        "spec": {
            "pipelineRef": {"name": "train"},
            "params": [{"name": key, "value": f"$(tt.params.{key})"} for key in keys],
        },
    }
    template = {"params": [{"name": key} for key in keys], "resourcetemplates": [run]}
    binding = {"params": [{"name": key, "value": f"$(body.{key})"} for key in keys]}
    trigger = {"name": "retrain", "bindings": [{"ref": name, "kind": "TriggerBinding"}], "template": {"ref": name}}
    for kind, spec in (
        ("TriggerTemplate", template),
        ("TriggerBinding", binding),
        ("EventListener", {"triggers": [trigger]}),
    ):
        document = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        cluster.create(f"{TRIGGERS}/{kind.lower()}s", document)


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()  # a sink that is asked to end drains for longer than a test waits
        process.wait(30)


class Kubelet:
    """Says of each pod of a TaskRun that it ran, and how it ended: what `work` gives for the pipeline's task."""

    def __init__(self, work: Mapping[str, Work]) -> None:
        self._work = work

    def step(self) -> None:
        """Look once at every pod, and end those that have not."""
        for pod in kubernetes.request("GET", PODS)["items"]:
            task_run = pod["metadata"].get("labels", {}).get("tekton.dev/taskRun")
            if task_run and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                self._end(pod, kubernetes.request("GET", f"{TASK_RUNS}/{task_run}"))

    def _end(self, pod: Object, task_run: Object) -> None:
        name = task_run["metadata"]["labels"]["tekton.dev/pipelineTask"]
        began = _now()
        ended = self._work[name](task_run) if name in self._work else Ended()
        message = json.dumps([{"key": key, "value": text, "type": TASK_RESULT} for key, text in ended.results.items()])
        terminated = {
            "exitCode": ended.exit_code,
            "reason": "Error" if ended.exit_code else "Completed",
            "startedAt": began,
            "finishedAt": _now(),
            "message": message,
            "containerID": "containerd://x",
        }
        statuses = [
            {"name": one["name"], "image": one["image"], "imageID": "x", "ready": False, "restartCount": 0}
            | {"state": {"terminated": terminated}}
            for one in pod["spec"]["containers"]
        ]
        status = {"phase": "Failed" if ended.exit_code else "Succeeded", "containerStatuses": statuses}
        try:
            kubernetes.request("PATCH", f"{PODS}/{pod['metadata']['name']}/status", body={"status": status})
        except MidwatchError:
            if kubernetes.request("GET", PODS)["items"]:
                raise


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_of(label: str) -> Object | None:
    """The newest PipelineRun that a label selects."""
    found = kubernetes.request("GET", RUNS, query={"labelSelector": label})["items"]
    return found[-1] if found else None


def succeeded(run: Object) -> Object:
    """The condition of a PipelineRun that says how it ended; empty before there is one."""
    conditions = run.get("status", {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == "Succeeded"), {})


def wait_for_end(kubelet: Kubelet, name: str, seconds: float = 200.0) -> Object:
    """Run pods until a PipelineRun has ended, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        kubelet.step()
        run = kubernetes.request("GET", f"{RUNS}/{name}")
        if succeeded(run).get("status") in ("True", "False"):
            return run
        assert time.monotonic() < deadline, run.get("status")
        time.sleep(0.1)
