"""CronJobs that are overdue by their own schedule, and Jobs that do not end, from objects of the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.systems import cron_times
from exporters.systems.source import Sample
from midwatch import cluster_objects, metrics
from midwatch.cluster_objects import Object
from midwatch.spec.model import Platform
from midwatch.spec.observed.kubernetes import CRON_JOBS, JOBS, KubernetesObserved


@dataclass(frozen=True)
class Kubernetes:
    """The Kubernetes API."""

    settings: KubernetesObserved

    def read(self, now: float) -> list[Sample]:  # noqa: ARG002 - every sample is a state or a timestamp
        """Samples of all CronJobs and Jobs."""
        settings = self.settings
        listed = (cluster_objects.objects(one, settings.namespaces, settings.timeout) for one in (CRON_JOBS, JOBS))
        cron_jobs, jobs = listed
        return [
            *(sample for found in cron_jobs for sample in of_cron_job(found, settings.time_zone)),
            *(sample for found in jobs for sample in of_job(found)),
            *missing(settings.cron_jobs, cron_jobs),
        ]


def build(platform: Platform, observed: Any, state: Path) -> Kubernetes:  # noqa: ARG001 - the signature of every kind
    """The source of the section."""
    return Kubernetes(observed)


def of_cron_job(found: Object, time_zone: str) -> Iterator[Sample]:
    """Samples of a CronJob. A suspended one is due at no time; one that nobody can read the schedule of says so."""
    namespace, name = cluster_objects.name_of(found)
    labels = {"namespace": namespace, "cronjob": name}
    status = cluster_objects.status(found)
    is_suspended = bool(found["spec"].get("suspend"))
    yield Sample(metric=metrics.CRON_JOB_SUSPENDED, labels=labels, value=is_suspended)
    started, succeeded = (status.get(key) for key in ("lastScheduleTime", "lastSuccessfulTime"))
    if succeeded:
        yield Sample(metric=metrics.CRON_JOB_LAST_SUCCESS, labels=labels, value=cluster_objects.seconds(succeeded))
    due = _due(found, [started, succeeded], time_zone)
    yield Sample(metric=metrics.CRON_JOB_UNREADABLE, labels=labels, value=not due)
    if due and not is_suspended:
        yield Sample(metric=metrics.CRON_JOB_START_DUE, labels=labels, value=due[0])
        yield Sample(metric=metrics.CRON_JOB_SUCCESS_DUE, labels=labels, value=due[1])


def _due(found: Object, times: Sequence[str | None], time_zone: str) -> list[float]:
    """When a CronJob is due after each of these times, or after its creation; nothing when nobody can tell."""
    spec, created = found["spec"], cluster_objects.created(found)
    try:
        next_due = cron_times.schedule(spec["schedule"], spec.get("timeZone") or time_zone)
        return [next_due(cluster_objects.seconds(time) if time else created) for time in times]
    except ValueError:
        return []


def of_job(found: Object) -> Iterator[Sample]:
    """Since when a Job is under way that has not ended and is not suspended."""
    has_ended = any(cluster_objects.condition(found, kind).get("status") == "True" for kind in ("Complete", "Failed"))
    if has_ended or found["spec"].get("suspend"):
        return
    namespace, name = cluster_objects.name_of(found)
    started = cluster_objects.status(found).get("startTime")
    since = cluster_objects.seconds(started) if started else cluster_objects.created(found)
    yield Sample(metric=metrics.JOB_UNFINISHED_SINCE, labels={"namespace": namespace, "job_name": name}, value=since)


def missing(wanted: Sequence[str], cron_jobs: Iterable[Object]) -> Iterator[Sample]:
    """For each CronJob that has to be there, whether it is not."""
    there = {cluster_objects.name_of(found) for found in cron_jobs}
    for text in wanted:
        namespace, _, name = text.partition("/")
        labels = {"namespace": namespace, "cronjob": name}
        yield Sample(metric=metrics.CRON_JOB_MISSING, labels=labels, value=(namespace, name) not in there)
