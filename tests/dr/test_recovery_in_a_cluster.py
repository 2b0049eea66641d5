"""Recovery in a cluster, on a real API server: the guards' lease, what is rendered, and what it may do there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.lease import ClusterLease, LeaseObject, LeaseTakenError, held
from dr import manifests
from dr.drill import facts, ledger
from dr.drill.verdict import Objectives
from dr.recoverer.kubernetes_lease import TERM, KubernetesLease, Times
from dr.recoverer.lease import LeaseLostError
from dr.recoverer.run import lease_name as name_of_lease
from dr.runner import drill as runner
from dr.stores import namespaces
from dr.stores.cloudnative_pg import cluster as cnpg
from dr.stores.velero.restore import VeleroDrill, newest_backup
from midwatch import kubernetes
from midwatch.errors import MidwatchError
from midwatch.spec.stores.cloudnative_pg import CloudNativePg
from midwatch.spec.stores.velero import Velero
from tests.chaos import cluster
from tests.conftest import platform, platform_document
from tests.dr import small_operators as small

RECOVERER, DRILL, EXPORTER = "guard-token", "drill-token", "exporter-token"
ACCOUNTS = {
    RECOVERER: (cluster.NAMESPACE, "midwatch-recovery-guard"),
    DRILL: (cluster.NAMESPACE, "midwatch-recovery"),
    EXPORTER: (cluster.NAMESPACE, "midwatch-recovery-exporter"),
}
NEEDED_COMMANDS = ("inject", "is_effective", "check", "recover", "observe", "read", "integrity", "allowed")
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.NAMESPACE}/leases"
SLOW = Times(duration=150.0, renew=100.0, retry=90.0)
"""For tests with a clock of their own: threads, which wait by the real one, do nothing meanwhile."""
REAL = Times(duration=10.0, renew=3.0, retry=0.05)
"""For those that renew it by the real clock: on a busy machine one request may take a second, or a thread its turn."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of an API server; requests go there as its admin."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster.running(folder, ACCOUNTS), cluster.connected(folder / f"{cluster.ADMIN}.kubeconfig"):
        for name in (cluster.NAMESPACE, "ml-drill", "data", "velero"):
            metadata = {"name": name, "labels": {namespaces.ALLOWED: "allowed"}}
            kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": metadata})
        small.install()
        yield folder


@pytest.fixture
def name(api: Path, request: pytest.FixtureRequest) -> str:
    """Name of a Lease that no other test has."""
    return "lease-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]


