"""What the explanation service publishes of itself."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from midwatch import exposition, metrics
from monitors.explainer.explanation import Explanation, Stopped


class Reason(StrEnum):
    """Why a request is not explained."""

    BUSY = "busy"
    DEADLINE = "deadline"
    MODEL_FAILED = "model_failed"
    FAILED = "failed"
    INVALID = "invalid"
    REFUSED = "refused"


CALLERS = frozenset({Reason.INVALID, Reason.REFUSED})
"""Mistakes of whoever asks, which count as no error of the service."""


class Published:
    """Counts of one version of a model. One thread uses it."""

    def __init__(self, model: str, version: str, method: str, background: str) -> None:
        self._labels = {"model": model, "version": version}
        self._info = {**self._labels, "method": method, "background": background}
        self._outcomes: Counter[str] = Counter(dict.fromkeys(("ok", "error"), 0))
        self._refusals: Counter[str] = Counter(dict.fromkeys(Reason, 0))
        self._stopped: Counter[str] = Counter(dict.fromkeys(Stopped, 0))
        self._lookups: Counter[str] = Counter(dict.fromkeys(("hit", "miss"), 0))
        self._durations = _Observed(metrics.LATENCY_BUCKETS)
        self._errors = _Observed(metrics.ADDITIVITY_BUCKETS)
        self._rows_asked = 0

    def answer(self, seconds: float) -> None:
        """Count a request that was explained, and its time."""
        self._outcomes["ok"] += 1
        self._durations.add(seconds)

    def refuse(self, reason: Reason) -> None:
        """Count a request that was not."""
        self._refusals[reason] += 1
        self._outcomes["error"] += reason not in CALLERS

    def explained(self, explanation: Explanation) -> None:
        """Count a row that was explained, and not found in the cache."""
        self._stopped[explanation.stopped] += 1
        self._rows_asked += explanation.rows_asked
        self._errors.add(explanation.additivity_error)

    def looked_up(self, *, hits: int, misses: int) -> None:
        """Count rows that were looked up in the cache."""
        self._lookups["hit"] += hits
        self._lookups["miss"] += misses

    def text(self, *, waiting: int, cached: int) -> bytes:
        """Exposition, with what the service holds now."""
        histograms = (
            self._durations.series(metrics.EXPLANATION_DURATION, self._labels),
            self._errors.series(metrics.EXPLANATION_ADDITIVITY, self._labels),
        )
        return exposition.text(self._samples(waiting, cached), histograms)

    def _samples(self, waiting: int, cached: int) -> Iterator[exposition.Sample]:
        labels = self._labels
        yield metrics.EXPLAINER_INFO, self._info, 1
        counters = (
            (metrics.EXPLANATION_REQUESTS, "outcome", self._outcomes),
            (metrics.EXPLANATION_REFUSALS, "reason", self._refusals),
            (metrics.EXPLANATIONS, "stopped", self._stopped),
            (metrics.EXPLANATION_CACHE, "result", self._lookups),
        )
        for metric, name, counts in counters:
            for value, count in counts.items():
                yield metric, {**labels, name: str(value)}, count
        yield metrics.EXPLANATION_SAMPLES, labels, self._rows_asked
        yield metrics.EXPLANATION_CACHE_SIZE, labels, cached
        yield metrics.EXPLANATION_WAITING, labels, waiting


class _Observed:
    """A histogram's counts, one for each bound and one beyond, and sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def series(self, metric: metrics.Metric, labels: dict[str, str]) -> exposition.Histogram:
        return exposition.Histogram(metric, labels, self._bounds, list(self._counts), self._sum)
