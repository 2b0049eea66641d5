"""What a Python model server sends its events with: never in the way of a prediction, nothing sent twice.

`send` writes an event as its line of JSON and puts it into a queue, in memory or on disk. One thread of the process
sends the lines in batches, and again until the exporter has decided on them; it knows them by id. The thread begins
with the first event of a process, so a process that forks has it where it sends.
"""

from __future__ import annotations

import http.client
import logging
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from midwatch.client import answers, encoding, process_end
from midwatch.client.connection import Connection
from midwatch.client.events import MAX_ATTRIBUTED, MAX_ATTRIBUTIONS, MOST_ATTRIBUTION, Event, Prediction
from midwatch.client.memory import BATCH, Memory
from midwatch.client.sampling import AttributionSample, Sampled
from midwatch.errors import MidwatchError

if TYPE_CHECKING:
    from midwatch.client.spool import Spool

__all__ = ["BATCH", "EventLog", "Stats"]

LINGER_SECONDS = 0.05
"""How long a batch waits for more events."""
RETRY_SECONDS = 0.1, 5.0
RETRY_AFTER_SECONDS = 60.0
"""As long as a server may ask for at most, by its header."""
TIMEOUT_SECONDS = 10.0
IDLE_SECONDS = 10.0
"""How often a thread without work looks whether another process has left events."""
GRACE_SECONDS = 1.0
"""What a thread may take to see that the time to close is up."""
LOG_SECONDS = 60.0
"""A kind of trouble is logged so often at most."""
MAX_REASONS = 50
"""Distinct reasons that are counted; the rest is `other`."""

Attributions = Callable[[], Mapping[str, float]]
"""Computes what each feature added to an answer."""

_log = logging.getLogger(__name__)
_resetting = threading.Lock()
"""Held while a forked process without Python's hooks finds out that it is one."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What became of the events of this process so far, each counted once.

    What `send` took and what was `adopted` from processes that are gone is acknowledged, refused, dropped or waiting.
    Beside it, `refused` and `dropped` count what `send` did not take.
    """

    queued: int = 0
    """Taken by `send`."""
    adopted: int = 0
    """Found in the spool."""
    acknowledged: int = 0
    """The exporter has them, for sure."""
    refused: int = 0
    """Not sent because they cannot be encoded, or not taken by the exporter; not sent again."""
    dropped: int = 0
    """Lost: the queue was full, or the time to close was up, or the log was closed already."""
    waiting: int = 0
    waiting_bytes: int = 0
    retries: int = 0
    """Requests after which the events had to be sent again."""
    reasons: dict[tuple[str, str], int] = field(default_factory=dict)
    """What `acknowledged`, `refused` and `dropped` add up, by result and reason."""
    attributions: dict[str, int] = field(default_factory=dict)
    """Predictions whose attributions were offered: explained, not_sampled, over_budget or failed."""
    failing: str | None = None
    """Why the last request settled nothing; None when it did."""


class _Identified(msgspec.Struct):
    id: str


