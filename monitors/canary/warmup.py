"""Warming up: what a version does in its first minutes of traffic says little of what it does afterwards."""

from __future__ import annotations

import math

import numpy as np

from monitors.canary.counts import Counts

USUAL_SECONDS = 120.0
"""What a version is granted without being told, once it has been seen for twice as long."""


def end(counts: Counts, seconds: float) -> int:
    """First interval after so many seconds from the canary's first traffic; 0 before it has any."""
    busy = np.flatnonzero(counts.canary_requests)
    return int(busy[0]) + math.ceil(seconds / counts.interval) if busy.size else 0


def usual_end(counts: Counts) -> int | None:
    """End of the usual warm-up, None until as much again has been seen."""
    until = end(counts, USUAL_SECONDS)
    return until if until and 2 * until - end(counts, 0.0) <= counts.canary_requests.size else None
