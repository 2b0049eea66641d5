"""Continuous verification: the newest backup is restored into an empty target and looked at, and that goes on record.

A backup that exists is a hope. What is known to be restorable is the newest point that was restored: its age is a gauge
and an alert, and so is a verification that was breached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dr import stores
from dr.drill.verdict import Verdict
from dr.drill_log import DrillLog
from dr.stores.kind import NothingToVerifyError, Site
from midwatch.errors import MidwatchError

VERIFIED, FAILED = "restore-verified", "restore-failed"
"""Kinds of records: the newest backup was restored to the newest point that is kept, or something was not."""


def verify(site: Site[Any], log: DrillLog, say: Callable[[str], None]) -> dict[str, Any]:
    """Restore the newest good backup of a store and keep what came of it; MidwatchError when none can be restored.

    NothingToVerifyError, and no record, when the store cannot be looked at from here.
    It is BREACHED when only an older backup can be used, or something behind the backup cannot.
    """
    name, begun = site.store.name, time.monotonic()
    try:
        restored = stores.kind_of(site.store).verify(site, say)
    except NothingToVerifyError:
        raise
    except (MidwatchError, OSError) as error:
        log.append(FAILED, store=name, reason=str(error))
        raise error if isinstance(error, MidwatchError) else MidwatchError(f"{name}: {error}") from error
    seconds = round(time.monotonic() - begun, 3)
    flaws = [*restored.holes, *restored.unusable]
    verdict = Verdict.BREACHED if flaws else Verdict.MET
    document = {"store": name, **asdict(restored), "seconds": seconds, "verdict": verdict.value}
    document |= {"unusable": list(restored.unusable), "holes": list(restored.holes)}
    log.append(FAILED if flaws else VERIFIED, **document, **({"reason": "; ".join(flaws)} if flaws else {}))
    return document
