"""A version that is known to be bad takes over: here it gets the traffic of a replica, in a cluster it is deployed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from chaos.kinds.base import PATCH_WORKLOADS, REPLICA, Injection
from chaos.places.cluster.faults import Patched
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared, TargetError
from midwatch import kubernetes
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class DeployBadVersion(Injection[spec.DeployBadVersion]):
    """Send the traffic of one replica to a version that is known to be bad; in a cluster deploy its image."""

    does = "deploy a bad version"
    blast_radius = REPLICA
    alert = "ModelLatencyHigh"
    rights = (PATCH_WORKLOADS,)

    model: str
    target: str | None = None
    bad_version: str

    @classmethod
    def of(cls, experiment: spec.DeployBadVersion, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says."""
        return cls(model=model.name, target=experiment.target, bad_version=experiment.bad_version)

    def ensure_something(self) -> None:
        """Some version."""
        if not self.bad_version:
            raise ValueError("bad_version: empty")

    def here(self, plane: LocalPlane) -> Prepared:
        """The link to the server leads to that of the bad version."""
        versions = {version: name for name, version in plane.servers(self.model).items()}
        if self.bad_version not in versions:
            raise TargetError(f"{self.model} has no server of version {self.bad_version}")
        address = plane.url(f"server-{versions[self.bad_version]}").removeprefix("http://")
        return plane.bad_traffic(self.model, self.target, {"target": address})

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """The model's workload gets the image of that tag."""
        path, workload = cluster.workload(cluster.model(self.model))
        container = workload["spec"]["template"]["spec"]["containers"][0]
        image = container["image"]
        bad = f"{image.rpartition(':')[0] or image}:{self.bad_version}"
        fault = Patched(
            target=self.model,
            path=path,
            patch=_image(container["name"], bad),
            back=_image(container["name"], image),
            what=f"deploy {bad} instead of {image}",
            patch_type=kubernetes.STRATEGIC,
        )
        return cluster.of_models(fault)


def _image(container: str, image: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": container, "image": image}]}}}}
