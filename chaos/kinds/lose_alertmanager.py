"""Alertmanager is gone: here its process is killed and kept down, in a cluster its workload has no replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import DEADMAN, PATCH_WORKLOADS, PLANE, Injection
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class LoseAlertmanager(Injection[spec.LoseAlertmanager]):
    """Take Alertmanager away."""

    does = "lose Alertmanager"
    blast_radius = PLANE
    alert = DEADMAN
    rights = (PATCH_WORKLOADS,)

    @classmethod
    def of(cls, experiment: spec.LoseAlertmanager, model: Model, seconds: float) -> Self:  # noqa: ARG003 - nothing to say
        """Every experiment of this kind does the same."""
        return cls()

    def here(self, plane: LocalPlane) -> Prepared:
        """SIGKILL, and it stays down."""
        return plane.killed_part("alertmanager")

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """Its workload is scaled to 0."""
        return cluster.scaled_to_zero("alertmanager")
