"""Drills of a store by commands."""

from __future__ import annotations

from dr.drill.client import ClientConfig
from dr.drill.verdict import Check
from dr.stores.kind import DrillSite
from dr.stores.setup import NotReadyError, PlannedFault, RecoveredSetup
from dr.stores.site_commands import CommandError, CommandFault, run, says_yes
from midwatch.spec.stores.commands import CommandsStore

ACKNOWLEDGE_SECONDS = 5.0


class CommandsSetup(RecoveredSetup):
    """Everything is the site's own."""

    take_over = True

    def __init__(self, site: DrillSite[CommandsStore]) -> None:
        super().__init__(site.file, site.store.name)
        self._store, self._commands = site.store, site.store.commands

    def start(self) -> None:
        """Ask whether drills are allowed, and whether the store is well."""
        if not says_yes(self._commands.allowed):
            raise NotReadyError(f"{self._store.name} does not allow drills: {' '.join(self._commands.allowed)} says no")
        if not says_yes(self._commands.check):
            raise NotReadyError(f"{self._store.name} is not well: {' '.join(self._commands.check)} says no")

    def client(self) -> ClientConfig:
        """Rows through `observe` and `read`."""
        words = {"observe": self._commands.observe, "read": self._commands.read}
        return ClientConfig(kind=self._store.kind, arguments=words | {"timeout": ACKNOWLEDGE_SECONDS})

    def fault(self) -> PlannedFault:
        """The site's own."""
        given = self._commands
        fault = CommandFault(
            target=self._store.name,
            injects=tuple(given.inject),
            effective=tuple(given.is_effective),
            reverts=tuple(given.revert or ()),
        )
        return PlannedFault(fault=fault, fails_over=False)

    def checks(self) -> list[Check]:
        """By `integrity`."""
        try:
            said = run(self._commands.integrity)
        except CommandError as error:
            return [Check(name="integrity", holds=False, detail=str(error))]
        return [Check(name="integrity", holds=True, detail=said)]

    def stop(self) -> None:
        """Nothing was started."""
