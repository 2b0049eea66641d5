"""What the shipped systems' folders know of a metric, by any name that any version has for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from midwatch.spec import system_rules
from midwatch.spec.system_dialect import PARTS
from midwatch.spec.systems import SystemFile, SystemMetric

OF_A_TARGET = frozenset({"namespace", "pod", "service", "container", "node", "endpoint", "instance", "job"})
"""Labels that the targets of a ServiceMonitor have: without honor_labels the program's own are `exported_…`."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name that a query may use, and the metric that it is a part of."""

    system: str
    described: SystemFile
    newest: str
    metric: SystemMetric
    suffix: str

    @property
    def last_bound(self) -> float | None:
        """The last finite bound of any version; None for what is no histogram's."""
        every = (self.metric.buckets, *(former.buckets for former in self.metric.buckets_was))
        return max((bounds[-1] for bounds in every if bounds), default=None)

    @property
    def bounds(self) -> set[float]:
        """Finite bounds of all versions."""
        return {*self.metric.buckets, *(one for former in self.metric.buckets_was for one in former.buckets)}

    @property
    def labels(self) -> set[str]:
        """Labels of all versions."""
        former = {one.name for each in self.metric.labels_was.values() for one in each}
        return {*self.metric.labels, *former}

    @property
    def states(self) -> set[str]:
        """Labels that are a state, by the names of all versions."""
        former = {one.name for state in self.metric.states for one in self.metric.labels_was.get(state, ())}
        return {*self.metric.states, *former}


def find(name: str) -> Fact | None:
    """The fact of a name; None for what no shipped system publishes."""
    return every().get(name)


@cache
def every() -> dict[str, Fact]:
    """Facts by every name of a series."""
    return {name: fact for system in system_rules.shipped() for name, fact in _of_system(system)}


def _of_system(system: str) -> Iterator[tuple[str, Fact]]:
    described = system_rules.system(system)
    for newest, metric in described.metrics.items():
        for name in metric.every_name(newest):
            for suffix in PARTS.get(metric.kind, ("",)):
                fact = Fact(system=system, described=described, newest=newest, metric=metric, suffix=suffix)
                yield name + suffix, fact
