"""The whole installation on a real API server, with the real controllers of prometheus-operator and Argo Rollouts.

There is no kubelet and no controller manager: that pods pass Pod Security is asked of the API server, by a dry run of
each pod template in a namespace where `restricted` is enforced.
"""

from __future__ import annotations

import base64
import gzip
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import kubernetes
from midwatch.errors import MidwatchError
from tests.chaos import cluster
from tests.conftest import free_port
from tests.install.programs import CHART, NAMESPACE, Object, helm, objects, template

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
PROMETHEUS = "main"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of an API server that knows the operators' objects; requests go there as its admin."""
    controllers = [cluster.controller(program) for program in ("rollouts-controller", "prometheus-operator")]
    helm("version")
    folder = tmp_path_factory.mktemp("install")
    with cluster.running(folder), cluster.connected(folder / f"{cluster.ADMIN}.kubeconfig"):
        for controller in controllers:
            cluster.define(controller.parent / "crds")
        for name in (NAMESPACE, "training"):
            cluster.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(RESTRICTED)}})
        yield folder


def config(folder: Path) -> Path:
    return folder / f"{cluster.ADMIN}.kubeconfig"


@contextmanager
def controller(program: str, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that finds the API server by $KUBECONFIG, as requests do."""
    with log.open("wb") as written:
        process = subprocess.Popen([str(cluster.controller(program)), *options], stdout=written, stderr=written)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def installed(server: Path, values: Path) -> Iterator[str]:
    """What Helm said when it installed the chart; removed at the end."""
    flags = ["--kubeconfig", config(server), "--namespace", NAMESPACE]
    done = helm("install", "midwatch", CHART, *flags, "-f", values)
    assert done.returncode == 0, done.stderr
    yield done.stdout + done.stderr
    helm("uninstall", "midwatch", *flags, "--ignore-not-found")


@pytest.fixture(scope="module")
def operators(server: Path, installed: str) -> Iterator[Path]:
    """Both controllers, and a Prometheus whose configuration the operator writes; the folder of their logs."""
    account = {"kind": "Prometheus", "apiVersion": "monitoring.coreos.com/v1", "metadata": {"name": PROMETHEUS}}
    selectors = ("serviceMonitorSelector", "ruleSelector", "scrapeConfigSelector")
    spec = {**{name: {} for name in selectors}, "replicas": 1, "version": "v2.55.0"}
    cluster.create(f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}/prometheuses", {**account, "spec": spec})
    token = {"metadata": {"name": "midwatch-metrics"}, "stringData": {"token": "seen-by-prometheus"}}
    cluster.create(f"/api/v1/namespaces/{NAMESPACE}/secrets", token)
    metrics, health = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(
            controller(
                "prometheus-operator",
                server / "operator.log",
                f"--namespaces={NAMESPACE}",
                "--kubelet-endpoints=false",
                f"--web.listen-address=127.0.0.1:{free_port()}",
            )
        )
        stack.enter_context(
            controller(
                "rollouts-controller",
                server / "rollouts.log",
                f"--kubeconfig={config(server)}",
                "--leader-elect=false",
                f"--metricsport={metrics}",
                f"--healthzPort={health}",
                f"--namespace={NAMESPACE}",
            )
        )
        yield server


def scrapes() -> dict[str, Object]:
    """The scrape jobs of the configuration that the operator has written, by its names of them; none until then."""
    try:
        secret = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/prometheus-{PROMETHEUS}")
    except MidwatchError:
        return {}
    written = yaml.safe_load(gzip.decompress(base64.b64decode(secret["data"]["prometheus.yaml.gz"])))
    return {job["job_name"]: job for job in written.get("scrape_configs") or []}


def test_every_object_is_taken_without_a_warning(server: Path, installed: str, values: Path) -> None:
    assert "warning" not in installed.lower(), installed
    assert "W1" not in installed, installed
    manifest = server / "chart.yaml"
    manifest.write_text(template(values))
    applied = ["kubectl", "--kubeconfig", str(config(server)), "apply", "--server-side", "--dry-run=server"]
    options = ["--validate=strict", "--force-conflicts", "--warnings-as-errors"]
    done = subprocess.run([*applied, *options, "-f", manifest], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    assert done.stdout.count("\n") == len(objects(template(values)))


def test_every_pod_passes_pod_security_restricted(installed: str, pods: dict[str, Object]) -> None:
    for part, pod in pods.items():
        name = part.rpartition("/")[2]
        spec = {**pod["spec"], "containers": [dict(one) for one in pod["spec"]["containers"]]}
        claimed = {mount["name"] for one in spec["containers"] for mount in one.get("volumeMounts", ())}
        missing = claimed - {one["name"] for one in spec["volumes"]}
        spec["volumes"] = [*spec["volumes"], *({"name": one, "emptyDir": {}} for one in missing)]  # of a claim
        document = {"metadata": {"name": name}, "spec": spec}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All"
        assert cluster.create(path, document)["metadata"]["name"] == name


def test_a_pod_that_is_not_restricted_is_refused_there(installed: str, pods: dict[str, Object]) -> None:
    document = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    with pytest.raises(MidwatchError, match="violates PodSecurity"):
        cluster.create(f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", document)


def test_the_operator_scrapes_every_part_with_its_token(operators: Path) -> None:
    cluster.wait_until(lambda: len(scrapes()) >= 3, 60)
    found = scrapes()
    parts = {name.split("/")[2] for name in found}
    assert parts == {"midwatch-exporter", "midwatch-gate", "midwatch-recovery"}
    for name, job in found.items():
        assert job["authorization"]["credentials"] == "seen-by-prometheus", name
        wanted = {one.get("target_label"): one for one in job["relabel_configs"]}
        assert wanted["job"]["source_labels"] == ["__meta_kubernetes_service_label_midwatch_dev_job"]


def test_the_operator_takes_every_rule(operators: Path, expected: dict[Any, Object]) -> None:
    rules = {name for kind, _, name in expected if kind == "PrometheusRule"}

    def written() -> str:
        maps = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"]
        return " ".join(key for one in maps if "rulefiles" in one["metadata"]["name"] for key in one["data"])

    cluster.wait_until(lambda: all(name in written() for name in rules), 60)
    log = (operators / "operator.log").read_text()
    assert "skipping" not in log.lower(), [line for line in log.splitlines() if "skipping" in line.lower()]


def invalid_spec(name: str, template_name: str) -> list[str]:
    """What Argo Rollouts says of a Rollout with a step that asks a template, once it has looked at both."""
    args = [{"name": "baseline", "value": "v1"}, {"name": "canary", "value": "v2"}]
    analysis = {"templates": [{"templateName": template_name}], "args": args}
    labels = {"app": name}
    container = {"name": "model", "image": "model:1", "resources": {}}
    rollout = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "strategy": {"canary": {"steps": [{"setWeight": 10}, {"analysis": analysis}]}},
        },
    }
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts"
    cluster.create(path, rollout)

    def conditions() -> list[Object]:
        return list(kubernetes.request("GET", f"{path}/{name}").get("status", {}).get("conditions") or ())

    cluster.wait_until(lambda: bool(conditions()), 60)
    return [one["message"] for one in conditions() if one["type"] == "InvalidSpec"]


def test_argo_rollouts_takes_the_templates(operators: Path, expected: dict[Any, Object]) -> None:
    templates = [name for kind, _, name in expected if kind == "AnalysisTemplate"]
    assert [invalid_spec(f"rollout-{number}", name) for number, name in enumerate(templates)] == [[]] * len(templates)
    (message,) = invalid_spec("rollout-of-none", "there-is-none")  # it does look
    assert "there-is-none" in message


def test_an_upgrade_of_the_same_changes_nothing_and_one_of_another_file_restarts(
    server: Path, installed: str, values: Path
) -> None:
    def generations() -> dict[str, int]:
        sets = kubernetes.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets")["items"]
        ours = [one["metadata"] for one in sets if one["metadata"]["name"].startswith("midwatch-")]
        return {one["name"]: one["generation"] for one in ours}

    flags = ["--kubeconfig", config(server), "--namespace", NAMESPACE, "-f", values]
    before = generations()
    assert helm("upgrade", "midwatch", CHART, *flags).returncode == 0
    assert generations() == before
    assert helm("upgrade", "midwatch", CHART, *flags, "--set", "platform.checksum=other").returncode == 0
    assert all(number == before[name] + 1 for name, number in generations().items())


def test_what_was_installed_is_removed_without_rest(server: Path, installed: str, expected: dict[Any, Object]) -> None:
    done = helm("uninstall", "midwatch", "--kubeconfig", config(server), "--namespace", NAMESPACE)
    assert done.returncode == 0, done.stderr
    command = ["kubectl", "--kubeconfig", str(config(server)), "get", "--ignore-not-found", "-o", "name"]
    kinds = ",".join(sorted({kind for kind, _, _ in expected}))
    left = subprocess.run([*command, "-A", kinds], capture_output=True, text=True, check=True).stdout.split()
    names = {name for _, _, name in expected}
    assert names
    assert not [one for one in left if one.rpartition("/")[2] in names]
