"""Base backups with a manifest, the archive of WAL behind them, and restoring both to a point in time.

A backup is a folder that `pg_basebackup` made; it counts as good when `pg_verifybackup` finds every file as the
manifest says. That a *point* can be restored is known only once it was: `restore` is what the drills and the continuous
verification run.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from dr.postgres import session
from dr.stores.local_postgresql import tablespaces
from dr.stores.local_postgresql.archive import MANIFEST, Archive, begin_of, position
from dr.stores.local_postgresql.instance import Instance
from dr.stores.local_postgresql.programs import PostgresError, Programs
from midwatch import files
from midwatch.errors import MidwatchError

FAILED = "failed.json"
"""A file beside the backups that says why the newest could not be made; gone with the next that can."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A base backup: its folder, when it was finished (seconds since the epoch), and its size in bytes."""

    folder: Path
    finished: float
    size: int

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.folder.name


def take(source: Instance, backups: Path) -> Backup:
    """Take a base backup from a running server; a half of one has another name until it is whole.

    PostgresError when it cannot be made, which is noted beside the backups until one can.
    """
    backups.mkdir(parents=True, exist_ok=True)
    source.programs.give(backups)
    number = 1 + max((int(path.name.rpartition("-")[2]) for path in backups.glob("base-*")), default=0)
    final = backups / f"base-{number:04d}"
    partial = backups / f".{final.name}.partial"
    for left in (partial, tablespaces_of(final)):
        shutil.rmtree(left, ignore_errors=True)
    words = ["--pgdata", str(partial), "--checkpoint", "fast", "--wal-method", "none"]
    words += ["--manifest-checksums", "SHA256", "--no-sync"]
    try:
        source.run("pg_basebackup", *words, *tablespaces.mapping(source, tablespaces_of(final)))
    except MidwatchError as error:
        files.replace(backups / FAILED, json.dumps({"at": time.time(), "why": str(error)}).encode())
        raise
    partial.rename(final)
    (backups / FAILED).unlink(missing_ok=True)
    return describe(final)


def tablespaces_of(folder: Path) -> Path:
    """Where the tablespaces of a backup are."""
    return folder.parent / tablespaces.FOLDER / folder.name


def failure(backups: Path) -> str | None:
    """Why the newest backup could not be made; None when it could."""
    try:
        return f"the newest backup could not be made: {json.loads((backups / FAILED).read_text())['why']}"
    except (OSError, ValueError, KeyError):
        return None


def describe(folder: Path) -> Backup:
    """What is known of a backup without reading it."""
    manifest = folder / MANIFEST
    finished = manifest.stat().st_mtime if manifest.exists() else folder.stat().st_mtime
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    size += tablespaces.size(tablespaces_of(folder))
    return Backup(folder=folder, finished=finished, size=size)


def newest_first(backups: Path) -> list[Backup]:
    """Finished backups, good or not."""
    known = [describe(folder) for folder in backups.glob("base-*")]
    return sorted(known, key=lambda one: one.name, reverse=True)


def flaw(backup: Backup, programs: Programs) -> str | None:
    """What is wrong with a backup by its own manifest; None when every file is as it was."""
    if not (backup.folder / MANIFEST).exists():
        return f"{backup.name} has no manifest"
    try:
        programs.run("pg_verifybackup", "--no-parse-wal", "--quiet", "--exit-on-error", backup.folder)
    except PostgresError as error:
        return f"{backup.name}: {error}"
    return None


def _too_new(backup: Backup, until: int | None) -> str | None:
    if until is None:
        return None
    (*_, last) = json.loads((backup.folder / MANIFEST).read_text())["WAL-Ranges"]
    end = last["End-LSN"]
    return f"{backup.name} ends only at {end}" if position(end) > until else None


