"""Argo Rollouts beside an API server: a canary whose pods never run, an invalid rollout, an analysis that errs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.recordings import cluster, recorder
from scripts.recordings.recorder import Program

SYSTEM = "argo_rollouts"

VERSION = "1.8.3"
ROLLOUTS = "/apis/argoproj.io/v1alpha1/namespaces/ml/rollouts"
ANALYSES = "/apis/argoproj.io/v1alpha1/namespaces/ml/analysisruns"


def programs() -> Iterator[Program]:
    """The one that scripts/system-programs built."""
    path = recorder.cached() / "system-programs" / f"argo-rollouts-v{VERSION}"
    if path.is_file():
        yield Program(version=VERSION, path=path)


def record(program: Program, folder: Path) -> dict[str, str]:
    """Its exposition before and after the rollouts and the analysis."""
    metrics, health = recorder.free_port(), recorder.free_port()
    crds = cluster.module_folder(f"github.com/argoproj/argo-rollouts@v{VERSION}") / "manifests" / "crds"
    with cluster.running(folder) as config:
        cluster.create_namespace("ml")
        cluster.create_kinds(crds.glob("*-crd.yaml"))
        command = [program.path, "--kubeconfig", config, "--leader-elect=false", "--namespace", "ml"]
        command += ["--metricsport", str(metrics), "--healthzPort", str(health)]
        url = f"http://127.0.0.1:{metrics}/metrics"
        with recorder.running(command, folder) as log:
            idle = recorder.wait_for(url, log)
            cluster.create(ROLLOUTS, _rollout("fraud", [{"setWeight": 20}, {"pause": {}}]))
            cluster.create(ROLLOUTS, _rollout("broken", [{"setWeight": 200}]))
            cluster.create(ANALYSES, _analysis())
            texts = (
                'phase="InvalidSpec"',
                "rollout_events_total{",
                "analysis_run_info{",
                "rollout_info_replicas_desired{",
            )
            busy = recorder.wait_for(url, log, *texts)
    return {"-idle": idle, "": busy}


def _rollout(name: str, steps: list[Any]) -> dict[str, Any]:
    containers = [{"name": "model", "image": "registry.invalid/model:1"}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "strategy": {"canary": {"steps": steps}}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": "ml"},
        "spec": {**spec, "template": template},
    }


def _analysis() -> dict[str, Any]:
    """An analysis whose Prometheus is away."""
    provider = {"prometheus": {"address": "http://127.0.0.1:9", "query": "vector(1)"}}
    metric = {"name": "m", "interval": "1s", "count": 1, "consecutiveErrorLimit": 0, "provider": provider}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {"name": "fraud", "namespace": "ml"},
        "spec": {"metrics": [metric]},
    }
