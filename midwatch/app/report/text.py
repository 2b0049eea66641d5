"""A report in a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from midwatch import tables, untrusted_text
from midwatch.app.report import fairness, words
from midwatch.app.report.fairness import FairnessReport
from midwatch.app.report.page import month_of
from midwatch.app.report.records import SloReport

WIDTH = 100


def show(report: SloReport) -> None:
    """Print it on standard output."""
    _put(report, tables.make_console())


def plain(report: SloReport) -> str:
    """It as text."""
    stream = io.StringIO()
    _put(report, _plain(stream))
    return untrusted_text.escaped(stream.getvalue())


def show_fairness(report: FairnessReport) -> None:
    """Print a month of fairness on standard output."""
    _put_fairness(report, tables.make_console())


def plain_fairness(report: FairnessReport) -> str:
    """It as text."""
    stream = io.StringIO()
    _put_fairness(report, _plain(stream))
    return untrusted_text.escaped(stream.getvalue())


def _plain(stream: io.StringIO) -> Console:
    return Console(file=stream, width=WIDTH, highlight=False, markup=False, emoji=False)


def _put_fairness(report: FairnessReport, console: Console) -> None:
    console.print(f"{report.platform}, {report.month.name}{'' if report.month.is_over else ' so far'}", style="bold")
    console.print(report.meaning)
    if report.rates:
        console.print()
        _table(console, [name.lower() for name in fairness.HEADER], fairness.rows(report))
    for model, promise in report.silent:
        console.print(f"- {model.name}: {promise.title}: not judged in the whole month")
    if report.names.why:
        console.print(report.names.why, style="dim")


def _put(report: SloReport, console: Console) -> None:
    now, month = report.now, month_of(report)
    console.print(
        f"{report.platform or report.prometheus}, {now.month}{'' if now.is_over else ' so far'}", style="bold"
    )
    console.print(words.meaning(now))
    console.print()
    rows = [
        [
            one.key,
            one.owner,
            words.promised(one),
            words.attained(one),
            words.spent(one),
            words.before(report, one),
            words.verdict(one),
        ]
        for one in words.chosen(now.promises)
    ]
    header = ["promise", "owner", "promised", "attained", "spent", "before", ""]
    _table(console, header, rows)
    if now.harms:
        console.print("\nwhat spent the budgets", style="bold")
        _table(
            console,
            ["promise", "when", "spent", "cause, or meanwhile", "told"],
            [words.harm(one, month) for one in now.harms[:5]],
        )
    console.print("\nalerts", style="bold")
    owners = [
        [
            one.owner or "nobody",
            *(words.of_alerts(now, number) for number in (one.pages, one.at_night, one.tickets, one.held)),
            words.share(one.acted),
        ]
        for one in now.owners
    ]
    _table(console, ["owner", "pages", "at night", "tickets", "held back", "acted on"], owners)
    console.print(f"precision: {words.share(now.precision)}; recall: {words.share(now.recall)}")
    for line in (*report.suggestions, *words.covered(now, month.zone)):
        console.print(f"- {line}")
    console.print(f"drills and experiments: {words.runs(now)}")


def _table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    tables.show(table, console=console)
