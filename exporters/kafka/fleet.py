"""The parts of a fleet: members that count, each its partitions, and one judge of drift that reads all of them.

Verdicts on a part of the rows must not be published as if each were on the whole, and do not add up as counters do.
So the judge is a group of its own, of one.
"""

from __future__ import annotations

from decimal import Decimal

from midwatch.spec import model as spec

JUDGE = "-judge"
"""How the group of the judge ends."""


def of_judge(settings: spec.Exporter) -> spec.Exporter:
    """How the judge reads: in a group of its own, and no prediction waits with it for a label."""
    kafka = settings.kafka
    if kafka is None:
        return settings
    own = kafka.model_copy(update={"group": kafka.group + JUDGE})
    return settings.model_copy(update={"kafka": own, "sample": Decimal(0)})