class Clock:
    """A clock that only tests move; it can be waited for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def candidate(name: str, holder: str, clock: Clock, lost: list[str] | None = None) -> KubernetesLease:
    said = [] if lost is None else lost
    return KubernetesLease(
        LeaseObject(cluster.NAMESPACE, name), holder, times=SLOW, read=clock, on_loss=lambda why: said.append(why)
    )


@contextmanager
def two_of_whom_one_holds(name: str) -> Iterator[tuple[KubernetesLease, KubernetesLease, Clock]]:
    free(name)
    clock = Clock()
    with candidate(name, "first", clock) as first, candidate(name, "second", clock) as second:
        first.take(clock.wait)
        yield first, second, clock


def is_held(lease: KubernetesLease) -> bool:
    try:
        lease.ensure_held()
    except LeaseLostError:
        return False
    return True


def record(name: str) -> dict[str, Any]:
    return kubernetes.request("GET", f"{LEASES}/{name}")


def free(name: str, term: str = "1") -> None:
    """A Lease that was given back."""
    body = {"metadata": {"name": name, "annotations": {TERM: term}}, "spec": {"holderIdentity": ""}}
    kubernetes.request("POST", LEASES, body=body)


# The lease -----------------------------------------------------------------------------------------------------------


def test_a_lease_that_is_not_there_is_taken_only_after_its_duration(name: str) -> None:
    """Somebody may have deleted it under its holder, who has not noticed yet."""
    clock = Clock()
    with candidate(name, "first", clock) as lease:
        lease.take(clock.wait)
        assert clock.now - 1000.0 >= SLOW.duration
        assert is_held(lease)
        assert record(name)["spec"]["holderIdentity"] == "first"
    assert record(name)["spec"]["holderIdentity"] == ""


def test_at_no_moment_two_hold_the_lease_and_another_machines_clock_is_not_believed(name: str) -> None:
    with two_of_whom_one_holds(name) as (first, second, clock):
        long_ago = {"spec": {"renewTime": "2001-01-01T00:00:00.000000Z", "acquireTime": "2001-01-01T00:00:00.000000Z"}}
        kubernetes.request("PATCH", f"{LEASES}/{name}", body=long_ago)
        held, begun = [], clock.now
        while not second._try(urgent=False):
            held.append((clock.now - begun, is_held(first), is_held(second)))
            clock.wait(5.0)
        assert {(mine, other) for at, mine, other in held if at < SLOW.renew} == {(True, False)}
        assert {(mine, other) for at, mine, other in held if at >= SLOW.renew} == {(False, False)}
        assert clock.now - begun >= SLOW.duration
        assert (is_held(first), is_held(second)) == (False, True)
        with pytest.raises(LeaseLostError, match="taken by somebody else"):
            first.renew()
        with pytest.raises(LeaseLostError):
            first.next_term()
        assert record(name)["spec"]["leaseTransitions"] == 2


def test_a_renewal_starts_the_wait_of_others_anew(name: str) -> None:
    with two_of_whom_one_holds(name) as (first, second, clock):
        assert not second._try(urgent=False)
        clock.wait(SLOW.renew - 1)
        first.renew()
        assert not second._try(urgent=False)
        clock.wait(SLOW.duration - 1)
        assert not second._try(urgent=False)
        clock.wait(1)
        assert second._try(urgent=False)


def test_of_two_that_write_at_the_same_moment_one_is_refused(name: str) -> None:
    clock = Clock()
    first, second = candidate(name, "first", clock), candidate(name, "second", clock)
    first._write(None, clock(), 1)
    with pytest.raises(LeaseTakenError, match="at the same moment"):
        second._write(None, clock(), 1)
    seen = record(name)
    first.renew()
    with pytest.raises(LeaseTakenError, match="at the same moment"):
        second._write(seen, clock(), 1)
    assert not is_held(second)


def test_terms_only_grow_and_are_in_the_cluster_before_they_are_used(name: str, tmp_path: Path) -> None:
    free(name, term="7")
    clock = Clock()
    with candidate(name, "first", clock) as first:
        first.take(clock.wait)
        assert [first.next_term(), first.next_term()] == [8, 9]
        assert record(name)["metadata"]["annotations"][TERM] == "9"
        with cluster.connected(cluster.nowhere(tmp_path)), pytest.raises(kubernetes.UnreachableError):
            first.next_term()
        assert first.next_term() == 10
    with candidate(name, "second", clock) as second:
        second.take(clock.wait)
        assert second.next_term() == 11
        kubernetes.request("PATCH", f"{LEASES}/{name}", body={"metadata": {"annotations": {TERM: "many"}}})
        with pytest.raises(LeaseLostError, match="is 'many', and not a number"):
            second.next_term()


def test_a_holder_that_cannot_renew_is_ended_before_another_can_take_over(name: str, tmp_path: Path) -> None:
    free(name)
    lost = threading.Event()
    lease = KubernetesLease(LeaseObject(cluster.NAMESPACE, name), "first", times=REAL, on_loss=lambda _: lost.set())
    with lease:
        lease.take()
        first = record(name)["spec"]["renewTime"]
        cluster.wait_until(lambda: record(name)["spec"]["renewTime"] != first)
        assert is_held(lease), "it is renewed"
        with cluster.connected(cluster.nowhere(tmp_path)):
            since = time.monotonic()
            assert lost.wait(60)
            assert time.monotonic() - since < REAL.duration
            assert not is_held(lease)
    assert record(name)["spec"]["holderIdentity"] == "first", "it could not say so, and others wait"


@pytest.mark.parametrize("how", ["deleted", "taken"])
def test_a_holder_ends_when_its_lease_is_gone(name: str, how: str) -> None:
    free(name)
    said: list[str] = []
    lease = KubernetesLease(LeaseObject(cluster.NAMESPACE, name), "first", times=REAL, on_loss=said.append)
    with lease:
        lease.take()
        if how == "deleted":
            kubernetes.request("DELETE", f"{LEASES}/{name}")
        else:
            kubernetes.request("PATCH", f"{LEASES}/{name}", body={"spec": {"holderIdentity": "other"}})
        cluster.wait_until(lambda: bool(said))
        assert not is_held(lease)
    assert said == [f"lease {name} was taken by somebody else, or deleted"]


def test_a_holder_steps_aside_for_who_asks_and_not_for_a_third(name: str) -> None:
    free(name)
    clock = Clock()
    first, drill, third = (candidate(name, who, clock) for who in ("first", "drill", "third"))
    first.take(clock.wait)
    assert not drill._try(urgent=True)
    assert not first.is_wanted()
    first.renew()
    assert first.is_wanted()
    first.release()
    assert not third._try(urgent=False)
    with drill:
        assert drill._try(urgent=True)
        drill.renew()
        assert not drill.is_wanted()
    with third:
        assert third._try(urgent=False), "the drill is over"
        assert not third.is_wanted()


def test_times_that_would_let_two_hold_it_are_refused() -> None:
    with pytest.raises(ValueError, match="two could hold the lease at once"):
        Times(duration=10.0, renew=10.0)


# The command ---------------------------------------------------------------------------------------------------------


def store_of_commands(folder: Path, **changes: Any) -> Path:
    """A platform file with a store whose recovery waits until a file is there, and says that it has begun."""
    script = folder / "recover.sh"
    script.write_text(f"echo $$ > {folder}/pid; touch {folder}/begun; exec sleep 60\n")
    no = ["false"]
    commands = dict.fromkeys(NEEDED_COMMANDS, no)
    section = {
        "owner": "ml",
        "kubernetes": {"namespace": cluster.NAMESPACE},
        "stores": [{"name": "orders", "commands": {**commands, "recover": ["sh", str(script)], **changes}}],
    }
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    return file


def start_recoverer(api: Path, file: Path, *more: str, token: str = cluster.ADMIN) -> subprocess.Popen[str]:
    events = file.parent / "events"
    events.mkdir(exist_ok=True)
    words = [sys.executable, "-P", "-m", "midwatch", "dr", "recoverer", "-f", str(file), "--store", "orders"]
    return subprocess.Popen(
        [*words, "--events", str(events), *more],
        text=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(api / f"{token}.kubeconfig")},
    )


@pytest.fixture
def lease_name(api: Path) -> Iterator[str]:
    """Name of the Lease of the store `orders`, which is free at first, so that nobody has to wait for it."""
    name = name_of_lease(platform_document()["platform"], "orders")
    free(name)
    yield name
    kubernetes.request("DELETE", f"{LEASES}/{name}")


def test_a_recoverer_that_loses_its_lease_within_a_step_ends_with_that_step(
    api: Path, lease_name: str, tmp_path: Path
) -> None:
    recoverer = start_recoverer(api, store_of_commands(tmp_path))
    try:
        cluster.wait_until((tmp_path / "begun").exists)
        step = int((tmp_path / "pid").read_text())
        assert record(lease_name)["metadata"]["annotations"][TERM] == "2"
        kubernetes.request("PATCH", f"{LEASES}/{lease_name}", body={"spec": {"holderIdentity": "other"}})
        _, said = recoverer.communicate(timeout=60)
    finally:
        recoverer.kill()
        recoverer.wait()
    assert recoverer.returncode == 1
    assert "the lease is lost" in said
    assert not Path(f"/proc/{step}").exists()
    (events,) = (tmp_path / "events").iterdir()
    kinds = {type(event) for event in ledger.read_recorded(events)}
    assert facts.Fenced in kinds
    assert facts.Recovered not in kinds


def test_a_drills_recoverer_takes_over_from_the_one_in_the_cluster(api: Path, lease_name: str, tmp_path: Path) -> None:
    file = store_of_commands(tmp_path, check=["true"])
    first = start_recoverer(api, file)
    second = None
    try:
        cluster.wait_until(lambda: record(lease_name)["spec"]["holderIdentity"] != "")
        holder = record(lease_name)["spec"]["holderIdentity"]
        second = start_recoverer(api, file, "--take-over")
        _, said = first.communicate(timeout=60)
        assert (first.returncode, said) == (0, "")
        cluster.wait_until(lambda: record(lease_name)["spec"]["holderIdentity"] not in ("", holder))
        second.terminate()
        second.communicate(timeout=60)
        assert second.returncode == 0
        assert record(lease_name)["spec"]["holderIdentity"] == ""
    finally:
        for process in (first, second):
            if process:
                process.kill()
                process.wait()


def test_a_recoverer_without_a_place_for_its_events_says_so_before_it_takes_the_lease(tmp_path: Path) -> None:
    (tmp_path / ".midwatch").write_text("a file where the folder should be")
    file = store_of_commands(tmp_path)
    words = [sys.executable, "-P", "-m", "midwatch", "dr", "recoverer", "-f", str(file), "--store", "orders"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "name a file for its events with --events" in done.stderr


def test_a_recoverer_that_may_not_have_the_lease_ends_with_one_clear_error(api: Path, tmp_path: Path) -> None:
    recoverer = start_recoverer(api, store_of_commands(tmp_path), token=RECOVERER)
    _, said = recoverer.communicate(timeout=60)
    assert recoverer.returncode != 0
    assert said.count("\n") == 1
    assert "403" in said
    assert "leases" in said


# What is rendered, and its rights ------------------------------------------------------------------------------------

DRILLED = {
    "orders": ({"commands": {name: ["true"] for name in NEEDED_COMMANDS}}, "commands"),
    "features": (
        {
            "postgresql": {f"{name}_file": name for name in ("endpoint", "primary", "standby")}
            | {"commands": {"fence": ["true"], "reroute": ["true"]}}
        },
        "kill_primary",
    ),
    "namespace": (
        {"velero": {"namespace": "ml", "restore_namespace": "ml-drill", "schedule": "daily"}, "rpo": "2h"},
        "restore",
    ),
    "database": (
        {"cloudnative_pg": {"namespace": "data", "cluster": "features", "endpoint_file": "endpoint"}},
        "switchover",
    ),
    "artefacts": ({"files": {"source": "a", "backup": "b"}}, "lose_files"),
}
"""A store of every kind that a drill in a cluster can have, with its fault."""


CHAOS = {"kubernetes": {"namespace": cluster.NAMESPACE}, "experiments": [{"kind": "lose_exporter"}]}


def rendered(*names: str, **changes: Any) -> list[dict[str, Any]]:
    section = {
        "owner": "ml",
        "kubernetes": {"namespace": cluster.NAMESPACE, "evidence_claim": "kept"},
        "stores": [{"name": name, **DRILLED[name][0]} for name in names],
        "drills": [
            {"name": f"drill-{name}", "store": name, "fault": DRILLED[name][1], "schedule": "0 4 * * 1"}
            for name in names
        ],
    }
    return manifests.objects(platform(disaster_recovery=section, **changes))


@pytest.fixture
def applied(api: Path) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Applies objects, strictly validated by the API server; roles are gone afterwards."""
    done: list[str] = []

    def apply(objects: list[dict[str, Any]]) -> None:
        for one in objects:
            root = f"/apis/{one['apiVersion']}" if "/" in one["apiVersion"] else f"/api/{one['apiVersion']}"
            namespace = one["metadata"].get("namespace")
            plural = f"{one['kind'].lower()}s".replace("policys", "policies")
            path = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
            kubernetes.request("POST", path, query={"fieldValidation": "Strict"}, body=one)
            done.append(f"{path}/{one['metadata']['name']}")

    yield apply
    for path in reversed(done):
        kubernetes.request("DELETE", path)


