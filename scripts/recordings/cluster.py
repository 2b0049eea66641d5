"""An API server for controllers to be recorded beside: no kubelet runs, so pods do not, but controllers reconcile."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from midwatch import kubernetes
from scripts.recordings import recorder
from scripts.recordings.recorder import RecordingError
from tests.chaos import cluster as api_server


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Run the API server; gives an administrator's kubeconfig. Requests of this process go there, too."""
    config = folder / f"{api_server.ADMIN}.kubeconfig"
    with api_server.running(folder, {}) as url:
        api_server.kubeconfig(folder, url, api_server.ADMIN)
        with api_server.connected(config):
            yield config


def module_folder(module: str) -> Path:
    """Folder of a Go module in the cache, such as `github.com/tektoncd/pipeline@v1.6.0`."""
    said = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=False)
    if said.returncode:
        raise RecordingError(f"{module} is not in Go's cache: {said.stderr.strip()}")
    return Path(json.loads(said.stdout)["Dir"])


def create(path: str, document: dict[str, Any]) -> None:
    """Create an object, waiting until the API server serves its kind; one that is there already is left alone."""
    deadline = time.monotonic() + recorder.READY_SECONDS
    while True:
        try:
            kubernetes.request("POST", path, body=document)
        except kubernetes.RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND and time.monotonic() < deadline:
                time.sleep(0.3)
                continue
            if error.status != HTTPStatus.CONFLICT:
                raise
        return


def create_namespace(name: str) -> None:
    """Create a namespace."""
    create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def create_kinds(files: Iterator[Path]) -> None:
    """Create custom resources' definitions; their objects are not converted, as no webhook runs."""
    for file in sorted(files):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "CustomResourceDefinition":
                document["spec"].pop("conversion", None)
                create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
