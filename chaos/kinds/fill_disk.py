"""The exporter can keep nothing: here it may write to no file, in a cluster its node's disk is filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from alerts.inventory import Entry
from chaos.kinds.base import HOG, PLANE, READ_NODES, SCRAPES, Injection
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model, Platform

SIZE = 2**30
LOOK_BACK_SECONDS = 60.0
"""The shortest time that the alert's rule looks back."""


@dataclass(frozen=True, kw_only=True)
class FillDisk(Injection[spec.FillDisk]):
    """Let the exporter write to no file, as on a full disk."""

    does = "fill the exporter's disk"
    blast_radius = PLANE
    alert = "ExporterCannotKeepEvents"
    blinds = True
    is_wide = True
    rights = HOG
    node_verbs = READ_NODES

    seconds: float = 120.0

    @classmethod
    def of(cls, experiment: spec.FillDisk, model: Model, seconds: float) -> Self:  # noqa: ARG003 - nothing to say
        """It ends by itself at the latest."""
        return cls(seconds=seconds)

    @classmethod
    def seconds_to_alert(cls, entry: Entry, platform: Platform, model: Model) -> float:  # noqa: ARG003 - of no model
        """The rule counts what was dropped lately, and an alert resolves when that is past."""
        scrapes = SCRAPES * platform.prometheus.scrape_interval
        return max(LOOK_BACK_SECONDS, 2 * scrapes) + scrapes

    def here(self, plane: LocalPlane) -> Prepared:
        """The limit of the exporter's file sizes is 0; the disk itself is not touched."""
        return plane.limited_files(plane.exporter())

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """A pod on the exporter's node fills its ephemeral storage."""
        return cluster.hog_at_part("exporter", "disk", {"ephemeral-storage": "1Gi"}, self.seconds, SIZE)