def status_of(method: str, path: str, body: dict[str, Any] | None = None) -> int:
    """HTTP status of a request: 200 for what is allowed, and done."""
    try:
        kubernetes.request(method, path, body=body)
    except kubernetes.RefusedError as error:
        return error.status
    return 200


def test_the_api_server_takes_all_that_is_rendered(api: Path, applied: Callable[..., None]) -> None:
    objects = rendered(*DRILLED)
    applied(objects)
    kinds = Counter(one["kind"] for one in objects)
    assert (kinds["CronJob"], kinds["Deployment"], kinds["ServiceAccount"]) == (len(DRILLED), 2, 3)
    claims = f"/apis/batch/v1/namespaces/{cluster.NAMESPACE}/cronjobs"
    for job in kubernetes.request("GET", claims)["items"]:
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "midwatch-recovery"
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    deployments = f"/apis/apps/v1/namespaces/{cluster.NAMESPACE}/deployments"
    recoverers = {one["metadata"]["name"]: one["spec"] for one in kubernetes.request("GET", deployments)["items"]}
    assert set(recoverers) == {"guard-test-orders", "guard-test-features"}
    for one in recoverers.values():
        assert one["template"]["spec"]["serviceAccountName"] == "midwatch-recovery-guard"


def test_what_needs_no_rights_has_none_and_what_has_no_lease_there_has_no_recoverer() -> None:
    assert [one["kind"] for one in rendered("artefacts")] == ["ServiceAccount", "CronJob", "ServiceAccount"]
    assert "Deployment" not in {one["kind"] for one in rendered("namespace", "database", "artefacts")}


