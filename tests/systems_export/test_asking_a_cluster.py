"""What is asked of a real API server, with the rendered rights, and the status schemas of Tekton and KServe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters.systems import manifests, service
from exporters.systems.polling import Polled
from midwatch import cluster_objects, kubernetes
from midwatch.spec import load
from midwatch.spec.observed.base import Resource
from tests.chaos import cluster as real
from tests.conftest import platform_document

CRDS = Path(__file__).parent / "crds"
EXPORTER = "exporter-token"
ACCOUNT = {"namespace": "midwatch", "service_account": "midwatch-systems"}
PLACES = {
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
}
CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "nightly", "namespace": "ml"},
    "spec": {
        "schedule": "0 4 * * *",
        "timeZone": "Europe/Berlin",
        "jobTemplate": {
            "spec": {
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.invalid/c:1"}]}
                }
            }
        },
    },
}
STATUSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/apis/batch/v1/namespaces/ml/cronjobs": (
        CRON_JOB,
        {"lastScheduleTime": "2026-11-20T03:00:00Z", "lastSuccessfulTime": "2026-11-20T03:09:00Z"},
    ),
    "/apis/tekton.dev/v1/namespaces/ml/pipelineruns": (
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": "train-1", "namespace": "ml"},
            "spec": {"pipelineRef": {"name": "train"}},
        },
        {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
            "startTime": "2026-11-20T04:02:00Z",
            "completionTime": "2026-11-20T05:02:00Z",
        },
    ),
    "/apis/tekton.dev/v1/namespaces/ml/taskruns": (
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"name": "t", "namespace": "ml", "labels": {"tekton.dev/pipelineRun": "train-1"}},
            "spec": {},
        },
        {"conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "ExceededResourceQuota"}]},
    ),
    "/apis/serving.kserve.io/v1beta1/namespaces/ml/inferenceservices": (
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "fraud", "namespace": "ml"},
            "spec": {"predictor": {}},
        },
        {
            "conditions": [{"type": "Ready", "status": "True"}],
            "modelStatus": {
                "transitionStatus": "BlockedByFailedLoad",
                "states": {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"},
                "lastFailureInfo": {"reason": "ModelLoadFailed"},
            },
        },
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of an API server that has an object of each kind; its admin is who asks."""
    folder = tmp_path_factory.mktemp("cluster")
    accounts = {EXPORTER: (ACCOUNT["namespace"], ACCOUNT["service_account"])}
    with real.running(folder, accounts), real.connected(folder / f"{real.ADMIN}.kubeconfig"):
        for name in ("ml", "other"):
            real.create("/api/v1/namespaces", {"metadata": {"name": name}})
        for path in CRDS.glob("*.yaml"):
            definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            real.create(definition, yaml.safe_load(path.read_text()))
        for path, (document, status) in STATUSES.items():
            real.wait_until(lambda path=path: _is_served(path))
            real.create(path, document)
            kubernetes.request("PATCH", f"{path}/{document['metadata']['name']}/status", body={"status": status})
        yield folder


def _is_served(path: str) -> bool:
    try:
        return "items" in kubernetes.request("GET", path)
    except kubernetes.RefusedError:
        return False


def polled(tmp_path: Path, **changes: Any) -> dict[str, Polled]:
    """The sources of a platform that observes all three, by name; `changes` are keys of each section."""
    sections: dict[str, dict[str, Any]] = {
        "kubernetes": {"namespaces": ["ml"]},
        "kserve": {"namespaces": ["ml"]},
        "tekton": {"namespaces": ["ml"], "pipelines": {"ml/train": {"succeed_within": "26h"}}},
    }
    systems = {
        name: {"owner": "ml", "targets": ["a:1"], "observe": {**section, **changes}}
        for name, section in sections.items()
    }
    file = tmp_path / "platform.yaml"
    document = platform_document(systems=systems, systems_exporter={"account": ACCOUNT})
    file.write_text(yaml.safe_dump(document))
    platform = load.load_platform(file)
    for text in manifests.render_files(platform).values():
        _apply(text)
    return {source.name: source for source in service.of_platform(platform, tmp_path)}


def _apply(text: str) -> None:
    for document in yaml.safe_load_all(text):
        namespace = document["metadata"].get("namespace")
        if kind := PLACES.get(document["kind"]):
            root = "/apis/rbac.authorization.k8s.io/v1" + (f"/namespaces/{namespace}" if namespace else "")
            try:
                kubernetes.request("DELETE", f"{root}/{kind}/{document['metadata']['name']}")
            except kubernetes.RefusedError as error:
                assert error.status == 404
            real.create(f"{root}/{kind}", document)


