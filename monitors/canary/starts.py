"""Evidence that begins anew: a version that turns bad late is not hidden by its good hour before.

A mixture over start times of e-processes, each 1 until its start, is an e-process again. The price: evidence since the
start has a weight of 0.8, which delays a fail by log(1/0.8) = 0.22 of the 3.0 it takes at 5%; evidence since a later
start has to be about a thousand times as strong, which takes some 7 more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from monitors.canary.arms import Floats

EVERY = 8
"""Intervals between the first starts; later ones are a tenth of their age apart, so that they stay few."""
FROM_THE_BEGINNING = 0.9
SPREAD = 240.0
"""Intervals over which the later starts' weight is spread mostly: an hour of looks every 15 s."""


def starts(intervals: int) -> list[int]:
    """Intervals from which evidence begins, whatever the counts are: 0, and later ones.

    >>> starts(30)
    [0, 8, 16, 24]
    """
    found = [0]
    while (following := found[-1] + max(EVERY, found[-1] // 10)) < intervals:
        found.append(following)
    return found


def log_weight(start: int) -> float:
    """Log of the weight of a start; all together sum to 1."""
    if start == 0:
        return math.log(FROM_THE_BEGINNING)
    following = start + max(EVERY, start // 10)
    part = (SPREAD + EVERY) * (1 / (SPREAD + start) - 1 / (SPREAD + following))
    return math.log((1 - FROM_THE_BEGINNING) * part)


def mixed(paths: Iterable[Floats], since: int = 0) -> Floats:
    """Log of the mixture of log e-processes, one by start, from an interval on, shape (..., intervals since then).

    Each path begins at that interval, or at its start where that is later.
    """
    paths = iter(paths)
    first = next(paths)
    begins = starts(since + first.shape[-1])
    to_come = 1 - math.fsum(math.exp(log_weight(start)) for start in begins)
    total: Floats = np.logaddexp(log_weight(0) + first, math.log(max(to_come, 1e-300)))
    for start, path in zip(begins[1:], paths, strict=True):
        weight = log_weight(start)
        place = max(0, start - since)
        total[..., :place] = np.logaddexp(total[..., :place], weight)
        total[..., place:] = np.logaddexp(total[..., place:], weight + path)
    return total


def from_start(values: Floats | float, start: int) -> Floats | float:
    """What varies by interval, from a start on."""
    return values[..., start:] if isinstance(values, np.ndarray) and values.ndim else values


def log_sum(logs: Floats) -> Floats:
    """Log of the sum over the first axis of what the logs are of."""
    largest = logs.max(axis=0)
    total: Floats = largest + np.log(np.exp(logs - largest).sum(axis=0))
    return total
