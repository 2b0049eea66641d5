"""Keeps a local store running in `midwatch up`: its servers and its endpoint are children of this process.

Run as `python -m dr.keeper LINK PLATFORM STORE LISTENERS`; LINK becomes a symbolic link to the cluster's folder, which
stands where PostgreSQL's user may go, once everything takes connections. LISTENERS is JSON: further ports that follow
the route, such as a model's. SIGTERM stops all of it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from dr import endpoint, processes
from dr.postgres import cluster
from midwatch.spec import load


def keep(link: Path, platform: Path, store: str, listeners: list[endpoint.Listener]) -> None:
    """Run until SIGTERM; MidwatchError when the store cannot be started."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    recovery = load.load_platform(platform).disaster_recovery
    local = recovery.store(store).local_postgresql if recovery else None
    if local is None:
        raise AssertionError("the caller looked at the store's kind")
    settings = cluster.Settings(
        store=store,
        synchronous=local.synchronous,
        standby=local.standby,
        archive_interval=local.archive_interval,
        version=local.version,
    )
    with processes.folder(keep=False) as home:
        made = cluster.create(home / "store", settings)
        helper = None
        try:
            cluster.start(made)
            own = endpoint.Listener(port=made.endpoint, targets=made.ports)
            endpoint.describe(made.folder, [own, *listeners])
            helper = processes.start_helper("dr.endpoint", [str(made.folder)], made.folder / "endpoint.log")
            link.unlink(missing_ok=True)
            link.symlink_to(made.folder)
            stop.wait()
        finally:
            link.unlink(missing_ok=True)
            if helper:
                processes.stop(helper)
            cluster.stop(made)


if __name__ == "__main__":
    given = [endpoint.Listener(**entry) for entry in json.loads(sys.argv[4])]
    keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], given)
