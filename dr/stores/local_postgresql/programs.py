"""The installed PostgreSQL: its programs, its major version, and the user its servers run as."""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dr import children
from midwatch.errors import MidwatchError, MissingProgramError

NEEDED = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_verifybackup", "pg_controldata", "pg_waldump")

DEBIAN = Path("/usr/lib/postgresql")
"""Debian keeps the server's programs below here, by major version, and off PATH."""

OLDEST = 13
"""pg_verifybackup came with PostgreSQL 13."""

USERS = ("postgres", "nobody")
"""Who runs the servers when we are root, which PostgreSQL refuses: the first there is."""

RUN_SECONDS = 3600.0
"""A base backup of a large store takes long; a program that hangs ends all the same."""


class PostgresError(MidwatchError):
    """PostgreSQL cannot be used as asked, or one of its programs failed."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user of this machine."""

    name: str
    user: int
    group: int


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the programs are, their version such as `15.18`, and whom they run as (None: as ourselves)."""

    folder: Path
    version: str
    account: Account | None

    @property
    def major(self) -> int:
        """Major version: data directories of one are of no use to another."""
        return int(self.version.partition(".")[0])

    def path(self, name: str) -> str:
        """A program's path."""
        return str(self.folder / name)

    def options(self, *, dies_with_us: bool = True) -> dict[str, Any]:
        """Options of `subprocess.Popen`: the account, and a fast shutdown of the server when its parent is gone.

        The kernel sends SIGINT then, which PostgreSQL takes as a fast shutdown: even after `kill -9` of the parent the
        data directory is left clean.
        """
        given: dict[str, Any] = {"start_new_session": True}
        if self.account:
            given |= {"user": self.account.user, "group": self.account.group, "extra_groups": []}
        if dies_with_us and sys.platform == "linux":
            given["preexec_fn"] = children.with_parent(signal.SIGINT)
        return given

    def run(self, name: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> str:
        """Standard output of a program that has to succeed; PostgresError with its last line when it does not."""
        words = [self.path(name), *map(str, arguments)]
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
                cwd="/",
                env={**os.environ, "LC_ALL": "C", **(environment or {})},
                **self.options(),
            )
        except subprocess.TimeoutExpired as error:
            raise PostgresError(f"{name} took longer than {RUN_SECONDS:g} s") from error
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise PostgresError(f"{name} ended with code {done.returncode}: {'; '.join(lines[-3:])}")
        output: str = done.stdout
        return output

    def give(self, path: Path) -> None:
        """Make the servers' user the owner of a file or folder."""
        if self.account:
            os.chown(path, self.account.user, self.account.group)


def find(major: int | None = None) -> Programs:
    """The installed programs of a major version, the newest without one.

    Raises MissingProgramError when there are none, PostgresError when there are only those of other versions or no
    user can run a server.
    """
    installed = {programs.major: programs for folder in _folders() if (programs := _in(folder))}
    if not installed:
        raise MissingProgramError(
            "PostgreSQL's server", "install the Debian package postgresql (apt-get install postgresql)"
        )
    wanted = max(installed) if major is None else major
    if wanted not in installed:
        have = ", ".join(map(str, sorted(installed)))
        raise PostgresError(
            f"PostgreSQL {wanted} is not installed, only {have}; install postgresql-{wanted}, "
            f"or set version: {max(installed)}"
        )
    if wanted < OLDEST:
        raise PostgresError(f"PostgreSQL {wanted} cannot verify a backup; {OLDEST} is the oldest that can be drilled")
    return installed[wanted]


def _folders() -> list[Path]:
    on_path = shutil.which("postgres")
    beside = [Path(on_path).resolve().parent] if on_path else []
    return [*beside, *sorted(DEBIAN.glob("*/bin"))]


@functools.cache
def _in(folder: Path) -> Programs | None:
    if not all((folder / name).is_file() for name in NEEDED):
        return None
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+(?:\.\d+)?)", said)
    return Programs(folder=folder, version=match[1], account=account()) if match else None


def account() -> Account | None:
    """Whom servers run as: ourselves (None), or another user when we are root; PostgresError when there is none."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, user=entry.pw_uid, group=entry.pw_gid)
    raise PostgresError("PostgreSQL does not run as root and there is no user postgres; run as another user")


def ensure_reachable(folder: Path, programs: Programs) -> None:
    """PostgresError when the servers' user cannot reach a folder, naming the folder that is closed to it."""
    if programs.account is None:
        return
    for closed in reversed([folder, *folder.parents]):
        status = closed.stat()
        owner = status.st_uid == programs.account.user and status.st_mode & 0o100
        if not (status.st_mode & 0o001 or owner):
            raise PostgresError(
                f"{closed} is closed to the user {programs.account.name}, who runs PostgreSQL because root may not; "
                "give a folder that everybody may pass through"
            )
