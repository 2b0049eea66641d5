"""Asks a source in its interval, and says what is published: never more than it may, nor what it said long ago."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporters.systems.source import Sample, Source
from midwatch import exposition, metrics
from midwatch.errors import MidwatchError
from midwatch.spec.observed.base import Observed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Two clocks, in seconds: one of the world's time, and one that nobody sets."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """Samples of an answer that came at these times of the two clocks, and how many were too many."""

    samples: Sequence[Sample]
    left_out: int
    wall: float
    steady: float


class Polled:
    """A source, its last answer, and what was wrong since. One thread polls; any may ask for the samples."""

    def __init__(self, source: Source, settings: Observed, clock: Clock | None = None) -> None:
        self.settings = settings
        self._source, self._clock = source, clock or Clock()
        self._answer: _Answer | None = None
        self._asked_since: float | None = None
        self.problem = "it has not been asked yet"
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the system."""
        return self.settings.system

    def poll(self) -> None:
        """Ask the source once; what goes wrong is kept as `problem`, which is empty when it answered."""
        now = self._clock.wall()
        with self._lock:
            self._asked_since = self._clock.steady()
        try:
            answer, problem = self._bounded(self._source.read(now), now), ""
        except MidwatchError as error:
            answer, problem = None, str(error)
        except Exception as error:  # an answer of a form that nobody knows must not end the other sources
            _log.debug("%s: an unexpected answer", self.name, exc_info=True)
            answer, problem = None, f"unexpected {type(error).__name__}: {error}"
        with self._lock:
            self._answer, self.problem, self._asked_since = answer or self._answer, problem, None

    def _bounded(self, samples: Sequence[Sample], now: float) -> _Answer:
        """The answer, of which no more is published than may be; ValueError for what is no exposition."""
        by_series: dict[tuple[str, tuple[str, ...]], Sample] = {}
        for sample in samples:
            if set(sample.labels) != set(sample.metric.labels):
                raise ValueError(f"{sample.metric.name} has the labels {sorted(sample.labels)}")
            key = sample.metric.name, tuple(sample.labels[label] for label in sample.metric.labels)
            if key in by_series:
                raise ValueError(f"{sample.metric.name} has the series {key[1]} twice")
            by_series[key] = sample
        kept = [by_series[key] for key in sorted(by_series)[: self.settings.max_series]]
        left_out = len(by_series) - len(kept)
        return _Answer(samples=kept, left_out=left_out, wall=now, steady=self._clock.steady())

    def samples(self) -> list[exposition.Sample]:
        """What is published now: whether it answers, when it last did, and what it said, unless that is long ago."""
        with self._lock:
            answer, problem, asked_since = self._answer, self.problem, self._asked_since
        now = self._clock.steady()
        is_late = asked_since is not None and now - asked_since > self.settings.interval
        labels = {"source": self.name}
        published: list[exposition.Sample] = [(metrics.SOURCE_UP, labels, float(not problem and not is_late))]
        if answer is None:
            return published
        published.append((metrics.SOURCE_LAST_SUCCESS, labels, answer.wall))
        published.append((metrics.SOURCE_LEFT_OUT, labels, answer.left_out))
        if now - answer.steady <= self.settings.unseen:
            published += [(sample.metric, sample.labels, sample.value) for sample in answer.samples]
        return published

    def run(self, stop: threading.Event) -> None:
        """Poll in the interval until `stop`."""
        while not stop.is_set():
            begun, before = self._clock.steady(), self.problem
            self.poll()
            if self.problem != before:
                _log.warning("%s: %s", self.name, self.problem or "answers")
            stop.wait(max(0.0, self.settings.interval - (self._clock.steady() - begun)))
