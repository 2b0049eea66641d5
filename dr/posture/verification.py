"""Continuous verification: the newest backup is restored into an empty target and looked at, and that goes on record.

A backup that exists is a hope. What is known to be restorable is the newest point that was restored: its age is a gauge
and an alert.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from dr import stores
from dr.drill_log import DrillLog
from dr.stores.kind import Site
from midwatch.errors import MidwatchError


def verify(site: Site[Any], log: DrillLog) -> dict[str, Any]:
    """Restore the newest good backup of a store and keep what came of it; MidwatchError when none can be restored."""
    name, begun = site.store.name, time.monotonic()
    try:
        restored = stores.kind_of(site.store).verify(site)
    except MidwatchError as error:
        log.chain.append("restore-failed", store=name, reason=str(error))
        raise
    seconds = round(time.monotonic() - begun, 3)
    document = {"store": name, **asdict(restored), "unusable": list(restored.unusable), "seconds": seconds}
    log.chain.append("restore-verified", **document)
    return document
