"""Processor time is short where a model runs: processes here, a pod in a cluster, keep cores busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import HOG, MACHINE, NONE, READ_NODES, Injection
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class ExhaustCpu(Injection[spec.ExhaustCpu]):
    """Keep cores busy where the model runs."""

    does = "exhaust processor time"
    blast_radius = MACHINE
    alert = NONE
    is_wide = True
    rights = HOG
    node_verbs = READ_NODES

    model: str
    cores: int = 1
    seconds: float = 120.0

    @classmethod
    def of(cls, experiment: spec.ExhaustCpu, model: Model, seconds: float) -> Self:
        """As the experiment says; it ends by itself at the latest."""
        return cls(model=model.name, cores=experiment.cores, seconds=seconds)

    def here(self, plane: LocalPlane) -> Prepared:
        """A process for each core."""
        return plane.busy_cores(self.cores, self.seconds)

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """A pod on the model's node."""
        return cluster.hog_at_model(self.model, "cpu", {"cpu": str(self.cores)}, self.seconds)
