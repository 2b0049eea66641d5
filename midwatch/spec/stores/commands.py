"""Stores of kind `commands`: any store, by the site's own commands."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from midwatch.spec.base import Strict
from midwatch.spec.stores.base import Command, Store


class Fault(StrEnum):
    """What a drill can do to it."""

    COMMANDS = "commands"


class Commands(Strict):
    """Any store, by commands that exit 0 for yes."""

    inject: Command
    """Does the fault."""
    is_effective: Command
    """Exits 0 once the fault is seen in what the store does."""
    revert: Command | None = None
    """Undoes what `inject` left, after a drill."""
    check: Command
    """Exits 0 while the store is well; the recoverer asks it again and again."""
    fence: Command | None = None
    """Makes sure that what failed cannot acknowledge any more."""
    recover: Command
    """Brings the store back and sends clients there."""
    observe: Command
    """Runs on: takes a row a line on standard input, and answers each with a line once it is durable."""
    read: Command
    """Writes every row that is there to standard output, a line each."""
    integrity: Command
    """Exits 0 when the store is whole; asked after a recovery."""
    allowed: Command
    """Exits 0 when drills may hurt the store."""


class CommandsStore(Store):
    """A store of kind `commands`."""

    kind: ClassVar[str] = "commands"
    faults: ClassVar[type[StrEnum]] = Fault
    has_cluster_lease: ClassVar[bool] = True

    commands: Commands

    @property
    def is_always_looked_at(self) -> bool:
        """Only drills run its commands."""
        return False
