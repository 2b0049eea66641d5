"""The lease of recoverers in a cluster: a Lease of coordination.k8s.io/v1, taken and renewed as client-go does.

Safe without any trust in another machine's clock (k8s.io/client-go, tools/leaderelection): a candidate takes the lease
only after it has itself seen the same record, or its absence, for the whole lease duration; every write names the
version it replaces; and the holder counts its time from before its last renewal was sent, and ends earlier than
anybody can take the lease. Stricter than client-go: a Lease that is not there may have been deleted under its holder,
so absence is waited out, too, and a holder that runs out of time ends its process, with whatever step it is in.

Between the last look at the clock and the step itself a process can still be stopped for long; against that each
recovery has a term, larger than all before and written to the Lease before it is used, for fences to compare.
Without the API server there is no lease, and so no failover: undecided is not a yes.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from chaos.lease import LeaseObject, LeaseTakenError, now
from dr.recoverer.lease import LeaseLostError
from midwatch import kubernetes, processes
from midwatch.errors import Exit, MidwatchError

# Recoverers of an older version read and write these names, and must go on being told of each other.
TERM = "midwatch.dev/guard-term"
WANTED = "midwatch.dev/guard-wanted-by"
"""Set by a recoverer that asks the holder to step aside when it is calm, as that of a drill does."""
REQUEST_SECONDS = 2.0
"""One attempt of a request. The client tries four times, and that fits into the renewal's deadline."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds, by default those of Kubernetes' own controllers.

    `duration`: a record unchanged for so long may be taken. `renew`: a holder that could not renew for so long has
    lost it; what is left of `duration` is the time in which its last step is ended. `retry`: between attempts.
    """

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew < self.duration:
            raise ValueError(f"{self}: retry < renew < duration, or two could hold the lease at once")


def clock() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def end_at_once(why: str) -> None:
    """End this process and everything below it now: another recoverer may act in a moment."""
    sys.stderr.write(f"the lease is lost: {why}\n")
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        processes.end_tree(lambda: processes.descendants(os.getpid()), seconds=1.0)
    os._exit(int(Exit.FAIL))


class KubernetesLease:
    """Implements `lease.Lease`. No other process ever has the name `holder`; `on_loss` ends what this one does.

    Every method that asks the API server raises what `kubernetes.request` raises.
    """

    def __init__(
        self,
        lease: LeaseObject,
        holder: str,
        *,
        times: Times = Times(),
        read: Callable[[], float] = clock,
        on_loss: Callable[[str], None] = end_at_once,
    ) -> None:
        self._lease, self._holder, self._times, self._read, self._on_loss = lease, holder, times, read, on_loss
        self._seen: str | None = "never looked"
        self._since = 0.0
        self._until = -math.inf
        self._wanted_by: str | None = None
        self._writing, self._ended, self._losing = threading.Lock(), threading.Event(), threading.Lock()
        self._threads: list[threading.Thread] = []
        self.term = 0

    # Taken ---------------------------------------------------------------------------------------------------------

    def take(self, wait: Callable[[float], object] = time.sleep, *, urgent: bool = False) -> None:
        """Wait until it is held, and keep it from then on; with `urgent` the holder is asked to step aside.

        A cluster that is away is waited for once it has answered; before that, and when it refuses, this raises.
        """
        while not self._try(urgent):
            wait(self._times.retry)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._keep, self._watch)]
        for thread in self._threads:
            thread.start()

    def _try(self, urgent: bool) -> bool:
        first = self._seen == "never looked"
        begun = self._read()
        try:
            record = self._lease.found()
            self._observe(record)
            if self._is_free(record):
                self._write(record, begun, max(1, self.term, _term(record)))
                return True
            if urgent and record is not None and not self._wanted(record):
                self._lease.annotate(WANTED, self._holder)
        except kubernetes.UnreachableError:
            if first:
                raise
        except LeaseTakenError:
            pass  # somebody was quicker; what they wrote is seen next time
        return False

    def _observe(self, record: kubernetes.Object | None) -> None:
        seen = None if record is None else f"{record['metadata']['uid']} {record['metadata']['resourceVersion']}"
        if seen != self._seen:
            self._seen, self._since = seen, self._read()

    def _is_free(self, record: kubernetes.Object | None) -> bool:
        spec = (record or {}).get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder == self._holder:
            return True  # a write of ours whose answer was lost
        if holder == "" and self._wanted(record) in (None, self._holder):
            return True  # given back, by one that has ended all it did
        lasts = max(self._times.duration, float(spec.get("leaseDurationSeconds") or 0))
        return self._read() - self._since >= lasts

    def _wanted(self, record: kubernetes.Object | None) -> str | None:
        return _annotations(record).get(WANTED)

    def _write(self, record: kubernetes.Object | None, begun: float, term: int, holder: str | None = None) -> None:
        """Write the record of a holder, ours without one, over what was found; `begun` is when it was asked for."""
        before = (record or {}).get("spec") or {}
        holder = self._holder if holder is None else holder
        changes = bool(holder) and before.get("holderIdentity") != holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": math.ceil(self._times.duration),
            "renewTime": now(),
            "acquireTime": now() if changes else before.get("acquireTime", now()),
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + changes,
        }
        wanted = self._wanted(record)
        is_mine = wanted == self._holder
        if (changes and not is_mine) or (not holder and is_mine):
            wanted = None  # whoever asked did not come, or came and is done
        others = {name: text for name, text in _annotations(record).items() if name not in (TERM, WANTED)}
        annotations = others | {TERM: str(term)} | ({WANTED: wanted} if wanted else {})
        if record is None:
            self._lease.create(spec, annotations)
        else:
            self._lease.replace(record, spec, annotations)
        self.term, self._wanted_by = term, wanted
        self._until = begun + self._times.renew

    # Held ----------------------------------------------------------------------------------------------------------

    def ensure_held(self) -> None:
        """LeaseLostError once it was not renewed in time, or somebody else has it."""
        if self._ended.is_set() or self._read() >= self._until:
            raise LeaseLostError(f"lease {self._lease.name} is not held any more")

    def is_wanted(self) -> bool:
        """Whether another recoverer has asked for it."""
        return self._wanted_by not in (None, self._holder)

    def next_term(self) -> int:
        """A term larger than all before; it is in the Lease before this returns."""
        with self._writing:
            self.ensure_held()
            begun = self._read()
            record = self._own()
            self._write(record, begun, max(self.term, _term(record)) + 1)
            return self.term

    def renew(self) -> None:
        """Say that the holder is still there; LeaseLostError when it no longer is the holder."""
        with self._writing:
            begun = self._read()
            record = self._own()
            self._write(record, begun, max(self.term, _term(record)))

    def _own(self) -> kubernetes.Object:
        record = self._lease.found()
        if record is None or record.get("spec", {}).get("holderIdentity") != self._holder:
            raise LeaseLostError(f"lease {self._lease.name} was taken by somebody else, or deleted")
        return record

    def _keep(self) -> None:
        while not self._ended.wait(self._times.retry):
            try:
                self.renew()
            except LeaseLostError as error:
                self._lose(str(error))
            except MidwatchError:
                continue  # it is tried again until the time is over

    def _watch(self) -> None:
        while not self._ended.wait(max(0.0, self._until - self._read())):
            if self._read() >= self._until:
                self._lose(f"lease {self._lease.name} could not be renewed for {self._times.renew:g} s")

    def _lose(self, why: str) -> None:
        with self._losing:
            if not self._ended.is_set():
                self._ended.set()
                self._until = -math.inf
                self._on_loss(why)

    def release(self) -> None:
        """Let the next one have it at once, if it is still held and the API server answers."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if self._read() < self._until:
            with contextlib.suppress(MidwatchError):
                self._write(self._own(), self._read(), self.term, holder="")
        self._until = -math.inf

    def __enter__(self) -> KubernetesLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _annotations(record: kubernetes.Object | None) -> dict[str, str]:
    return dict((record or {}).get("metadata", {}).get("annotations") or {})


def _term(record: kubernetes.Object | None) -> int:
    """The term that a Lease has; 0 without one. LeaseLostError for one that is no number: none is larger than that."""
    text = _annotations(record).get(TERM, "0")
    if not text.isdecimal():
        raise LeaseLostError(f"annotation {TERM} is {text!r}, and not a number: no term is known to be larger")
    return int(text)
