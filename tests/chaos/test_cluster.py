"""The Kubernetes mode against a real API server: every kind, its limits, its rights, and nothing beyond them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from chaos import faults, lease, manifests, preconditions
from chaos import kinds as kinds_of_faults
from chaos.kinds import injection
from chaos.kinds.failing_model import NOWHERE
from chaos.places.cluster.namespace import Cluster
from chaos.places.place import Home
from chaos.run import recovery
from chaos.targets import Hit, TargetError, UnsupportedError
from midwatch import evidence, kubernetes
from midwatch.spec import chaos as spec
from midwatch.spec.model import Drift, Platform
from tests.chaos import cluster
from tests.chaos.cluster import NAMESPACE
from tests.chaos.conftest import SmallPlane, small_document
from tests.conftest import platform, platform_document

SETTINGS: dict[str, dict[str, Any]] = {
    "kill_replica": {"model": "fraud", "replicas": 2},
    "slow_model": {"model": "fraud", "delay": "1s"},
    "failing_model": {"model": "fraud", "errors": 1.0},
    "corrupt_features": {"model": "fraud", "scale": {"x": 2.0}},
    "lose_exporter": {},
    "lose_prometheus": {},
    "lose_alertmanager": {},
    "cut_network": {"model": "fraud"},
    "fill_disk": {"seconds": 30},
    "exhaust_cpu": {"model": "fraud", "cores": 1, "seconds": 30},
    "exhaust_memory": {"model": "fraud", "size": 2**24, "seconds": 30},
    "lose_node": {"model": "fraud"},
    "deploy_bad_version": {"model": "fraud", "bad_version": "2.0-bad"},
}


def cluster_platform(*kinds: str, **guard: Any) -> Platform:
    workloads = {name: {"deployment": name, "service": name} for name in ("fraud", "other")}
    workloads["fraud"]["feature_config"] = "features"
    parts = {name: {"deployment": name} for name in ("exporter", "prometheus", "alertmanager")}
    experiments = [{"kind": kind, **needed(kind)} for kind in kinds or kinds_of_faults.table()]
    chaos = {
        "guard": {"protected": {"parts": []}, **guard},
        "experiments": [one | {"schedule": "0 4 * * 1"} for one in experiments],
        "kubernetes": {"namespace": NAMESPACE, "models": workloads, "parts": parts},
    }
    document = {"reference": "r.npz", "features": {"x": "numeric"}}
    built = platform(chaos=chaos)
    model = built.models[0].model_copy(update={"drift": Drift.model_validate(document)})
    return built.model_copy(update={"models": [model]})


def cluster_of(built: Platform) -> Cluster:
    return Cluster(built, Path("platform.yaml"), Path("state"))


def needed(kind: str) -> dict[str, Any]:
    return {"bad_version": "2.0-bad"} if kind == "deploy_bad_version" else {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a populated API server, with its controllers; requests go there as its admin."""
    folder = tmp_path_factory.mktemp("cluster")
    admin = folder / f"{cluster.ADMIN}.kubeconfig"
    with cluster.running(folder), cluster.connected(admin):
        cluster.populate()
        with cluster.controlled(admin):
            cluster.wait_until(lambda: len(pods("fraud")) == 4)
            yield folder


@pytest.fixture
def api(server: Path) -> Path:
    cluster.wait_until(lambda: len(pods("fraud")) == 4 and len(pods("other")) == 2)
    return server


@pytest.fixture
def ledger(tmp_path: Path) -> faults.Ledger:
    return faults.Ledger(tmp_path, evidence.Log(tmp_path / "evidence.jsonl"))


def pods(app: str) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    found: list[dict[str, Any]] = kubernetes.request("GET", path, query={"labelSelector": f"app={app}"})["items"]
    return found