class EventLog:
    """Sends events to the exporter at `url`, below a path and by TLS where it says so.

    `capacity` events of `max_bytes` wait in memory at most. Where a folder `spool` is given, events of `spool_bytes`
    wait on disk, of all processes together. More are dropped and counted. A `token_file` is read for each request.
    `attribution_sample` says which predictions are explained; without it all are whose attributions are offered.
    Threads, event loops, signal handlers and forked processes may all use one log.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_file: Path | str | None = None,
        ca_file: Path | str | None = None,
        capacity: int = 100_000,
        max_bytes: int = 64 << 20,
        spool: Path | str | None = None,
        spool_bytes: int = 256 << 20,
        attribution_sample: AttributionSample | None = None,
    ) -> None:
        self._sample = attribution_sample
        self._connection = Connection(url, token=token, token_file=_path(token_file), ca_file=_path(ca_file))
        self._queue: Memory | Spool = Memory(capacity, max_bytes) if spool is None else _spool(Path(spool), spool_bytes)
        self._closing = False
        self._begin_process()
        process_end.register(self)

    def _begin_process(self) -> None:
        """State of one process."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._asleep = True
        self._thread: threading.Thread | None = None
        self._putting = False
        self._late: deque[bytes] = deque()
        self._parts: list[list[bytes]] = []
        self._pause = RETRY_SECONDS[0]
        self._deadline: float | None = None
        self._queued = self._adopted = self._retries = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._attributions: Counter[str] = Counter(dict.fromkeys(map(str, Sampled), 0))
        if self._sample is not None:
            self._sample.begin_process()
        self._failing: str | None = None
        self._looked_for_orphans = float("-inf")
        self._troubles: dict[str, tuple[float, int]] = {}

    # The model server's side -----------------------------------------------------------------------------------------

    def send(self, event: Event, attributions: Attributions | None = None) -> bool:
        """Queue an event, whatever is in it; False when it is not taken, and then counted. Never waits or raises.

        `attributions` is called, in this thread, where the prediction is among those that are explained: with a share
        and a budget its time is bounded. When it fails the prediction is sent without.
        """
        self._look_at_process()
        if attributions is not None and isinstance(event, Prediction):
            event = self._explained(event, attributions)
        try:
            line = encoding.encode(event)
        except encoding.UnencodableError as error:
            self._refuse_to_send(event, error)
            return False
        with self._lock:
            reason = "closed" if self._closing else self._put(line)
            if reason is None:
                self._queued += 1
                if self._asleep:
                    self._wake()
                return True
            self._counts["dropped", reason] += 1
        self._trouble("drop", "an event is dropped: %s", reason)
        return False

    def _explained(self, event: Prediction, attributions: Attributions) -> Prediction:
        """The prediction with its attributions, if it is among those that have some."""
        sampled = Sampled.EXPLAINED
        try:
            if self._sample is not None:
                sampled = self._sample.decide(event.id)
            if sampled is Sampled.EXPLAINED:
                event = msgspec.structs.replace(event, attributions=_takable(attributions()))
        except Exception as error:  # whatever a model server hands in, its prediction has to go out
            sampled = Sampled.FAILED
            self._trouble("attributions", "a prediction is sent without attributions", error=error)
        with self._lock:
            self._attributions[sampled] += 1
        return event

    @property
    def stats(self) -> Stats:
        """What became of the events so far."""
        self._look_at_process()
        with self._lock:
            sums: Counter[str] = Counter()
            for (result, _), count in self._counts.items():
                sums[result] += count
            return Stats(
                queued=self._queued,
                adopted=self._adopted,
                acknowledged=sums["acknowledged"],
                refused=sums["refused"],
                dropped=sums["dropped"],
                waiting=self._queue.waiting,
                waiting_bytes=self._queue.waiting_bytes,
                retries=self._retries,
                reasons=dict(self._counts),
                attributions=dict(self._attributions),
                failing=self._failing,
            )

    def close(self, timeout: float = 10.0) -> Stats:
        """Send what waits, for at most `timeout` seconds, and end; what is left is dropped, or stays in the spool."""
        thread = self._begin_close(timeout)
        if thread is not None:
            thread.join(timeout + GRACE_SECONDS)
        elif self._queue.waiting:  # a process that ends has no more threads
            self._run()
        return self._end_close()

    async def aclose(self, timeout: float = 10.0) -> Stats:
        """Do what `close` does, and let the event loop go on."""
        import asyncio

        if (thread := self._begin_close(timeout)) is None:
            return self.close(timeout)
        until = time.monotonic() + timeout + GRACE_SECONDS
        while thread.is_alive() and time.monotonic() < until:
            await asyncio.sleep(0.005)
        return self._end_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def leave_parent(self) -> None:
        """Begin anew in a process that was forked: what the parent has queued is the parent's to send."""
        self._queue.leave()
        self._connection.leave()
        self._begin_process()

    def _look_at_process(self) -> None:
        """Find out about a fork: a server that forks without Python (uWSGI) does not run its hooks."""
        if self._pid != os.getpid():
            with _resetting:
                if self._pid != os.getpid():
                    self.leave_parent()

    def _put(self, line: bytes) -> str | None:
        """Keep a line; else why it is dropped. What a signal handler sends while this runs is put after it."""
        if self._putting:
            self._late.append(line)
            return None
        self._putting = True
        try:
            reason = self._put_one(line)
            while self._late:
                if (late_reason := self._put_one(self._late.popleft())) is not None:
                    self._queued -= 1
                    self._counts["dropped", late_reason] += 1
            return reason
        finally:
            self._putting = False

    def _put_one(self, line: bytes) -> str | None:
        try:
            return None if self._queue.put(line) else "full"
        except OSError as error:
            self._trouble("spool", "the spool takes no events: %s", error)
            return "spool_failed"

    def _refuse_to_send(self, event: Event, error: encoding.UnencodableError) -> None:
        with self._lock:
            self._counts["refused", "unencodable"] += 1
        self._trouble("unencodable", "event %.100r cannot be sent: %s", getattr(event, "id", None), error)

    def _wake(self) -> None:
        self._asleep = False
        if self._thread is not None and self._thread.is_alive():
            self._woken.set()
            return
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        try:
            self._thread.start()
            process_end.close_before_end()
        except RuntimeError as error:  # the process ends, or may have no more threads: the next event tries again
            self._thread, self._asleep = None, True
            self._trouble("thread", "events wait for a thread: %s", error)

    def _begin_close(self, timeout: float) -> threading.Thread | None:
        """Take no more events; the thread that sends the rest, if there is one."""
        self._look_at_process()
        with self._lock:
            self._closing = True
            if self._deadline is None:
                self._deadline = time.monotonic() + timeout
            if self._queue.waiting and (self._thread is None or not self._thread.is_alive()):
                self._wake()
            self._stopping.set()
            self._woken.set()
            return self._thread if self._thread is not None and self._thread.is_alive() else None

    def _end_close(self) -> Stats:
        with self._lock:
            if lost := self._queue.abandon():
                self._counts["dropped", "closed"] += lost
                _log.error("%d events were not sent in time and are lost", lost)
            self._parts = []
        if self._thread is None or not self._thread.is_alive():
            self._connection.close()
        process_end.forget(self)
        return self.stats

    # The thread's side -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Send until the log is closed, whatever happens."""
        try:
            while not self._is_over():
                try:
                    self._step()
                except Exception as error:
                    self._connection.close()
                    self._failing = f"{type(error).__name__}: {error}"
                    self._trouble("bug", "sending events failed unexpectedly", error=error)
                    self._back_off(0.0)
        finally:
            with self._lock:
                self._asleep = True

    def _is_over(self) -> bool:
        if self._deadline is None:
            return False
        return time.monotonic() >= self._deadline or not (self._queue.waiting or self._parts)

    def _step(self) -> None:
        """One request, or one wait."""
        self._adopt()
        if not self._parts and not self._collect():
            self._woken.wait(IDLE_SECONDS)
            return
        lines = self._parts[-1]
        try:
            answer = self._connection.post(b"\n".join(lines) + b"\n", self._time_left(TIMEOUT_SECONDS))
        except (OSError, http.client.HTTPException, MidwatchError) as error:
            self._try_again(f"{type(error).__name__}: {error}", 0.0)
            return
        match answers.read(answer.status, answer.body, len(lines)):
            case answers.Settled() as settled:
                self._settle(lines, settled)
            case answers.NotAsOne() as whole if len(lines) == 1:
                refusal = answers.Refusal(line=1, reason=whole.reason, message=whole.message)
                self._settle(
                    lines, answers.Settled(acknowledged=0, refused=Counter([whole.reason]), examples=(refusal,))
                )
            case answers.NotAsOne():
                self._connection.close()
                half = len(lines) // 2
                self._parts[-1:] = [lines[half:], lines[:half]]
            case answers.Unsettled() as unsettled:
                self._try_again(unsettled.why, answer.retry_after)

    def _adopt(self) -> None:
        """Look in the spool for what other processes have left, now and then."""
        if isinstance(self._queue, Memory) or time.monotonic() - self._looked_for_orphans < IDLE_SECONDS:
            return
        self._looked_for_orphans = time.monotonic()
        segments = self._queue.orphans()
        with self._lock:
            self._adopted += self._queue.adopt(segments)

    def _collect(self) -> bool:
        """Take a batch; False when nothing waits, and then `send` wakes the thread."""
        with self._lock:
            if not self._queue.waiting:
                if not self._stopping.is_set():
                    self._woken.clear()
                    self._asleep = True
                return False
            full = self._queue.is_full_batch()
        if not full:
            self._stopping.wait(LINGER_SECONDS)
        with self._lock:
            if lines := self._queue.take():
                self._parts.append(lines)
        return bool(lines)

    def _time_left(self, timeout: float) -> Callable[[], float]:
        until = time.monotonic() + timeout

        def left() -> float:
            return (until if self._deadline is None else min(until, self._deadline)) - time.monotonic()

        return left

    def _settle(self, lines: list[bytes], settled: answers.Settled) -> None:
        """Count what is decided, once: not when the log was closed meanwhile and has counted it as dropped."""
        with self._lock:
            if not self._parts:
                return
            self._queue.done(lines)
            self._parts.pop()
            if settled.acknowledged:
                self._counts["acknowledged", ""] += settled.acknowledged
            for reason, count in settled.refused.items():
                self._counts["refused", self._bounded(reason[:50])] += count
        self._failing, self._pause = None, RETRY_SECONDS[0]
        if settled.refused:
            self._tell_refused(lines, settled)

    def _bounded(self, reason: str) -> str:
        known = ("refused", reason) in self._counts or len(self._counts) < MAX_REASONS
        return reason if known else "other"

    def _tell_refused(self, lines: list[bytes], settled: answers.Settled) -> None:
        said = "; ".join(
            f"line {one.line}, {_id(lines, one.line)!r}: {one.reason}: {one.message[:200]}" for one in settled.examples
        )
        self._trouble("refused", "%d of %d events are refused: %s", settled.refused.total(), len(lines), said)

    def _try_again(self, why: str, retry_after: float) -> None:
        self._connection.close()
        with self._lock:
            self._retries += 1
            waiting = self._queue.waiting
        self._failing = why
        self._trouble("unsettled", "%d events wait, for the exporter does not take them: %s", waiting, why)
        self._queue.sync()
        self._back_off(min(retry_after, RETRY_AFTER_SECONDS))

    def _back_off(self, at_least: float) -> None:
        """Wait before the next attempt; when the log is being closed, not beyond its end."""
        pause = max(at_least, self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, hides nothing
        self._pause = min(2 * self._pause, RETRY_SECONDS[1])
        until = time.monotonic() + pause
        if self._stopping.wait(pause) and self._deadline is not None:
            time.sleep(max(0.0, min(self._deadline, until, time.monotonic() + RETRY_SECONDS[0]) - time.monotonic()))

    def _trouble(self, kind: str, message: str, *values: object, error: BaseException | None = None) -> None:
        """Log trouble of a kind, once in a while, with how often it was not logged since."""
        now = time.monotonic()
        with self._lock:
            due, kept_back = self._troubles.get(kind, (now, 0))
            self._troubles[kind] = (due, kept_back + 1) if now < due else (now + LOG_SECONDS, 0)
        if now >= due:
            more = f" ({kept_back} more since the last time)" if kept_back else ""
            _log.error(message + more, *values, exc_info=error)


def _takable(attributions: Mapping[str, float]) -> dict[str, float]:
    """Attributions as numbers; ValueError for none, and for those that have the exporter refuse a prediction."""
    plain = {str(name): float(amount) for name, amount in attributions.items()}
    if not 1 <= len(plain) <= MAX_ATTRIBUTIONS:
        raise ValueError(f"{len(plain)} attributions; 1 to {MAX_ATTRIBUTIONS} are taken")
    for name, amount in plain.items():
        name.encode()
        if len(name) > MAX_ATTRIBUTED:
            raise ValueError(f"a name in attributions has {len(name)} characters; at most {MAX_ATTRIBUTED} are taken")
        if not abs(amount) <= MOST_ATTRIBUTION:
            raise ValueError(f"the attribution of {name} is {amount:g}, and beyond {MOST_ATTRIBUTION:g} or no number")
    return plain


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)


def _id(lines: list[bytes], line: int) -> str:
    """Id of the event in a line; no other field is for a log file."""
    try:
        return msgspec.json.decode(lines[line - 1], type=_Identified).id[:200] if line > 0 else ""
    except (msgspec.MsgspecError, IndexError, UnicodeDecodeError):
        return ""


def _spool(folder: Path, limit: int) -> Spool:
    """The queue on disk; it needs locks of files, which not every system has."""
    from midwatch.client.spool import Spool

    return Spool(folder, limit)
