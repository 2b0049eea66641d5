"""The cluster of a local store: two regions with a server each, an archive, backups, and where clients are sent.

All of it stands in one folder, described by `cluster.json`, so that the processes of a drill (injector, recoverer,
observer) find the same things without telling each other anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from dr.postgres import session
from dr.stores.local_postgresql import backup, instance, programs, tablespaces
from dr.stores.local_postgresql.instance import Instance
from dr.stores.local_postgresql.programs import PostgresError, Programs
from midwatch import files
from midwatch.ports import free_ports
from midwatch.spec.stores.local_postgresql import LocalPostgresqlStore

DATABASE = "features"
REGIONS = ("a", "b")
STREAMING_SECONDS = 30.0
CONTENT = "SELECT count(*) || '/' || coalesce(sum(hashtext(entity || ':' || value))::text, '') FROM feature"
"""Digest of what the store holds for the models."""
ENTITIES = 1000
"""Rows of the table of features that a model would read; their digest is checked after a recovery."""

MIN_FREE = 512 * 2**20
"""Bytes of disk below which no local cluster is started: two servers with their WAL take about 200 MiB."""

SCHEMA = f"""
CREATE EXTENSION IF NOT EXISTS amcheck;
CREATE SCHEMA midwatch_drill;
CREATE TABLE midwatch_drill.allowed (store text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now());
CREATE TABLE midwatch_drill.writes (run text NOT NULL, seq bigint NOT NULL, checksum text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON midwatch_drill.writes (run, seq);
CREATE TABLE feature (entity bigint PRIMARY KEY, value double precision NOT NULL);
INSERT INTO feature SELECT n, sin(n) FROM generate_series(1, {ENTITIES}) n;
"""  # noqa: S608 - our own constant


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a local store is set up; `archive_interval` is seconds."""

    store: str
    synchronous: bool = False
    standby: bool = True
    archive_interval: float = 60.0
    version: int | None = None

    @classmethod
    def of(cls, store: LocalPostgresqlStore) -> Settings:
        """As the platform file says."""
        local = store.local_postgresql
        return cls(
            store=store.name,
            synchronous=local.synchronous,
            standby=local.standby,
            archive_interval=local.archive_interval,
            version=local.version,
        )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A local store. `ports` are of the regions' servers; `endpoint` is the port that clients connect to."""

    folder: Path
    settings: Settings
    ports: dict[str, int]
    endpoint: int
    password: str

    @property
    def programs(self) -> Programs:
        """The programs it runs on."""
        return programs.find(self.settings.version)

    @property
    def archive(self) -> Path:
        """WAL segments that are safe outside the servers."""
        return self.folder / "archive"

    @property
    def backups(self) -> Path:
        """Base backups."""
        return self.folder / "backups"

    @property
    def route(self) -> Path:
        """File of the endpoint's route."""
        return self.folder / "route.json"

    @property
    def control(self) -> Path:
        """Socket on which the endpoint takes a new route."""
        return self.folder / "endpoint.sock"

    @property
    def client(self) -> str:
        """Connection string as clients have it."""
        return instance.conninfo(self.endpoint, self.password, DATABASE)

    def server(self, region: str, folder: str | None = None) -> Instance:
        """The server of a region."""
        return Instance(
            programs=self.programs,
            name=region,
            folder=self.folder / (folder or region),
            port=self.ports[region],
            password=self.password,
        )

    def direct(self, region: str) -> str:
        """Connection string straight to a region's server, past the endpoint."""
        return self.server(region).conninfo(DATABASE)

    def configure(self, server: Instance) -> None:
        """Write a server's configuration: it archives into the shared archive."""
        target = f"{self.archive}/%f"
        copied = f'cp "%p" "{target}.part" && mv "{target}.part" "{target}"'
        command = f'test -f "{target}" && cmp -s "%p" "{target}" || ({copied})'
        server.prepare(
            {"archive_command": command, "archive_timeout": f"{max(1, round(self.settings.archive_interval))}s"}
        )


def create(folder: Path, settings: Settings) -> Cluster:
    """Describe a new cluster in a folder, on free ports; nothing runs yet.

    Raises PostgresError when the folder is closed to the servers' user or the disk is too small, and
    MissingProgramError without PostgreSQL.
    """
    installed = programs.find(settings.version)
    folder.mkdir(parents=True, exist_ok=True)
    programs.ensure_reachable(folder, installed)
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    if free < MIN_FREE:
        raise PostgresError(f"{folder} has {free / 2**20:.0f} MiB free; a local store needs {MIN_FREE / 2**20:.0f} MiB")
    a, b, endpoint = free_ports(3)
    cluster = Cluster(
        folder=folder, settings=settings, ports={"a": a, "b": b}, endpoint=endpoint, password=secrets.token_hex(16)
    )
    for path in (cluster.archive, cluster.backups):
        path.mkdir(exist_ok=True)
        installed.give(path)
    document = {
        "settings": asdict(settings),
        "ports": cluster.ports,
        "endpoint": endpoint,
        "password": cluster.password,
    }
    description = folder / "cluster.json"
    description.touch(mode=0o600)
    description.write_text(json.dumps(document))
    return cluster


def load(folder: Path) -> Cluster:
    """The cluster in a folder; PostgresError when there is none."""
    try:
        document = json.loads((folder / "cluster.json").read_text())
        return Cluster(
            folder=folder.resolve(),
            settings=Settings(**document["settings"]),
            ports=document["ports"],
            endpoint=document["endpoint"],
            password=document["password"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PostgresError(f"{folder} holds no local store of Midwatch") from error


def start(cluster: Cluster) -> None:
    """Make and start the primary in region a and, if there is to be one, the standby in region b; take a backup."""
    primary = cluster.server("a")
    cluster.configure(primary)
    primary.initialise()
    primary.skip_first_sync()
    primary.start()
    session.ask(primary.conninfo(), f"CREATE DATABASE {DATABASE}", timeout=30.0)
    session.ask(cluster.direct("a"), SCHEMA, timeout=30.0)
    allow(cluster.direct("a"), cluster.settings.store)
    with ThreadPoolExecutor(1) as beside:  # the end of a backup is looked for every second
        first = beside.submit(backup.take, primary, cluster.backups)
        if cluster.settings.standby:
            seed_standby(cluster, source="a", target="b")
        first.result()
    set_route(cluster, "a", term=1)


def flush(folder: Path) -> subprocess.Popen[bytes]:
    """Have the file system of a folder written to the disk; the process that does it ends when it is.

    Servers are laid down without, to be quick. The kernel would write them back some 30 s later, and commits would wait
    for that in the middle of what is measured.
    """
    return subprocess.Popen(["sync", "--file-system", str(folder)])


def allow(target: str, store: str) -> None:
    """Put the marker that allows drills into a store."""
    session.ask(
        target, "INSERT INTO midwatch_drill.allowed (store) VALUES ($1) ON CONFLICT DO NOTHING", [store], timeout=10.0
    )


def seed_standby(cluster: Cluster, *, source: str, target: str) -> None:
    """Make a region's server a streaming standby of another's, from nothing, and wait until it streams."""
    primary, standby = cluster.server(source), cluster.server(target)
    slot = f"region_{target}"
    session.ask(
        primary.conninfo(),
        "SELECT pg_create_physical_replication_slot($1) WHERE NOT EXISTS "
        "(SELECT FROM pg_replication_slots WHERE slot_name = $1)",
        [slot],
        timeout=10.0,
    )
    cluster.configure(standby)
    if standby.data.exists():
        raise PostgresError(f"{standby.data} is not empty; a standby is made from nothing")
    primary.run(
        "pg_basebackup",
        "--pgdata",
        standby.data,
        "--checkpoint",
        "fast",
        "--wal-method",
        "stream",
        "--write-recovery-conf",
        "--slot",
        slot,
        "--no-sync",
        *tablespaces.mapping(primary, tablespaces.free(standby.folder)),
        passfile=standby.folder / instance.PASSFILE,  # the standby goes on by it
    )
    standby.skip_first_sync()
    standby.start()
    wait_until_streaming(primary)
    if cluster.settings.synchronous:
        set_synchronous(primary, on=True)


def wait_until_streaming(primary: Instance) -> None:
    """Wait until a standby streams from a primary and has caught up; PostgresError when it does not."""
    deadline = time.monotonic() + STREAMING_SECONDS
    while time.monotonic() < deadline:
        rows = session.ask(
            primary.conninfo(),
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = 'walreceiver' "
            "AND flush_lsn >= pg_current_wal_flush_lsn() - 1048576::numeric",
            timeout=5.0,
        )
        if rows != [("0",)]:
            return
        time.sleep(0.02)
    raise PostgresError(f"no standby streams from {primary.name} after {STREAMING_SECONDS:g} s")


def set_synchronous(primary: Instance, *, on: bool) -> None:
    """Have commits wait for a standby, or not: without one they would wait for ever."""
    names = "*" if on else ""
    session.ask(primary.conninfo(), f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", timeout=10.0)
    session.ask(primary.conninfo(), "SELECT pg_reload_conf()", timeout=10.0)
    deadline = time.monotonic() + 10.0
    while session.ask(primary.conninfo(), "SHOW synchronous_standby_names", timeout=5.0) != [(names,)]:
        if time.monotonic() > deadline:
            raise PostgresError(f"{primary.name} does not take synchronous_standby_names")
        time.sleep(0.01)


def set_route(cluster: Cluster, region: str, *, term: int) -> None:
    """Write where the endpoint starts from; a running endpoint is told through its control socket instead."""
    files.replace(cluster.route, json.dumps({"term": term, "region": region}).encode())


def stop(cluster: Cluster) -> None:
    """Stop every server that has its data below the cluster's folder."""
    for data in sorted(cluster.folder.glob("*/data")):
        folder = data.parent
        Instance(programs=cluster.programs, name=folder.name, folder=folder, port=0, password=cluster.password).stop()


def stop_below(folder: Path) -> None:
    """Kill every server that has its data in a folder or below it: of clusters, and of restores."""
    for lock in folder.glob("**/data/postmaster.pid"):
        with contextlib.suppress(PostgresError):
            instance.kill_in(lock.parent)
