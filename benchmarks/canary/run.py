"""Every figure of canaries: honesty, the rules of others, speed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.canary.fairness import fairness
from benchmarks.canary.honesty import false_alarms, fleets, labels, late, mix, quickness, restarts
from benchmarks.canary.rules import compared
from benchmarks.canary.speed import speed, whole
from benchmarks.figure import Comparison, Figure


def run(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """Every figure, and the table of rules."""
    runs = 20 if smoke else 1000
    found: list[Figure | Comparison] = [
        *false_alarms(runs),
        *fleets(runs),
        *labels(runs),
        *mix(runs),
        *restarts(runs),
        *quickness(runs),
        *late(runs),
        *fairness(max(20, runs // 5)),
        *speed(smoke=smoke),
    ]
    if not smoke:
        found += whole()
    found.append(compared(10 if smoke else 400, lambda name: print(f"  rules: {name}", file=sys.stderr)))
    return found
