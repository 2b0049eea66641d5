"""Group commit: requests queue events, one committer makes all that is pending durable, then they are answered."""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from exporters.events import bounds, journal, journal_time
from exporters.events.bodies import Refused
from exporters.events.checks import Checks
from exporters.events.inference_log import RequestHalf, ResponseHalf
from exporters.events.privacy import Privacy
from exporters.events.reasons import Reason
from exporters.events.state import JournalEvent, make_keys
from exporters.events.store import Store
from midwatch import metrics
from midwatch.client.events import Label, Prediction
from midwatch.spec import model as spec

MAX_PENDING = 200_000
"""Events that may wait for the committer; more are answered 503, so that memory stays bounded."""

MAX_GROUP = 10_000
"""Events of one group: applying as many takes about 40 ms, and single requests wait for it."""

CLOCK_STEP = 1.0
"""Seconds that the wall clock may go away from the journal's time before that is written down."""

MAX_LISTED = 1000
"""Refused events that an answer lists; of more it has the counts."""

_log = logging.getLogger(__name__)
_KINDS = {Prediction: "prediction", Label: "label", RequestHalf: "half", ResponseHalf: "half"}


class Answer(msgspec.Struct):
    """What became of a request's events. `error` means that none of them was kept and all may be sent again.

    `unlisted` counts by reason the refused events that `refused` does not list.
    """

    accepted: int = 0
    duplicates: int = 0
    dropped: int = 0
    refused: list[Refused] = []
    error: str | None = None
    unlisted: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


@dataclass(slots=True, kw_only=True)
class Batch:
    """The events of one request with their places in it, and who waits for the answer; `loaded` came from a file.

    `rows` is what applying it costs, in events; `size` is the bytes it takes in the journal, about.
    """

    items: Sequence[tuple[int, JournalEvent]]
    refused: list[Refused] = field(default_factory=list)
    reply: Callable[[Answer], None]
    loaded: bool = False
    rows: int = 0
    size: int = 0
    is_answered: bool = False

    def answer(self, answer: Answer) -> None:
        """Give the reply, unless it has been given."""
        if not self.is_answered:
            self.is_answered = True
            self.reply(answer)


