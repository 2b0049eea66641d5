"""Threads that explain, and the jobs that wait for them: bounded in number, each with a deadline.

A job is answered by its deadline whatever the model does. A thread that a model holds up is lost to others until the
model returns; what waits meanwhile is answered at its own deadline, and more than may wait is refused at once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from midwatch.errors import MidwatchError
from monitors.explainer.background import RowError
from monitors.explainer.explainer import Explainer, Times
from monitors.explainer.explanation import Explanation, Rows
from monitors.explainer.published import Reason

LOOK_SECONDS = 0.5
"""How often a thread without work looks whether the service ends."""
HELD_UP_SECONDS = 10.0
"""Time beyond a deadline that a batch of rows may take, until its thread counts as lost."""
RESERVE = 0.1
"""Share of a request's time that sampling leaves: its last batch may take longer than those before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job has no explanations; `row` is the place of the one that has none, where it is one's own fault."""

    reason: Reason
    text: str
    row: int | None = None


Result = list[Explanation] | Failure


@dataclass(kw_only=True)
class Job:
    """Rows of one request, and who is told of them. `until` is a time of the monotonic clock, in seconds."""

    rows: Sequence[Rows]
    until: float
    done: Callable[[Result], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Workers:
    """Threads and their jobs; `budget` is the seconds that sampling may take for a row."""

    def __init__(self, explainer: Explainer, budget: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._explainer, self._budget, self._clock = explainer, budget, clock
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._begun: dict[int, Job] = {}

    def put(self, job: Job) -> None:
        """Let a thread do a job."""
        self._jobs.put(job)

    def run(self, ended: threading.Event) -> None:
        """Do jobs, one after the other, until the event is set."""
        while not ended.is_set():
            try:
                job = self._jobs.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            self._begun[threading.get_ident()] = job
            result = self.result(job)
            del self._begun[threading.get_ident()]
            job.done(result)

    @property
    def held_up(self) -> int:
        """How many threads a model has kept so long beyond their deadline that it may never return."""
        latest = self._clock() - HELD_UP_SECONDS
        return sum(job.until < latest for job in list(self._begun.values()))

    def result(self, job: Job) -> Result:
        """Explanations of all rows of a job, or why there are none."""
        try:
            return self._explained(job)
        except MidwatchError as error:
            return Failure(reason=Reason.MODEL_FAILED, text=str(error))
        except TimeoutError:
            return Failure(reason=Reason.DEADLINE, text="there was no time left")
        except (Exception, SystemExit) as error:  # of a library or a function: the thread has to go on
            _log.exception("an explanation failed")
            return Failure(reason=Reason.FAILED, text=f"unexpected {type(error).__name__}; the log says where")

    def _explained(self, job: Job) -> Result:
        explanations = []
        for place, row in enumerate(job.rows):
            now = self._clock()
            if job.cancelled.is_set() or now >= job.until:
                raise TimeoutError
            share = (job.until - now) * (1 - RESERVE) / (len(job.rows) - place)
            times = Times(until=now + min(self._budget, share), deadline=job.until, clock=self._clock)
            try:
                explanations.append(self._explainer.explain(row, times))
            except RowError as error:
                return Failure(reason=Reason.REFUSED, text=str(error), row=place)
        return explanations
