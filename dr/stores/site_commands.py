"""Commands that the site gives for its own stores: run to their end, asked for a yes, or as a fault."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.faults import Fault
from midwatch.errors import MidwatchError

STEP_SECONDS = 3600.0
CHECK_SECONDS = 30.0


class CommandError(MidwatchError):
    """A command of the platform file failed."""


def run(words: Sequence[str], *, seconds: float = STEP_SECONDS, environment: Mapping[str, str] | None = None) -> str:
    """Standard output of a command; CommandError when it does not end with 0 in time.

    `environment` is what the command is told beside the environment of ours.
    """
    told = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False, env=told)
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


@dataclass(frozen=True, kw_only=True)
class CommandFault(Fault):
    """The site's own fault."""

    injects: tuple[str, ...]
    effective: tuple[str, ...]
    reverts: tuple[str, ...] = ()

    def inject(self) -> None:
        """By its command."""
        run(self.injects)

    def is_effective(self) -> bool:
        """Whether the command for it says so."""
        return says_yes(self.effective)

    def revert(self) -> None:
        """By its command, where there is one."""
        if self.reverts:
            run(self.reverts)

    def is_reverted(self) -> bool:
        """The command said so."""
        return True

    def describe(self) -> str:
        """In a line."""
        return " ".join(self.injects)
