"""A local store for `midwatch up`, until SIGTERM: its servers and its endpoint are children of this process.

Run as `python -m dr.stores.local_postgresql.serve LINK PLATFORM STORE LISTENERS`; LINK becomes a symbolic link to the
cluster's folder, which stands where PostgreSQL's user may go, once everything takes connections. LISTENERS is JSON:
further ports that follow the route, such as a model's. SIGTERM stops all of it.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from dr import children, temporary
from dr.stores.local_postgresql import cluster, endpoint
from midwatch.spec import load
from midwatch.spec.stores.local_postgresql import LocalPostgresqlStore


def serve(link: Path, platform: Path, store: str, listeners: list[endpoint.Listener]) -> None:
    """Run until SIGTERM; MidwatchError when the store cannot be started."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    recovery = load.load_platform(platform).disaster_recovery
    chosen = recovery.store(store) if recovery else None
    if not isinstance(chosen, LocalPostgresqlStore):
        raise AssertionError("the caller looked at the store's kind")
    with temporary.folder(keep=False, stop=cluster.stop_below) as home:
        made = cluster.create(home / "store", cluster.Settings.of(chosen))
        proxy = None
        try:
            cluster.start(made)
            own = endpoint.Listener(port=made.endpoint, targets=made.ports)
            endpoint.describe(made.folder, [own, *listeners])
            proxy = endpoint.start(made.folder)
            link.unlink(missing_ok=True)
            link.symlink_to(made.folder)
            while True:
                signal.pause()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # a second one must not cut the cleaning up short
            link.unlink(missing_ok=True)
            if proxy:
                children.stop(proxy)
            cluster.stop_below(made.folder)  # nothing of it is kept, so that nobody waits for a shutdown


def _end(*_: object) -> None:
    """End at once, also while the store is being started: whoever stops us does not wait for long."""
    sys.exit(0)


if __name__ == "__main__":
    given = [endpoint.Listener(**entry) for entry in json.loads(sys.argv[4])]
    serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], given)
