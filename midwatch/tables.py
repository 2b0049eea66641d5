"""Tables on the terminal and in a pipe: as wide as the terminal, and in a pipe wide enough for every name.

A name that is broken in the middle cannot be searched for or copied. Where there is no terminal, `COLUMNS` says how
wide a table should be; without it each row is one line.
"""

from __future__ import annotations

import os

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_UNBOUNDED = 10_000


def show(table: Table, *, console: Console | None = None) -> None:
    """Print a table on standard output, or on a console of `make_console`."""
    console = console or make_console()
    if not console.is_terminal:
        _keep_words_whole(table, console)
    console.print(table, crop=console.is_terminal)


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or where there is none as `COLUMNS` says."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBOUNDED
    return console


def _keep_words_whole(table: Table, console: Console) -> None:
    """Have no column narrower than its longest word, also where the table then is wider than the console."""
    options = console.options.update(width=_UNBOUNDED)
    for column in table.columns:
        cells = (column.header, *column.cells)
        column.min_width = max(Measurement.get(console, options, cell).minimum for cell in cells)
