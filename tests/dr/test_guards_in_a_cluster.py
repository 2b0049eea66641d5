"""Guards in a cluster, on a real API server: their lease, and what they may do there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.lease import LeaseObject, LeaseTakenError
from dr import guarding, ledger
from dr.cluster_lease import TERM, ClusterLease, Times
from dr.lease import LeaseLostError
from midwatch import kubernetes
from tests.chaos import cluster
from tests.conftest import platform_document

GUARD = "guard-token"
ACCOUNTS = {GUARD: (cluster.NAMESPACE, "midwatch-recovery-guard")}
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.NAMESPACE}/leases"
SLOW = Times(duration=150.0, renew=100.0, retry=90.0)
"""For tests with a clock of their own: threads, which wait by the real one, do nothing meanwhile."""
QUICK = Times(duration=1.0, renew=0.6, retry=0.05)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of an API server; requests go there as its admin."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster.running(folder, ACCOUNTS), cluster.connected(folder / f"{cluster.ADMIN}.kubeconfig"):
        kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": {"name": cluster.NAMESPACE}})
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


def candidate(name: str, holder: str, clock: Clock, lost: list[str] | None = None) -> ClusterLease:
    said = [] if lost is None else lost
    return ClusterLease(
        LeaseObject(cluster.NAMESPACE, name), holder, times=SLOW, read=clock, on_loss=lambda why: said.append(why)
    )


def is_held(lease: ClusterLease) -> bool:
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
    free(name)
    clock = Clock()
    first, second = candidate(name, "first", clock), candidate(name, "second", clock)
    with first, second:
        first.take(clock.wait)
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
    free(name)
    clock = Clock()
    first, second = candidate(name, "first", clock), candidate(name, "second", clock)
    with first, second:
        first.take(clock.wait)
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
    lease = ClusterLease(LeaseObject(cluster.NAMESPACE, name), "first", times=QUICK, on_loss=lambda _: lost.set())
    with lease:
        lease.take()
        assert not lost.wait(QUICK.duration), "it is renewed"
        with cluster.connected(cluster.nowhere(tmp_path)):
            since = time.monotonic()
            assert lost.wait(5)
            assert time.monotonic() - since < QUICK.duration
            assert not is_held(lease)
    assert record(name)["spec"]["holderIdentity"] == "first", "it could not say so, and others wait"


@pytest.mark.parametrize("how", ["deleted", "taken"])
def test_a_holder_ends_when_its_lease_is_gone(name: str, how: str) -> None:
    free(name)
    said: list[str] = []
    lease = ClusterLease(LeaseObject(cluster.NAMESPACE, name), "first", times=QUICK, on_loss=said.append)
    with lease:
        lease.take()
        if how == "deleted":
            kubernetes.request("DELETE", f"{LEASES}/{name}")
        else:
            kubernetes.request("PATCH", f"{LEASES}/{name}", body={"spec": {"holderIdentity": "other"}})
        cluster.wait_until(lambda: bool(said), 5)
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
    commands = dict.fromkeys(("inject", "is_effective", "check", "observe", "read", "integrity", "allowed"), no)
    section = {
        "owner": "ml", "kubernetes": {"namespace": cluster.NAMESPACE},
        "stores": [{"name": "orders", "commands": {**commands, "recover": ["sh", str(script)], **changes}}],
    }  # fmt: skip
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    return file


def start_guard(api: Path, file: Path, *more: str, token: str = cluster.ADMIN) -> subprocess.Popen[str]:
    events = file.parent / "events"
    events.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "midwatch.cli", "dr", "guard", "-f", str(file), "--store", "orders"]
    return subprocess.Popen(
        [*words, "--events", str(events), *more], text=True, stderr=subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(api / f"{token}.kubeconfig")},
    )  # fmt: skip


@pytest.fixture
def lease_name(api: Path) -> Iterator[str]:
    """Name of the Lease of the store `orders`, which is free at first, so that nobody has to wait for it."""
    name = guarding.lease_name(platform_document()["platform"], "orders")
    free(name)
    yield name
    kubernetes.request("DELETE", f"{LEASES}/{name}")


def test_a_guard_that_loses_its_lease_within_a_step_ends_with_that_step(
    api: Path, lease_name: str, tmp_path: Path
) -> None:
    guard = start_guard(api, store_of_commands(tmp_path))
    try:
        cluster.wait_until((tmp_path / "begun").exists)
        step = int((tmp_path / "pid").read_text())
        assert record(lease_name)["metadata"]["annotations"][TERM] == "2"
        kubernetes.request("PATCH", f"{LEASES}/{lease_name}", body={"spec": {"holderIdentity": "other"}})
        _, said = guard.communicate(timeout=10)
    finally:
        guard.kill()
        guard.wait()
    assert guard.returncode == 1
    assert "the lease is lost" in said
    assert not Path(f"/proc/{step}").exists()
    (events,) = (tmp_path / "events").iterdir()
    kinds = {fact["k"] for fact in ledger.read(events)}
    assert "fenced" in kinds
    assert "recovered" not in kinds


def test_a_drills_guard_takes_over_from_the_one_in_the_cluster(api: Path, lease_name: str, tmp_path: Path) -> None:
    file = store_of_commands(tmp_path, check=["true"])
    first = start_guard(api, file)
    second = None
    try:
        cluster.wait_until(lambda: record(lease_name)["spec"]["holderIdentity"] != "")
        holder = record(lease_name)["spec"]["holderIdentity"]
        second = start_guard(api, file, "--take-over")
        _, said = first.communicate(timeout=15)
        assert (first.returncode, said) == (0, "")
        cluster.wait_until(lambda: record(lease_name)["spec"]["holderIdentity"] not in ("", holder))
        second.terminate()
        second.communicate(timeout=15)
        assert second.returncode == 0
        assert record(lease_name)["spec"]["holderIdentity"] == ""
    finally:
        for process in (first, second):
            if process:
                process.kill()
                process.wait()


def test_a_guard_that_may_not_have_the_lease_ends_with_one_clear_error(api: Path, tmp_path: Path) -> None:
    guard = start_guard(api, store_of_commands(tmp_path), token=GUARD)
    _, said = guard.communicate(timeout=15)
    assert guard.returncode != 0
    assert said.count("\n") == 1
    assert "403" in said
    assert "leases" in said