def snapshot() -> dict[str, Any]:
    """What an experiment may have changed, without what changes by itself."""
    state: dict[str, Any] = {}
    for path in (
        f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
        f"/api/v1/namespaces/{NAMESPACE}/services",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps",
        f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
        "/api/v1/nodes",
    ):
        for one in kubernetes.request("GET", path)["items"]:
            state[f"{path}/{one['metadata']['name']}"] = (one.get("spec"), one.get("data"))
    state["hogs"] = [one["metadata"]["name"] for one in pods_of_chaos()]
    return state


def pods_of_chaos() -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    selector = {"labelSelector": "app.kubernetes.io/component=chaos"}
    found: list[dict[str, Any]] = kubernetes.request("GET", path, query=selector)["items"]
    return found


def test_there_is_a_case_for_every_kind() -> None:
    assert set(SETTINGS) | {"skew_clock"} == set(kinds_of_faults.table())


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_a_fault_happens_and_is_gone_again(api: Path, ledger: faults.Ledger, kind: str) -> None:
    target, before = cluster_of(cluster_platform()), snapshot()
    uids = {one["metadata"]["uid"] for one in pods("fraud")}
    planned = target.prepare(injection(kind, SETTINGS[kind]))
    prepared = target.prepare(injection(kind, SETTINGS[kind]))
    assert planned.hit == prepared.hit, "what was planned is what is hit"
    for fault in prepared.faults:
        ledger.inject(fault)
    if kind == "kill_replica":
        cluster.wait_until(lambda: len(uids & {one["metadata"]["uid"] for one in pods("fraud")}) == 2)
    elif kind != "slow_model":
        assert snapshot() != before
    assert list(ledger.open_faults().values()) == list(prepared.faults), "the ledger has all that a revert needs"
    assert ledger.revert_all() == []
    for fault in prepared.faults:
        fault.revert()
        assert fault.is_reverted(), "twice does no harm"
    assert snapshot() == before


def test_a_clock_cannot_be_skewed_and_that_is_said(api: Path) -> None:
    with pytest.raises(UnsupportedError, match="node's clock"):
        cluster_of(cluster_platform()).prepare(injection("skew_clock", {"shift": "1s"}))


# Limits --------------------------------------------------------------------------------------------------------------


def test_everything_is_never_meant_and_the_share_is_capped(api: Path) -> None:
    with pytest.raises(TargetError, match="4 of 4 targets would be hit"):
        cluster_of(cluster_platform()).prepare(injection("kill_replica", {"model": "fraud", "replicas": 100}))
    assert len(pods("fraud")) == 4


def test_a_protected_pod_node_workload_or_namespace_is_never_hit(api: Path) -> None:
    label = {"metadata": {"labels": {"midwatch.dev/protected": "true"}}}
    unlabel = {"metadata": {"labels": {"midwatch.dev/protected": None}}}
    target = cluster_of(cluster_platform())
    first = pods("fraud")[0]["metadata"]["name"]
    node = pods("fraud")[0]["spec"]["nodeName"]
    cases = {
        f"/api/v1/namespaces/{NAMESPACE}/pods/{first}": ("lose_node", "protected by their labels"),
        f"/api/v1/nodes/{node}": ("lose_node", "is protected by its label"),
        f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/fraud": ("kill_replica", "protected by its label"),
        f"/api/v1/namespaces/{NAMESPACE}": ("kill_replica", "protected by its label"),
    }
    for path, (kind, message) in cases.items():
        kubernetes.request("PATCH", path, body=label)
        try:
            with pytest.raises(TargetError, match=message):
                target.prepare(injection(kind, {"model": "fraud", **({"target": node} if kind == "lose_node" else {})}))
            if "/pods/" in path:
                assert first not in target.prepare(injection("kill_replica", {"model": "fraud", "replicas": 2})).hit
        finally:
            kubernetes.request("PATCH", path, body=unlabel)
    protected = cluster_platform(protected={"namespaces": [NAMESPACE]})
    with pytest.raises(TargetError, match=f"namespace {NAMESPACE} may not be hit"):
        cluster_of(protected)


