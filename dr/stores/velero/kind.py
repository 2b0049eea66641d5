"""Stores of kind `velero`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dr.samples import ARCHIVE, Collector, Sample
from dr.stores.kind import DrillSite, Kind, Right, Site
from dr.stores.setup import RestoreDrill
from dr.stores.velero import restore
from dr.stores.velero.restore import VeleroDrill
from midwatch import metrics
from midwatch.admission import Demand
from midwatch.spec.stores.velero import Velero, VeleroStore


class VeleroCollector:
    """Looks at the backups of a schedule. Implements `samples.Collector`."""

    EVERY_SECONDS = 30.0

    def __init__(self, store: str, settings: Velero) -> None:
        self._store, self._settings = store, settings
        self._asked, self._newest = float("-inf"), 0.0

    def collect(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when there is no complete backup, or the cluster does not answer."""
        if now - self._asked > self.EVERY_SECONDS:
            self._newest = restore.newest_backup(self._settings)[0].started
            self._asked = now
        yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, self._newest
        yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": ARCHIVE}, time.time() - self._newest


class VeleroKind(Kind[VeleroStore]):
    """A namespace that Velero backs up."""

    name = "velero"
    lag_advice = "Velero has to be asked for its backups: the right to list backups in its namespace is needed"

    def setup(self, site: DrillSite[VeleroStore]) -> RestoreDrill:
        """A restore into another namespace."""
        return VeleroDrill(site.store.velero)

    def collector(self, site: Site[VeleroStore]) -> Collector | None:
        """At the backups."""
        return VeleroCollector(site.store.name, site.store.velero)

    def looking_rights(self, store: VeleroStore) -> Iterator[Right]:
        """To see the backups."""
        yield Right(namespace=store.velero.velero_namespace, group="velero.io", resource="backups", verbs=("list",))

    def rights(self, store: VeleroStore) -> Iterator[Right]:
        """To restore, and to see that the other namespace is allowed and empty."""
        velero, target = store.velero.velero_namespace, store.velero.restore_namespace
        yield Right(namespace=velero, group="velero.io", resource="backups", verbs=("list",))
        yield Right(namespace=velero, group="velero.io", resource="restores", verbs=("create", "get"))
        yield Right(namespace=target, group="", resource="namespaces", verbs=("get",))
        for group, resource in (
            ("", "pods"),
            ("", "persistentvolumeclaims"),
            ("apps", "deployments"),
            ("apps", "statefulsets"),
        ):
            yield Right(namespace=target, group=group, resource=resource, verbs=("list",))

    def demands(self, store: VeleroStore) -> Iterator[Demand]:
        """A restore goes from its namespace to the drills', and runs nothing: Velero itself may restore anywhere."""
        source, target = store.velero.namespace, store.velero.restore_namespace
        spec = [
            f"object.spec.?includedNamespaces.orValue([]) == ['{source}']",
            f"object.spec.?namespaceMapping.orValue({{}}) == {{'{source}': '{target}'}}",
            "!object.spec.?includeClusterResources.orValue(false)",
            "!has(object.spec.hooks)",
            "!has(object.spec.resourceModifier)",
        ]
        yield Demand(
            group="velero.io",
            resources=("restores",),
            operation="CREATE",
            expression=" && ".join(spec),
            message="drills restore the namespaces of the platform file, each into the one for its drills",
        )
