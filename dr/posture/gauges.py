"""Everything that is published between drills: what is promised, the last drills, and a look at every store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dr import figures, stores
from dr.drill_log import DrillLog
from dr.posture import verification
from dr.samples import ARCHIVE, Collector, Sample
from dr.stores.kind import Site
from midwatch import anchors, evidence, metrics
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec


def collectors(recovery: spec.DisasterRecovery, file: Path, clusters: Mapping[str, Path]) -> dict[str, Collector]:
    """Whoever looks at the stores that can be looked at from here, by the stores' names."""
    made = {}
    for store in recovery.stores:
        site = Site(promised=recovery, store=store, file=file, folder=clusters.get(store.name))
        made[store.name] = stores.kind_of(store).collector(site)
    return {name: collector for name, collector in made.items() if collector is not None}


# From the evidence ---------------------------------------------------------------------------------------------------


def objectives(recovery: spec.DisasterRecovery) -> Iterator[Sample]:
    """What is promised."""
    yield metrics.DR_OBJECTIVE, {"kind": "rto"}, recovery.rto
    yield metrics.DR_OBJECTIVE, {"kind": "rpo"}, recovery.rpo


def drills(recovery: spec.DisasterRecovery, log: DrillLog) -> Iterator[Sample]:
    """The last run of every drill that the platform file has."""
    names = {(drill.name, drill.store) for drill in recovery.drills}
    last: dict[tuple[str, str], dict[str, Any]] = {}
    met: dict[tuple[str, str], float] = {}
    for result in log.results():
        key = (str(result["drill"]), str(result["store"]))
        if key in names:
            last[key] = result
            if result["verdict"] == "MET":
                met[key] = seconds_of(result["at"])
    for (drill, store), result in sorted(last.items()):
        labels = {"drill": drill, "store": store}
        for verdict in ("met", "breached", "inconclusive"):
            yield metrics.DR_DRILL_VERDICT, {**labels, "verdict": verdict}, float(result["verdict"].lower() == verdict)
        yield metrics.DR_DRILL_LAST_RUN, labels, seconds_of(result["at"])
        if (seconds := result.get("rto_seconds")) is not None:
            yield metrics.DR_DRILL_RECOVERY, labels, seconds
        if (loss := figures.data_loss(result)) is not None:
            yield metrics.DR_DRILL_DATA_LOSS, labels, loss
    for (drill, store), at in sorted(met.items()):
        yield metrics.DR_DRILL_LAST_MET, {"drill": drill, "store": store}, at


def verified(log: DrillLog, now: float) -> Iterator[Sample]:
    """Of each store: the age of the newest point that was restored, and whether the last attempt was good."""
    points: dict[str, float] = {}
    good: dict[str, bool] = {}
    for record in evidence.read(log.chain.path):
        if record.kind not in (verification.VERIFIED, verification.FAILED):
            continue
        store, point = str(record.data.get("store")), record.data.get("point")
        good[store] = record.kind == verification.VERIFIED and isinstance(point, float | int)
        if good[store] and isinstance(point, float | int):
            points[store] = max(points.get(store, 0.0), point)
    for store, point in sorted(points.items()):
        yield metrics.DR_RESTORABLE_AGE, {"store": store, "region": ARCHIVE}, max(0.0, now - point)
    for store, is_good in sorted(good.items()):
        yield metrics.DR_RESTORE_GOOD, {"store": store}, float(is_good)


def seconds_of(text: str) -> float:
    """Seconds since the epoch of RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()


class Watch:
    """Everything that is published: the evidence, and the stores that can be looked at from here."""

    def __init__(self, recovery: spec.DisasterRecovery, log: DrillLog, collectors: Mapping[str, Collector]) -> None:
        self._recovery, self._log, self._collectors = recovery, log, dict(collectors)

    def look(self) -> list[Sample]:
        """Samples of now; a store that does not answer says so."""
        samples = [*objectives(self._recovery), *drills(self._recovery, self._log), *verified(self._log, time.time())]
        head = anchors.samples(self._log.name, evidence.head(self._log.chain.path))
        samples += [(metric, dict(labels), value) for metric, labels, value in head]
        for name, collector in sorted(self._collectors.items()):
            try:
                collected = list(collector.collect(time.monotonic()))
            except (MidwatchError, OSError):
                samples.append((metrics.DR_STORE_ANSWERS, {"store": name}, 0.0))
            else:
                samples += [*collected, (metrics.DR_STORE_ANSWERS, {"store": name}, 1.0)]
        return samples
