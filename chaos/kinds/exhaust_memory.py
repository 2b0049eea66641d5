"""Memory is short where a model runs: a process here, a pod in a cluster, holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import HOG, MACHINE, NONE, READ_NODES, Injection
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model

SPARE = 1.25
"""The pod's limit is so many times what it holds: Python itself needs some."""


@dataclass(frozen=True, kw_only=True)
class ExhaustMemory(Injection[spec.ExhaustMemory]):
    """Hold memory (bytes) where the model runs."""

    does = "exhaust memory"
    blast_radius = MACHINE
    alert = NONE
    is_wide = True
    rights = HOG
    node_verbs = READ_NODES

    model: str
    size: int = 256 * 2**20
    seconds: float = 120.0

    @classmethod
    def of(cls, experiment: spec.ExhaustMemory, model: Model, seconds: float) -> Self:
        """As the experiment says; it ends by itself at the latest."""
        return cls(model=model.name, size=experiment.size, seconds=seconds)

    def here(self, plane: LocalPlane) -> Prepared:
        """One process; half of what is free stays."""
        return plane.held_memory(self.size, self.seconds)

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """A pod on the model's node."""
        limits = {"memory": str(int(self.size * SPARE))}
        return cluster.hog_at_model(self.model, "memory", limits, self.seconds, self.size)
