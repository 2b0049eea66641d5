"""Drills of Velero and CloudNativePG, on a real API server with their resources; small controllers play operators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.rules import recovery as alerts
from dr.drill.verdict import Objectives, Result, Verdict
from dr.postgres import session
from dr.posture import gauges
from dr.runner import drill
from dr.stores import namespaces
from dr.stores.cloudnative_pg import cluster as cnpg
from dr.stores.cloudnative_pg.kind import CloudNativePgCollector
from dr.stores.local_postgresql import endpoint
from dr.stores.namespaces import OperatorError
from dr.stores.setup import NotReadyError
from dr.stores.velero import restore
from midwatch import kubernetes, metrics
from midwatch.errors import MidwatchError
from midwatch.spec import load
from midwatch.spec.stores.cloudnative_pg import CloudNativePg
from midwatch.spec.stores.velero import Velero
from tests.chaos import cluster
from tests.conftest import platform_document
from tests.dr import small_operators as small
from tests.dr.conftest import wait_until

DRILL = "drill-token"
VELERO = Velero.model_validate({"namespace": "ml", "restore_namespace": "ml-drill", "schedule": "daily"})
CNPG = CloudNativePg.model_validate({"namespace": "ml", "cluster": "features", "endpoint_file": "endpoint"})
PODS = "/api/v1/namespaces/ml-drill/pods"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of an API server with the operators' resources; requests go there as its admin."""
    folder = tmp_path_factory.mktemp("cluster")
    with (
        cluster.running(folder, {DRILL: ("ml", "midwatch-recovery")}),
        cluster.connected(folder / f"{cluster.ADMIN}.kubeconfig"),
    ):
        for name in ("ml", "ml-drill", "velero"):
            labels = {} if name == "velero" else {namespaces.ALLOWED: "allowed"}
            kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name, "labels": labels}})
        small.install()
        yield folder


