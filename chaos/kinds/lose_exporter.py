"""The exporter is gone: here its process is killed and kept down, in a cluster its workload has no replica."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.kinds.base import LosePart
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.spec import experiments as spec


@dataclass(frozen=True, kw_only=True)
class LoseExporter(LosePart[spec.LoseExporter]):
    """Take the exporter away."""

    part = "exporter"
    does = "lose the exporter"
    alert = "ExporterDown"
    blinds = True

    def here(self, plane: LocalPlane) -> Prepared:
        """Of two exporters the one is killed that events go to now."""
        return plane.killed_part(plane.exporter())
