"""What is observed of KServe: whether InferenceServices are ready, and whether a change to their model took effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from midwatch.spec.base import Finding, Name
from midwatch.spec.observed.base import Observed, Resource, outside
from midwatch.spec.placeholders import Value
from midwatch.spec.values import Duration, NamespacedName

INFERENCE_SERVICES = Resource(group="serving.kserve.io", version="v1beta1", plural="inferenceservices")


class KserveObserved(Observed):
    """InferenceServices, asked of the Kubernetes API with the pod's own account or the user's kubeconfig."""

    system: ClassVar[str] = "kserve"

    namespaces: list[Name] = []
    """Namespaces that are looked into; every one without them, which takes a role of the whole cluster."""
    services: list[NamespacedName] = []
    """InferenceServices that have to be there, as `NAMESPACE/NAME`."""
    not_ready_for: Annotated[Duration, Field(ge=1.0)] = 600.0
    """How long one may not be ready: a server that is replaced is ready within minutes."""
    blocked_for: Annotated[Duration, Field(ge=1.0)] = 600.0
    """How long a change may be blocked: a server that cannot fetch its model tries again within minutes."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What is listed of the Kubernetes API."""
        return (INFERENCE_SERVICES,)

    @property
    def places(self) -> Sequence[str]:
        """Namespaces that the resources are listed in; without any, the whole cluster."""
        return self.namespaces

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        waits = {"not_ready_for": self.not_ready_for, "blocked_for": self.blocked_for}
        return {**super().placeholders(), **{name: timedelta(seconds=wait) for name, wait in waits.items()}}

    def find_problems(self, models: Sequence[str]) -> Iterator[Finding]:  # noqa: ARG002 - the signature of every kind
        """InferenceServices in namespaces that are not looked into."""
        return outside("services", self.services, self.namespaces)
