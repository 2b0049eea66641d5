"""What the judge tells the exporter: its samples, in lines that are never too long for whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from midwatch import metrics

Said = tuple[str, dict[str, str], float]
"""A sample: name of the metric, labels, value."""

MOST_SAMPLES = 2000
"""Samples of one line: about a megabyte, and eight where every label is as long as it may be."""

MAX_LINE = 16 * 2**20
"""Bytes that a reader takes as one line."""

DETAIL = (
    metrics.DRIFT_VOTE,
    metrics.DRIFT_STATISTIC,
    metrics.DRIFT_P_VALUE,
    metrics.DRIFT_EFFECT,
    metrics.DRIFT_JUDGED,
    metrics.DRIFT_SMALLEST_SEEN,
    metrics.DRIFT_ROWS_NEEDED,
)
"""What is said of each feature of a window."""

VERDICT = (metrics.DRIFT_DETECTED, metrics.DRIFT_VOTES, *DETAIL)
"""What is said of a window, and is nothing once the window is old."""


class Line(msgspec.Struct):
    """A part of what is said; `more` follows in the next line. `is_failing`: something could not be judged lately."""

    samples: list[Said]
    more: bool = False
    is_failing: bool = False


def lines(samples: Sequence[Said], *, is_failing: bool) -> Iterator[bytes]:
    """Everything there is to say, line by line."""
    starts = range(0, max(1, len(samples)), MOST_SAMPLES)
    for start in starts:
        part = list(samples[start : start + MOST_SAMPLES])
        yield msgspec.json.encode(Line(part, more=start != starts[-1], is_failing=is_failing)) + b"\n"


def most_important(samples: Sequence[Said], most: int) -> list[Said]:
    """As many samples as may be published: verdicts come before what is said of each feature."""
    if len(samples) <= most:
        return list(samples)
    details = {metric.name for metric in DETAIL}
    return sorted(samples, key=lambda sample: sample[0] in details)[:most]