def test_with_its_role_a_recoverer_can_hold_its_lease_and_no_other(api: Path, applied: Callable[..., None]) -> None:
    applied(rendered("orders"))
    own = name_of_lease(platform_document()["platform"], "orders")
    free("another")
    clock = Clock()
    with cluster.connected(api / f"{RECOVERER}.kubeconfig"):
        with candidate(own, "guard", clock) as lease:
            lease.take(clock.wait)
            assert lease.next_term() == 2
            lease.renew()
        assert record(own)["spec"]["holderIdentity"] == ""
        for method, path in (("GET", f"{LEASES}/another"), ("DELETE", f"{LEASES}/{own}"), ("GET", LEASES)):
            assert status_of(method, path) == 403
        forbid_what_nobody_needs()
    for name in (own, "another"):
        kubernetes.request("DELETE", f"{LEASES}/{name}")


@pytest.mark.parametrize("store", ["orders", "features"])
def test_with_its_role_a_drill_can_have_the_lease_of_its_store(
    api: Path, applied: Callable[..., None], store: str
) -> None:
    applied(rendered(store))
    own = name_of_lease(platform_document()["platform"], store)
    free(own)
    clock = Clock()
    holder = candidate(own, "guard", clock)
    holder.take(clock.wait)
    with cluster.connected(api / f"{DRILL}.kubeconfig"):
        assert not candidate(own, "drill", clock)._try(urgent=True)
        assert status_of("GET", f"{LEASES}/another") == 403
        forbid_what_nobody_needs()
    holder.renew()
    assert holder.is_wanted()
    holder.release()
    with cluster.connected(api / f"{DRILL}.kubeconfig"), candidate(own, "drill", clock) as lease:
        lease.take(clock.wait)
        assert lease.next_term() == 2
    kubernetes.request("DELETE", f"{LEASES}/{own}")


