"""Group commit: requests queue events, one committer makes all that is pending durable, then they are answered."""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from exporters.events import bounds, journal, journal_time
from exporters.events.bodies import Refused
from exporters.events.class_names import TEXT, is_class_like
from exporters.events.inference_log import Answer as RowAnswer
from exporters.events.inference_log import Features, Half, RequestHalf, ResponseHalf
from exporters.events.lateness import Lateness
from exporters.events.privacy import Privacy
from exporters.events.reasons import Reason
from exporters.events.state import JournalEvent, make_keys
from exporters.events.store import Store
from midwatch import metrics
from midwatch.client.events import Event, Label, Prediction, Value
from midwatch.spec import model as spec

MAX_PENDING = 200_000
"""Events that may wait for the committer; more are answered 503, so that memory stays bounded."""

MAX_GROUP = 10_000
"""Events of one group: applying as many takes about 40 ms, and single requests wait for it."""

BYTES_OF_VALUE = 10
"""Bytes of a number in the journal, with the head of its name."""

CLOCK_STEP = 1.0
"""Seconds that the wall clock may go away from the journal's time before that is written down."""

MAX_LISTED = 1000
"""Refused events that an answer lists; of more it has the counts."""

MAX_CLASSES = 10_000
"""Names of classes that are known to be some, so that they are not looked at again."""

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
        self._store, self._settings, self._privacy, self._clock = store, settings, privacy, clock
        models = tuple(models)
        self._explained = frozenset(model.name for model in models if model.explanations)
        self._watched = {model.name: frozenset(model.drift.features) for model in models if model.drift}
        self._lateness = Lateness(settings, models)
        self._class_like: set[str] = set()
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
        oldest, newest = now - self._lateness.least, now + self._settings.future
        good: list[tuple[int, JournalEvent]] = []
        for item in batch.items:
            line, event = item
            if type(event) is not Prediction and type(event) is not Label:
                if reason := self._half_refusal(event, now):  # type: ignore[arg-type]
                    batch.refused.append(Refused(line, *reason))
                    continue
                half = self._stripped_half(event)  # type: ignore[arg-type]
                batch.size += self._bytes_of(half)
                good.append((line, half))
                continue
            # Almost every event passes this comparison; the others are looked at with what their model allows.
            if not (type(event.ts) is float and oldest <= event.ts <= newest and _has_answer(event)):
                limit = now - self._lateness.too_old(event.model, loaded=batch.loaded)
                reason = refusal(event, now=now, oldest=limit, newest=newest)
                if reason:
                    batch.refused.append(Refused(line, *reason))
                    continue
            self._strip(event)
            if found := bounds.problem(event):
                batch.refused.append(Refused(line, *found))
                continue
            good.append(item)
        batch.items = good
        batch.rows = batch.rows or len(good)

    def _half_refusal(self, half: Half, now: float) -> tuple[Reason, str] | None:
        """Reason and sentence why a half cannot be taken: it is held to the same times as a prediction."""
        limit = self._lateness.too_old(half.model)
        return _moment_refusal(half.ts, now=now, oldest=now - limit, newest=now + self._settings.future)

    def _strip(self, event: Event) -> None:
        if type(event) is Prediction:
            answer = event.prediction
            if type(answer) is str and answer not in self._class_like:
                event.prediction = self._published(event.model, answer)
            if event.features and event.model not in self._watched:
                event.features = {}
            if event.attributions and event.model not in self._explained:
                event.attributions = {}
            if self._privacy:
                self._privacy.apply(event)
            for name, value in event.groups.items():
                if type(value) is str and len(value) > bounds.MAX_GROUP_TEXT:
                    event.groups[name] = TEXT
        elif type(event) is Label and type(event.label) is str and event.label not in self._class_like:
            event.label = self._published(event.model, event.label)

    def _published(self, model: str, text: str) -> Value:
        """A predicted or actual class as it may be kept; a declared regression's is refused by the state."""
        if self._is_number_model(model):
            return text
        if is_class_like(text) and len(self._class_like) < MAX_CLASSES:
            self._class_like.add(text)
        return self._store.state.counters.published_answer(model, text)

    def _is_number_model(self, model: str) -> bool:
        """Whether the model is a declared regression, whose texts the state refuses."""
        declared = self._store.state.counters.declared.get(model)
        return declared is not None and declared.task == "regression"

    def _stripped_half(self, half: Half) -> Half:
        if isinstance(half, ResponseHalf):
            return self._stripped_response(half)
        if not half.rows:
            return half
        watched = self._watched.get(half.model)
        if watched is None or self._bytes_of(half) > bounds.MAX_HALF_BYTES:
            return msgspec.structs.replace(half, rows=[], count=half.size)
        rows = [_only(watched, row) for row in half.rows]
        return msgspec.structs.replace(half, rows=list(map(self._privacy.fields, rows)) if self._privacy else rows)

    def _bytes_of(self, half: Half) -> int:
        """About as many bytes as the half takes in the journal."""
        row = 2 * BYTES_OF_VALUE
        if isinstance(half, RequestHalf):
            row = sum(len(name.encode()) + BYTES_OF_VALUE for name in self._watched.get(half.model, ()))
        return half.size * row

    def _stripped_response(self, half: ResponseHalf) -> ResponseHalf:
        if not half.answers or not any(type(prediction) is str for prediction, _ in half.answers):
            return half
        # A regression's answer is no text; that it was one is counted when the halves are joined.
        is_number = self._is_number_model(half.model)
        answers: list[RowAnswer] = [
            ((TEXT if is_number else self._published(half.model, prediction)), score)
            if type(prediction) is str
            else (prediction, score)
            for prediction, score in half.answers
        ]
        return msgspec.structs.replace(half, answers=answers)

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


