"""What samples of one object say, by metric."""

from __future__ import annotations

from collections.abc import Iterable

from exporters.systems.source import Sample


def published(samples: Iterable[Sample]) -> dict[str, float]:
    """Values by name; every sample has the labels of its metric, and no metric is there twice."""
    values: dict[str, float] = {}
    for sample in samples:
        assert set(sample.labels) == set(sample.metric.labels)
        assert sample.metric.name not in values
        values[sample.metric.name] = sample.value
    return values