def values(source: Polled) -> dict[str, float]:
    """What a source publishes, by name and labels that are not 0."""
    source.poll()
    return {
        f"{metric.name}{dict(labels)}": value
        for metric, labels, value in source.samples()
        if value and "source" not in labels
    }


def as_exporter(server: Path) -> Any:
    return real.connected(server / f"{EXPORTER}.kubeconfig")


def test_with_the_rendered_rights_everything_is_seen(server: Path, tmp_path: Path) -> None:
    sources = polled(tmp_path)
    with as_exporter(server):
        found = {name: values(source) for name, source in sources.items()}
    assert {name: source.problem for name, source in sources.items()} == dict.fromkeys(sources, "")
    job = "{'namespace': 'ml', 'cronjob': 'nightly'}"
    assert found["kubernetes"] == {
        f"kubernetes_cronjob_last_success_timestamp_seconds{job}": cluster_objects.seconds("2026-11-20T03:09:00Z"),
        f"kubernetes_cronjob_start_due_timestamp_seconds{job}": cluster_objects.seconds("2026-11-21T03:00:00Z"),
        f"kubernetes_cronjob_success_due_timestamp_seconds{job}": cluster_objects.seconds("2026-11-21T03:00:00Z"),
    }
    train = "{'namespace': 'ml', 'pipeline': 'train'}"
    last = found["tekton"][f"tekton_pipeline_last_success_timestamp_seconds{train}"]
    assert last == cluster_objects.seconds("2026-11-20T05:02:00Z")
    waits = [name for name in found["tekton"] if "oldest_waiting" in name]
    assert waits == [
        "tekton_pipeline_oldest_waiting_timestamp_seconds"
        "{'namespace': 'ml', 'pipeline': 'train', 'reason': 'ExceededResourceQuota'}"
    ]
    fraud = "'namespace': 'ml', 'service_name': 'fraud'"
    assert f"kserve_inference_service_ready{{{fraud}}}" in found["kserve"]
    blocked = f"kserve_inference_service_transition{{{fraud}, 'state': 'blocked_by_failed_load'}}"
    assert blocked in found["kserve"]


def test_all_namespaces_are_seen_with_the_rights_of_the_whole_cluster(server: Path, tmp_path: Path) -> None:
    sources = polled(tmp_path, namespaces=[])
    with as_exporter(server):
        assert all(values(source) for source in sources.values())
    kubernetes.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/midwatch-systems.test")


def test_what_the_exporter_may_not_list_is_said_and_nothing_is_published(server: Path, tmp_path: Path) -> None:
    sources = polled(tmp_path)
    asked = sources["kserve"]
    kubernetes.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/namespaces/ml/rolebindings/midwatch-systems.test")
    with as_exporter(server):
        assert values(asked) == {}
    assert "403" in asked.problem
    assert "inferenceservices" in asked.problem


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/ml/secrets"),
        ("GET", "/api/v1/namespaces/ml/pods"),
        ("GET", "/apis/batch/v1/namespaces/other/cronjobs"),
        ("GET", "/apis/batch/v1/namespaces/ml/cronjobs/nightly"),
        ("DELETE", "/apis/batch/v1/namespaces/ml/cronjobs/nightly"),
        ("PATCH", "/apis/batch/v1/namespaces/ml/cronjobs/nightly"),
    ],
)
def test_the_rendered_rights_are_to_list_and_nothing_else(method: str, path: str, server: Path, tmp_path: Path) -> None:
    polled(tmp_path)
    with as_exporter(server), pytest.raises(kubernetes.RefusedError) as refused:
        kubernetes.request(method, path, body={} if method == "PATCH" else None)
    assert refused.value.status == 403


def test_every_page_of_a_long_list_is_read(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"page-{number}" for number in range(5)}
    for name in names:
        real.create("/apis/coordination.k8s.io/v1/namespaces/other/leases", {"metadata": {"name": name}})
    monkeypatch.setattr(cluster_objects, "PAGE", 2)
    leases = Resource(group="coordination.k8s.io", version="v1", plural="leases")
    found = [cluster_objects.name_of(one)[1] for one in cluster_objects.objects(leases, ["other"], 10.0)]
    assert sorted(found) == sorted(names)


def test_a_kind_that_is_not_installed_is_an_error_and_no_empty_list(server: Path) -> None:
    gone = Resource(group="tekton.dev", version="v1", plural="customruns")
    with pytest.raises(kubernetes.RefusedError, match="404"):
        cluster_objects.objects(gone, [], 10.0)
