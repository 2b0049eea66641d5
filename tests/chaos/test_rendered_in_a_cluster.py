"""What is rendered for a cluster, at a real API server: it is taken, its pods are restricted, it says whose it is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import kubernetes as alerts
from chaos.kinds import injection
from chaos.places.cluster.namespace import Cluster
from midwatch import kubernetes, object_names
from midwatch.app import cluster_check, objects
from midwatch.app.render import rendered_objects
from midwatch.spec import load, model
from midwatch.spec.document import Document
from midwatch.spec.model import Platform
from monitors.drift import trigger
from tests.chaos import cluster
from tests.chaos.cluster import NAMESPACE
from tests.conftest import midwatch_here, need_program, platform_document

RESTRICTED, PLANE, TRAINING = "restricted", "midwatch", "training"
EXPORTER = "exporter-token"
MONITORING, ARGO = "monitoring.coreos.com", "argoproj.io"
KINDS = [
    (MONITORING, "v1", "PrometheusRule", "Namespaced"),
    (MONITORING, "v1", "ServiceMonitor", "Namespaced"),
    (MONITORING, "v1", "Alertmanager", "Namespaced"),
    (MONITORING, "v1alpha1", "AlertmanagerConfig", "Namespaced"),
    (MONITORING, "v1alpha1", "ScrapeConfig", "Namespaced"),
    (ARGO, "v1alpha1", "AnalysisTemplate", "Namespaced"),
    (ARGO, "v1alpha1", "ClusterAnalysisTemplate", "Cluster"),
    (ARGO, "v1alpha1", "Rollout", "Namespaced"),
    ("tekton.dev", "v1", "PipelineRun", "Namespaced"),
]
"""What operators define, without their schemas: their own programs try these elsewhere."""


def definition(group: str, version: str, kind: str, scope: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def is_served(group: str, version: str, kind: str) -> bool:
    try:
        listed = kubernetes.request("GET", f"/apis/{group}/{version}")["resources"]
    except kubernetes.RefusedError:
        return False
    return kind in {one["kind"] for one in listed}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kubeconfig of an API server, as its admin, with the kinds of the operators and the platform's namespaces."""
    folder = tmp_path_factory.mktemp("cluster")
    admin = folder / f"{cluster.ADMIN}.kubeconfig"
    with cluster.running(folder, {EXPORTER: (PLANE, "midwatch-exporter")}), cluster.connected(admin):
        for name in (NAMESPACE, PLANE, TRAINING, "data", "velero", "restored"):
            cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
        label = {"pod-security.kubernetes.io/enforce": RESTRICTED, "pod-security.kubernetes.io/warn": RESTRICTED}
        cluster.create("/api/v1/namespaces", {"metadata": {"name": RESTRICTED, "labels": label}})
        for one in KINDS:
            cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(*one))
        cluster.wait_until(lambda: all(is_served(group, version, kind) for group, version, kind, _ in KINDS))
        yield admin


def document(**changes: Any) -> dict[str, Any]:
    """A platform with all that runs in a cluster: experiments, drills, recoverers, and templates of canaries."""
    here = {"namespace": NAMESPACE}
    commands = {
        name: ["true"]
        for name in ("inject", "is_effective", "check", "recover", "observe", "read", "integrity", "allowed")
    }
    velero = {"namespace": "shop", "restore_namespace": "restored", "schedule": "nightly"}
    whole = platform_document(
        chaos={
            "guard": {"protected": {"parts": []}},
            "kubernetes": {**here, "models": {"fraud": {"deployment": "fraud", "service": "fraud"}}},
            "experiments": [{"kind": kind, "schedule": "0 4 * * 1"} for kind in ("kill_replica", "exhaust_cpu")],
        },
        disaster_recovery={
            "owner": "ml",
            "rto": "15m",
            "rpo": "5m",
            "kubernetes": here,
            "stores": [
                {"name": "orders", "cloudnative_pg": {"namespace": "data", "cluster": "orders", "endpoint_file": "x"}},
                {"name": "objects", "velero": velero, "rpo": "2h"},
                {"name": "queue", "commands": commands},
            ],
            "drills": [{"name": "switch", "store": "orders", "fault": "switchover", "schedule": "0 5 * * 1"}],
        },
        **changes,
    )
    whole["models"][0]["canary"] = {"criteria": [{"metric": "errors", "negligible": "1%"}]}
    run = {"namespace": TRAINING, "pipeline": "train", "service_account": "trainer"}
    drift = {"reference": "r.npz", "features": {"x": "numeric"}, "retrain": {"pipeline_run": run}}
    whole["models"][0]["drift"] = drift
    plane = {"namespace": PLANE, "references": "references"}
    return {**whole, "kubernetes": plane, **changes}


