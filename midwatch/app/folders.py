"""The commands of all folders as one typer group: each is imported when it is asked for, and completed by the shell."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from midwatch.errors import OUTPUT_CLOSED, MidwatchError

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

    def invoke(self, ctx: Context) -> Any:
        """Run the command; typer would end with 1, which is a verdict, where its input or output ends early."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            sys.stdout = io.StringIO()  # what is left is written there at the end
            raise MidwatchError(OUTPUT_CLOSED) from error
        except EOFError as error:
            raise MidwatchError("standard input ended before it was read") from error

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002 - typer's signature
        """A command, imported now; None when there is none of this name."""
        if cmd_name not in self._table:
            return None
        app = import_module(self._table[cmd_name][0]).app
        for info in app.registered_commands:
            info.cls = OverlayCommand
        return typer.main.get_command(app)


class OverlayCommand(TyperCommand):
    """A command that takes every platform file it is given; typer would drop all but the last in silence."""

    def make_parser(self, ctx: Context) -> Any:
        """The parser, which keeps all values of `--file`."""
        parser = super().make_parser(ctx)
        for option in {**parser._long_opt, **parser._short_opt}.values():
            if "--file" in option.obj.opts:
                option.action = "append"
        return parser