def test_with_its_role_a_drill_of_velero_restores(api: Path, applied: Callable[..., None]) -> None:
    applied(rendered("namespace"))
    small.backup("good", "Completed", age=60)
    settings = Velero.model_validate(DRILLED["namespace"][0]["velero"])
    with cluster.connected(api / f"{DRILL}.kubeconfig"):
        result = VeleroDrill(settings).restore("Run-1", Objectives(rto=900, rpo=300, limit=0.1), lambda _: None)
        assert "did not end" in result.reasons[0], "it was asked for and looked at; no operator runs"
        for method, path in (
            ("DELETE", f"{small.VELERO}/backups/good"),
            ("DELETE", f"{small.VELERO}/restores/run-1"),
            ("GET", f"{small.VELERO}/restores"),
            ("GET", "/api/v1/namespaces/ml"),
            ("GET", "/api/v1/namespaces/ml-drill/pods/x"),
            ("GET", "/apis/apps/v1/namespaces/ml/deployments"),
        ):
            assert status_of(method, path) == 403, path
        forbid_what_nobody_needs()
    for path in ("backups/good", "restores/run-1"):
        kubernetes.request("DELETE", f"{small.VELERO}/{path}")


def test_with_its_role_a_drill_of_cloudnative_pg_switches_over(api: Path, applied: Callable[..., None]) -> None:
    applied(rendered("database"))
    small.cluster(namespace="data")
    small.cluster("another", namespace="data")
    settings = CloudNativePg.model_validate(DRILLED["database"][0]["cloudnative_pg"])
    clusters = f"{small.clusters_of('data')}/clusters"
    with cluster.connected(api / f"{DRILL}.kubeconfig"):
        namespaces.ensure_allowed(settings.namespace)
        _, (standby,) = cnpg.instances(settings)
        cnpg.switch_over(settings, standby)
        for method, path, body in (
            ("GET", clusters, None),
            ("GET", f"{clusters}/another", None),
            ("PATCH", f"{clusters}/another/status", {"status": {"targetPrimary": "another-2"}}),
            ("PATCH", f"{clusters}/features", {"spec": {"instances": 1}}),
            ("DELETE", f"{clusters}/features", None),
        ):
            assert status_of(method, path, body) == 403, path
        forbid_what_nobody_needs()
    assert small.status_of(namespace="data")["targetPrimary"] == "features-2"


