"""The newest value of each series as a bar: a gauge by another shape."""

from __future__ import annotations

from dashboards.preview.kinds.gauge import draw

__all__ = ["draw"]