@pytest.fixture
def api(server: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The server, with a backup of an hour ago."""
    monkeypatch.setattr(restore, "POLL_SECONDS", 0.02)
    small.backup("good", "Completed", age=3600)
    yield server
    for path in (f"{small.VELERO}/backups", f"{small.VELERO}/restores"):
        kubernetes.request("DELETE", path)


def velero_drill(number: str = "Run-1", *, rto: float = 900.0, rpo: float = 7200.0, limit: float = 10.0) -> Result:
    made = restore.VeleroDrill(VELERO)
    made.start()
    return made.restore(number, Objectives(rto=rto, rpo=rpo, limit=limit), lambda _: None)


def is_untouched() -> bool:
    return not kubernetes.request("GET", f"{small.VELERO}/restores")["items"]


# Velero --------------------------------------------------------------------------------------------------------------


def test_the_newest_complete_backup_of_the_schedule_is_restored_into_the_other_namespace(api: Path) -> None:
    """Newest by its start: what is synchronised from the storage late, and so created last, is not newer for that."""
    small.backup("broken", "PartiallyFailed", age=60)
    small.backup("running", "InProgress", age=30)
    small.backup("waiting", None, age=0)
    small.backup("another-schedule", "Completed", age=10, schedule="hourly")
    small.backup("synchronised-late", "Completed", age=9000)
    velero = small.Velero()
    with small.looping(velero.once):
        result = velero_drill()
    assert (result.verdict, result.reasons) == (Verdict.MET, ())
    assert result.notes == ("not used: running: InProgress", "not used: broken: PartiallyFailed")
    (asked,) = velero.seen
    assert asked["metadata"]["name"] == "run-1"
    assert asked["spec"] == {
        "backupName": "good",
        "includedNamespaces": ["ml"],
        "namespaceMapping": {"ml": "ml-drill"},
    }
    assert result.rpo_seconds == pytest.approx(3600, abs=30)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ({"phase": "PartiallyFailed", "errors": 2}, "Velero says PartiallyFailed with 2 errors"),
        ({"phase": "Failed", "failureReason": "no space"}, "Velero says Failed with 0 errors: no space"),
        ({"phase": "FailedValidation", "validationErrors": ["no such backup"]}, "with 0 errors: no such backup"),
        ({"phase": "Completed", "errors": 1}, "Velero says Completed with 1 errors"),
    ],
    ids=["partially failed", "failed", "not valid", "complete with errors"],
)
def test_a_restore_that_is_not_whole_is_a_breach(api: Path, outcome: dict[str, Any], reason: str) -> None:
    with small.looping(small.Velero(**outcome).once):
        result = velero_drill()
    assert result.verdict is Verdict.BREACHED
    assert reason in result.reasons[0]
    assert [check.holds for check in result.checks] == [False]


def test_a_restore_of_nothing_that_could_be_counted_is_inconclusive(api: Path) -> None:
    with small.looping(small.Velero(progress=None).once):
        assert velero_drill().verdict is Verdict.INCONCLUSIVE


def test_a_backup_older_than_the_objective_is_a_breach(api: Path) -> None:
    with small.looping(small.Velero().once):
        result = velero_drill(rpo=300.0)
    assert (result.verdict, len(result.reasons)) == (Verdict.BREACHED, 1)
    assert "s old, objective 300 s" in result.reasons[0]


@pytest.mark.parametrize(
    ("rto", "verdict"), [(900.0, Verdict.INCONCLUSIVE), (0.1, Verdict.BREACHED)], ids=["within the RTO", "beyond it"]
)
def test_a_restore_that_never_ends_is_not_met(api: Path, rto: float, verdict: Verdict) -> None:
    with small.looping(small.Velero(phase="Finalizing").once):
        result = velero_drill(rto=rto, limit=0.3)
    assert (result.verdict, result.rto_exceeds) == (verdict, True)
    assert "did not end within" in result.reasons[-1]
    assert [check.holds for check in result.checks] == [None]


def test_a_restore_that_nobody_can_see_any_more_is_inconclusive(api: Path) -> None:
    def delete() -> None:
        for one in kubernetes.request("GET", f"{small.VELERO}/restores")["items"]:
            kubernetes.request("DELETE", f"{small.VELERO}/restores/{one['metadata']['name']}")

    with small.looping(delete):
        result = velero_drill(limit=60.0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "404" in result.reasons[0]


def test_without_a_complete_backup_nothing_is_restored_and_the_others_are_said(api: Path) -> None:
    kubernetes.request("DELETE", f"{small.VELERO}/backups/good")
    small.backup("late", "FinalizingPartiallyFailed", age=60)
    with pytest.raises(OperatorError, match="no complete backup: late: FinalizingPartiallyFailed"):
        velero_drill()
    assert is_untouched()


def test_nothing_is_restored_into_a_namespace_that_does_not_allow_it(api: Path) -> None:
    labels = {"metadata": {"labels": {namespaces.ALLOWED: None}}}
    kubernetes.request("PATCH", "/api/v1/namespaces/ml-drill", body=labels)
    try:
        with pytest.raises(NotReadyError, match=r"label it midwatch\.dev/drills=allowed"):
            velero_drill()
    finally:
        labels["metadata"]["labels"][namespaces.ALLOWED] = "allowed"  # type: ignore[assignment]
        kubernetes.request("PATCH", "/api/v1/namespaces/ml-drill", body=labels)
    assert is_untouched()


CLAIM = {
    "metadata": {"name": "left"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


@pytest.mark.parametrize(
    ("plural", "body"),
    [("pods", cluster.pod("left", "left")), ("persistentvolumeclaims", CLAIM)],
    ids=["a pod", "a volume"],
)
def test_nothing_is_restored_over_what_is_there(api: Path, plural: str, body: dict[str, Any]) -> None:
    path = f"/api/v1/namespaces/ml-drill/{plural}"
    kubernetes.request("POST", path, body=body)
    try:
        with pytest.raises(NotReadyError, match=f"is not empty: {plural}"):
            velero_drill()
    finally:
        gone = {"metadata": {"finalizers": None}}
        kubernetes.request("PATCH", f"{path}/left", body=gone)
        kubernetes.request("DELETE", f"{path}/left", body={"gracePeriodSeconds": 0})
        kubernetes.request("GET", path)
    assert is_untouched()


def test_an_api_server_that_refuses_or_is_away_begins_no_drill(api: Path, tmp_path: Path) -> None:
    with cluster.connected(api / f"{DRILL}.kubeconfig"), pytest.raises(kubernetes.RefusedError, match="403"):
        velero_drill()
    with cluster.connected(cluster.nowhere(tmp_path)), pytest.raises(kubernetes.UnreachableError):
        velero_drill()
    assert is_untouched()


# CloudNativePG -------------------------------------------------------------------------------------------------------


def test_a_switchover_is_asked_for_as_the_operators_own_command_does(api: Path) -> None:
    small.cluster()
    assert cnpg.instances(CNPG) == ("features-1", ["features-2"])
    fault = cnpg.CloudNativePgSwitchover(
        target="ml/features", was="features-1", to="features-2", endpoint_file="endpoint"
    )
    assert not fault.is_effective()
    fault.inject()
    assert fault.is_effective()
    status = small.status_of()
    assert status["targetPrimaryTimestamp"] > status["conditions"][0]["lastTransitionTime"][:10]
    assert (status["phase"], status["phaseReason"]) == ("Switchover in progress", "Switching over to features-2")
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "ContinuousArchiving": "True",
        "Ready": "False",
    }
    assert status["instancesStatus"] == {"healthy": ["features-1", "features-2"]}
    with pytest.raises(OperatorError, match="between two primaries"):
        cnpg.instances(CNPG)
    small.set_status("features", currentPrimary="features-2")
    assert cnpg.instances(CNPG) == ("features-2", ["features-1"])


def test_a_switchover_that_the_operator_takes_back_is_not_effective(api: Path) -> None:
    """As it does when the pod is not active any more (cloudnative-pg, internal/controller/cluster_status.go)."""
    small.cluster()
    fault = cnpg.CloudNativePgSwitchover(
        target="ml/features", was="features-1", to="features-2", endpoint_file="endpoint"
    )
    fault.inject()
    small.set_status("features", targetPrimary="features-1")
    assert not fault.is_effective()


@pytest.mark.parametrize("fenced", ['["features-2"]', '["*"]'], ids=["this one", "all"])
def test_a_fenced_instance_is_not_asked_for(api: Path, fenced: str) -> None:
    """The operator would wait for it, without a primary meanwhile; promote refuses it, too."""
    small.cluster()
    annotations = {"metadata": {"annotations": {"cnpg.io/fencedInstances": fenced}}}
    kubernetes.request("PATCH", f"{small.CLUSTERS}/clusters/features", body=annotations)
    with pytest.raises(OperatorError, match="features-2 is fenced"):
        cnpg.switch_over(CNPG, "features-2")
    assert small.status_of()["targetPrimary"] == "features-1"


def test_a_status_that_changes_meanwhile_is_read_again_and_not_overwritten(
    api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.cluster()
    ask, missed = kubernetes.request, []

    def request(method: str, path: str, **more: Any) -> Any:
        found = ask(method, path, **more)
        if method == "GET" and not missed:
            missed.append(path)
            ready, archiving = found["status"]["conditions"]
            body = {"status": {"conditions": [ready, archiving | {"status": "False"}]}}
            ask("PATCH", f"{path}/status", body=body)
        return found

    monkeypatch.setattr(kubernetes, "request", request)
    cnpg.switch_over(CNPG, "features-2")
    status = small.status_of()
    assert status["targetPrimary"] == "features-2"
    assert {one["type"]: one["status"] for one in status["conditions"]}["ContinuousArchiving"] == "False"


# Posture -------------------------------------------------------------------------------------------------------------


def test_the_newest_backup_of_a_cluster_is_its_newest_complete_one(api: Path) -> None:
    assert cnpg.newest_database_backup(CNPG) is None
    small.database_backup("of-another", "completed", age=10, of="other")
    assert cnpg.newest_database_backup(CNPG) is None
    small.database_backup("begun", "running", age=5)
    small.database_backup("broken", "failed", age=20)
    assert cnpg.newest_database_backup(CNPG) == 0.0
    small.database_backup("older", "completed", age=900)
    small.database_backup("newer", "completed", age=600)
    assert cnpg.newest_database_backup(CNPG) == pytest.approx(time.time() - 600, abs=30)
    kubernetes.request("DELETE", f"{small.CLUSTERS}/backups")


def test_the_lag_of_a_clusters_standbys_is_measured_and_its_backups_are_published(
    api: Path, start_cluster: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = start_cluster()
    file = platform_file(tmp_path, "cloudnative_pg", CNPG.model_dump(mode="json"), "switchover")
    recovery = load.load_platform(file).disaster_recovery
    assert recovery is not None
    collector = gauges.collectors(recovery, file, {})["s"]
    with pytest.raises(NotReadyError, match="holds the connection string"):
        list(collector.collect(0.0))
    lag, connected = (metrics.DR_REPLICATION_LAG, "s"), (metrics.DR_STANDBY_CONNECTED, "s")

    def look(now: float) -> dict[tuple[metrics.Metric, str], float]:
        return {(metric, labels["store"]): value for metric, labels, value in collector.collect(now)}

    # Whom PostgreSQL shows no standbys sees empty columns: they are unknown, and not lost.
    session.ask(store.direct("a"), "CREATE ROLE app LOGIN PASSWORD 'app'", timeout=5)
    words = dict(word.split("=", 1) for word in store.client.split()) | {"user": "app", "password": "app"}
    (tmp_path / "endpoint").write_text(" ".join(f"{name}={value}" for name, value in words.items()))
    with pytest.raises(MidwatchError, match="grant it pg_monitor"):
        look(0.0)
    session.ask(store.direct("a"), "GRANT pg_monitor TO app", timeout=5)

    small.database_backup("newest", "completed", age=600)
    wait_until(lambda: look(0.0)[lag] == 0.0)
    assert look(1.0)[connected] == 1.0
    assert look(1.0)[metrics.DR_BACKUP_SUCCESS, "s"] == pytest.approx(time.time() - 600, abs=30)
    kubernetes.request("DELETE", f"{small.CLUSTERS}/backups")

    # A standby that stands still goes on being connected, and says nothing: only positions show it.
    store.server("b").freeze()
    session.ask(store.client, "INSERT INTO midwatch_drill.writes VALUES ('t', 1, 'x')", timeout=5)
    frozen = [look(float(now)) for now in (2, 5, 8)]
    store.server("b").thaw()
    assert [one[connected] for one in frozen] == [1.0, 1.0, 1.0]
    assert frozen[2][lag] - frozen[1][lag] == 3.0
    assert frozen[2][lag] >= 6.0

    # Gone it is seen at once; and a cluster that does not answer hides neither that nor the backup that was known.
    store.server("b").kill()
    monkeypatch.setattr(kubernetes, "TIMEOUT", 0.5)
    with cluster.connected(cluster.nowhere(tmp_path)):
        wait_until(lambda: look(100.0)[connected] == 0.0)
        assert look(200.0)[metrics.DR_BACKUP_SUCCESS, "s"] == pytest.approx(time.time() - 600, abs=60)
        fresh = CloudNativePgCollector("s", CNPG, tmp_path)
        assert {metric: value for metric, _, value in fresh.collect(0.0)}[metrics.DR_BACKUP_SUCCESS] == 0.0


def test_a_cluster_has_alerts_on_its_lag_its_standbys_and_its_backups(tmp_path: Path) -> None:
    made = load.load_platform(platform_file(tmp_path, "cloudnative_pg", CNPG.model_dump(mode="json"), "switchover"))
    about = {one.name for one in alerts.of_platform(made) if one.rule["labels"].get("store") == "s"}
    assert {"RecoveryPointAtRisk", "StandbyLost", "BackupStale", "RecoveryStoreUnknown"} <= about


# A restore, judged ---------------------------------------------------------------------------------------------------

BACKUP = restore.VeleroBackup(name="b", started=1000.0, items=40)


@pytest.mark.parametrize(
    ("status", "seconds", "now", "verdict"),
    [
        ({"phase": "Completed", "progress": {"itemsRestored": 40}}, 60.0, 1100.0, Verdict.MET),
        ({"phase": "Completed", "progress": {"itemsRestored": 40}}, 901.0, 1100.0, Verdict.BREACHED),
        ({"phase": "Completed", "progress": {"itemsRestored": 40}}, 60.0, 1400.0, Verdict.BREACHED),
        ({"phase": "PartiallyFailed", "errors": 2, "progress": {"itemsRestored": 38}}, 60.0, 1100.0, Verdict.BREACHED),
        ({"phase": "Completed"}, 60.0, 1100.0, Verdict.INCONCLUSIVE),
    ],
    ids=["complete", "slow", "old backup", "partial", "nothing counted"],
)
def test_a_velero_restore_is_met_only_when_it_is_whole_in_time_and_young(
    status: dict[str, Any], seconds: float, now: float, verdict: Verdict
) -> None:
    assert restore.judge_restore(BACKUP, status, seconds, now, 900.0, 300.0, []).verdict is verdict


# The command ---------------------------------------------------------------------------------------------------------


def platform_file(folder: Path, kind: str, settings: dict[str, Any], fault: str, **more: Any) -> Path:
    section = {
        "owner": "ml",
        "evidence": {"folder": "evidence"},
        "stores": [{"name": "s", kind: settings}],
        "drills": [{"name": "d", "store": "s", "fault": fault, "warmup": "300ms"}],
        **more,
    }
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    return file


def run_drill(api: Path, file: Path, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and messages of `midwatch dr run`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "midwatch", "dr", "run", "d", "-f", str(file), "--json", *more],
        env={**os.environ, "KUBECONFIG": str(api / f"{cluster.ADMIN}.kubeconfig")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_the_command_restores_judges_and_keeps_evidence(api: Path, tmp_path: Path) -> None:
    settings = {"namespace": "ml", "restore_namespace": "ml-drill", "schedule": "daily", "interval": "1h"}
    file = platform_file(tmp_path, "velero", settings, "restore", rpo="2h", rto="1m")
    with small.looping(small.Velero().once):
        code, document, said = run_drill(api, file)
    assert (code, document["verdict"], document["reasons"]) == (0, "MET", []), said
    assert document["writes"] == {"items_backed_up": 12, "items_restored": 12}
    first = (tmp_path / "evidence" / "evidence.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["kind"] == "drill-started"
    kubernetes.request("POST", PODS, body=cluster.pod("left", "left"))
    code, document, said = run_drill(api, file)
    kubernetes.request("DELETE", f"{PODS}/left", body={"gracePeriodSeconds": 0})
    assert (code, document) == (2, {})
    assert "namespace ml-drill is not empty: pods" in said


def test_a_switchover_through_the_command_is_met_only_once_another_primary_takes_writes(
    api: Path, start_cluster: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = start_cluster()
    file = platform_file(tmp_path, "cloudnative_pg", CNPG.model_dump(mode="json"), "switchover")
    small.cluster()
    (tmp_path / "endpoint").write_text(store.server("a").conninfo())
    with pytest.raises(NotReadyError, match="the table for the observer's writes is missing there; create it: CREATE"):
        drill.run(drill.Request(platform_file=file, drill="d"), lambda _: None)
    (tmp_path / "endpoint").write_text(store.client)

    # An operator that never switches: writes go on, and that is no recovery.
    small.cluster()
    monkeypatch.setattr(drill, "SERVICE_SECONDS", 0.0)
    never = drill.run(drill.Request(platform_file=file, drill="d", limit=2.0), lambda _: None)
    assert (never["exit"], never["verdict"], never["rto_exceeds"]) == (3, "INCONCLUSIVE", True)
    assert "not recovered within" in never["reasons"][0]

    def promote() -> None:
        time.sleep(0.5)  # the operator has its own pace, and writes still go to the old primary meanwhile
        store.server("a").stop()
        store.server("b").promote()
        endpoint.reroute(store.control, term=2, region="b")

    small.cluster()
    with small.looping(small.CloudNativePg(promote).once):
        code, document, said = run_drill(api, file, "--limit", "30s")
    assert (code, document["verdict"], document["reasons"]) == (0, "MET", []), said
    assert document["rto_seconds"] > 0.5
    assert document["writes"]["lost"] == 0
    assert document["checks"] == [
        {"name": "the operator has settled on the new primary", "holds": True, "detail": "features-2"}
    ]
    assert small.status_of()["currentPrimary"] == "features-2"
