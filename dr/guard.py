"""The recoverer: watches a store by itself, decides, fences, recovers, sends clients there, makes it redundant again.

It is a process of its own, and nobody tells it of a fault: it finds out by its checks, as it would at three in the
morning. The same process runs in a drill and, by `midwatch dr guard`, as the platform's failover controller. What it
does is in its events, one fact a line as in the observer's ledger. How a store is checked and recovered is its
`Recovery`, one per kind of store.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dr import ledger
from dr.lease import Lease, LeaseLostError
from midwatch.errors import Exit, MidwatchError

T = TypeVar("T")


class CannotRecoverError(MidwatchError):
    """There is nothing this store could safely be recovered from."""

    exit = Exit.FAIL


@dataclass(frozen=True, kw_only=True)
class Health:
    """What one check found; `why` says what is wrong."""

    good: bool
    why: str = ""


class Recovery(Protocol):
    """How a kind of store is checked and recovered. Each step raises MidwatchError when it fails."""

    def check(self) -> Health:
        """Look at the store as it should be now."""

    def plan(self) -> str:
        """What would be done now; CannotRecoverError when there is nothing safe to do."""

    def fence(self, term: int) -> str:
        """Make sure that what failed cannot acknowledge any more; returns how."""

    def recover(self) -> str:
        """Bring the store back; returns what it was brought back from."""

    def reroute(self, term: int) -> str:
        """Send clients there; returns where."""

    def rebuild(self) -> str | None:
        """Make the store redundant again; None while that is not possible yet."""

    def requested(self) -> str | None:
        """A planned switchover somebody asked for, once; None without one."""

    def switch(self, request: str, term: int) -> str:
        """Carry out a planned switchover up to where clients can be sent there."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When to act: `failures` checks in a row, `interval` seconds apart. `rebuilds`: redundancy is restored, too."""

    interval: float = 0.1
    failures: int = 3
    rebuilds: bool = True


class Guard:
    """A recoverer of one store. Events are facts with `k` and `t`, nanoseconds of CLOCK_MONOTONIC."""

    def __init__(self, recovery: Recovery, policy: Policy, lease: Lease, events: ledger.Ledger) -> None:
        self._recovery, self._policy, self._lease, self._events = recovery, policy, lease, events
        self._stop = threading.Event()
        self._owes_rebuild = False

    def stop(self, *_: object) -> None:
        """End after the step that is being done."""
        self._stop.set()

    def run(self) -> None:
        """Watch until `stop`, or until another guard asks for the lease. LeaseLostError when it is lost."""
        try:
            self._watch()
        except LeaseLostError as error:
            self._say("lost", why=str(error))
            raise
        self._say("stopped")

    def _watch(self) -> None:
        self._say("watching", boot=ledger.boot_id(), interval=self._policy.interval, failures=self._policy.failures)
        failed = 0
        while not self._stop.is_set() and not self._lease.is_wanted():
            self._lease.ensure_held()
            begun = time.monotonic()
            health = self._look()
            failed = 0 if health.good else failed + 1
            if not health.good:
                self._say("failed", count=failed, why=health.why)
            if failed >= self._policy.failures:
                self._act(health.why)
                failed = 0
            elif health.good:
                self._when_calm()
            self._stop.wait(max(0.0, self._policy.interval - (time.monotonic() - begun)))

    def _look(self) -> Health:
        try:
            return self._recovery.check()
        except MidwatchError as error:
            return Health(good=False, why=str(error))

    def _act(self, why: str) -> None:
        """Recover, step by step; a step that fails is said, and everything is tried again after new checks."""
        try:
            plan = self._recovery.plan()
            self._say("decided", why=why, plan=plan)
            term = self._lease.next_term()
            self._say("fenced", how=self._while_held(lambda: self._recovery.fence(term)), term=term)
            self._say("recovered", from_=self._while_held(self._recovery.recover))
            self._say("rerouted", to=self._while_held(lambda: self._recovery.reroute(term)), term=term)
        except LeaseLostError:
            raise
        except MidwatchError as error:
            self._say("refused" if isinstance(error, CannotRecoverError) else "gave_up", why=str(error))
            self._stop.wait(self._policy.interval * self._policy.failures)
            return
        self._owes_rebuild = self._policy.rebuilds

    def _while_held(self, step: Callable[[], T]) -> T:
        """A step that another guard might do as well, if the lease is still held right before it."""
        self._lease.ensure_held()
        return step()

    def _when_calm(self) -> None:
        if request := self._recovery.requested():
            self._switch(request)
        if self._owes_rebuild:
            try:
                done = self._while_held(self._recovery.rebuild)
            except LeaseLostError:
                raise
            except MidwatchError as error:
                self._say("not_rebuilt", why=str(error))
                self._stop.wait(1.0)
                return
            if done is not None:
                self._say("redundant", how=done)
                self._owes_rebuild = False

    def _switch(self, request: str) -> None:
        try:
            self._say("decided", why="requested", plan=f"switchover to {request}")
            term = self._lease.next_term()
            self._say("recovered", from_=self._while_held(lambda: self._recovery.switch(request, term)))
            self._say("rerouted", to=self._while_held(lambda: self._recovery.reroute(term)), term=term)
        except LeaseLostError:
            raise
        except MidwatchError as error:
            self._say("gave_up", why=str(error))
            return
        self._owes_rebuild = self._policy.rebuilds

    def _say(self, kind: str, **details: Any) -> None:
        self._events.add(k=kind, t=time.monotonic_ns(), wall=time.time(), **details)


def run(recovery: Recovery, policy: Policy, lease: Lease, events: Path) -> None:
    """Guard a store until SIGTERM, or until another guard asks for the lease. LeaseLostError when it is lost."""
    log = ledger.Ledger(events)
    guard = Guard(recovery, policy, lease, log)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, guard.stop)
    try:
        guard.run()
    finally:
        log.close()
