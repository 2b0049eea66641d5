"""The commands of all folders as one typer group: each is imported when it is asked for, and completed by the shell."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click import Command, Context


class Folders(TyperGroup):
    """The group of the top-level commands, of a table from name to module and help."""

    def __init__(self, table: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(name="midwatch", params=[*typer.main.get_install_completion_arguments()])
        self._table = table

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - typer's signature
        """Names of the commands; none of them is imported."""
        return list(self._table)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002 - typer's signature
        """A command, imported now; None when there is none of this name."""
        if cmd_name not in self._table:
            return None
        app = import_module(self._table[cmd_name][0]).app
        for info in app.registered_commands:
            info.cls = OnceCommand
        return typer.main.get_command(app)


class OnceCommand(TyperCommand):
    """A command that refuses a second value of an option that takes one; click would drop the first in silence."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse as click does, after the check."""
        if not ctx.resilient_parsing:
            self._ensure_once(ctx, args)
        return super().parse_args(ctx, args)

    def _ensure_once(self, ctx: Context, args: list[str]) -> None:
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.params:
            takes_one = parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
            if takes_one and isinstance(values.get(parameter.name or ""), str) and given.count(parameter) > 1:
                name = max(parameter.opts, key=len)
                ctx.fail(f"{name} is given {given.count(parameter)} times; give it once{_hint(name)}.")


def _hint(name: str) -> str:
    return ", and name a folder to have its files merged" if name == "--file" else ""
