"""The whole installation on a real API server, with the real controllers of prometheus-operator and Argo Rollouts.

There is no kubelet and no controller manager: that pods pass Pod Security is asked of the API server, by a dry run of
each pod template in a namespace where `restricted` is enforced.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import kubernetes
from midwatch.app import cluster_check
from midwatch.app import objects as cluster_objects
from midwatch.errors import MidwatchError
from midwatch.spec import load
from tests.chaos import cluster
from tests.conftest import free_port
from tests.install.programs import (
    CHART,
    NAMESPACE,
    ROOT,
    Object,
    helm,
    helm_program,
    kubectl,
    objects,
    template,
    whole_document,
)

PROMETHEUS = "main"
pytestmark = pytest.mark.timeout(600)  # real programs, beside others on a busy machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of an API server that knows the operators' objects; requests go there as its admin."""
    controllers = [cluster.controller(program) for program in ("rollouts-controller", "prometheus-operator")]
    helm_program()
    kubectl("version", "--client")
    folder = tmp_path_factory.mktemp("install")
    with cluster.running(folder), cluster.connected(folder / f"{cluster.ADMIN}.kubeconfig"):
        for controller in controllers:
            cluster.define(controller.parent / "crds")
        cluster.create("/api/v1/namespaces", {"metadata": {"name": "training"}})  # of the pipeline that drift triggers
        yield folder


def config(folder: Path) -> Path:
    """Kubeconfig of the admin."""
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
        process.wait(60)


def said(heading: str) -> list[str]:
    """Blocks of shell below a heading of docs/install.md."""
    text = (ROOT / "docs/install.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def follow(folder: Path, *blocks: str) -> str:
    """Do what blocks say, in a folder, ended by the first command that fails; what was said."""
    found = Path(helm_program()).parent
    path = os.pathsep.join([str(found), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    command = ["sh", "-euc", "\n".join(blocks)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(server: Path) -> Path:
    """The folder of who installs: a platform file, a reference, the chart."""
    folder = server / "site"
    (folder / "references").mkdir(parents=True)
    (folder / "references/fraud.npz").write_bytes(b"npz")
    (folder / "platform.yaml").write_text(yaml.safe_dump(whole_document(), sort_keys=False))
    (folder / "deploy").symlink_to(ROOT / "deploy")
    return folder


@pytest.fixture(scope="module")
def installed(site: Path) -> str:
    """What was said when docs/install.md was followed, from an empty cluster to what runs."""
    return follow(site, *said("Namespace and secrets"), *said("With Helm"))


@pytest.fixture(scope="module")
def operators(server: Path, installed: str) -> Iterator[Path]:
    """Both controllers, and a Prometheus whose configuration the operator writes; the folder of their logs."""
    account = {"kind": "Prometheus", "apiVersion": "monitoring.coreos.com/v1", "metadata": {"name": PROMETHEUS}}
    selectors = ("serviceMonitorSelector", "ruleSelector", "scrapeConfigSelector")
    spec = {**{name: {} for name in selectors}, "replicas": 1, "version": "v2.55.0"}
    cluster.create(f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}/prometheuses", {**account, "spec": spec})
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
    # So kubectl and Helm pass on what the API server warns of; `midwatch check` has warnings of its own.
    assert not re.search(r"^(Warning:|W[0-9]{4} )", installed, re.MULTILINE), installed
    manifest = server / "chart.yaml"
    manifest.write_text(template(values))
    options = ["--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "--warnings-as-errors"]
    done = kubectl("apply", *options, "-f", manifest)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    assert done.stdout.count("\n") == len(objects(template(values)))


def test_check_knows_all_that_helm_installed_as_ours(site: Path, installed: str, values: Path) -> None:
    rendered = cluster_objects.of_files(yaml.safe_load(values.read_text())["rendered"])
    platform = load.load_platform(site / "platform.yaml")
    assert [str(one) for one in cluster_check.find_problems(platform, rendered)] == []


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
    cluster.wait_until(lambda: len(scrapes()) >= 5, 60)
    found = {name: job for name, job in scrapes().items() if "tekton" not in name}  # somebody else's, without a token
    secret = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/midwatch-metrics")
    token = base64.b64decode(secret["data"]["token"]).decode().strip()
    parts = {name.split("/")[2] for name in found}
    assert parts == {
        "midwatch-exporter",
        "midwatch-gate",
        "midwatch-loop",
        "midwatch-incidents",
        "midwatch-evaluator",
        "midwatch-recovery",
        "midwatch-systems",
    }
    for name, job in found.items():
        assert job["authorization"]["credentials"].strip() == token, name
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
    flags += ["--disable-openapi-validation"]  # which the installation had: Helm reads all schemas of the server for it
    before = generations()
    assert helm("upgrade", "midwatch", CHART, *flags).returncode == 0
    assert generations() == before
    assert helm("upgrade", "midwatch", CHART, *flags, "--set", "platform.checksum=other").returncode == 0
    assert all(number == before[name] + 1 for name, number in generations().items())


def left(expected: dict[Any, Object]) -> list[str]:
    """Objects of the cluster that have the kinds and names of ours."""
    kinds = ",".join(sorted({kind for kind, _, _ in expected}))
    found = kubectl("get", "--ignore-not-found", "-o", "name", "-A", kinds).stdout.split()
    names = {name for _, _, name in expected}
    return [one for one in found if one.rpartition("/")[2] in names]


def test_what_was_installed_is_removed_without_rest_and_installed_without_helm(
    site: Path, installed: str, expected: dict[Any, Object]
) -> None:
    assert len(left(expected)) == len(expected)
    follow(site, *said("Changing and removing it"))
    assert not left(expected)
    follow(site, *said("Without Helm"))
    assert len(left(expected)) == len(expected)
    follow(site, "kubectl delete -k build")
    assert not left(expected)
