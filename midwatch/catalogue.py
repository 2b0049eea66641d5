"""Every metric that is known here, whoever publishes it: by the name a query uses, its type, labels and buckets.

Ours are in `metrics`, those of Prometheus and Alertmanager in `upstream`, of model servers in `server_metrics`, of the
platform's systems in their folders. Dashboards' check, the lint of rules and the proofs look names up here and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from midwatch import metrics, promql, server_metrics, upstream
from midwatch.metrics import Kind, Metric
from midwatch.spec import system_rules

_SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.SUMMARY: ("", "_sum", "_count")}
_BOUND = {(Kind.HISTOGRAM, "_bucket"): "le", (Kind.SUMMARY, ""): "quantile"}
"""The label that a part of a metric has beside the metric's own."""


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """A series' name as a query says it: its metric, and the suffix of a histogram's or a summary's part."""

    metric: Metric
    suffix: str = ""

    @property
    def labels(self) -> frozenset[str]:
        """Labels that a selector may name, those of the scrape included."""
        bound = _BOUND.get((self.metric.kind, self.suffix))
        return frozenset({*self.metric.labels, *promql.TARGET_LABELS, *([bound] if bound else [])})

    @property
    def is_counter(self) -> bool:
        """Whether its value only grows, so that it is read by its rate."""
        return self.metric.kind in (Kind.COUNTER, Kind.HISTOGRAM) or self.suffix in ("_sum", "_count")


def find(name: str) -> Exposed | None:
    """What a query's name is; None for one that nobody here knows."""
    return names().get(name)


@cache
def names() -> dict[str, Exposed]:
    """Every name that a query may use."""
    found: dict[str, Exposed] = {}
    for metric in _metrics():
        for suffix in _SUFFIXES.get(metric.kind, ("",)):
            name = metric.name + suffix
            also = found[name].metric.labels if name in found else ()  # of another version of the same program
            labels = tuple(dict.fromkeys((*metric.labels, *also)))
            found[name] = Exposed(metric=replace(metric, labels=labels), suffix=suffix)
    return found


def _metrics() -> Iterator[Metric]:
    for name in system_rules.shipped():
        yield from of_system(name)
    for known in (server_metrics.CATALOGUE, upstream.CATALOGUE, metrics.CATALOGUE):
        yield from known.values()


def of_system(name: str) -> Iterator[Metric]:
    """Metrics of a system's folder, under every name that a version has for them, with the labels of all versions."""
    for newest, metric in system_rules.system(name).metrics.items():
        former = {one.name for each in metric.labels_was.values() for one in each}
        for known in sorted(metric.every_name(newest)):
            yield Metric(
                name=known,
                kind=metric.kind,
                help=metric.help,
                labels=(*metric.labels, *sorted(former)),
                buckets=tuple(metric.buckets),
            )