def newest_good(backups: Path, programs: Programs, *, until: int | None = None) -> tuple[Backup, list[str]]:
    """The newest backup that verifies, and what was wrong with those after it; PostgresError when none does.

    With `until`, a position in bytes, one is wrong that is consistent only beyond it.
    """
    flaws = [failed] if (failed := failure(backups)) else []
    for backup in newest_first(backups):
        wrong = flaw(backup, programs) or _too_new(backup, until)
        if wrong is None:
            return backup, flaws
        flaws.append(wrong)
    raise PostgresError("no backup can be used: " + ("; ".join(flaws) or f"there is none in {backups}"))


def restore(backup: Backup, target: Instance, archive: Path, *, until_lsn: str | None = None) -> None:
    """Lay a backup into an empty instance and set it to replay the archive, to its end or just short of a position.

    `until_lsn` pauses the replay before the record at that position, so that what is there can be looked at; `go_on`
    then makes the instance a primary. Raises PostgresError when the target is not empty, the disk is too small, or a
    tablespace cannot be mapped. The instance is not started.
    """
    if target.data.exists():
        raise PostgresError(f"{target.data} is not empty; a restore goes into an empty target")
    ensure_room(target.folder, backup.size)
    tablespaces.ensure_none_made(Archive(archive), begin_of(backup.folder), target.programs)
    try:
        shutil.copytree(backup.folder, target.data, symlinks=True)
        tablespaces.copy_into(target, tablespaces_of(backup.folder))
    except (OSError, PostgresError) as error:
        shutil.rmtree(target.data, ignore_errors=True)  # a half of one must not be started
        raise PostgresError(f"{backup.name} cannot be laid down: {error}") from error
    (target.data / MANIFEST).unlink(missing_ok=True)
    lines = [f'restore_command = \'cp "{archive}/%f" "%p"\'', "recovery_target_timeline = 'latest'"]
    if until_lsn:
        lines += [f"recovery_target_lsn = '{until_lsn}'", "recovery_target_inclusive = 'off'"]
        lines.append("recovery_target_action = 'pause'")
    with (target.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("primary_conninfo = ''\nprimary_slot_name = ''\nsynchronous_standby_names = ''\n")
        settings.write("\n".join(lines) + "\n")
    (target.data / "standby.signal").unlink(missing_ok=True)
    (target.data / "recovery.signal").touch()
    own(target)


def is_paused(server: Instance) -> bool:
    """Whether the replay has come to its target; SqlError when the server does not say."""
    sql = "SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused()"
    return session.ask(server.conninfo(), sql, timeout=2.0) == [("t",)]


def go_on(server: Instance) -> None:
    """End the replay where it is paused: the server becomes a primary."""
    session.ask(server.conninfo(), "SELECT pg_wal_replay_resume()", timeout=10.0)


def forget_target(server: Instance) -> None:
    """Take the recovery's settings out of a restored primary: a standby made from it would stop there, too."""
    for name in ("recovery_target_lsn", "recovery_target_inclusive", "recovery_target_action"):
        session.ask(server.conninfo(), f"ALTER SYSTEM RESET {name}", timeout=10.0)


def own(target: Instance) -> None:
    """Hand a data directory to the servers' user, closed to everybody else."""
    for path in [target.data, *target.data.rglob("*")]:
        target.programs.give(path)
    target.data.chmod(0o700)


def ensure_room(folder: Path, needed: int) -> None:
    """PostgresError when a file system cannot take so many bytes and a tenth more."""
    free = shutil.disk_usage(folder).free
    if free < needed * 1.1:
        raise PostgresError(f"{folder} has {free / 2**20:.0f} MiB free and {needed * 1.1 / 2**20:.0f} MiB are needed")


def wait_until_archived(archive: Path, segment: str, *, seconds: float) -> None:
    """Wait for a WAL segment in the archive; PostgresError when it does not come."""
    deadline = time.monotonic() + seconds
    while not (archive / segment).exists():
        if time.monotonic() > deadline:
            raise PostgresError(f"{segment} did not reach the archive {archive} within {seconds:g} s")
        time.sleep(0.02)
