"""The recovery of a store by commands."""

from __future__ import annotations

from dataclasses import dataclass

from dr.recoverer.recovery import Health, Recovery
from dr.stores.site_commands import CommandError, run
from midwatch.spec.stores.commands import Commands


@dataclass(kw_only=True)
class CommandsRecovery(Recovery):
    """`recover` brings the store back and sends clients there, all at once."""

    commands: Commands
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
