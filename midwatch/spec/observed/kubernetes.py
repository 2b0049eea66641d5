"""What is observed of Kubernetes: CronJobs by their own schedule, and Jobs that do not end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from midwatch.spec.base import Finding, Name
from midwatch.spec.observed.base import Observed, Resource, outside
from midwatch.spec.placeholders import Value
from midwatch.spec.values import Duration, NamespacedName


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}; write one such as Europe/Berlin") from error
    return name


CRON_JOBS = Resource(group="batch", version="v1", plural="cronjobs")
JOBS = Resource(group="batch", version="v1", plural="jobs")


class KubernetesObserved(Observed):
    """CronJobs and Jobs, asked of the Kubernetes API with the pod's own account or the user's kubeconfig."""

    system: ClassVar[str] = "kubernetes"

    namespaces: list[Name] = []
    """Namespaces that are looked into; every one without them, which takes a role of the whole cluster."""
    cron_jobs: list[NamespacedName] = []
    """CronJobs that have to be there and must not be suspended, as `NAMESPACE/NAME`."""
    time_zone: Annotated[str, AfterValidator(_zone)] = "Etc/UTC"
    """Time zone of the controller manager, in which schedules without a zone are read."""
    start_within: Annotated[Duration, Field(ge=1.0)] = 600.0
    """How late a run may start before that is a ticket: the controller looks every ten seconds, and may restart."""
    finish_within: Annotated[Duration, Field(ge=60.0)] = 6 * 3600.0
    """How long after it was due a run has to have succeeded, and how long a Job may run: a night."""
    suspended_for: Annotated[Duration, Field(ge=1.0)] = 86400.0
    """How long one of `cron_jobs` may be suspended: a day's maintenance."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What is listed of the Kubernetes API."""
        return (CRON_JOBS, JOBS)

    @property
    def places(self) -> Sequence[str]:
        """Namespaces that the resources are listed in; without any, the whole cluster."""
        return self.namespaces

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        waits = {
            "start_within": self.start_within,
            "finish_within": self.finish_within,
            "suspended_for": self.suspended_for,
        }
        return {**super().placeholders(), **{name: timedelta(seconds=wait) for name, wait in waits.items()}}

    def find_problems(self, models: Sequence[str]) -> Iterator[Finding]:  # noqa: ARG002 - the signature of every kind
        """CronJobs in namespaces that are not looked into."""
        return outside("cron_jobs", self.cron_jobs, self.namespaces)
