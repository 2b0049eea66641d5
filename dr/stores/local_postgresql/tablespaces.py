"""Tablespaces: directories outside the data directory, which a copy of a server must not share with it.

A backup and a standby get directories of their own, by pg_basebackup's mapping; a restore copies those of the backup. A
tablespace that was made behind the backup cannot be mapped: the replay would make it where the other server has it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from dr.postgres import session
from dr.stores.local_postgresql.archive import Archive, Segment
from dr.stores.local_postgresql.instance import Instance
from dr.stores.local_postgresql.programs import PostgresError, Programs

FOLDER = "tablespaces"
"""Beside the data directories of servers, and beside the backups."""
MADE = re.compile(r'desc: CREATE \d+ "(?P<path>/[^"]*)"')
"""How pg_waldump shows that a tablespace was made."""
WALDUMP_SECONDS = 600.0


def mapping(source: Instance, folder: Path) -> list[str]:
    """Options of pg_basebackup that put every tablespace of a server into a folder."""
    rows = session.ask(
        source.conninfo(),
        "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%'",
        timeout=10.0,
    )
    return [f"--tablespace-mapping={_escaped(str(at))}={_escaped(str(folder / str(oid)))}" for oid, at in rows]


def _escaped(path: str) -> str:
    return path.replace("=", "\\=")


def copy_into(target: Instance, owned: Path) -> None:
    """Give a data directory that was copied from a backup tablespaces of its own.

    PostgresError when one is not in `owned`, the backup's folder of tablespaces: it may be a running server's.
    """
    links = [path for path in (target.data / "pg_tblspc").glob("*") if path.is_symlink()]
    home = free(target.folder)
    for link in links:
        source = link.readlink()
        if not source.is_relative_to(owned) or not source.is_dir():
            raise PostgresError(f"the backup's tablespace {link.name} is at {source}, which is not part of the backup")
        shutil.copytree(source, home / link.name, symlinks=True)
        link.unlink()
        link.symlink_to(home / link.name)
    for path in [home, *home.rglob("*")] if links else ():
        target.programs.give(path)


def free(folder: Path) -> Path:
    """A folder that no data directory of before uses."""
    number = 1
    while (folder / f"{FOLDER}-{number}").exists():
        number += 1
    return folder / f"{FOLDER}-{number}"


def size(folder: Path) -> int:
    """Bytes of a backup's tablespaces."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ensure_none_made(archive: Archive, since: int, programs: Programs) -> None:
    """PostgresError when the archive makes a tablespace behind a position."""
    for segments in _runs(archive, since):
        for path in MADE.findall(_dumped(archive.folder, segments[0], segments[-1], programs)):
            raise PostgresError(
                f"a tablespace was made at {path} after the backup: a replay would write into the directory of the "
                "server that has it; take a new backup"
            )


def _runs(archive: Archive, since: int) -> list[list[Segment]]:
    """Segments from a position on that follow each other on a timeline: what pg_waldump can read at a time."""
    runs: list[list[Segment]] = []
    for segment in archive.segments(archive.timelines(), since=since):
        last = runs[-1][-1] if runs else None
        if last and (last.timeline, last.number + 1) == (segment.timeline, segment.number):
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return runs


def _dumped(folder: Path, first: Segment, last: Segment, programs: Programs) -> str:
    """Records of tablespaces. That pg_waldump fails means nothing: it does where the last record goes on."""
    words = [programs.path("pg_waldump"), "--rmgr=Tablespace", f"--path={folder}", first.name, last.name]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=WALDUMP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PostgresError(f"pg_waldump took longer than {WALDUMP_SECONDS:g} s") from error
    return done.stdout
