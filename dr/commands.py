"""Any store, by the commands that the platform file names: recovery, fault and drill."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.faults import Fault
from dr import ledger
from dr.guard import Health
from dr.scene import Injury, NotReadyError
from dr.verdict import Check
from midwatch import modules
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec

STEP_SECONDS = 3600.0
CHECK_SECONDS = 30.0


class CommandError(MidwatchError):
    """A command of the platform file failed."""


def run(words: Sequence[str], *, seconds: float = STEP_SECONDS) -> str:
    """Standard output of a command; CommandError when it does not end with 0 in time."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    except OSError as error:
        raise CommandError(f"{words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(words)} took longer than {seconds:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise CommandError(f"{' '.join(words)} ended with code {done.returncode}: {said[-1]}")
    return done.stdout.strip()


def says_yes(words: Sequence[str], *, seconds: float = CHECK_SECONDS) -> bool:
    """Whether a command ends with 0."""
    try:
        run(words, seconds=seconds)
    except CommandError:
        return False
    return True


@dataclass(kw_only=True)
class CommandsRecovery:
    """Implements `guard.Recovery`."""

    commands: spec.Commands
    timeout: float

    def check(self) -> Health:
        """By `check`."""
        try:
            run(self.commands.check, seconds=self.timeout)
        except CommandError as error:
            return Health(good=False, why=str(error))
        return Health(good=True)

    def plan(self) -> str:
        """What `recover` does."""
        return " ".join(self.commands.recover)

    def fence(self, term: int) -> str:  # noqa: ARG002 - the site's own fence has no terms
        """By `fence`, where there is one."""
        return run(self.commands.fence) or "done" if self.commands.fence else "nothing to fence"

    def recover(self) -> str:
        """By `recover`."""
        return run(self.commands.recover) or "done"

    def reroute(self, term: int) -> str:  # noqa: ARG002 - part of `recover`
        """`recover` has done it."""
        return "by the recovery's own command"

    def rebuild(self) -> str | None:
        """`recover` has done it."""
        return "by the recovery's own command"

    def requested(self) -> str | None:
        """Nothing can be asked for."""
        return None

    def switch(self, request: str, term: int) -> str:  # noqa: ARG002 - part of the protocol
        """Never asked for."""
        raise CommandError("no switchover is known")


@dataclass(frozen=True, kw_only=True)
class CommandFault(Fault):
    """The user's own fault."""

    injects: tuple[str, ...]
    effective: tuple[str, ...]
    reverts: tuple[str, ...] = ()

    def inject(self) -> None:
        """By `inject`."""
        run(list(self.injects))

    def is_effective(self) -> bool:
        """By `is_effective`."""
        return says_yes(list(self.effective))

    def revert(self) -> None:
        """By `revert`, where there is one."""
        if self.reverts:
            run(list(self.reverts))

    def is_reverted(self) -> bool:
        """The command said so."""
        return True

    def describe(self) -> str:
        """In a line."""
        return " ".join(self.injects)


class CommandsScene:
    """Implements `scene.Scene` by commands."""

    def __init__(self, store: spec.Store, platform_file: Path, folder: Path) -> None:
        if store.commands is None:
            raise AssertionError("the caller looked at the store's kind")
        self._store, self._commands, self._file, self._folder = store, store.commands, platform_file, folder
        self._events = Path()

    def start(self) -> None:
        """Ask whether drills are allowed, and whether the store is well."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not says_yes(self._commands.allowed):
            raise NotReadyError(f"{self._store.name} does not allow drills: {' '.join(self._commands.allowed)} says no")
        if not says_yes(self._commands.check):
            raise NotReadyError(f"{self._store.name} is not well: {' '.join(self._commands.check)} says no")

    def target(self) -> dict[str, Any]:
        """Rows through `observe` and `read`."""
        return {"kind": "commands", "observe": self._commands.observe, "read": self._commands.read, "timeout": 5.0}

    def guard(self, events: Path) -> Sequence[str] | None:
        """`midwatch dr guard` by the same commands."""
        self._events = events
        return [
            *modules.command("midwatch"),
            "dr",
            "guard",
            "-f",
            str(self._file),
            "--store",
            self._store.name,
            "--cluster",
            str(self._folder),
            "--events",
            str(events),
            "--take-over",
        ]

    def watched(self, events: Path) -> Path | None:
        """Where they were asked for."""
        return events

    def prepare(self, warmup: float) -> float:
        """As asked."""
        return warmup

    def injury(self) -> Injury:
        """The user's."""
        given = self._commands
        fault = CommandFault(
            target=self._store.name,
            injects=tuple(given.inject),
            effective=tuple(given.is_effective),
            reverts=tuple(given.revert or ()),
        )
        return Injury(fault=fault, fails_over=False)

    def is_redundant(self) -> bool | None:
        """Whether the recoverer is done."""
        return any(event["k"] == "redundant" for event in ledger.read(self._events))

    def checks(self) -> list[Check]:
        """By `integrity`."""
        try:
            said = run(self._commands.integrity)
        except CommandError as error:
            return [Check(name="integrity", holds=False, detail=str(error))]
        return [Check(name="integrity", holds=True, detail=said[:200])]

    def versions(self) -> dict[str, str]:
        """Unknown."""
        return {}

    def stop(self) -> None:
        """Nothing was started."""
