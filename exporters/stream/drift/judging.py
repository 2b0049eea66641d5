"""The exporter's drift judge at the driver: it takes counts of whole batches, and keeps its windows in the sink.

A batch's counts become durable with its counters, in one transaction. Windows are judged between two batches, and what
follows is durable before it is said. So a batch that is run again, and a driver that was killed, change nothing.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from exporters.drift import published, state
from exporters.drift.judge import Judge
from exporters.drift.references import OfVersions, Replaced, Unwatched
from exporters.drift.rows import Schema
from exporters.stream.drift import collected, counting, kept, row_bytes
from exporters.stream.drift.collected import Seen, Version
from exporters.stream.drift.counting import Plan, Task
from exporters.stream.drift.kept import Changes
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.exposition import Sample
from midwatch.spec import model as spec

LOOK_AGAIN = 30.0
"""Seconds between two looks at references that cannot be used, or are others: to read a large one takes a second."""

_decode_part = msgspec.json.Decoder(published.Part).decode
_log = logging.getLogger(__name__)


class Pieces(Protocol):
    """Where pieces of the judge's state are kept."""

    def read(self) -> Mapping[bytes, bytes]:
        """All pieces, by name."""
        ...

    def write(self, pieces: Changes) -> None:
        """Change pieces in a transaction of their own; MidwatchError when that cannot be done."""
        ...


