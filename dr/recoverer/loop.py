"""What the recoverer does: it checks a store, and when that has failed often enough, recovers it step by step.

It is a process of its own, and nobody tells it of a fault: it finds out by its checks, as it would at three in the
morning. The same process runs in a drill and, by `midwatch dr recoverer`, as the platform's failover controller. What
it does is in its events, a ledger like the observer's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dr.drill import facts, ledger
from dr.recoverer.lease import Lease, LeaseLostError
from dr.recoverer.recovery import CannotRecoverError, Health, Recovery
from midwatch.errors import MidwatchError

T = TypeVar("T")

RIVAL_SECONDS = 1.0
"""Between two looks for a second server that takes writes."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When to act: `failures` checks in a row, `interval` seconds apart. `rebuilds`: redundancy is restored, too."""

    interval: float = 0.1
    failures: int = 3
    rebuilds: bool = True


class Recoverer:
    """The recoverer of one store."""

    def __init__(self, recovery: Recovery, policy: Policy, lease: Lease, events: ledger.Ledger) -> None:
        self._recovery, self._policy, self._lease, self._events = recovery, policy, lease, events
        self._stop = threading.Event()
        self._owes_rebuild = False
        self._rivals_due = 0.0
        self._said_of_rival = self._said_of_doubt = ""
        recovery.listener = lambda text: self._say(facts.Progress, how=text)

    def stop(self, *_: object) -> None:
        """End after the step that is being done."""
        self._stop.set()

    def run(self) -> None:
        """Watch until `stop`, or until another recoverer asks for the lease. LeaseLostError when it is lost."""
        try:
            self._watch()
        except LeaseLostError as error:
            self._say(facts.LeaseLost, why=str(error))
            raise
        self._say(facts.Stopped)

    def _watch(self) -> None:
        self._say(facts.Watching, boot=ledger.boot_id(), interval=self._policy.interval, failures=self._policy.failures)
        failed = 0
        while not self._stop.is_set() and not self._lease.is_wanted():
            self._lease.ensure_held()
            begun = time.monotonic()
            health = self._look()
            failed = 0 if health.good else failed + 1
            if not health.good:
                self._say(facts.CheckFailed, count=failed, why=health.why)
            if failed >= self._policy.failures:
                self._act(health.why)
                failed = 0
            elif health.good:
                self._say_doubt(health.doubt)
                self._when_calm()
            self._stop.wait(max(0.0, self._policy.interval - (time.monotonic() - begun)))

    def _look(self) -> Health:
        try:
            return self._recovery.check()
        except MidwatchError as error:
            return Health(good=False, why=str(error))

    def _say_doubt(self, doubt: str) -> None:
        """Say it once: it is there at each look until somebody has looked."""
        if doubt and doubt != self._said_of_doubt:
            self._say(facts.Doubted, why=doubt)
        self._said_of_doubt = doubt

    def _act(self, why: str) -> None:
        """Recover, step by step; a step that fails is said, and everything is tried again after new checks."""
        try:
            plan = self._recovery.plan()
            self._say(facts.Decided, why=why, plan=plan)
            term = self._lease.next_term()
            self._say(facts.Fenced, how=self._while_held(lambda: self._recovery.fence(term)), term=term)
            self._say(facts.Recovered, source=self._while_held(self._recovery.recover))
            self._say(facts.Rerouted, to=self._while_held(lambda: self._recovery.reroute(term)), term=term)
        except LeaseLostError:
            raise
        except MidwatchError as error:
            self._say(facts.Refused if isinstance(error, CannotRecoverError) else facts.GaveUp, why=str(error))
            self._stop.wait(self._policy.interval * self._policy.failures)
            return
        self._owes_rebuild = True

    def _while_held(self, step: Callable[[], T]) -> T:
        """A step that another recoverer might do as well, if the lease is still held right before it."""
        self._lease.ensure_held()
        return step()

    def _when_calm(self) -> None:
        if request := self._recovery.requested():
            self._switch(request)
        if time.monotonic() >= self._rivals_due:
            self._look_for_rival()
            self._rivals_due = time.monotonic() + RIVAL_SECONDS
        if self._owes_rebuild and not (self._policy.rebuilds and self._recovery.can_rebuild):
            self._say(facts.RebuildOffered, why=self._recovery.offer())
            self._owes_rebuild = False
        if self._owes_rebuild:
            try:
                done = self._while_held(self._recovery.rebuild)
            except LeaseLostError:
                raise
            except MidwatchError as error:
                self._say(facts.NotRebuilt, why=str(error))
                self._stop.wait(1.0)
                return
            if done is not None:
                self._say(facts.Redundant, how=done)
                self._owes_rebuild = False

    def _look_for_rival(self) -> None:
        """Say that two servers take writes, and fence the one that clients are not sent to, where that may be done.

        What is said is said once: a rival that has to be left alone is there at each look.
        """
        try:
            rival = self._recovery.rival()
            if rival is None:
                self._said_of_rival = ""
                return
            if rival != self._said_of_rival:
                self._say(facts.SplitBrain, why=rival)
            term = self._lease.next_term()
            self._say(facts.Fenced, how=self._while_held(lambda: self._recovery.fence_rival(term)), term=term)
            self._owes_rebuild = True
        except LeaseLostError:
            raise
        except MidwatchError as error:
            if rival != self._said_of_rival:
                self._say(facts.Refused if isinstance(error, CannotRecoverError) else facts.GaveUp, why=str(error))
            self._said_of_rival = rival or ""

    def _switch(self, request: str) -> None:
        try:
            self._say(facts.Decided, why="requested", plan=f"switchover to {request}")
            term = self._lease.next_term()
            self._say(facts.Recovered, source=self._while_held(lambda: self._recovery.switch(request, term)))
            self._say(facts.Rerouted, to=self._while_held(lambda: self._recovery.reroute(term)), term=term)
        except LeaseLostError:
            raise
        except MidwatchError as error:
            self._say(facts.GaveUp, why=str(error))
            return
        self._owes_rebuild = True

    def _say(self, kind: type[facts.Event], **details: Any) -> None:
        self._events.add(kind(at=time.monotonic_ns(), wall=time.time(), **details))
