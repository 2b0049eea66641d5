"""Every metric that is known here, whoever publishes it: by the name a query uses, its type, labels and buckets.

Ours are in `metrics`, those of Prometheus and Alertmanager in `upstream`. Dashboards' check, the lint of rules and the
proofs look names up here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from midwatch import metrics, promql, upstream
from midwatch.metrics import Kind, Metric

_SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """A series' name as a query says it: the metric it belongs to, and the suffix of a histogram's part."""

    metric: Metric
    suffix: str = ""

    @property
    def labels(self) -> frozenset[str]:
        """Labels that a selector may name, those of the scrape included."""
        bound = {"le"} if self.suffix == "_bucket" else set()
        return frozenset({*self.metric.labels, *promql.TARGET_LABELS, *bound})

    @property
    def is_counter(self) -> bool:
        """Whether its value only grows, so that it is read by its rate."""
        return self.metric.kind in (Kind.COUNTER, Kind.HISTOGRAM)


def find(name: str) -> Exposed | None:
    """What a query's name is; None for one that nobody here knows."""
    return names().get(name)


@cache
def names() -> dict[str, Exposed]:
    """Every name that a query may use."""
    return {
        metric.name + suffix: Exposed(metric=metric, suffix=suffix)
        for metric in (*metrics.CATALOGUE.values(), *upstream.CATALOGUE.values())
        for suffix in _SUFFIXES.get(metric.kind, ("",))
    }
