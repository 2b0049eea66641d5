"""Features arrive multiplied by factors, as from a feed that changed its units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from alerts.inventory import Entry
from chaos.kinds.base import REPLICA, SCRAPES, Injection
from chaos.places.cluster.faults import Patched
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared, TargetError, UnsupportedError
from midwatch import kubernetes
from midwatch.rbac import Right
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model, Platform

FACTOR = 3.0
"""Enough for every method to see it."""


@dataclass(frozen=True, kw_only=True)
class CorruptFeatures(Injection[spec.CorruptFeatures]):
    """Multiply features by factors, as a feed does that changed its units."""

    does = "corrupt a feature feed"
    blast_radius = REPLICA
    alert = "ModelInputDrift"
    rights = (Right(resources=("configmaps",), verbs=("get", "patch")),)

    model: str
    target: str | None = None
    scale: Mapping[str, float]

    @classmethod
    def of(cls, experiment: spec.CorruptFeatures, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says, else every numeric feature."""
        features = model.drift.features if model.drift else {}
        numeric = {name: FACTOR for name, kind in features.items() if kind.value == "numeric"}
        return cls(model=model.name, target=experiment.target, scale=experiment.scale or numeric)

    @classmethod
    def seconds_to_alert(cls, entry: Entry, platform: Platform, model: Model) -> float:
        """The judge has to see a whole window, which begins up to one later, and may wait for a second."""
        if model.drift is None or entry.name != cls.alert:
            return super().seconds_to_alert(entry, platform, model)
        return 3 * model.drift.window + SCRAPES * platform.prometheus.scrape_interval

    def ensure_something(self) -> None:
        """A factor that is not 1, and that JSON has."""
        spec.ensure_factors(self.scale)

    def here(self, plane: LocalPlane) -> Prepared:
        """The link to the server changes the requests."""
        return plane.bad_traffic(self.model, self.target, {"scale": dict(self.scale)})

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """The feature feed's ConfigMap tells it to scale features: key `scale` as JSON."""
        config = cluster.model(self.model).feature_config
        if config is None:
            where = f"chaos.kubernetes.models.{self.model}.feature_config"
            raise UnsupportedError(f"say which ConfigMap the feature feed reads its factors from: {where}")
        path = f"{cluster.path('configmaps')}/{config}"
        config_map = kubernetes.find(path)
        if config_map is None:
            raise TargetError(f"there is no config map {config} in namespace {cluster.namespace}")
        fault = Patched(
            target=self.model,
            path=path,
            patch={"data": {"scale": json.dumps(dict(self.scale), sort_keys=True)}},
            back={"data": {"scale": config_map.get("data", {}).get("scale")}},
            what=f"set the feature factors in config map {config}",
        )
        return cluster.of_models(fault)
