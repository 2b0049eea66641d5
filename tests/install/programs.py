"""Helm and kubectl, and platform files whose every part runs in a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app.workloads import render as render_workloads
from midwatch.spec.model import Platform
from tests.conftest import midwatch_here, platform_document

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/midwatch"
NAMESPACE = "midwatch"

Object = dict[str, Any]


def helm_program() -> str:
    """Helm: that of PATH, or what `make kube-assets` built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = sorted(cache.glob("midwatch/kube-assets/helm-*/helm"))
    program = shutil.which("helm") or (str(built[-1]) if built else None)
    if program is None:
        message = "helm is not there: make kube-assets builds it where Go is installed"
        if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") and shutil.which("go"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def helm(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm_program(), *map(str, words)], capture_output=True, text=True, check=False)


def kubectl(*words: object) -> subprocess.CompletedProcess[str]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed: no Kustomize, and no objects applied as people do")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


def template(values: Path, *words: object) -> str:
    """What the chart makes of these values; further words are options of `helm template`."""
    done = helm("template", "midwatch", CHART, "--namespace", NAMESPACE, "-f", values, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def key(one: Object) -> tuple[str, str, str]:
    metadata = one["metadata"]
    return one["kind"], metadata.get("namespace", ""), metadata["name"]


def objects(*texts: str) -> dict[tuple[str, str, str], Object]:
    """Objects by kind, namespace and name; a second one of these would overwrite the first."""
    found = [one for text in texts for one in yaml.load_all(text, yaml.CSafeLoader) if one]
    named = {key(one): one for one in found}
    assert len(named) == len(found), "two objects have one name"
    return named


def whole_document(**kubernetes: Any) -> Object:
    """A platform file with all that runs in a cluster: canaries, drift, the loop, drills, recoverers, experiments."""
    document = platform_document()
    model = document["models"][0]
    model["fairness"] = [{"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "public": True}]
    model["canary"] = {"criteria": [{"metric": "errors", "tolerated_ratio": 1.1, "unacceptable_ratio": 1.5}]}
    model["drift"] = {
        "reference": "references/fraud.npz",
        "features": {"amount": "numeric"},
        "retrain": {"pipeline_run": {"namespace": "training", "pipeline": "train"}},
    }
    return document | {
        "kubernetes": {"references": "midwatch-references", **kubernetes},
        "chaos": {
            "kubernetes": {"namespace": NAMESPACE, "models": {"fraud": {"deployment": "fraud", "service": "fraud"}}},
            "experiments": [{"kind": "kill_replica", "schedule": "0 4 * * 1"}],
        },
        "disaster_recovery": {
            "owner": "ml",
            "kubernetes": {"namespace": NAMESPACE, "config_map": "midwatch-platform"},
            "stores": [{"name": "features", "postgresql": POSTGRESQL}],
            "drills": [{"name": "lose", "store": "features", "fault": "kill_primary", "schedule": "0 4 * * 1"}],
        },
        "loop": {},
        "systems_exporter": {"account": {"namespace": NAMESPACE}},
        "console": {"url": "https://console.example.com"},
        "incidents": {"watch": True},
        "systems": {
            "tekton": {"owner": "ml", "targets": ["tekton.example:9090"], "observe": {"namespaces": ["training"]}}
        },
    }


POSTGRESQL = {
    **{f"{name}_file": name for name in ("endpoint", "primary", "standby")},
    "commands": {name: ["/opt/site/do", name] for name in ("inject", "fence", "reroute", "rebuild")},
}


def render(document: Object, folder: Path, target: str = "kubernetes") -> Path:
    """Render a platform file; the folder with what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    done = midwatch_here("render", "-f", file, "--target", target, "-o", folder / target)
    assert done.returncode == 0, done.stderr
    return folder / target


def workloads(document: Object) -> dict[tuple[str, str, str], Object]:
    """The plane's own workloads of a platform file."""
    text = yaml.safe_dump(document, sort_keys=False)
    return objects(*render_workloads.render_objects(Platform.model_validate(document), text).values())
