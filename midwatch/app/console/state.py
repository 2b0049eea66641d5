"""The state of the promises as the pages show it: read once for all, again and again; the last good one is kept.

Where Prometheus does not answer, what it said last is shown with its time, and the state is unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from midwatch.app.status.ask import SILENCES, Question
from midwatch.app.status.read import RULES_DO_NOT_RUN
from midwatch.app.status.records import Overview


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was read last. `overview` is what is shown; `stale_since` is when its figures are of, None for now.

    `number` grows with each reading.
    """

    number: int
    overview: Overview
    stale_since: datetime | None = None

    @property
    def rules_run(self) -> bool:
        """Whether the platform's rules are evaluated, as far as anybody knows: without them nothing can fire."""
        return RULES_DO_NOT_RUN not in self.overview.reasons

    def knows(self, what: Question | str) -> bool:
        """Whether something was asked for and answered, now or at the time that is shown: then none means none."""
        return self.stale_since is not None or all(one.what != what for one in self.overview.unanswered)

    @property
    def knows_alerts(self) -> bool:
        """Whether it is known what fires now: what fired when Prometheus answered last is no answer to that."""
        return all(one.what != Question.ALERTS for one in self.overview.unanswered)

    @property
    def knows_silences(self) -> bool:
        """Whether it is known what is silenced."""
        return self.knows(SILENCES)

    @property
    def knows_canaries(self) -> bool:
        """Whether it is known what the gate judged."""
        return self.knows(Question.CANARIES)

    @property
    def knows_episodes(self) -> bool:
        """Whether it is known which episodes are open, of drift and of the loop."""
        return self.knows(Question.EPISODES) and self.knows(Question.LOOP)

    @property
    def knows_drills(self) -> bool:
        """Whether it is known how drills and experiments ended."""
        return self.knows(Question.DRILLS)

    @property
    def knows_traffic(self) -> bool:
        """Whether it is known which versions are asked for predictions."""
        return self.knows(Question.TRAFFIC)


class State:
    """Reads the overview; `read` asks, and answers within its own deadlines. Several threads may call."""

    def __init__(self, read: Callable[[], Overview]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._good: Overview | None = None

    @property
    def now(self) -> Snapshot:
        """The newest snapshot; the first one is read when it is asked for."""
        with self._lock:
            if self._snapshot is not None:
                return self._snapshot
        return self.refresh()

    def refresh(self) -> Snapshot:
        """Read again. Who comes while somebody reads waits for that reading."""
        before = self._snapshot
        with self._reading:
            if self._snapshot is not None and self._snapshot is not before:
                return self._snapshot
            return self._read_again()

    def refresh_after_change(self) -> Snapshot:
        """Read after something was changed: a reading that had begun before would not have it."""
        with self._reading:
            return self._read_again()

    def _read_again(self) -> Snapshot:
        read = self._read()
        with self._lock:
            self._snapshot = self._shown(read)
            return self._snapshot

    def _shown(self, read: Overview) -> Snapshot:
        number = self._snapshot.number + 1 if self._snapshot else 1
        if read.prometheus_at is not None:
            self._good = read
            return Snapshot(number=number, overview=read)
        if self._good is None:
            return Snapshot(number=number, overview=read)
        kept = replace(
            read,
            subjects=self._good.subjects,
            episodes=self._good.episodes,
            canaries=self._good.canaries,
            drills=self._good.drills,
            systems=self._good.systems,
            alerts=read.alerts or self._good.alerts,
        )
        return Snapshot(number=number, overview=kept, stale_since=self._good.as_of)
