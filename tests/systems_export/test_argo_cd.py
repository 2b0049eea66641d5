"""Argo CD's applications: what is deployed and wanted, what failed although it looks well, which model is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporters.systems.kinds import argo_cd
from midwatch import argo_applications, kubernetes, metrics
from midwatch.errors import MidwatchError
from midwatch.spec.observed.argo_cd import ArgoCdObserved
from tests.systems_export.conftest import RecordedServer, rows

KEY = ("fraud-server", "argocd")


def application(name: str = "fraud-server", **status: Any) -> dict[str, Any]:
    """An application as the API has it (argo-cd, pkg/apis/application/v1alpha1/types.go), in sync and healthy."""
    return {
        "metadata": {"name": name, "namespace": "argocd", "annotations": {"ml/version": "6"}, "labels": {"v": "6"}},
        "spec": {"project": "ml"},
        "status": {
            "sync": {"status": "Synced", "revision": "bbb"},
            "health": {"status": "Healthy"},
            "history": [{"revision": "000"}, {"revision": "aaa"}],
            "operationState": {"phase": "Succeeded"},
            "summary": {"images": ["envoy:1.30", "registry.example/ml/fraud:v6"]},
            **status,
        },
    }


def source(folder: Path, objects: list[dict[str, Any]], **changes: Any) -> argo_cd.Applications:
    observed = ArgoCdObserved(url="https://argocd", **changes)
    return argo_cd.Applications(observed, folder, lambda _: [argo_applications.Application.of(one) for one in objects])


def carries(**where: str) -> dict[str, Any]:
    return {"fraud-server": {"model": "fraud", **where}}


def test_revisions_that_are_deployed_and_wanted_stand_side_by_side(tmp_path: Path) -> None:
    samples = source(tmp_path, [application()]).read(1000.0)
    assert rows(samples, metrics.ARGO_REVISION) == {(*KEY, "aaa", "bbb"): 1}


def test_an_application_of_several_sources_has_a_revision_of_each(tmp_path: Path) -> None:
    several = application(sync={"status": "Synced", "revisions": ["b1", "b2"]}, history=[{"revisions": ["a1", "b2"]}])
    assert rows(source(tmp_path, [several]).read(1.0), metrics.ARGO_REVISION) == {(*KEY, "a1,b2", "b1,b2"): 1}


def test_a_failed_operation_is_seen_although_all_looks_well(tmp_path: Path) -> None:
    samples = source(tmp_path, [application(operationState={"phase": "Failed"})]).read(1000.0)
    assert rows(samples, metrics.ARGO_OPERATION_FAILED) == {KEY: 1}
    assert rows(samples, metrics.ARGO_APPLICATION) == {(*KEY, "ml", "Synced", "Healthy", "Failed"): 1}


def test_a_retry_that_runs_does_not_hide_the_failure_before_it(tmp_path: Path) -> None:
    objects = [application(operationState={"phase": "Error"})]
    applications = source(tmp_path, objects)
    applications.read(1000.0)
    objects[0] = application(operationState={"phase": "Running"})
    assert rows(applications.read(1060.0), metrics.ARGO_OPERATION_FAILED) == {KEY: 1}
    objects[0] = application()
    assert rows(applications.read(1120.0), metrics.ARGO_OPERATION_FAILED) == {KEY: 0}


def test_an_operation_that_runs_before_any_has_ended_is_no_verdict(tmp_path: Path) -> None:
    samples = source(tmp_path, [application(operationState={"phase": "Running"})]).read(1000.0)
    assert rows(samples, metrics.ARGO_OPERATION_FAILED) == {}


def test_the_time_in_sync_survives_a_restart(tmp_path: Path) -> None:
    source(tmp_path, [application()]).read(1000.0)
    behind = [application(sync={"status": "OutOfSync", "revision": "ccc"})]
    source(tmp_path, behind).read(1060.0)
    assert rows(source(tmp_path, behind).read(9000.0), metrics.ARGO_IN_SYNC) == {KEY: 1000.0}


@pytest.mark.parametrize(
    ("where", "versions"),
    [
        ({"image": ".*/fraud:v(.+)"}, {"6"}),
        ({"annotation": "ml/version"}, {"6"}),
        ({"label": "v"}, {"6"}),
        ({"image": "fraud:v(.+)"}, set()),
        ({"label": "version"}, set()),
    ],
)
def test_the_models_version_is_read_where_the_platform_file_says(
    tmp_path: Path, where: dict[str, str], versions: set[str]
) -> None:
    samples = source(tmp_path, [application()], carries=carries(**where)).read(1000.0)
    assert {key[-1] for key in rows(samples, metrics.ARGO_MODEL_VERSION)} == versions
    assert rows(samples, metrics.ARGO_MODEL_VERSIONS) == {(*KEY, "fraud"): len(versions)}


def test_an_application_that_was_never_compared_has_unknown_states(tmp_path: Path) -> None:
    new = {"metadata": {"name": "fraud-server", "namespace": "argocd"}, "spec": {"project": "ml"}}
    samples = source(tmp_path, [new], carries=carries(label="v")).read(1000.0)
    assert rows(samples, metrics.ARGO_APPLICATION) == {(*KEY, "ml", "Unknown", "Unknown", ""): 1}
    assert rows(samples, metrics.ARGO_MODEL_VERSIONS) == {(*KEY, "fraud"): 0}


# Asking ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[RecordedServer]:
    items = [application(), application("other")]
    server = RecordedServer({"/api/v1/applications": {"status": 200, "text": json.dumps({"items": items})}})
    yield server
    server.close()


def test_the_api_is_asked_with_the_token(api: RecordedServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    auth = {"token_file": str(tmp_path / "token")}
    observed = ArgoCdObserved(url=api.url, auth=auth, applications=["fraud-server"])
    assert [one.name for one in argo_applications.ask(observed)] == ["fraud-server"]
    assert api.tokens == {"Bearer secret"}


def test_a_refusal_is_no_empty_list(tmp_path: Path) -> None:
    server = RecordedServer({"/api/v1/applications": {"status": 403, "text": "permission denied"}})
    with pytest.raises(MidwatchError, match="403 permission denied"):
        argo_applications.ask(ArgoCdObserved(url=server.url))
    server.close()


def test_the_cluster_is_asked_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"": ([application()], "next"), "next": ([application("other")], "")}

    def request(method: str, path: str, *, query: dict[str, str], timeout: float) -> dict[str, Any]:
        assert (method, path) == ("GET", "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications")
        items, token = pages[query.get("continue", "")]
        return {"items": items, "metadata": {"continue": token}}

    monkeypatch.setattr(kubernetes, "request", request)
    assert [one.name for one in argo_applications.ask(ArgoCdObserved(namespace="argocd"))] == ["fraud-server", "other"]


def test_a_list_that_never_ends_is_an_error_and_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    page = {"items": [application()], "metadata": {"continue": "again"}}
    monkeypatch.setattr(kubernetes, "request", lambda *_, **__: page)
    with pytest.raises(MidwatchError, match="more than 20000 objects"):
        argo_applications.ask(ArgoCdObserved(namespace="argocd"))