def together(count: int, reply: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """What the `count` parts of one event are answered by: the reply is given once, and speaks of one event."""
    if count == 1:
        return reply
    answers: list[Answer] = []

    def one(answer: Answer) -> None:
        answers.append(answer)
        if len(answers) == count:
            reply(next((answer for answer in answers if answer.error or answer.refused), answers[0]))

    return one


class Ingest:
    """Takes batches while it runs; `results` counts what was not accepted since the process began."""

    def __init__(
        self,
        store: Store,
        settings: spec.Exporter,
        models: Iterable[spec.Model],
        privacy: Privacy | None,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = journal_time.since_boot,
    ) -> None:
        self._store, self._clock = store, clock
        self._checks = Checks(settings, tuple(models), privacy, store.state.counters)
        self._pending: list[Batch] = []
        self._pending_events = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._time = journal_time.JournalTime(store.state.time, store.state.clock, wall=clock, elapsed=elapsed)
        self._is_clock_kept = False
        self.results: Counter[tuple[str, str, str]] = Counter()
        self.commits = ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0)
        self.failing: str | None = None

    def now(self) -> float:
        """The journal's time: what waits is as old as this says, whatever the wall clock was set to."""
        return self._time.now()

    def submit(self, batch: Batch) -> None:
        """Queue a batch; its `reply` is called once the events are durable, or at once when there is no room."""
        if self._stopping or self._pending_events + len(batch.items) > MAX_PENDING:
            batch.answer(Answer(error="stopping" if self._stopping else "too much is pending"))
            return
        is_log = any(isinstance(event, RequestHalf | ResponseHalf) for _, event in batch.items[:1])
        self.check(batch, self._clock())
        for refused in batch.refused:
            self.results["half" if is_log else "event", "malformed", refused.reason] += 1
        self._pending.append(batch)
        self._pending_events += len(batch.items)
        self._wake.set()

    def check(self, batch: Batch, now: float) -> None:
        """Refuse what cannot be taken at a time, and take away what must not be stored."""
        checked = self._checks.check(batch.items, now, loaded=batch.loaded)
        batch.items = checked.good
        batch.refused += checked.refused
        batch.size += checked.size
        batch.rows = batch.rows or len(checked.good)

    async def run(self) -> None:
        """Commit until `stop`; what is pending then is committed first."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), timeout=1.0)
            except TimeoutError:
                if not self._store.state.has_expired(self.now()):
                    continue
            self._wake.clear()
            while self._pending:
                batches = self._take()
                try:
                    await self._commit(batches)
                except Exception:  # one group must not end the exporter
                    _log.exception("a group of events could not be committed")
                    self._fail(batches, "an unexpected error; the exporter's log has it")
            if self._stopping:
                return
            if self._store.state.has_expired(self.now()):
                await self._commit([])

    def stop(self) -> None:
        """Take nothing more, and let `run` end when all is committed."""
        self._stopping = True
        self._wake.set()

    def _take(self) -> list[Batch]:
        taken: list[Batch] = []
        count = size = 0
        for batch in self._pending:
            is_full = count + batch.rows > MAX_GROUP or size + batch.size > bounds.MAX_GROUP_BYTES
            if taken and (is_full or batch.loaded != taken[0].loaded):
                break
            taken.append(batch)
            count += batch.rows
            size += batch.size
        self._pending = self._pending[len(taken) :]
        self._pending_events -= sum(len(batch.items) for batch in taken)
        return taken

    async def _commit(self, batches: list[Batch]) -> None:
        offered = [event for batch in batches for _, event in batch.items]
        keys = make_keys(offered)
        verdicts = self._store.state.admit(offered, keys)
        admitted = offered
        if any(verdicts):
            admitted = [event for event, verdict in zip(offered, verdicts, strict=True) if verdict is None]
            keys = [key for key, verdict in zip(keys, verdicts, strict=True) if verdict is None]
        now = self.now()
        loaded = bool(batches) and batches[0].loaded
        if admitted or not offered:
            try:
                frame = self._store.encode(now, admitted, loaded=loaded)
            except journal.FrameSizeError as error:
                await self._commit_alone(batches, error)
                return
            except (OverflowError, ValueError):
                await self._commit(self._without_unwritable(batches))
                return
            begun = time.perf_counter()
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._append, frame)
            except OSError as error:
                self._fail(batches, error.strerror or str(error) or "write error")
                self._store.mend(now)
                return
            self.measure(time.perf_counter() - begun)
            self._store.applied(now, admitted, len(frame), loaded=loaded, keys=keys)
        self.failing = None
        self._answer(batches, verdicts if len(admitted) < len(offered) else None)

    def _append(self, frame: bytes) -> None:
        """Write a group, and before it what the clocks say when that is news; on a thread, while nothing is applied."""
        reading = self._time.reading()
        last = self._store.state.clock
        if not self._is_clock_kept or last is None or abs(last.wall - last.at - reading.wall + reading.at) > CLOCK_STEP:
            self._store.set_clock(reading)
            self._is_clock_kept = True
        self._store.append(frame)

    async def _commit_alone(self, batches: list[Batch], error: journal.FrameSizeError) -> None:
        """Commit batches that are too large together one by one, and refuse one that is too large alone."""
        if len(batches) > 1:
            for batch in batches:
                await self._commit([batch])
            return
        (batch,) = batches
        batch.refused += [Refused(line, Reason.TOO_LARGE, str(error)) for line, _ in batch.items]
        self.results["event", "malformed", Reason.TOO_LARGE] += len(batch.items)
        _give(batch, Answer(refused=batch.refused))

    def _without_unwritable(self, batches: list[Batch]) -> list[Batch]:
        """Refuse the events that cannot be written, such as one with a number beyond 64 bits."""
        for batch in batches:
            good = []
            for line, event in batch.items:
                try:
                    self._store.encode(0.0, [event])
                    good.append((line, event))
                except (OverflowError, ValueError) as error:
                    batch.refused.append(Refused(line, Reason.INVALID, str(error)))
                    self.results["event", "malformed", Reason.INVALID] += 1
            batch.items = good
        return batches

    def _fail(self, batches: list[Batch], reason: str) -> None:
        if self.failing is None:
            _log.error("events cannot be made durable: %s", reason)
        self.failing = reason
        for batch in batches:
            self.results["event", "dropped", Reason.NOT_DURABLE] += len(batch.items)
            batch.answer(Answer(error=f"not durable: {self.failing}"))

    def _answer(self, batches: list[Batch], verdicts: list[tuple[str, Reason] | None] | None) -> None:
        """Answer every batch; without verdicts all of their events were accepted."""
        remaining = iter(verdicts or ())
        for batch in batches:
            answer = Answer(refused=batch.refused)
            if verdicts is None:
                answer.accepted = len(batch.items)
            else:
                for line, event in batch.items:
                    self._count(answer, line, event, next(remaining))
            _give(batch, answer)

    def _count(self, answer: Answer, line: int, event: JournalEvent, verdict: tuple[str, Reason] | None) -> None:
        if verdict is None:
            answer.accepted += 1
            return
        result, reason = verdict
        self.results[_KINDS[type(event)], result, reason] += 1
        if result == "duplicate":
            answer.duplicates += 1
        elif result == "dropped":
            answer.dropped += 1
        else:
            answer.refused.append(Refused(line, reason, _EXPLAINED[reason]))

    def measure(self, seconds: float) -> None:
        """Count how long a group took to become durable."""
        counts, total = self.commits
        counts[bisect_left(metrics.COMMIT_BUCKETS, seconds)] += 1
        self.commits = counts, total + seconds


def _give(batch: Batch, answer: Answer) -> None:
    """Answer a batch, with no more refused events than an answer lists."""
    if len(answer.refused) > MAX_LISTED:
        answer.unlisted = dict(Counter(refused.reason for refused in answer.refused[MAX_LISTED:]))
        answer.refused = answer.refused[:MAX_LISTED]
    batch.answer(answer)


_EXPLAINED = {
    Reason.WRONG_TYPE: "the model is a regression: prediction and label have to be numbers",
    Reason.OTHER_MODEL: "the prediction of this id belongs to another model",
}
