"""Questions to Prometheus that many readers have: each is asked once, kept for a while, and never waited for too long.

An answer says when it was given; where Prometheus does not answer, the last one is handed out with the reason.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from midwatch.prometheus import Client, Line, QueryError, Sample, UnreachableError

WORKERS = 6
"""Questions at a time: Prometheus works on 20 at once (--query.max-concurrency), and the rules need theirs."""
MAX_ANSWERS = 2000
FRESH_SECONDS = 5.0
"""An answer as old as this is handed out without asking again."""
PAUSE_SECONDS = 5.0
"""After a question without an answer none is asked for so long: a page is not to wait for each of its charts."""
WAIT_SECONDS = 2.0
"""How long a page waits for answers; those that come later are on it at its next look."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A query over a time that ends now: `span` and `step` in seconds."""

    expr: str
    span: float
    step: float


@dataclass(frozen=True, kw_only=True)
class Instant:
    """A query of this moment."""

    expr: str


Question = Range | Instant


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Lines of a range or samples of a moment, when they were given, and why there are none or no newer ones."""

    question: Question
    lines: Sequence[Line] = ()
    samples: Sequence[Sample] = ()
    at: float | None = None
    why: str = ""


@dataclass
class _Entry:
    answer: Answer | None = None
    asked_at: float = 0.0
    pending: Future[Answer] | None = None


@dataclass
class Asked:
    """The questions of all pages. `clock` is seconds since the epoch."""

    client: Client
    clock: Callable[[], float] = time.time
    fresh_seconds: float = FRESH_SECONDS
    wait_seconds: float = WAIT_SECONDS
    sent: int = 0
    """Questions that Prometheus was really asked."""
    _entries: OrderedDict[Question, _Entry] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _paused: tuple[float, str] = (0.0, "")
    _workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(WORKERS, thread_name_prefix="queries")
    )

    def ask(self, *questions: Question) -> list[Answer]:
        """An answer to each question, in their order; all are asked at once."""
        pending = [self._submitted(one) for one in questions]
        wait([one for one in pending if isinstance(one, Future)], timeout=self.wait_seconds)
        return [self._taken(question, one) for question, one in zip(questions, pending, strict=True)]

    def close(self) -> None:
        """Ask no more."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _submitted(self, question: Question) -> Answer | Future[Answer]:
        with self._lock:
            entry = self._entries.setdefault(question, _Entry())
            self._entries.move_to_end(question)
            while len(self._entries) > MAX_ANSWERS:
                self._entries.popitem(last=False)
            if entry.pending is not None:
                return entry.pending
            now = self.clock()
            if entry.answer is not None and now - entry.asked_at < self._fresh(question):
                return entry.answer
            until, why = self._paused
            if now < until:
                return _stale(question, entry.answer, why)
            entry.asked_at = now
            entry.pending = self._workers.submit(self._answer, question, entry)
            return entry.pending

    def _fresh(self, question: Question) -> float:
        return max(self.fresh_seconds, question.step / 2 if isinstance(question, Range) else 0.0)

    def _taken(self, question: Question, one: Answer | Future[Answer]) -> Answer:
        if isinstance(one, Answer):
            return one
        if one.done():
            return one.result()
        with self._lock:
            entry = self._entries.get(question)
        return _stale(question, entry.answer if entry else None, "Prometheus has not answered yet")

    def _answer(self, question: Question, entry: _Entry) -> Answer:
        """Ask; called by a worker."""
        now = self.clock()
        answer = entry.answer
        with self._lock:
            self.sent += 1
        try:
            answer = self._asked(question, now)
        except QueryError as error:
            answer = _stale(question, entry.answer, str(error).partition("\n")[0])
            if isinstance(error, UnreachableError):
                self._paused = (now + PAUSE_SECONDS, answer.why)
        finally:
            with self._lock:
                entry.answer, entry.pending = answer, None
        return answer

    def _asked(self, question: Question, now: float) -> Answer:
        if isinstance(question, Instant):
            return Answer(question=question, samples=self.client.query(question.expr), at=now)
        end = now - now % question.step
        lines = self.client.query_range(question.expr, start=end - question.span, end=end, step=question.step)
        return Answer(question=question, lines=lines, at=now)


def _stale(question: Question, last: Answer | None, why: str) -> Answer:
    """The last answer with the reason why there is no newer one."""
    return replace(last, why=why) if last is not None else Answer(question=question, why=why)
