"""Running the recoverer of a store: under which lease, where its events go, and by which command it is started."""

from __future__ import annotations

import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.lease import LeaseObject
from dr.drill import ledger
from dr.recoverer.file_lease import FileLease
from dr.recoverer.kubernetes_lease import REQUEST_SECONDS, KubernetesLease
from dr.recoverer.lease import Lease
from dr.recoverer.loop import Policy, Recoverer
from dr.recoverer.recovery import Recovery
from midwatch import modules
from midwatch.errors import MidwatchError
from midwatch.spec import model
from midwatch.spec.stores.base import Store


@dataclass(frozen=True, kw_only=True)
class Options:
    """`events` is a new file, or a folder for one of each start; `local`: a file lock although there is a cluster;
    `take_over`: the holder of the cluster's lease is asked to step aside.
    """

    events: Path | None = None
    local: bool = False
    take_over: bool = False


def run(platform: model.Platform, store: Store, recovery: Recovery, folder: Path, options: Options) -> None:
    """Recover a store, whose lease and events are in a folder, until SIGTERM or until another recoverer asks for it.

    LeaseHeldError when another recoverer of this machine has it, LeaseLostError when the lease is lost.
    """
    # While it waits for its lease; from then on it ends after its step. Either way the lease is given back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = _events(options.events, folder)
    with leased(platform, store, folder, options) as lease:
        events = ledger.Ledger(path)
        settings = platform.disaster_recovery.guard if platform.disaster_recovery else None
        policy = (
            Policy(interval=settings.interval, failures=settings.failures, rebuilds=settings.rebuild)
            if settings
            else Policy()
        )
        recoverer = Recoverer(recovery, policy, lease, events)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, recoverer.stop)
        try:
            recoverer.run()
        finally:
            events.close()


def _events(given: Path | None, folder: Path) -> Path:
    """File of this start's events; MidwatchError when its folder cannot be made."""
    path = folder if given is None else given
    if given is None or given.is_dir():
        path = path / f"recoverer-{time.time_ns()}.ledger"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MidwatchError(f"{path.parent}: {error.strerror}; name a file for its events with --events") from error
    return path


@contextmanager
def leased(platform: model.Platform, store: Store, folder: Path, options: Options) -> Iterator[Lease]:
    """The lease of a store: in the cluster if its recoverers can be there, unless `local`; else a file in the folder.

    In the cluster it is waited for. LeaseHeldError when another recoverer of this machine has it, UnreachableError and
    RefusedError when the cluster does not answer or forbids it.
    """
    settings = platform.disaster_recovery.kubernetes if platform.disaster_recovery else None
    if options.local or settings is None or not store.has_cluster_lease:
        with FileLease(folder, f"midwatch dr recoverer {store.name}") as lease:
            yield lease
        return
    record = LeaseObject(settings.namespace, lease_name(platform.platform, store.name), timeout=REQUEST_SECONDS)
    with KubernetesLease(record, f"{socket.gethostname()}_{uuid.uuid4()}") as held:
        held.take(urgent=options.take_over)
        yield held


def lease_name(platform: str, store: str) -> str:
    """Name of a store's Lease. Recoverers of an older version hold the same one, so that it must not change."""
    return f"midwatch-guard-{platform}-{store}"


def command(
    platform_file: Path, store: str, events: Path, *, cluster: Path | None = None, take_over: bool = False
) -> list[str]:
    """Words that start the recoverer of a store: in a drill the process that would do it in production."""
    words = [*modules.command("midwatch"), "dr", "recoverer", "-f", str(platform_file), "--store", store]
    words += ["--cluster", str(cluster)] if cluster else []
    return [*words, "--events", str(events), *(["--take-over"] if take_over else [])]
