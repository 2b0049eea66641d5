"""A source of samples: a system's owner that is asked, and what is published of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from midwatch.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The value of a series; `labels` are exactly those of the metric."""

    metric: Metric
    labels: Mapping[str, str]
    value: float


class Source(Protocol):
    """A system's owner, such as the server of a registry."""

    def read(self, now: float) -> list[Sample]:
        """Samples of what the owner says at `now`, seconds since 1970. MidwatchError when it does not answer."""
