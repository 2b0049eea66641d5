"""Findings for people on a terminal."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from monitors.canary.times import moment
from monitors.fairness import small_cells
from monitors.fairness.fetch import Window
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Pair, Verdict

_COLUMNS = (
    "model",
    "version",
    "attribute",
    "rate",
    "limit",
    "verdict",
    "worst pair",
    "interval",
    "smallest cell",
    "why",
)
_STYLES = {Verdict.FAIR: "green", Verdict.UNFAIR: "bold red", Verdict.UNKNOWN: "yellow"}


def show(windows: Sequence[tuple[Window, Sequence[Finding]]]) -> None:
    """Print a table for each window."""
    from rich.table import Table
    from rich.text import Text

    from midwatch import tables

    console = tables.make_console()
    for window, findings in (one for one in windows if one[1]):
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in _COLUMNS:
            table.add_column(name)
        people = small_cells.hidden_together((one.people, one.judgement.events) for one in findings)
        for one in findings:
            said, hidden = one.judgement, people[one.people]
            word = f"{said.verdict.value}, worse lately" if said.became_unfair else said.verdict.value
            style = "bold red" if said.became_unfair else _STYLES[said.verdict]
            names = (one.model, one.version, one.promise.compared, one.rate, _limit(one))
            table.add_row(
                *names, Text(word, style=style), *_worst(one, said.worst, hidden), _smallest(one, hidden), one.reason
            )
        tables.show(table, console=console)
        console.print(f"{moment(window.start)} to {moment(window.end)}", style="dim")


def _smallest(one: Finding, hidden: Container[str]) -> str:
    cell = one.judgement.smallest
    if cell is None:
        return "-"
    where = f" within {cell.stratum}" if cell.stratum else ""
    is_hidden = cell.group in hidden or 0 < cell.events < small_cells.LEAST
    return f"{cell.group}{where}: {f'fewer than {small_cells.LEAST}' if is_hidden else f'{cell.events:,}'}"


def _scale(one: Finding) -> tuple[float, str]:
    """What a rate is multiplied with to be read, and what it is in then: points, or the unit of what is predicted."""
    if one.promise.measure == "mean_absolute_error_parity" and one.promise.error_bound is not None:
        return one.promise.error_bound, ""
    return 100.0, " points"


def _limit(one: Finding) -> str:
    if one.promise.difference is not None:
        scale, unit = _scale(one)
        return f"{float(one.promise.difference) * scale:g}{unit}"
    return f"{float(one.promise.ratio or 0):.0%} of the highest"


def _worst(one: Finding, pair: Pair | None, hidden: Container[str]) -> tuple[str, str]:
    if pair is None:
        return "-", "-"
    where = f" within {pair.stratum}" if pair.stratum else ""
    if pair.fewest < small_cells.LEAST:
        return f"{pair.above} to {pair.below}{where}: too few to show", "-"
    is_hidden = small_cells.gives_away(pair.fewest, (pair.above, pair.below), hidden)
    if one.promise.difference is not None:
        scale, unit = _scale(one)
        low, high = (end * scale for end in pair.difference_interval)
        shown = f"{pair.difference * scale:+.{0 if is_hidden else 1}f}{unit}"
        return f"{pair.above} {shown} to {pair.below}{where}", "-" if is_hidden else f"{low:+.1f} to {high:+.1f}"
    if math.isnan(pair.ratio):
        return f"{pair.below} and {pair.above} both have 0{where}", "-"
    low, high = pair.ratio_interval
    ends = "-" if is_hidden else f"{low:.0%} to {high:.0%}"
    return f"{pair.below} has {pair.ratio:.0%} of {pair.above}{where}", ends
