"""Stores of kind `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dr.drill.client import Client
from dr.recoverer.recovery import Recovery
from dr.stores.commands.client import CommandsClient
from dr.stores.commands.recovery import CommandsRecovery
from dr.stores.commands.setup import CommandsSetup
from dr.stores.kind import DrillSite, Kind, Site
from dr.stores.setup import DrillSetup
from midwatch.spec.stores.commands import CommandsStore

COMMAND_SECONDS = 5.0
"""A command starts a program; it may take longer than a check of a database."""


class CommandsKind(Kind[CommandsStore]):
    """Any store, by the site's commands."""

    name = "commands"

    def setup(self, site: DrillSite[CommandsStore]) -> DrillSetup:
        """By the commands."""
        return CommandsSetup(site)

    def client(self, arguments: dict[str, Any], run: str) -> Client:
        """`observe` and `read`."""
        return CommandsClient(run=run, **arguments)

    def recovery(self, site: Site[CommandsStore]) -> tuple[Recovery, Path]:
        """By the commands."""
        timeout = max(site.promised.guard.timeout, COMMAND_SECONDS)
        return CommandsRecovery(commands=site.store.commands, timeout=timeout), site.state_folder
