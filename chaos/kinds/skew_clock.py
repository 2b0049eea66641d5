"""The model servers' clocks are fast, as the exporter sees them in their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from alerts.inventory import Entry
from chaos.kinds.base import SCRAPES, Injection
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared, UnsupportedError
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model, Platform
from midwatch.spec.values import format_duration, parse_duration


@dataclass(frozen=True, kw_only=True)
class SkewClock(Injection[spec.SkewClock]):
    """Let the model servers' clocks be fast, as the exporter sees them in their events."""

    does = "skew the model servers' clock"
    blast_radius = "the events of the model servers; their answers stay right"
    alert = "ModelNoData"
    blinds = True
    is_wide = True
    durations = ("shift",)

    shift: str = "10m"

    @classmethod
    def of(cls, experiment: spec.SkewClock, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says."""
        return cls(shift=format_duration(experiment.shift))

    @classmethod
    def seconds_to_alert(cls, entry: Entry, platform: Platform, model: Model) -> float:  # noqa: ARG003 - any model
        """The rule looks back for as long as it then waits."""
        return 2 * entry.for_ + SCRAPES * platform.prometheus.scrape_interval

    def here(self, plane: LocalPlane) -> Prepared:
        """The link that events take shifts their times."""
        return plane.bad_events({"shift": parse_duration(self.shift)})

    def in_cluster(self, cluster: Cluster) -> Prepared:  # noqa: ARG002 - the same everywhere
        """It cannot be done."""
        raise UnsupportedError("a pod has its node's clock, which the Kubernetes API cannot change")
