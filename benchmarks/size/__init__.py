"""Costs that grow with the number of models, versions or canaries: each part is a module with `run`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figure import Figure
from benchmarks.size import commands, fleet, gate, judge, restart, rules, scrape

PARTS = (commands.run, rules.run, fleet.run, scrape.run, gate.run, judge.run, restart.run)


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of every part."""
    return [figure for part in PARTS for figure in part(smoke=smoke)]
