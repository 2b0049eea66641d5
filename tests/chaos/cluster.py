"""A real kube-apiserver with etcd, and, since no controller manager runs, a controller that keeps statuses and pods."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import kubernetes
from midwatch.errors import MidwatchError
from tests.conftest import free_port, need_program

ROOT = Path(__file__).parents[2]
NAMESPACE = "ml"
ADMIN, EXPERIMENTER = "admin-token", "experimenter-token"


def assets() -> Path:
    """Folder with kube-apiserver and etcd: KUBEBUILDER_ASSETS, PATH, the usual envtest folder, or what we built."""
    folders = [os.environ.get("KUBEBUILDER_ASSETS"), str(Path(shutil.which("kube-apiserver") or "x").parent)]
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folders += ["/usr/local/kubebuilder/bin", *map(str, Path(cache).glob("midwatch/kube-assets/*"))]
    for folder in folders:
        if folder and all((Path(folder) / name).is_file() for name in ("kube-apiserver", "etcd")):
            return Path(folder)
    message = "kube-apiserver and etcd are not there: make kube-assets builds them where Go is installed"
    # CI requires them where they can be had: with Go.
    if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") and shutil.which("go"):
        pytest.fail(message)
    pytest.skip(message)


def controller(program: str) -> Path:
    """A controller that scripts/kube-assets has built, with its custom resource definitions beside it in `crds`."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for found in sorted(Path(cache).glob(f"midwatch/kube-assets/*/{program}")):
        if (found.parent / "crds").is_dir():
            return found
    message = f"{program} is not there: make kube-assets builds it where Go is installed"
    if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") and shutil.which("go"):
        pytest.fail(message)
    pytest.skip(message)


def define(crds: Path) -> None:
    """Create the custom resource definitions in a folder, and wait until the API server serves them."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names = []
    for file in sorted(crds.glob("*.yaml")):
        document = yaml.load(file.read_text(), _Loader)
        if document.get("kind") == "CustomResourceDefinition":
            names.append(create(path, document)["metadata"]["name"])
    wait_until(lambda: all(map(_is_served, names)), 60)


def _is_served(name: str) -> bool:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    conditions = kubernetes.request("GET", path).get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


class _Loader(yaml.CSafeLoader):
    """The definitions of prometheus-operator have a bare `=`, which YAML 1.1 takes for a tag of its own."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def certificates(folder: Path) -> None:
    """A certificate of the API server's, and a key for service accounts."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kube-apiserver"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(folder / "tls.key")]
    subprocess.run([*command, "-out", str(folder / "tls.crt")], check=True, capture_output=True)
    subprocess.run(["openssl", "genrsa", "-out", str(folder / "accounts.key"), "2048"], check=True, capture_output=True)


def kubeconfig(folder: Path, url: str, token: str) -> Path:
    authority = base64.b64encode((folder / "tls.crt").read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / f"{token}.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


EXPERIMENTERS = {EXPERIMENTER: (NAMESPACE, "midwatch-chaos")}


@contextmanager
def running(folder: Path, accounts: Mapping[str, tuple[str, str]] = EXPERIMENTERS) -> Iterator[str]:
    """URL of the API server; `accounts` are namespaces and names of service accounts by their tokens."""
    found = assets()
    need_program("openssl")
    certificates(folder)
    tokens = [f'{ADMIN},admin,1,"system:masters"']
    for token, (namespace, name) in accounts.items():
        groups = f'"system:serviceaccounts,system:serviceaccounts:{namespace},system:authenticated"'
        tokens.append(f"{token},system:serviceaccount:{namespace}:{name},{token},{groups}")
    (folder / "tokens.csv").write_text("\n".join(tokens) + "\n")
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd_command = [
        str(found / "etcd"),
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]
    api_command = [
        str(found / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={folder}/tls.crt",
        f"--tls-private-key-file={folder}/tls.key",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/accounts.key",
        f"--service-account-signing-key-file={folder}/accounts.key",
        f"--cert-dir={folder}/certificates",
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
        "--watch-cache=false",
    ]
    with (folder / "api.log").open("wb") as log:
        started = [subprocess.Popen(command, stdout=log, stderr=log) for command in (etcd_command, api_command)]
    try:
        url = f"https://127.0.0.1:{port}"
        with connected(kubeconfig(folder, url, ADMIN)):
            deadline = time.monotonic() + 60
            while True:
                try:
                    kubernetes.request("GET", "/api/v1/namespaces/default")
                    break
                except MidwatchError:
                    assert time.monotonic() < deadline, (folder / "api.log").read_text()[-3000:]
                    assert started[1].poll() is None, (folder / "api.log").read_text()[-3000:]
                    time.sleep(0.1)
        for token in accounts:
            kubeconfig(folder, url, token)
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


@contextmanager
def connected(config: Path) -> Iterator[None]:
    """Requests go there, as the user of a kubeconfig."""
    before = os.environ.get("KUBECONFIG")
    os.environ["KUBECONFIG"] = str(config)
    # The client library reads the variable when it is imported, which may have been earlier.
    from kubernetes.config import kube_config

    default, kube_config.KUBE_CONFIG_DEFAULT_LOCATION = kube_config.KUBE_CONFIG_DEFAULT_LOCATION, str(config)
    kubernetes._client.cache_clear()
    try:
        yield
    finally:
        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = default
        kubernetes._client.cache_clear()
        if before is None:
            del os.environ["KUBECONFIG"]
        else:
            os.environ["KUBECONFIG"] = before


def nowhere(folder: Path) -> Path:
    """Kubeconfig of an API server that is not there."""
    config = folder / "nowhere.kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: x\n"
    )
    return config


def create(path: str, document: dict[str, Any]) -> dict[str, Any]:
    return kubernetes.request("POST", path, body=document)


def pod(name: str, app: str, node: str | None = None, **labels: str) -> dict[str, Any]:
    resources = {"limits": {"cpu": "500m"}, "requests": {"cpu": "250m"}}
    container = {"name": "model", "image": "registry.invalid/model:1.0", "resources": resources}
    spec: dict[str, Any] = {"containers": [container], **({"nodeName": node} if node else {})}
    return {"metadata": {"name": name, "labels": {"app": app, **labels}}, "spec": spec}


def populate() -> None:
    """Two nodes, two models with their deployments, services and pods, the plane's parts."""
    create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for name in ("node-a", "node-b"):
        create("/api/v1/nodes", {"metadata": {"name": name}})
    for name, replicas in (("fraud", 4), ("other", 2), ("exporter", 1), ("prometheus", 1), ("alertmanager", 1)):
        labels = {"app": name}
        template = pod("x", name)
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        }
        create(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", {"metadata": {"name": name}, "spec": spec})
        service = {"selector": labels, "ports": [{"port": 80}]}
        create(f"/api/v1/namespaces/{NAMESPACE}/services", {"metadata": {"name": name}, "spec": service})
    create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "features"}, "data": {"other": "1"}})


class Controllers:
    """What a controller manager, a scheduler and a kubelet would do: pods for deployments, and statuses."""

    def __init__(self) -> None:
        self._number = 0

    def run(self) -> None:
        while True:
            time.sleep(0.05)
            with suppress(MidwatchError):
                self.once()

    def once(self) -> None:
        pods = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        for found in pods:
            if found["metadata"].get("deletionTimestamp"):  # a kubelet deletes a pod that has ended
                self._delete(found["metadata"]["name"])
            elif found["spec"].get("nodeName") and found.get("status", {}).get("phase") != "Running":
                self._status(f"/api/v1/namespaces/{NAMESPACE}/pods/{found['metadata']['name']}", {"phase": "Running"})
        for deployment in kubernetes.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")["items"]:
            self._reconcile(deployment, pods)

    def _reconcile(self, deployment: dict[str, Any], pods: list[dict[str, Any]]) -> None:
        name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        own = [one for one in pods if one["metadata"].get("labels", {}).get("app") == name]
        for one in own[wanted:]:
            self._delete(one["metadata"]["name"])
        for _ in range(wanted - len(own)):
            self._number += 1
            node = ("node-a", "node-b")[self._number % 2]
            create(f"/api/v1/namespaces/{NAMESPACE}/pods", pod(f"{name}-{self._number:03d}", name, node))
        status = {"observedGeneration": deployment["metadata"]["generation"], "replicas": wanted}
        if any(deployment.get("status", {}).get(key) != value for key, value in status.items()):
            self._status(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}", status)

    def _delete(self, name: str) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
        kubernetes.request("DELETE", path, body={"gracePeriodSeconds": 0})

    def _status(self, path: str, status: dict[str, Any]) -> None:
        kubernetes.request("PATCH", f"{path}/status", body={"status": status})


@contextmanager
def controlled(config: Path) -> Iterator[None]:
    """Controllers run, as another process: they have rights of their own."""
    code = "from tests.chaos.cluster import Controllers; Controllers().run()"
    environment = {**os.environ, "KUBECONFIG": str(config)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