@pytest.mark.parametrize(
    ("kind", "protected"),
    [("kill_replica", "fraud"), ("slow_model", "fraud"), ("lose_node", "exporter"), ("fill_disk", "exporter")],
)
def test_protection_follows_the_part_in_a_cluster_too(api: Path, kind: str, protected: str) -> None:
    target = cluster_of(cluster_platform(protected={"parts": [protected]}))
    settings = dict(SETTINGS[kind])
    if kind == "lose_node":
        settings["target"] = pods("exporter")[0]["spec"]["nodeName"]
    with pytest.raises(TargetError, match=f"{protected} may not be hit"):
        target.prepare(injection(kind, settings))


def test_in_a_cluster_replaced_pods_count_and_what_is_down_already(api: Path) -> None:
    target = cluster_of(cluster_platform())
    one = injection("kill_replica", {"model": "fraud"})
    replaced = [Hit(name=f"replaced-{number}", pool="pods of fraud") for number in range(2)]
    target.prepare(one, replaced[:1])
    with pytest.raises(TargetError, match="replaced-0, replaced-1 are hit by earlier actions"):
        target.prepare(one, replaced)
    *_, third, last = sorted(pod["metadata"]["name"] for pod in pods("fraud"))
    status = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    for name in (third, last):
        kubernetes.request("PATCH", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/status", body=status)
    node = "/api/v1/nodes/node-b"
    kubernetes.request("PATCH", node, body={"spec": {"unschedulable": True}})
    try:
        with pytest.raises(TargetError, match=f"{third}, {last} are hit by earlier actions or down already"):
            target.prepare(one)
        with pytest.raises(TargetError, match="node-b are hit by earlier actions or down already"):
            target.prepare(injection("lose_node", {"model": "fraud", "target": "node-a"}))
    finally:
        kubernetes.request("PATCH", node, body={"spec": {"unschedulable": None}})
        for name in (third, last):
            kubernetes.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")
        cluster.wait_until(lambda: not {third, last} & {pod["metadata"]["name"] for pod in pods("fraud")})


def test_a_plan_says_that_a_cluster_is_not_free(api: Path) -> None:
    mine, other = lease.ClusterLease(NAMESPACE, "mine"), lease.ClusterLease(NAMESPACE, "other")
    free = preconditions.nothing_open_in_cluster(mine)
    assert preconditions.decide("free", free, 10.0).allowed
    other.take()
    assert "is held by other" in preconditions.decide("free", free, 10.0).reason
    other.give_back()
    other.keep_fault("001", {})
    assert "1 faults may be left" in preconditions.decide("free", free, 10.0).reason
    other.forget_faults()
    assert preconditions.decide("free", free, 10.0).allowed


def test_a_pod_that_was_replaced_since_it_was_chosen_is_not_killed(api: Path, ledger: faults.Ledger) -> None:
    (fault, *_) = cluster_of(cluster_platform()).prepare(injection("kill_replica", {"model": "fraud"})).faults
    other = type(fault)(**{**vars(fault), "uid": "another"})
    with pytest.raises(kubernetes.RefusedError, match="409"):
        ledger.inject(other)
    assert kubernetes.find(f"/api/v1/namespaces/{NAMESPACE}/pods/{fault.target}") is not None
    assert [one.kind for one in evidence.read(ledger.log.path)][1] == "fault-unverified"


def test_an_eviction_that_a_disruption_budget_forbids_is_a_failed_action(api: Path, ledger: faults.Ledger) -> None:
    collection = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"
    budget = {"metadata": {"name": "fraud"}, "spec": {"minAvailable": 4, "selector": {"matchLabels": {"app": "fraud"}}}}
    cluster.create(collection, budget)
    try:
        (fault,) = cluster_of(cluster_platform()).prepare(injection("lose_node", {"model": "fraud"})).faults
        with pytest.raises(kubernetes.UnreachableError, match="429"):
            ledger.inject(fault)
        assert fault.is_reverted(), "and the node is not left cordoned"
        assert len(pods("fraud")) == 4
    finally:
        kubernetes.request("DELETE", f"{collection}/fraud")


# The lease and the switch --------------------------------------------------------------------------------------------


def test_one_experiment_has_the_lease_and_a_dead_ones_can_be_taken(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (lease.ClusterLease(NAMESPACE, name) for name in ("first", "second"))
    first.take()
    with pytest.raises(lease.LeaseTakenError, match="held by first"):
        second.take()
    first.renew()
    monkeypatch.setattr(lease, "_age", lambda _moment: 61.0)
    second.take()
    with pytest.raises(lease.LeaseTakenError, match="somebody else"):
        first.renew()
    first.give_back()
    monkeypatch.undo()
    with pytest.raises(lease.LeaseTakenError, match="held by second"):
        first.take()
    second.give_back()
    first.take()
    first.give_back()


def test_of_two_that_take_the_lease_at_the_same_moment_one_gets_it(api: Path) -> None:
    one, other = (lease.ClusterLease(NAMESPACE, name) for name in ("one", "other"))
    seen = other._lease.found()
    one.take()
    assert seen is not None
    with pytest.raises(lease.LeaseTakenError, match="at the same moment"):
        other._put(seen, "other")
    one.give_back()


def test_the_clusters_kill_switch_is_an_annotation(api: Path) -> None:
    switch = lease.ClusterLease(NAMESPACE, "x")
    switch.set_stop("enough")
    assert switch.is_stopped()
    switch.set_stop(None)
    assert not switch.is_stopped()


def test_a_fault_whose_runner_died_with_its_node_is_found_in_the_lease(api: Path, tmp_path: Path) -> None:
    place = SimpleNamespace(
        home=Home(tmp_path / "new"),
        key_file=None,
        log=lambda: evidence.Log(tmp_path / "new" / "evidence.jsonl"),
        lease=lambda holder: lease.ClusterLease(NAMESPACE, holder),
        platform=cluster_platform(),
        platform_file=tmp_path,
    )
    lasting = lease.ClusterLease(NAMESPACE, "dead")
    gone = faults.Ledger(tmp_path / "gone", place.log(), lasting.keep_fault)
    target = cluster_of(cluster_platform())
    before = snapshot()
    (scaled,) = target.prepare(injection("lose_exporter", {})).faults
    gone.inject(scaled)
    (changed,) = target.prepare(injection("deploy_bad_version", SETTINGS["deploy_bad_version"])).faults
    gone.inject(changed)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/fraud"
    template = {"containers": [{"name": "model", "image": "registry.invalid/model:3.0"}]}
    newer = {"spec": {"template": {"spec": template}}}
    kubernetes.request("PATCH", path, body=newer, patch=kubernetes.STRATEGIC)
    assert len(lasting.kept_faults()) == 2
    said: list[str] = []
    with lease.on_this_machine(tmp_path / "lock") as lock:
        assert recovery.recover(place, lock, said.append).problems == []  # type: ignore[arg-type]
    found = kubernetes.find(path)
    assert found is not None
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith(":3.0"), "what somebody deployed since is theirs"
    assert len(said) == 1
    assert lasting.kept_faults() == {}
    kubernetes.request("PATCH", path, body=changed.back, patch=kubernetes.STRATEGIC)  # type: ignore[attr-defined]
    assert snapshot() == before


# The command -------------------------------------------------------------------------------------------------------


def run_there(plane: SmallPlane, config: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`midwatch chaos` on the cluster, as its service account, with the Prometheus and Alertmanager of a plane."""
    document = small_document()
    workloads = {name: {"deployment": name, "service": name} for name in ("fraud", "other")}
    document["chaos"] = {
        "guard": {"error_budget": None},
        "experiments": [
            {"kind": "kill_replica", "for": "1s", "expect": {"alert": "none"}},
            {"kind": "failing_model", "for": "60s", "expect": {"alert": "none"}},
        ],
        "kubernetes": {"namespace": NAMESPACE, "models": workloads},
    }
    for name in ("prometheus", "alertmanager"):
        document[name]["url"] = plane.part(name)["url"]
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    command = [sys.executable, "-P", "-m", "midwatch", "chaos", *arguments, "--where", "kubernetes", "-f", str(file)]
    return subprocess.Popen(
        [*command, "--state", str(folder / "state"), "--json"],
        env={**os.environ, "KUBECONFIG": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=200)
    assert output, errors
    document: dict[str, Any] = json.loads(output)
    return document


def test_the_command_runs_plans_and_stops_in_a_cluster_too(api: Path, plane: SmallPlane, tmp_path: Path) -> None:
    apply(manifests.objects(cluster_platform("kill_replica", "failing_model")))
    config = api / f"{cluster.EXPERIMENTER}.kubeconfig"
    before = {one["metadata"]["name"] for one in pods("fraud")}
    planned = finished(run_there(plane, config, tmp_path, "plan", "kill-replica"))
    result = finished(run_there(plane, config, tmp_path, "run", "kill-replica"))
    assert (result["verdict"], result["reasons"]) == ("held", [])
    assert result["hit"] == planned["hit"], "what was planned is what was hit"
    cluster.wait_until(lambda: len(pods("fraud")) == 4)
    assert before - {one["metadata"]["name"] for one in pods("fraud")} == set(result["hit"])

    running = run_there(plane, config, tmp_path, "run", "failing-model")
    service = f"/api/v1/namespaces/{NAMESPACE}/services/fraud"

    def is_failing() -> bool:
        found = kubernetes.find(service)
        return found is not None and NOWHERE in found["spec"]["selector"]

    # A busy machine takes a while to start a command; one that has ended says why.
    cluster.wait_until(lambda: is_failing() or running.poll() is not None, 120)
    assert running.poll() is None, json.dumps(finished(running))
    stopped = finished(run_there(plane, config, tmp_path, "stop"))
    assert stopped["problems"] == []
    assert not is_failing()
    ended = finished(running)
    assert ended["stopped"], json.dumps(ended)
    refused = finished(run_there(plane, config, tmp_path, "run", "kill-replica"))
    assert refused["refused"]
    assert len([reason for reason in refused["reasons"] if "kill switch" in reason]) == 2
    finished(run_there(plane, config, tmp_path, "stop", "--lift"))
    found = kubernetes.find(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{lease.LEASE_NAME}")
    assert found is not None
    assert not found["spec"].get("holderIdentity"), "the lease was given back"


# Rights --------------------------------------------------------------------------------------------------------------


def apply(objects: list[dict[str, Any]]) -> None:
    """Create the rendered objects, validated by the API server, or replace roles that are there."""
    plurals = {
        "NetworkPolicy": "networkpolicies",
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    }
    for one in objects:
        root = f"/apis/{one['apiVersion']}" if "/" in one["apiVersion"] else f"/api/{one['apiVersion']}"
        namespace = one["metadata"].get("namespace")
        plural = plurals.get(one["kind"], f"{one['kind'].lower()}s")
        path = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
        try:
            kubernetes.request("POST", path, query={"fieldValidation": "Strict"}, body=one)
        except kubernetes.RefusedError as error:
            if error.status != 409:
                raise
            if one["kind"] in ("Role", "ClusterRole"):
                kubernetes.request("PATCH", f"{path}/{one['metadata']['name']}", body={"rules": one["rules"]})


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_with_the_rendered_role_an_experiment_works(api: Path, ledger: faults.Ledger, kind: str) -> None:
    wanted = cluster_platform(kind)
    apply(manifests.objects(wanted))
    cluster.wait_until(lambda: len(pods("fraud")) == 4)
    with cluster.connected(api / f"{cluster.EXPERIMENTER}.kubeconfig"):
        holder = lease.ClusterLease(NAMESPACE, "experimenter")
        holder.take()
        holder.renew()
        for fault in cluster_of(wanted).prepare(injection(kind, SETTINGS[kind])).faults:
            ledger.inject(fault)
        assert ledger.revert_all() == []
        holder.give_back()
        for method, path, body in BEYOND:
            with pytest.raises(kubernetes.RefusedError, match="403") as refused:
                kubernetes.request(method, path, body=body)
            assert refused.value.status == 403


BEYOND: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets", None),
    ("GET", "/api/v1/namespaces/default/pods", None),
    ("GET", "/api/v1/namespaces", None),
    ("GET", "/api/v1/namespaces/kube-system", None),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}", None),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods", None),
    ("DELETE", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/fraud", None),
    ("DELETE", "/api/v1/nodes/node-a", None),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods/fraud-001/exec", {}),
    ("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles", {"metadata": {"name": "x"}}),
    ("POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", {"metadata": {"name": "x"}}),
]
"""Of what nobody has any right to."""


PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
SECRET = {"name": "s", "secret": {"secretName": "token"}}


def hog(**changes: Any) -> dict[str, Any]:
    """The pod of an injection, with one thing changed; `container` are changes of its container."""
    (fault,) = cluster_of(cluster_platform()).prepare(injection("exhaust_cpu", SETTINGS["exhaust_cpu"])).faults
    pod = json.loads(json.dumps(fault.manifest))  # type: ignore[attr-defined]
    pod["spec"]["containers"][0] |= changes.pop("container", {})
    pod["spec"] |= changes
    return dict(pod)


def template(**changes: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": changes}}}


def model_container(**changes: Any) -> dict[str, Any]:
    return template(containers=[{"name": "model", **changes}])


NOT_AN_INJECTION: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a pod of another account": ("POST", PODS, {"serviceAccountName": "admin"}, "without account or Secret"),
    "a pod with a token": ("POST", PODS, {"automountServiceAccountToken": True}, "without account or Secret"),
    "a pod with a Secret": ("POST", PODS, {"volumes": [SECRET]}, "without account or Secret"),
    "a pod with the node's files": (
        "POST",
        PODS,
        {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]},
        "without account or Secret",
    ),
    "a pod of another image": ("POST", PODS, {"container": {"image": "other:1"}}, "own image alone"),
    "a pod of another command": ("POST", PODS, {"container": {"command": ["sh", "-c", "id"]}}, "own image alone"),
    "a pod with another's variables": (
        "POST",
        PODS,
        {"container": {"envFrom": [{"secretRef": {"name": "token"}}]}},
        "without account or Secret",
    ),
    "a pod in the node's network": ("POST", PODS, {"hostNetwork": True}, "own image alone"),
    "a pod without an end": ("POST", PODS, {"activeDeadlineSeconds": None}, ""),
    "a workload of another account": ("PATCH", "fraud", template(serviceAccountName="admin"), "nothing else of it"),
    "a workload with a Secret": ("PATCH", "fraud", template(volumes=[SECRET]), "nothing else of it"),
    "a workload of another image": ("PATCH", "fraud", model_container(image="x.invalid/miner:1"), "nothing else of it"),
    "a workload with another command": ("PATCH", "fraud", model_container(command=["sh"]), "nothing else of it"),
    "a workload with a second container": (
        "PATCH",
        "fraud",
        template(containers=[{"name": "second", "image": "registry.invalid/model:1.0"}]),
        "nothing else of it",
    ),
    "a workload without replicas": ("PATCH", "fraud", {"spec": {"replicas": 0}}, "nothing else of it"),
    "pods that another Service selects": (
        "PATCH",
        "fraud",
        {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}},
        "nothing else of it",
    ),
    "a workload that is not protected any more": (
        "PATCH",
        "fraud",
        {"metadata": {"labels": {"a": "b"}}},
        "nothing else",
    ),
    "a Service that sends elsewhere": (
        "PATCH",
        f"/api/v1/namespaces/{NAMESPACE}/services/fraud",
        {"spec": {"selector": {"app": "other"}}},
        "what a Service selects",
    ),
    "a network policy that opens": (
        "POST",
        POLICIES,
        {
            "metadata": {"name": "midwatch-chaos-1"},
            "spec": {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]},
        },
        "let nothing in",
    ),
    "somebody's network policy": ("DELETE", f"{POLICIES}/theirs", {}, "but their own"),
    "a node's labels": ("PATCH", "/api/v1/nodes/node-a", {"metadata": {"labels": {"a": "b"}}}, "nothing else of it"),
    "another Lease": (
        "POST",
        f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
        {"metadata": {"name": "midwatch-guard-shop-orders"}},
        "alone",
    ),
    "a protected pod": ("DELETE", f"{PODS}/precious", {}, "a label that protects it"),
}
"""Of what the role cannot refuse: what, the request, and what the API server says of it."""


@pytest.fixture(scope="module")
def restricted(server: Path) -> Path:
    """The API server with the rendered role and policy for every kind; returns once the policy holds."""
    cluster.wait_until(lambda: len(pods("fraud")) == 4)
    apply(manifests.objects(cluster_platform()))
    theirs = {"metadata": {"name": "theirs"}, "spec": {"podSelector": {}}}
    cluster.create(POLICIES, theirs)
    precious = cluster.pod("precious", "precious", **{"midwatch.dev/protected": "true"})
    cluster.create(PODS, precious)
    with cluster.connected(server / f"{cluster.EXPERIMENTER}.kubeconfig"):
        cluster.wait_until(lambda: bool(refusal("POST", PODS, hog_of_nobody())))
    return server


def hog_of_nobody() -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}


def refusal(method: str, path: str, body: dict[str, Any]) -> str:
    """Why the API server would not do it, or an empty text; nothing is done."""
    try:
        kubernetes.request(method, path, query={"dryRun": "All"}, body=body, patch=kubernetes.STRATEGIC)
    except kubernetes.RefusedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", NOT_AN_INJECTION)
def test_what_a_role_cannot_refuse_the_policy_does(restricted: Path, what: str) -> None:
    method, path, body, said = NOT_AN_INJECTION[what]
    if path == "fraud":
        path = f"{DEPLOYMENTS}/fraud"
    if path == PODS:
        body = hog(**body)
    with cluster.connected(restricted / f"{cluster.EXPERIMENTER}.kubeconfig"):
        refused = refusal(method, path, body)
    assert "ValidatingAdmissionPolicy" in refused
    assert said in refused


def test_the_policy_is_for_the_experiments_account_alone_and_lets_injections_pass(restricted: Path) -> None:
    assert refusal("POST", PODS, hog_of_nobody()) == "", "whoever else may make pods still may"
    bad = model_container(image="registry.invalid/model:2.0-bad")
    with cluster.connected(restricted / f"{cluster.EXPERIMENTER}.kubeconfig"):
        assert refusal("POST", PODS, hog()) == ""
        assert refusal("PATCH", f"{DEPLOYMENTS}/fraud", bad) == ""
        assert refusal("PATCH", "/api/v1/nodes/node-a", {"spec": {"unschedulable": True}}) == ""


NOT_NAMED = {
    "the plane's own file": ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/configmaps/midwatch-platform", {"data": {}}),
    "another ConfigMap": ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/other", None),
    "a workload that is not named": ("PATCH", f"{DEPLOYMENTS}/theirs", {"spec": {"replicas": 0}}),
    "the scale of a model": ("PATCH", f"{DEPLOYMENTS}/fraud/scale", {"spec": {"replicas": 0}}),
    "the template of a part": ("PATCH", f"{DEPLOYMENTS}/exporter", model_container(image="x:1")),
    "a Service of another model": ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/services/other", {"spec": {}}),
    "the recoverers' Lease": (
        "PATCH",
        f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/midwatch-guard-shop-orders",
        {"metadata": {"annotations": {"a": "b"}}},
    ),
    "the policy itself": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/midwatch-chaos.test.ml",
        None,
    ),
}


@pytest.mark.parametrize("what", NOT_NAMED)
def test_what_the_platform_file_does_not_name_is_not_written(restricted: Path, what: str) -> None:
    method, path, body = NOT_NAMED[what]
    with (
        cluster.connected(restricted / f"{cluster.EXPERIMENTER}.kubeconfig"),
        pytest.raises(kubernetes.RefusedError) as refused,
    ):
        kubernetes.request(method, path, body=body, query={"dryRun": "All"} if body is not None else None)
    assert (refused.value.status, "is forbidden" in str(refused.value)) == (403, True)


def test_an_experiment_has_no_right_on_its_own_guards_file_and_no_drills_account() -> None:
    document = platform_document()
    workload = {"deployment": "fraud", "feature_config": "midwatch-platform"}
    here = {"namespace": NAMESPACE, "models": {"fraud": workload}, "service_account": "midwatch-recovery"}
    document["chaos"] = {"experiments": [{"kind": "kill_replica"}], "kubernetes": here}
    document["disaster_recovery"] = {
        "owner": "ml",
        "kubernetes": {"namespace": NAMESPACE},
        "stores": [{"name": "a", "files": {"source": "a", "backup": "b"}}],
    }
    found = {".".join(map(str, place)) for place, _, _ in spec.find_problems(Platform.model_validate(document))}
    assert found == {"chaos.kubernetes.models.fraud.feature_config", "chaos.kubernetes.service_account"}


def test_what_one_experiment_may_another_may_not(api: Path) -> None:
    apply(manifests.objects(cluster_platform("failing_model")))
    first = pods("fraud")[0]["metadata"]["name"]
    with cluster.connected(api / f"{cluster.EXPERIMENTER}.kubeconfig"):
        for method, path in (
            ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{first}"),
            ("GET", "/api/v1/nodes"),
            ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/features"),
        ):
            with pytest.raises(kubernetes.RefusedError) as refused:
                kubernetes.request(method, path)
            assert refused.value.status == 403


def test_a_fault_that_may_not_be_injected_is_a_failed_action_and_not_a_success(
    api: Path, ledger: faults.Ledger
) -> None:
    """chaostoolkit-kubernetes#102: a 403 that ended as completed."""
    (fault, *_) = cluster_of(cluster_platform()).prepare(injection("kill_replica", {"model": "fraud"})).faults
    apply(manifests.objects(cluster_platform("failing_model")))
    with cluster.connected(api / f"{cluster.EXPERIMENTER}.kubeconfig"), pytest.raises(kubernetes.RefusedError):
        ledger.inject(fault)
    assert [one.kind for one in evidence.read(ledger.log.path)][1] == "fault-unverified"


# What is rendered ----------------------------------------------------------------------------------------------------


def test_the_api_server_takes_what_is_rendered_and_the_jobs_are_least(api: Path) -> None:
    objects = manifests.objects(cluster_platform())
    apply(objects)
    jobs = [one for one in objects if one["kind"] == "CronJob"]
    assert len(jobs) == len(kinds_of_faults.table())
    for job in jobs:
        found = kubernetes.find(f"/apis/batch/v1/namespaces/{NAMESPACE}/cronjobs/{job['metadata']['name']}")
        assert found is not None
        assert found["spec"]["concurrencyPolicy"] == "Forbid"
        one = found["spec"]["jobTemplate"]["spec"]
        assert one["activeDeadlineSeconds"] > 0
        assert one["backoffLimit"] == 0
        container = one["template"]["spec"]["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["template"]["spec"]["serviceAccountName"] == "midwatch-chaos"


def test_a_cluster_that_does_not_answer_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kubernetes, "TIMEOUT", 0.5)
    with cluster.connected(cluster.nowhere(tmp_path)):
        switch = lease.ClusterLease(NAMESPACE, "x")
        decision = preconditions.decide("switch", lambda: str(switch.is_stopped()), 10.0)
    assert not decision.allowed
    assert "cannot tell" in decision.reason
