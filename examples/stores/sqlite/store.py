"""A SQLite file with copies, as a store of kind `commands`: every command of platform.yaml is a word of this script.

`python3 store.py keep-copying` makes the file, with drills allowed, and copies it every second. What was written since
the last copy is lost with the file: that is the RPO that a drill measures.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

HOME = Path(__file__).resolve().parent
LIVE, COPY = HOME / "live.db", HOME / "copy.db"
ALLOWED = HOME / "drills-allowed"


def opened(path: Path = LIVE) -> closing[sqlite3.Connection]:
    """The database, which must be there: one that is gone must not be made anew, empty, by who writes to it."""
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=2.0, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    return closing(connection)


def keep_copying() -> None:
    """Copy it every second by SQLite's own backup, which sees a whole transaction or none."""
    if not LIVE.exists():
        with closing(sqlite3.connect(LIVE)) as made:
            made.execute("CREATE TABLE rows (row TEXT NOT NULL)")
    ALLOWED.touch()
    while True:
        fresh = COPY.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        try:
            with opened() as source, closing(sqlite3.connect(fresh)) as target:
                source.backup(target)
            fresh.rename(COPY)
        except sqlite3.Error as error:
            print(f"not copied: {error}", file=sys.stderr)
        time.sleep(1.0)


def observe() -> None:
    """Answer each row once it is committed and synced, on a connection of its own: the file may be another by now."""
    for line in sys.stdin:
        with opened() as database:
            database.execute("INSERT INTO rows VALUES (?)", [line.strip()])
        print("kept", flush=True)


def recover() -> None:
    """Put the newest copy in place, checked before and synced."""
    ensure_whole(COPY)
    fresh = LIVE.with_suffix(".restored")
    shutil.copyfile(COPY, fresh)
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    LIVE.with_name("live.db-journal").unlink(missing_ok=True)  # of the file that is lost: it must not be replayed
    fresh.rename(LIVE)
    print(f"the copy of {time.time() - COPY.stat().st_mtime:.1f} s ago")


def ensure_whole(path: Path) -> None:
    """End with 1 unless every page and index is as it should be."""
    try:
        with opened(path) as database:
            said = database.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        sys.exit(f"{path.name}: {said}")


def main(word: str) -> None:
    """Do one word."""
    if word == "keep-copying":
        keep_copying()
    elif word == "inject":
        LIVE.unlink()
    elif word == "is_effective":
        sys.exit(LIVE.exists())
    elif word == "check":
        with opened() as database:
            database.execute("SELECT count(*) FROM rows")
    elif word == "recover":
        recover()
    elif word == "observe":
        observe()
    elif word == "read":
        with opened() as database:
            for (row,) in database.execute("SELECT row FROM rows"):
                print(row)
    elif word == "integrity":
        ensure_whole(LIVE)
        print("PRAGMA integrity_check: ok")
    elif word == "allowed":
        sys.exit(not ALLOWED.exists())
    else:
        sys.exit(f"{word} is no word of this script")


if __name__ == "__main__":
    main(*sys.argv[1:])
