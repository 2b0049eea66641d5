"""CronJobs by their own schedule and Jobs that do not end, from objects as a cluster has them."""

from __future__ import annotations

from typing import Any

import pytest

from exporters.systems.kinds import kubernetes
from midwatch.cluster_objects import seconds
from tests.systems_export.published import published

CREATED = "2026-11-01T00:00:00Z"


def cron_job(*, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "ml", "name": "nightly", "creationTimestamp": CREATED}
    return {"metadata": metadata, "spec": {"schedule": "0 4 * * *", **spec}, "status": status or {}}


def job(*conditions: str, start: str | None = "2026-11-20T04:00:05Z", **spec: Any) -> dict[str, Any]:
    status = {"conditions": [{"type": kind, "status": "True"} for kind in conditions]}
    metadata = {"namespace": "ml", "name": "nightly-1", "creationTimestamp": CREATED}
    return {"metadata": metadata, "spec": spec, "status": status | ({"startTime": start} if start else {})}


def of(found: dict[str, Any], time_zone: str = "Etc/UTC") -> dict[str, float]:
    return published(kubernetes.of_cron_job(found, time_zone))


def test_a_start_is_due_after_the_last_start_and_a_success_after_the_last_success() -> None:
    status = {"lastScheduleTime": "2026-11-20T04:00:00Z", "lastSuccessfulTime": "2026-11-18T04:07:00Z"}
    values = of(cron_job(status=status))
    assert values["kubernetes_cronjob_start_due_timestamp_seconds"] == seconds("2026-11-21T04:00:00Z")
    assert values["kubernetes_cronjob_success_due_timestamp_seconds"] == seconds("2026-11-19T04:00:00Z")
    assert values["kubernetes_cronjob_last_success_timestamp_seconds"] == seconds("2026-11-18T04:07:00Z")


def test_one_that_never_ran_is_due_after_its_creation_and_has_no_last_success() -> None:
    values = of(cron_job())
    assert values["kubernetes_cronjob_start_due_timestamp_seconds"] == seconds("2026-11-01T04:00:00Z")
    assert values["kubernetes_cronjob_success_due_timestamp_seconds"] == seconds("2026-11-01T04:00:00Z")
    assert "kubernetes_cronjob_last_success_timestamp_seconds" not in values


@pytest.mark.parametrize(
    ("spec", "controller", "due"),
    [
        ({}, "Etc/UTC", "2026-11-01T04:00:00Z"),
        ({}, "Europe/Berlin", "2026-11-01T03:00:00Z"),
        ({"timeZone": "America/New_York"}, "Europe/Berlin", "2026-11-01T09:00:00Z"),  # clocks went back at 06:00 UTC
        ({"schedule": "@hourly"}, "Etc/UTC", "2026-11-01T01:00:00Z"),
        ({"schedule": "TZ=Asia/Kolkata 0 4 * * *"}, "Etc/UTC", "2026-11-01T22:30:00Z"),
    ],
    ids=["utc", "controller", "own", "named", "in_the_schedule"],
)
def test_a_schedule_is_read_in_its_time_zone(spec: dict[str, Any], controller: str, due: str) -> None:
    assert of(cron_job(**spec), controller)["kubernetes_cronjob_start_due_timestamp_seconds"] == seconds(due)


def test_a_suspended_one_is_due_at_no_time() -> None:
    values = of(cron_job(suspend=True))
    assert values == {"kubernetes_cronjob_suspended": 1, "kubernetes_cronjob_schedule_unreadable": 0}


@pytest.mark.parametrize("spec", [{"schedule": "whenever"}, {"timeZone": "Mars/Olympus"}, {"schedule": "0 0 30 2 *"}])
def test_one_that_cannot_be_read_says_so_and_is_not_judged(spec: dict[str, Any]) -> None:
    values = of(cron_job(**spec))
    assert values == {"kubernetes_cronjob_suspended": 0, "kubernetes_cronjob_schedule_unreadable": 1}


@pytest.mark.parametrize(
    ("found", "since"),
    [
        (job(), "2026-11-20T04:00:05Z"),
        (job(start=None), CREATED),
        (job("FailureTarget"), "2026-11-20T04:00:05Z"),
        (job("Complete"), None),
        (job("Failed"), None),
        (job(suspend=True), None),
    ],
    ids=["runs", "not_seen_yet", "ends", "complete", "failed", "suspended"],
)
def test_a_job_is_under_way_until_it_has_ended(found: dict[str, Any], since: str | None) -> None:
    values = published(kubernetes.of_job(found))
    wanted = {"kubernetes_job_unfinished_since_timestamp_seconds": seconds(since)} if since else {}
    assert values == wanted


def test_the_inventory_decides_what_is_missing() -> None:
    samples = kubernetes.missing(["ml/nightly", "other/nightly"], [cron_job()])
    assert {sample.labels["namespace"]: sample.value for sample in samples} == {"ml": 0, "other": 1}
