"""Prometheus text of gauges from the catalogue, for whoever measures something and does not stay to be scraped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily

from midwatch import exposition
from midwatch.metrics import Metric

Values = Iterable[tuple[tuple[str, ...], float]]
"""Label values, in the order of the metric's labels, and the value."""


def render(gauges: Mapping[Metric, Values]) -> bytes:
    """Text exposition of gauges in their order."""
    families = []
    for metric, values in gauges.items():
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values:
            family.add_metric(labels, value)
        families.append(family)
    return exposition.render(families)
