"""Velero's and CloudNativePG's resources, on an API that answers as theirs does."""

from __future__ import annotations

from typing import Any

import pytest

from dr import operators
from dr.scene import NotReadyError
from dr.verdict import Verdict
from midwatch import kubernetes
from midwatch.spec import dr as spec

VELERO = spec.Velero.model_validate({"namespace": "ml", "restore_namespace": "ml-drill", "schedule": "daily"})
CNPG = spec.CloudNativePg.model_validate({"namespace": "ml", "cluster": "features", "endpoint_file": "endpoint"})


class Api:
    """A few objects by path, and what was asked of them."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {"midwatch.dev/drills": "allowed"}
        self.pods: list[Any] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.restored: dict[str, Any] = {"phase": "Completed", "progress": {"itemsRestored": 12}}
        self.status = {
            "currentPrimary": "features-1", "targetPrimary": "features-1",
            "instancesStatus": {"healthy": ["features-1", "features-2"]},
        }  # fmt: skip

    def request(self, method: str, path: str, *, query: Any = None, body: Any = None, **_: Any) -> dict[str, Any]:
        self.asked.append((method, path, body))
        if path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            return {"metadata": {"labels": self.labels}}
        if path.endswith("/backups"):
            assert query == {"labelSelector": "velero.io/schedule-name=daily"}
            return {
                "items": [
                    backup("old", "Completed", 1),
                    backup("newest", "PartiallyFailed", 3),
                    backup("good", "Completed", 2),
                ]
            }
        if "/restores" in path:
            return {"status": self.restored}
        if path.endswith("/clusters/features/status"):
            self.status |= body["status"]
        if "/clusters/features" in path:
            return {"status": self.status}
        return {"items": self.pods}


def backup(name: str, phase: str, hour: int) -> dict[str, Any]:
    at = f"2026-11-25T0{hour}:00:00Z"
    status = {"phase": phase, "startTimestamp": at, "progress": {"itemsBackedUp": 12}}
    return {"metadata": {"name": name, "creationTimestamp": at}, "status": status}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(kubernetes, "request", made.request)
    return made


def velero_drill(rpo: float = 1e9) -> Any:
    return operators.drill_velero(VELERO, "Run-1", rto=900.0, rpo=rpo, limit=5.0, say=lambda _: None)


def test_the_newest_complete_backup_is_restored_into_the_empty_namespace(api: Api) -> None:
    result = velero_drill()
    assert (result.verdict, result.notes) == (Verdict.MET, ("not used: newest: PartiallyFailed",))
    (made,) = [body for method, _, body in api.asked if method == "POST"]
    assert made["spec"] == {
        "backupName": "good", "includedNamespaces": ["ml"], "namespaceMapping": {"ml": "ml-drill"},
    }  # fmt: skip
    assert made["metadata"]["name"] == "run-1"
    assert velero_drill(rpo=60.0).verdict is Verdict.BREACHED  # the backup is older than that
    api.restored = {"phase": "PartiallyFailed", "errors": 1, "progress": {"itemsRestored": 11}}
    assert velero_drill().verdict is Verdict.BREACHED


def test_nothing_is_restored_where_drills_are_not_allowed_or_something_is(api: Api) -> None:
    api.pods = [{"metadata": {"name": "x"}}]
    with pytest.raises(NotReadyError, match="is not empty"):
        velero_drill()
    api.labels = {}
    with pytest.raises(NotReadyError, match=r"label it midwatch\.dev/drills=allowed"):
        velero_drill()
    assert not [method for method, _, _ in api.asked if method == "POST"]


def test_a_switchover_is_asked_of_the_operator_and_seen_when_it_is_taken_up(api: Api) -> None:
    assert operators.instances(CNPG) == ("features-1", ["features-2"])
    fault = operators.CnpgSwitchover(target="ml/features", was="features-1", to="features-2", endpoint_file="endpoint")
    assert not fault.is_effective()
    fault.inject()
    assert fault.is_effective()
    with pytest.raises(operators.OperatorError, match="between two primaries"):
        operators.instances(CNPG)
    api.status["currentPrimary"] = "features-2"
    assert operators.instances(CNPG) == ("features-2", ["features-1"])