def _only(watched: frozenset[str], row: Features) -> Features:
    """The features of a row that somebody looks at, without texts that are no category."""
    return {
        name: value
        for name, value in row.items()
        if name in watched and not (type(value) is str and len(value) > bounds.MAX_FEATURE_TEXT)
    }


def _has_answer(event: Event) -> bool:
    return type(event) is Label or event.prediction is not None or event.outcome == "error"  # type: ignore[union-attr]


def refusal(event: Event, *, now: float, oldest: float, newest: float) -> tuple[Reason, str] | None:
    """Reason and sentence why an event cannot be taken at `now`, or None; sets its `ts` to seconds.

    A prediction older than `oldest` is refused because its id may have been forgotten, and counting it twice could not
    be ruled out.
    """
    ts = event.ts
    if type(ts) is not float:
        if not isinstance(ts, datetime):
            ts = float(ts)
        elif ts.tzinfo is None:
            return Reason.NO_TIME_ZONE, f"ts {ts.isoformat()} has no time zone"
        else:
            ts = ts.timestamp()
        event.ts = ts
    refused = _moment_refusal(ts, now=now, oldest=oldest if type(event) is Prediction else 0.0, newest=newest)
    if refused is None and type(event) is Prediction and event.prediction is None and event.outcome == "ok":
        return Reason.NO_PREDICTION, "outcome is ok, and there is no prediction"
    return refused


def _moment_refusal(ts: float, *, now: float, oldest: float, newest: float) -> tuple[Reason, str] | None:
    if ts > newest:
        return Reason.IN_FUTURE, f"ts is {ts - now:.0f} s in the future; at most {newest - now:.0f} s are taken"
    if ts < oldest:
        return Reason.TOO_OLD, f"ts is {now - ts:.0f} s ago; at most {now - oldest:.0f} s are taken"
    return None


_EXPLAINED = {
    Reason.WRONG_TYPE: "the model is a regression: prediction and label have to be numbers",
    Reason.OTHER_MODEL: "the prediction of this id belongs to another model",
}