class Judging:
    """The judge of one stream; `folder` gets the log of what retraining did. Several threads may use it."""

    def __init__(self, platform: spec.Platform, base: Path, folder: Path, pieces: Pieces) -> None:
        self.watched = row_bytes.watched(platform.models)
        self._platform, self._base, self._folder, self._pieces = platform, base, folder, pieces
        self._lock = threading.RLock()
        self.schemas: dict[str, Schema] = {}
        """Cells that rows were counted on, by their identity."""
        self._broadcast: Any = None
        self._told = published.Told()
        self._until = -math.inf
        self._begin()

    def _begin(self) -> None:
        """A judge of what is kept."""
        self._kept = kept.Kept()
        try:
            saved = self._kept.restore(self._pieces.read())
        except kept.DamagedError:
            _log.exception("open drift windows begin anew")
            saved = state.Saved()
        self._replaced = Replaced(self._platform, self._base)
        self._unwatched, self._looked_at = Unwatched(self._platform, self._base), time.monotonic()
        models, of_version = self._unwatched.usable(), OfVersions(self._platform, self._base)
        self._judge = Judge(self._platform, self._base, self._folder, models, saved, of_version)
        self._told = published.Told()
        self._say()
        self._publish()

    # A batch -----------------------------------------------------------------------------------------------------

    @contextmanager
    def batch(self, frame: Any) -> Iterator[Changes]:
        """Take the rows of a batch in; gives what its transaction has to write.

        `frame` has the columns of `parcels.FOUND_SCHEMA`, and is looked at twice. When what is done with the changes
        fails, the judge is again as it was before.
        """
        with self._lock:
            try:
                self._look_again()
                self._take(frame)
                yield self._kept.changes(self._judge.saved())
            except BaseException:
                self._begin()
                raise
            self._kept.written()
            self._say()
            self._publish()

    def _take(self, frame: Any) -> None:
        seen = [
            collected.decode_seen(bytes(row.found))
            for row in frame.where(frame.kind == collected.SEEN).select("found").collect()
        ]
        plan = self.plan(seen)
        if not plan.tasks:
            return
        for key, parts in counting.parts(frame, plan, self._sent_schemas(frame.sparkSession)).items():
            self._judge.merge(key, parts)

    def plan(self, seen: list[Seen]) -> Plan:
        """How a batch is counted in which the buckets have these versions."""
        seen.sort(key=lambda one: (one.first, one.bucket))
        admitted = self._judge.admit(dict.fromkeys((one.model, one.version) for one in seen))
        tasks: dict[Version, Task] = {}
        for version, judged_as in admitted.items():
            found = self._judge.counting(judged_as)
            self.schemas.setdefault(found.identity, found.schema)
            tasks[version] = Task(judged_as=judged_as, identity=found.identity, rule=found.rule)
        return Plan(watched=self.watched, tasks=tasks, ranks=_ranks(seen, tasks))

    def _sent_schemas(self, spark: Any) -> Callable[[], Mapping[str, Schema]]:
        """What gives workers all cells that there are: Spark carries them there once."""
        if self._broadcast is None or self._broadcast.value.keys() != self.schemas.keys():
            self._broadcast = spark.sparkContext.broadcast(dict(self.schemas))
        sent = self._broadcast
        return lambda: sent.value

    # Between batches ---------------------------------------------------------------------------------------------

    def turn(self, until: float, seconds: float = math.inf) -> bool:
        """Judge windows that have ended, and do what follows from verdicts; whether there was anything to do.

        Everything that arrived before `until` (seconds since the epoch), or what was said before that is later, has
        been read. No window is begun after so many seconds.
        """
        with self._lock:
            self._look_again()
            self._until = max(self._until, until)
            has_judged = self._judge.close(self._until, time.monotonic() + seconds)
            if self._judge.retraining.step(time.time(), self._write):
                self._judge.publish_retraining()
                has_judged = True
            if has_judged:
                self._write()
            self._publish()
            return has_judged

    def _write(self) -> None:
        """Keep the state; one that cannot be kept now is kept with the next, and the judge fails until then."""
        changes = self._kept.changes(self._judge.saved())
        try:
            if changes:
                self._pieces.write(changes)
        except MidwatchError:
            self._judge.failed("drift windows could not be kept")
            return
        self._kept.written()
        self._say()

    def _look_again(self) -> None:
        """Watch models whose reference can be used by now, and judge others by the one that they have by now."""
        if time.monotonic() - self._looked_at < LOOK_AGAIN:
            return
        for name, watched in self._unwatched.usable().items():
            self._judge.watch(name, watched)
        for name, watched in self._replaced.usable().items():
            self._judge.replace(name, watched)
        self._looked_at = time.monotonic()

    # What is published -------------------------------------------------------------------------------------------

    def _say(self) -> None:
        for line in self._judge.board.changes():
            self._told.take(_decode_part(line))

    def _publish(self) -> None:
        self._samples: list[Sample] = [
            (metrics.DRIFT_WORKER_UP, {}, float(not self._judge.is_failing)),
            (metrics.DRIFT_LEFT_OUT, {}, float(self._judge.board.left_out)),
            *chain.from_iterable(self._told.samples.values()),
        ]

    def samples(self) -> list[Sample]:
        """What is said of the windows, and whether they are judged, as it was last: a scrape waits for no batch."""
        return [(metrics.DRIFT_WORKER_BEHIND, {}, self._judge.waiting_seconds), *self._samples]


def _ranks(seen: list[Seen], tasks: Mapping[Version, Task]) -> dict[tuple[int, str, str], bytes]:
    """Of each row its number among all of the batch that are judged together, where windows end by a count."""
    by_key: dict[Version, list[Seen]] = {}
    for one in seen:
        task = tasks.get((one.model, one.version))
        if one.places is not None and task is not None:
            by_key.setdefault(task.judged_as, []).append(one)
    found: dict[tuple[int, str, str], bytes] = {}
    for members in by_key.values():
        placed = sorted(
            (place, number, row) for number, one in enumerate(members) for row, place in enumerate(one.places or ())
        )
        ranks = [np.zeros(len(one.places or ()), np.int64) for one in members]
        for rank, (_, number, row) in enumerate(placed):
            ranks[number][row] = rank
        for one, of_rows in zip(members, ranks, strict=True):
            found[one.bucket, one.model, one.version] = of_rows.tobytes()
    return found
