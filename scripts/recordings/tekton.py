"""Tekton's controller beside an API server: runs that time out as their pods never run, one without its pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.recordings import cluster, recorder
from scripts.recordings.recorder import Program

SYSTEM = "tekton"

VERSION = "1.6.0"
NAMESPACE = "tekton-pipelines"
IMAGES = ("entrypoint", "nop", "sidecarlogresults", "workingdirinit", "shell", "shell-image-win")
PIPELINES = "/apis/tekton.dev/v1/namespaces/ml/pipelines"
RUNS = "/apis/tekton.dev/v1/namespaces/ml/pipelineruns"


def programs() -> Iterator[Program]:
    """The one that scripts/system-programs built."""
    path = recorder.cached() / "system-programs" / f"tekton-pipelines-v{VERSION}"
    if path.is_file():
        yield Program(version=VERSION, path=path)


def record(program: Program, folder: Path) -> dict[str, str]:
    """Its exposition before and after the runs."""
    config_folder = cluster.module_folder(f"github.com/tektoncd/pipeline@v{VERSION}") / "config"
    metrics, profiling, probes = recorder.free_port(), recorder.free_port(), recorder.free_port()
    names = [f"-{name if name.endswith('win') else f'{name}-image'}" for name in IMAGES]
    environment = {
        "SYSTEM_NAMESPACE": NAMESPACE,
        "METRICS_DOMAIN": "tekton.dev/pipeline",
        "METRICS_PROMETHEUS_PORT": str(metrics),
        "PROFILING_PORT": str(profiling),
        "PROBES_PORT": str(probes),
        "KUBERNETES_MIN_VERSION": "v1.28.0",
    }
    with cluster.running(folder) as config:
        for namespace in (NAMESPACE, "ml"):
            cluster.create_namespace(namespace)
        cluster.create_kinds((config_folder / "300-crds").glob("*.yaml"))
        _configure(config_folder)
        command = [program.path, "-kubeconfig", config, "-disable-ha", "-namespace", "ml"]
        command += [part for name in names for part in (name, "registry.invalid/image")]
        url = f"http://127.0.0.1:{metrics}/metrics"
        with recorder.running(command, folder, environment) as log:
            idle = recorder.wait_for(url, log)
            cluster.create(PIPELINES, _pipeline())
            for name, pipeline in (("first", "train"), ("second", "train"), ("third", "nothing")):
                cluster.create(RUNS, _run(name, pipeline))
            texts = ('pipelinerun_total{status="failed"', "pipelinerun_duration_seconds_bucket{", "taskrun_total{")
            busy = recorder.wait_for(url, log, *(f"tekton_pipelines_controller_{text}" for text in texts))
    return {"-idle": idle, "": busy}


def _configure(folder: Path) -> None:
    """The ConfigMaps that the controller wants, as they are shipped."""
    for file in sorted(folder.glob("config-*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "ConfigMap":
                cluster.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", document)


def _pipeline() -> dict[str, Any]:
    steps = [{"name": "s", "image": "registry.invalid/train:1", "command": ["train"]}]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": {"tasks": [{"name": "fit", "taskSpec": {"steps": steps}}]},
    }


def _run(name: str, pipeline: str) -> dict[str, Any]:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, "namespace": "ml"},
        "spec": {"pipelineRef": {"name": pipeline}, "timeouts": {"pipeline": "2s"}},
    }
