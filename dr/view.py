"""What people see of drills in a terminal: progress on standard error, results as tables on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

_COLOURS = {"MET": "bold green", "BREACHED": "bold red", "INCONCLUSIVE": "bold yellow"}


def progress() -> Callable[[str], None]:
    """A function that says where a drill is, with the seconds since its beginning."""
    console = Console(stderr=True)
    begun = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - begun:6.1f} s[/dim]  {text}", highlight=False, soft_wrap=True)

    return say


def show_result(document: dict[str, Any]) -> None:
    """A drill's result."""
    console = Console()
    colour = _COLOURS[document["verdict"]]
    console.print(
        f"[{colour}]{document['verdict']}[/{colour}]  {document['drill']}: {document['what']}", soft_wrap=True
    )
    for reason in document["reasons"]:
        console.print(f"  {reason}", highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("RTO", rto(document), f"objective {document['objectives']['rto']:g} s")
    table.add_row("RPO", rpo(document), f"objective {document['objectives']['rpo']:g} s")
    table.add_row("resolution", seconds(document["resolution_seconds"]), "the largest gap between acknowledgements")
    counts = document["writes"]
    table.add_row("writes", f"{counts['acknowledged']} acknowledged", f"{counts.get('kept', '?')} kept, "
                  f"{counts.get('lost', '?')} lost, {counts['unknown']} unknown, {counts['failed']} failed")  # fmt: skip
    console.print(table)
    phases = Table(title="phases, after the fault", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("phase", "reached", "took"):
        phases.add_column(name, justify="left" if name == "phase" else "right")
    for phase in document["phases"]:
        phases.add_row(phase["name"], seconds(phase["at"]), seconds(phase["seconds"]))
    console.print(phases)
    bound = document["bound"]
    console.print(
        f"{bound['met_in_a_row']} drills MET in a row: a breach has a probability of at most "
        f"{bound['breach_probability_at_most']:.0%} at {bound['confidence']:.0%} confidence", highlight=False, soft_wrap=True,
    )  # fmt: skip
    for note in document["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def seconds(value: float | None) -> str:
    """A time, or a dash."""
    return "-" if value is None else f"{value:.3f} s"


def rto(document: dict[str, Any]) -> str:
    """The RTO, with `>` when recovery was not seen."""
    return ("> " if document["rto_exceeds"] else "") + seconds(document["rto_seconds"])


def rpo(document: dict[str, Any]) -> str:
    """The data-loss time, with `>` when it is only a lower bound."""
    return ("> " if document["rpo_is_bound"] else "") + seconds(document["rpo_seconds"])
