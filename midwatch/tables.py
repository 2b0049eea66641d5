"""Tables on the terminal and in a pipe: as wide as the terminal, and in a pipe wide enough for every name.

A name that is broken in the middle cannot be searched for or copied. Where there is no terminal, `COLUMNS` says how
wide a table should be; without it each row is one line. Text is never read as rich's markup: it may be anybody's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from midwatch import untrusted_text

_UNBOUNDED = 10_000


class _Console(Console):
    """A console whose text cannot steer the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a string, escaped before it is measured."""
        return super().render_str(untrusted_text.escaped(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of what is shown; those of control are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=untrusted_text.escaped(segment.text))


def show(table: Table, *, console: Console | None = None) -> None:
    """Print a table on standard output, or on a console of `make_console`."""
    console = console or make_console()
    if not console.is_terminal:
        _keep_words_whole(table, console)
    console.print(table, crop=console.is_terminal)


def make_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or where there is none as `COLUMNS` says."""
    stream = untrusted_text.beneath(sys.stderr if stderr else sys.stdout)
    console = _Console(file=stream, stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBOUNDED
    return console


def _keep_words_whole(table: Table, console: Console) -> None:
    """Have no column narrower than its longest word, also where the table then is wider than the console."""
    options = console.options.update(width=_UNBOUNDED)
    for column in table.columns:
        cells = (column.header, *column.cells)
        column.min_width = max(Measurement.get(console, options, cell).minimum for cell in cells)