def read(folder: Path, **changes: Any) -> tuple[Platform, Document]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document(**changes)))
    return load.load_with_places(file)


def rendered(platform: Platform, text: Document) -> list[objects.Object]:
    return objects.of_files(rendered_objects(platform, text))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, list[objects.Object]]:
    """The platform, and all of its objects."""
    platform, text = read(tmp_path_factory.mktemp("platform"))
    return platform, rendered(platform, text)


def pod_templates(value: Any, kind: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods in an object, wherever they stand, with the kind of the object."""
    if isinstance(value, dict):
        if "containers" in value:
            yield kind, value
        for inner in value.values():
            yield from pod_templates(inner, kind or str(value.get("kind", "")))
    elif isinstance(value, list):
        for inner in value:
            yield from pod_templates(inner, kind)


def refusal(pod: dict[str, Any]) -> str:
    """Why the API server does not take a pod in a namespace that is restricted; an empty text when it does."""
    mounted = {one["name"] for container in pod["containers"] for one in container.get("volumeMounts", ())}
    claimed = mounted - {one["name"] for one in pod.get("volumes", ())}  # a StatefulSet's controller adds them
    volumes = [*pod.get("volumes", ()), *({"name": name, "emptyDir": {}} for name in sorted(claimed))]
    body = {"metadata": {"generateName": "tried-"}, "spec": {**pod, "volumes": volumes}}
    try:
        kubernetes.request("POST", f"/api/v1/namespaces/{RESTRICTED}/pods", query={"dryRun": "All"}, body=body)
    except kubernetes.RefusedError as error:
        return str(error)
    return ""


def hog() -> dict[str, Any]:
    """The pod that an experiment makes beside a model."""
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    selector = {"matchLabels": {"app": "fraud"}}
    spec = {
        "selector": selector,
        "template": {"metadata": {"labels": {"app": "fraud"}}, "spec": cluster.pod("x", "x")["spec"]},
    }
    deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    cluster.create(deployments, {"metadata": {"name": "fraud"}, "spec": spec})
    for name in ("node-a", "node-b"):
        cluster.create("/api/v1/nodes", {"metadata": {"name": name}})
    cluster.create(pods, cluster.pod("fraud-1", "fraud", "node-a"))
    target = Cluster(model.Platform.model_validate(document()), Path("platform.yaml"), Path("state"))
    (fault,) = target.prepare(injection("exhaust_cpu", {"model": "fraud", "cores": 1, "seconds": 30})).faults
    return dict(fault.manifest)  # type: ignore[attr-defined]


def test_every_pod_that_is_rendered_passes_pod_security_restricted(
    api: Path, whole: tuple[Platform, list[objects.Object]]
) -> None:
    templates = [found for one in whole[1] for found in pod_templates(one.document)]
    templates += pod_templates(hog(), "Pod")
    kinds = {kind for kind, _ in templates}
    assert kinds >= {"CronJob", "Deployment", "AnalysisTemplate", "StatefulSet"}
    assert {json.dumps(pod): said for _, pod in templates if (said := refusal(pod))} == {}
    assert "violates PodSecurity" in refusal({"containers": [{"name": "x", "image": "x"}]}), "else nothing was tried"


# The exporter --------------------------------------------------------------------------------------------------------


RUNS = f"/apis/tekton.dev/v1/namespaces/{TRAINING}/pipelineruns"
OTHER_RUNS: dict[str, dict[str, Any]] = {
    "another pipeline": {"pipelineRef": {"name": "other"}},
    "a pipeline from elsewhere": {"pipelineRef": {"name": "train", "resolver": "git"}},
    "a pipeline of its own": {"pipelineSpec": {"tasks": []}},
    "another account": {"taskRunTemplate": {"serviceAccountName": "admin"}},
    "no account": {"taskRunTemplate": {}},
    "another account for a task": {"taskRunSpecs": [{"pipelineTaskName": "a", "serviceAccountName": "admin"}]},
    "a Secret": {"workspaces": [{"name": "a", "secret": {"secretName": "token"}}]},
    "a pod of its own": {"taskRunTemplate": {"serviceAccountName": "trainer", "podTemplate": {"hostNetwork": True}}},
}


def test_the_exporter_starts_the_pipelines_of_the_platform_file_and_nothing_else(
    api: Path, whole: tuple[Platform, list[objects.Object]]
) -> None:
    platform, found = whole
    made = [
        put(one) for one in found if one.identity.name in ("midwatch-exporter.test", "midwatch-exporter.test.midwatch")
    ]
    assert platform.models[0].drift is not None and platform.models[0].drift.retrain is not None
    run = platform.models[0].drift.retrain.pipeline_run
    assert run is not None
    sent = trigger.manifest(run, {"model": "fraud", "episode": "e1", "reason": "drift"})

    def tried(**changes: Any) -> str:
        body = {**sent, "spec": sent["spec"] | changes}
        try:
            kubernetes.request("POST", RUNS, query={"dryRun": "All"}, body=body)
        except kubernetes.RefusedError as error:
            return str(error)
        return ""

    try:
        with cluster.connected(api.parent / f"{EXPORTER}.kubeconfig"):
            cluster.wait_until(lambda: "the exporter starts the pipelines" in tried(pipelineRef={"name": "other"}))
            assert tried() == ""
            passed = [what for what, changes in OTHER_RUNS.items() if "the exporter starts" not in tried(**changes)]
            assert passed == []
            for method, path in (
                ("GET", RUNS),
                ("DELETE", f"{RUNS}/x"),
                ("GET", f"/api/v1/namespaces/{PLANE}/secrets"),
                ("GET", f"/api/v1/namespaces/{TRAINING}/secrets"),
                ("POST", f"/api/v1/namespaces/{TRAINING}/pods"),
                ("POST", RUNS.replace(TRAINING, PLANE)),
            ):
                with pytest.raises(kubernetes.RefusedError, match="403"):
                    kubernetes.request(method, path, body=None if method != "POST" else {"metadata": {"name": "x"}})
    finally:
        for path in made:
            kubernetes.request("DELETE", path)
    assert len(made) == 4


# Names ---------------------------------------------------------------------------------------------------------------


def put(one: objects.Object, **labels: str) -> str:
    """Create a rendered object with other labels; its path."""
    metadata = one.document["metadata"]
    body = {**one.document, "metadata": {**metadata, "labels": labels}}
    root = (
        f"/apis/{one.identity.api_version}" if "/" in one.identity.api_version else f"/api/{one.identity.api_version}"
    )
    listed = kubernetes.request("GET", root)["resources"]
    (known,) = (found for found in listed if found["kind"] == one.identity.kind and "/" not in found["name"])
    namespace = f"/namespaces/{one.identity.namespace or 'default'}" if known["namespaced"] else ""
    path = f"{root}{namespace}/{known['name']}"
    kubernetes.request("POST", path, body=body)
    return f"{path}/{one.identity.name}"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({object_names.NAME: "midwatch", object_names.PART_OF: "other"}, "is of the platform other"),
        ({cluster_check.MANAGED: "midwatch", object_names.PART_OF: "other"}, "is of the platform other"),
        ({}, "was not rendered by Midwatch"),
        ({object_names.NAME: "midwatch", object_names.PART_OF: "test"}, ""),
        ({object_names.NAME: "midwatch"}, ""),
    ],
    ids=["another platform", "another's template", "a stranger", "ours", "of an earlier release"],
)
@pytest.mark.parametrize("kind", ["CronJob", "ClusterAnalysisTemplate"])
def test_an_object_of_another_is_not_overwritten_in_silence(
    api: Path, whole: tuple[Platform, list[objects.Object]], kind: str, labels: dict[str, str], said: str
) -> None:
    platform, found = whole
    taken = next(one for one in found if one.identity.kind == kind)
    path = put(taken, **labels)
    try:
        problems = [str(one) for one in cluster_check.find_problems(platform, found)]
    finally:
        kubernetes.request("DELETE", path)
    assert len(problems) == bool(said)
    assert all(f"{taken.identity} is there already, and {said}" in one for one in problems)


def test_of_two_platforms_beside_each_other_only_what_the_file_names_is_shared(tmp_path: Path) -> None:
    mine, other = (
        {one.identity for one in rendered(*read(tmp_path, platform=name, kubernetes=None))}
        for name in ("shop", "shop-b")
    )
    shared = {(one.kind, one.name) for one in mine & other}
    assert shared == {
        ("AnalysisTemplate", "midwatch-canary-fraud"),
        ("AnalysisTemplate", "midwatch-canary-fraud-job"),
        ("ConfigMap", "midwatch-platform"),
        ("ServiceAccount", "midwatch-chaos"),
        ("ServiceAccount", "midwatch-recovery"),
        ("ServiceAccount", "midwatch-recovery-exporter"),
        ("ServiceAccount", "midwatch-recovery-guard"),
    }, "these names are chosen in the file, or are in the namespace of whoever applies them; check --cluster tells"


LONG = "a-name-that-is-as-long-as-the-file-lets-it-be-and-then"


def test_names_that_are_cut_stay_apart_and_fit(api: Path, tmp_path: Path) -> None:
    changed = document(platform=LONG, kubernetes=None)
    chosen = [{"kind": "kill_replica", "name": f"{LONG}-{number}", "schedule": "0 4 * * 1"} for number in (1, 2)]
    changed["chaos"]["experiments"] = chosen
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(changed))
    found = rendered(*load.load_with_places(tmp_path / "platform.yaml"))
    assert list(objects.find_problems(found)) == []
    jobs = [one for one in found if one.identity.kind in ("CronJob", "Deployment")]
    assert len({one.identity for one in jobs}) == len(jobs) == 4
    for one in jobs:
        path = f"/apis/{one.identity.api_version}/namespaces/{NAMESPACE}/{one.identity.kind.lower()}s"
        kubernetes.request("POST", path, query={"dryRun": "All", "fieldValidation": "Strict"}, body=dict(one.document))


def test_two_objects_of_one_name_and_names_that_are_none_are_problems() -> None:
    one = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "n"}}
    odd = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a" * 53}}
    text = yaml.safe_dump_all([one, one, odd, odd | {"metadata": {"name": "A_b"}}])
    said = [str(problem) for problem in objects.find_problems(objects.of_files({"kubernetes/x.yaml": text}))]
    assert [part in line for part, line in zip(("n/a is also in", "at most 52", "at most 52"), said, strict=True)] == [
        True
    ] * 3


# The operator's Alertmanagers ----------------------------------------------------------------------------------------


ALERTMANAGERS = f"/apis/{MONITORING}/v1/namespaces/{NAMESPACE}/alertmanagers"
TAKES = {"alertmanagerConfigSelector": {"matchLabels": {"team": "ml"}}}
LETS_THROUGH = {"alertmanagerConfigMatcherStrategy": {"type": "None"}}
EXCEPT_ITS_OWN = {"alertmanagerConfigMatcherStrategy": {"type": "OnNamespaceExceptForAlertmanagerNamespace"}}
EVERYWHERE = {"alertmanagerConfigNamespaceSelector": {}}
ELSEWHERE = {"alertmanagerConfigNamespaceSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}


@pytest.mark.parametrize(
    ("spec", "namespace", "said"),
    [
        (None, NAMESPACE, "no Alertmanager takes AlertmanagerConfig"),
        ({}, NAMESPACE, "no Alertmanager takes AlertmanagerConfig"),
        ({"alertmanagerConfigSelector": {"matchLabels": {"team": "x"}}}, NAMESPACE, "no Alertmanager takes"),
        (TAKES | LETS_THROUGH | ELSEWHERE, NAMESPACE, "no Alertmanager takes"),
        (TAKES | LETS_THROUGH, "data", "no Alertmanager takes"),
        (TAKES, NAMESPACE, "only alerts with the label namespace=ml: ours have none; set alertmanagerConfigMatcher"),
        (TAKES | EXCEPT_ITS_OWN | EVERYWHERE, "data", "only alerts with the label namespace=data"),
        (TAKES | EXCEPT_ITS_OWN, NAMESPACE, ""),
        (TAKES | LETS_THROUGH | EVERYWHERE, "data", ""),
    ],
    ids=["none", "selects none", "others", "elsewhere", "own only", "by namespace", "but its own", "its own", "all"],
)
def test_check_asks_the_cluster_whether_an_alertmanager_takes_our_alerts(
    api: Path, tmp_path: Path, spec: dict[str, Any] | None, namespace: str, said: str
) -> None:
    operator = {"operator": {"namespace": namespace, "labels": {"team": "ml"}}}
    channels = {"oncall": {"webhook": {"url": "http://a/"}}, "chat": {"webhook": {"url": "http://a/"}}}
    asked = {"alertmanager": {"kubernetes": "alertmanagerconfig", "version": "0.28"}, "prometheus": operator}
    platform, _ = read(tmp_path, channels=channels, **asked)
    rendered_file = {"kubernetes/a.yaml": alerts.render_objects(platform)["kubernetes/alertmanagerconfig.yaml"]}
    if spec is not None:
        cluster.create(
            ALERTMANAGERS,
            {"apiVersion": f"{MONITORING}/v1", "kind": "Alertmanager", "metadata": {"name": "main"}, "spec": spec},
        )
    try:
        problems = [str(one) for one in cluster_check.find_problems(platform, objects.of_files(rendered_file))]
    finally:
        if spec is not None:
            kubernetes.request("DELETE", f"{ALERTMANAGERS}/main")
    assert len(problems) == bool(said)
    assert all(said in one for one in problems)


def test_a_kind_that_the_cluster_does_not_know_is_a_problem(
    api: Path, whole: tuple[Platform, list[objects.Object]]
) -> None:
    platform, _ = whole
    text = yaml.safe_dump({"apiVersion": "x.invalid/v1", "kind": "Odd", "metadata": {"name": "a"}})
    (problem,) = cluster_check.find_problems(platform, objects.of_files({"kubernetes/x.yaml": text}))
    assert "the cluster has no Odd (x.invalid/v1)" in str(problem)


def test_check_with_the_cluster_says_both_and_without_one_that_it_cannot(
    api: Path, tmp_path: Path, whole: tuple[Platform, list[objects.Object]]
) -> None:
    for program in ("promtool", "amtool"):
        need_program(program)
    read(tmp_path)
    taken = next(one for one in whole[1] if one.identity.kind == "CronJob")
    path = put(taken)
    try:
        done = midwatch_here("check", "--cluster", "-f", tmp_path / "platform.yaml", "--json")
    finally:
        kubernetes.request("DELETE", path)
    said = [one["message"] for one in json.loads(done.stdout)["problems"]]
    assert (done.returncode, len(said)) == (1, 1)
    assert "was not rendered by Midwatch" in said[0]
    with cluster.connected(cluster.nowhere(tmp_path)):
        refused = midwatch_here("check", "--cluster", "-f", tmp_path / "platform.yaml")
    assert (refused.returncode, "what it has is not known" in refused.stderr) == (3, True)


def test_kubectl_takes_the_rendered_folder_as_it_is(
    api: Path, tmp_path: Path, whole: tuple[Platform, list[objects.Object]]
) -> None:
    kubectl = need_program("kubectl")
    read(tmp_path)
    done = midwatch_here("render", "-f", tmp_path / "platform.yaml", "-o", tmp_path / "out", "--target", "kubernetes")
    assert done.returncode == 0, done.stderr
    command = [
        kubectl,
        f"--kubeconfig={api}",
        "apply",
        "--recursive",
        "--filename",
        tmp_path / "out",
        "--dry-run=server",
    ]
    applied = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert (applied.returncode, applied.stderr) == (0, "")
    assert applied.stdout.count("created") == len(whole[1])


def test_a_namespace_that_is_not_there_is_told_once(api: Path, whole: tuple[Platform, list[objects.Object]]) -> None:
    platform, found = whole
    moved = [one for one in found if one.identity.kind == "ConfigMap"][:2]
    texts = [
        yaml.safe_dump({**one.document, "metadata": {**one.document["metadata"], "namespace": "nowhere"}})
        for one in moved
    ]
    (problem,) = cluster_check.find_problems(platform, objects.of_files({"kubernetes/x.yaml": "---\n".join(texts)}))
    assert "the cluster has no namespace nowhere" in str(problem)
