"""Which regions a view over all of them sees: a part of the regions never stands for all of them.

Thanos Query answers without a store that is gone: with a warning while it still asks it, and without any once its
health check has failed (measured: from 10 s on; `--endpoint-strict` goes on warning). An answer without a region is
then no different from one in which the region is calm. So every region of the inventory has to be seen by its
heartbeat.
"""

from __future__ import annotations

from typing import Protocol

from midwatch import metrics, promql
from midwatch.prometheus import Sample
from midwatch.spec.regions import Regions


class Querier(Protocol):
    """Answers instant queries about the series of all regions."""

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        """Samples of an expression at a time."""
        ...


def of_view(querier: Querier, regions: Regions, *, at: float | None = None) -> tuple[str, ...]:
    """Sites of the inventory whose heartbeat the view sees not, or only an old one; QueryError without an answer."""
    heartbeats = querier.query(promql.max_by(promql.select(metrics.HEARTBEAT), "region"), at=at)
    seen = {one.labels.get("region") for one in heartbeats if one.time - one.value <= regions.silent_after}
    return tuple(name for name in regions.sites if name not in seen)