def test_a_drill_of_velero_restores_from_its_namespace_to_that_of_drills_alone(
    api: Path, applied: Callable[..., None]
) -> None:
    applied(rendered("namespace"))
    own = {"backupName": "good", "includedNamespaces": ["ml"], "namespaceMapping": {"ml": "ml-drill"}}
    path = f"{small.VELERO}/restores"

    def tried(**changes: Any) -> str:
        body = {"apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"name": "tried"}, "spec": own | changes}
        try:
            kubernetes.request("POST", path, query={"dryRun": "All"}, body=body)
        except kubernetes.RefusedError as error:
            return str(error)
        return ""

    with cluster.connected(api / f"{DRILL}.kubeconfig"):
        cluster.wait_until(lambda: bool(tried(namespaceMapping={})))
        assert tried() == ""
        for changes in (
            {"includedNamespaces": ["*"]},
            {"includedNamespaces": ["ml", "kube-system"]},
            {"namespaceMapping": {"ml": "data"}},
            {"includeClusterResources": True},
            {"hooks": {"resources": [{"name": "run"}]}},
        ):
            assert "drills restore the namespaces of the platform file" in tried(**changes), changes
    assert tried(includedNamespaces=["*"]) == "", "of others nothing is said"


def test_with_its_role_the_recovery_exporter_sees_backups_and_nothing_else(
    api: Path, applied: Callable[..., None]
) -> None:
    applied(rendered("namespace", "database"))
    small.backup("seen", "Completed", age=60)
    clusters = f"{small.clusters_of('data')}/clusters"
    settings = CloudNativePg.model_validate(DRILLED["database"][0]["cloudnative_pg"])
    with cluster.connected(api / f"{EXPORTER}.kubeconfig"):
        velero = Velero.model_validate(DRILLED["namespace"][0]["velero"])
        assert newest_backup(velero)[0].name == "seen"
        assert cnpg.newest_database_backup(settings) is None
        for method, path, body in (
            ("DELETE", f"{small.VELERO}/backups/seen", None),
            ("POST", f"{small.VELERO}/restores", {"metadata": {"name": "x"}}),
            ("PATCH", f"{clusters}/features/status", {"status": {}}),
            ("GET", LEASES, None),
            ("GET", f"{small.clusters_of('ml')}/backups", None),
        ):
            assert status_of(method, path, body) == 403, path
        forbid_what_nobody_needs()
    kubernetes.request("DELETE", f"{small.VELERO}/backups/seen")


# Drills and experiments ----------------------------------------------------------------------------------------------


def test_a_drill_is_refused_while_an_experiment_runs_or_left_something_or_the_switch_is_set(
    api: Path, applied: Callable[..., None], tmp_path: Path
) -> None:
    applied(rendered("orders", chaos=CHAOS))
    file = store_of_commands(tmp_path)
    document = yaml.safe_load(file.read_text()) | {"chaos": CHAOS}
    document["disaster_recovery"]["drills"] = [{"name": "lose", "store": "orders", "fault": "commands"}]
    file.write_text(yaml.safe_dump(document))
    request = runner.Request(platform_file=file, drill="lose", evidence=tmp_path / "e", in_cluster=True)
    other = ClusterLease(cluster.NAMESPACE, "an experiment")

    def refused() -> str:
        with cluster.connected(api / f"{DRILL}.kubeconfig"), pytest.raises(MidwatchError) as error:
            runner.run(request, lambda _: None)
        return str(error.value)

    other.take()
    assert "lease midwatch-chaos is held by an experiment" in refused()
    other.give_back()
    other.set_stop("enough")
    assert "chaos stop --lift" in refused()
    other.set_stop(None)
    other.keep_fault("001", {})
    assert "1 faults of an experiment may be left" in refused()
    other.forget_faults()
    assert other.other_holder() is None, "it is given back each time"
    kubernetes.request("DELETE", f"{LEASES}/midwatch-chaos")


def test_a_drill_keeps_the_experiments_lease_as_long_as_it_runs_and_hears_of_its_loss(api: Path) -> None:
    mine, other = (ClusterLease(cluster.NAMESPACE, name) for name in ("a drill", "an experiment"))
    lost: list[str] = []
    is_lost = threading.Event()

    def on_loss(why: str) -> None:
        lost.append(why)
        is_lost.set()

    with held(mine, on_loss, renew_every=0.05):
        first = record("midwatch-chaos")["spec"]["renewTime"]
        cluster.wait_until(lambda: record("midwatch-chaos")["spec"]["renewTime"] != first)
        with pytest.raises(LeaseTakenError, match="held by a drill"):
            other.take()
        kubernetes.request("PATCH", f"{LEASES}/midwatch-chaos", body={"spec": {"holderIdentity": "an experiment"}})
        assert is_lost.wait(60)
    assert lost == ["lease midwatch-chaos was taken by somebody else"]
    assert record("midwatch-chaos")["spec"]["holderIdentity"] == "an experiment", "what is another's is not given back"
    kubernetes.request("DELETE", f"{LEASES}/midwatch-chaos")


BEYOND: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/api/v1/namespaces", None),
    ("GET", "/api/v1/namespaces/kube-system", None),
    ("DELETE", "/api/v1/namespaces/ml-drill", None),
    ("PATCH", "/api/v1/namespaces/ml-drill", {"metadata": {"labels": {namespaces.ALLOWED: "allowed"}}}),
    ("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.NAMESPACE}/roles", {"metadata": {"name": "x"}}),
    ("POST", f"/apis/batch/v1/namespaces/{cluster.NAMESPACE}/jobs", {"metadata": {"name": "x"}}),
    *((("GET", f"/api/v1/namespaces/{namespace}/secrets", None)) for namespace in ("ml", "ml-drill", "velero", "data")),
    ("POST", "/api/v1/namespaces/ml-drill/pods", {"metadata": {"name": "x"}}),
    ("DELETE", "/api/v1/namespaces/ml-drill/pods", None),
]
"""Of what nobody has any right to; allowing drills where they are not allowed is a person's."""


def forbid_what_nobody_needs() -> None:
    for method, path, body in BEYOND:
        assert status_of(method, path, body) == 403, (method, path)
