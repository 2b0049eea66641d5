"""An incident in a terminal: one line, suspects with what speaks for and against them, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from midwatch import tables
from monitors.incident import words
from monitors.incident.calibration import Calibration
from monitors.incident.records import Incident, Rejected, Suspect

SHOWN_REJECTED = 5


def show(incident: Incident, *, every: bool) -> None:
    """Print an incident; `every` prints all that was rejected, and the runbook."""
    tables.make_console().print(Group(*_parts(incident, every=every)), crop=False)


def _parts(incident: Incident, *, every: bool) -> Iterator[RenderableType]:
    yield Text(f"{incident.alert or 'harm'} of {words.place(incident.scope)}", style="bold")
    yield Text(incident.line)
    yield Text(incident.calibration, style="dim")
    yield Text("")
    for suspect in incident.suspects:
        yield from _suspect(suspect)
    yield from _rejected(incident.rejected, every=every)
    if incident.unanswered:
        yield _title("Could not be asked, so what they know is missing")
        yield from (_line(f"{one.source}: {one.reason}") for one in incident.unanswered)
    if incident.next_look:
        yield _title("Look next")
        yield from (_line(f"{number}. {text}") for number, text in enumerate(incident.next_look, 1))
    if incident.commands:
        yield _title("Commands (nothing is run)")
        yield from (_to_copy(f"  {one.command}\n      {one.does}") for one in incident.commands)
    if incident.links:
        yield _title("Links")
        yield from (_to_copy(f"  {one.name}: {one.url}") for one in incident.links)
    if incident.dispersion:
        spread = f"parts {incident.dispersion.parts:.1f}, together {incident.dispersion.together:.1f}"
        yield Text(f"variance of the counts by their mean: {spread}", style="dim")
    if every and incident.runbook:
        yield _title("Runbook")
        yield Text(incident.runbook)


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _line(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, 2), expand=False)


def _to_copy(text: str) -> Text:
    """A line that is not broken, however narrow the terminal: an address or command in two parts is none."""
    return Text(text, no_wrap=True, overflow="ignore")


def _suspect(suspect: Suspect) -> Iterator[RenderableType]:
    change = suspect.change
    head = Text(f"{words.chance(suspect.probability):>9}  ", style="bold")
    head.append("none of these" if change is None else change.what, style="bold")
    if change is not None:
        who = f", by {change.who}" if change.who else ""
        head.append(f"  [{change.id}] {change.kind.value}, {words.clock(change.at, step=1.0)} UTC{who}", style="dim")
    yield head
    for one in suspect.evidence:
        yield Padding(Text(f"{'+' if one.is_for else '-'} {one.text}"), (0, 0, 0, 11), expand=False)


def _rejected(rejected: tuple[Rejected, ...], *, every: bool) -> Iterator[RenderableType]:
    shown = rejected if every else rejected[:SHOWN_REJECTED]
    if shown:
        yield _title("Rejected")
    for one in shown:
        yield _line(f"{words.clock(one.change.at, step=1.0)} {one.change.what}: {one.reason}")
    if len(shown) < len(rejected):
        yield _line(f"{len(rejected) - len(shown)} more with --all")


def show_calibration(table: Calibration) -> None:
    """Print the table of stated probabilities and of what came true."""
    console = tables.make_console()
    console.print(table.text)
    bins = Table("stated", "statements", "on average", "right", "95%")
    for one in table.bins:
        span = f"{one.at_least:.0%} to {one.at_most:.0%}" if one.statements else "-"
        stated = f"{one.lower:.0%} to {one.upper:.0%}"
        bins.add_row(stated, str(one.statements), f"{one.stated:.0%}", str(one.right), span)
    tables.show(bins, console=console)
    kinds = Table("cause", "incidents", "ranked first", "Brier score", "log score")
    for kind in table.kinds:
        kinds.add_row(kind.kind, str(kind.incidents), str(kind.first), f"{kind.brier:.3f}", f"{kind.log_score:.2f}")
    if table.kinds:
        tables.show(kinds, console=console)
