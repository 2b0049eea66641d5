"""Evaluates every promised kind, round after round, and has the samples of the last one for whoever scrapes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event

import midwatch
from midwatch import exposition, http_service, metrics
from midwatch.errors import MidwatchError
from midwatch.exposition import Sample
from midwatch.prometheus import Client
from monitors.evaluator.evaluation import Evaluate, Evaluation

MOST_FAILURES = 3
"""Rounds in a row without an answer after which the last evaluation is not taken for the present any more."""

NOTHING = Evaluation(samples=(), when_blind=())

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """How a kind stands: its last evaluation, when it was made, how long it took, and failures since."""

    evaluation: Evaluation = NOTHING
    at: float = 0.0
    seconds: float = 0.0
    failures: int = 0
    problem: str = "Prometheus has not been asked yet"

    def samples(self, name: str) -> Iterator[Sample]:
        """What is published of it."""
        yield metrics.EVALUATOR_LAST_SUCCESS, {"kind": name}, self.at
        yield metrics.EVALUATOR_DURATION, {"kind": name}, self.seconds
        is_blind = self.failures >= MOST_FAILURES
        yield from self.evaluation.when_blind if is_blind else self.evaluation.samples


class Rounds:
    """Evaluations of every kind by name. Times are Prometheus' own; `clock` gives seconds to measure by."""

    def __init__(
        self, client: Client, kinds: Mapping[str, Evaluate], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._client, self._evaluate, self._clock = client, kinds, clock
        self._kinds: Mapping[str, _Kind] = {name: _Kind() for name in kinds}  # a new one each time: others read it

    @property
    def problem(self) -> str:
        """Why some kind could not be evaluated in the last round; empty if all were."""
        return "; ".join(f"{name}: {kind.problem}" for name, kind in self._kinds.items() if kind.problem)

    async def serve(self, every: float, address: http_service.Address, started: Callable[[str], None]) -> None:
        """Evaluate each `every` seconds, and publish until SIGTERM or SIGINT; ServeError when the port is taken."""
        published = http_service.Published(text=self.text, problem=lambda: self.problem)
        beside = {"rounds": lambda ended: self.run(every, ended)}
        await http_service.publish(published, address, beside=beside, started=started)

    def run(self, every: float, ended: Event) -> None:
        """Evaluate each `every` seconds until it is ended."""
        while not ended.is_set():
            self.evaluate()
            ended.wait(every)

    def evaluate(self) -> None:
        """One round. A kind that fails is told of, and leaves the others alone; the next round may well succeed."""
        for name in self._evaluate:
            self._kinds = {**self._kinds, name: self._evaluated(name)}

    def _evaluated(self, name: str) -> _Kind:
        before, began = self._kinds[name], self._clock()
        try:
            now = self._client.query("time()")[0].value
            evaluation = self._evaluate[name](self._client, now)
        except MidwatchError as error:
            problem = str(error)
            if not before.failures:
                _log.error("%s could not be evaluated: %s", name, error)
        except Exception as error:
            _log.exception("%s was not evaluated to its end", name)
            problem = f"unexpected {type(error).__name__}: {error}"
        else:
            return _Kind(evaluation=evaluation, at=now, seconds=self._clock() - began, problem="")
        return _Kind(
            evaluation=before.evaluation,
            at=before.at,
            seconds=before.seconds,
            failures=before.failures + 1,
            problem=problem,
        )

    def text(self) -> bytes:
        """All samples as Prometheus scrapes them."""
        build: Sample = (metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1.0)
        kinds = self._kinds
        return exposition.text([build, *(sample for name, kind in kinds.items() for sample in kind.samples(name))])
