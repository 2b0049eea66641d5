"""What people see of drills in a terminal: progress on standard error, results as tables on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from dr import figures
from midwatch import tables
from midwatch.spec.values import describe_duration

if TYPE_CHECKING:
    from dr.posture.status import StoreStatus

_COLOURS = {"MET": "bold green", "BREACHED": "bold red", "INCONCLUSIVE": "bold yellow"}
_HOLDS = {True: "yes", False: "NO ", None: " ? "}


def progress() -> Callable[[str], None]:
    """A function that says where a drill is, with the seconds since its beginning."""
    console = tables.make_console(stderr=True)
    begun = time.monotonic()

    def say(text: str) -> None:
        console.print(Text.assemble((f"{time.monotonic() - begun:6.1f} s", "dim"), f"  {text}"), soft_wrap=True)

    return say


def show_result(document: dict[str, Any]) -> None:
    """A drill's result."""
    console = tables.make_console()
    verdict = document["verdict"], _COLOURS[document["verdict"]]
    console.print(Text.assemble(verdict, f"  {document['drill']}: {document['what']}"), soft_wrap=True)
    whose = f"platform {document['platform']}, owner {document['owner']}"
    console.print(whose, highlight=False, soft_wrap=True)
    for reason in document["reasons"]:
        console.print(f"  {reason}", highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("RTO", figures.rto(document), f"objective {describe_duration(document['objectives']['rto'])}")
    table.add_row("RPO", figures.rpo(document), f"objective {describe_duration(document['objectives']['rpo'])}")
    table.add_row(
        "resolution", figures.seconds(document["resolution_seconds"]), "the largest gap between acknowledgements"
    )
    counts = document["writes"]
    said = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items() if value or name == "lost")
    table.add_row("writes", "", said)
    tables.show(table, console=console)
    phases = Table(title="phases, after the fault", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("phase", "reached", "took"):
        phases.add_column(name, justify="left" if name == "phase" else "right")
    for phase in document["phases"]:
        phases.add_row(phase["name"], figures.seconds(phase["at"]), figures.seconds(phase["seconds"]))
    tables.show(phases, console=console)
    for check in document["checks"]:
        detail = f" ({check['detail']})" if check["detail"] else ""
        console.print(f"{_HOLDS[check['holds']]}  {check['name']}{detail}", highlight=False, soft_wrap=True)
    console.print(figures.in_a_row(document), highlight=False, soft_wrap=True)
    for note in document["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def show_status(stores: Sequence[StoreStatus], spoiled: Sequence[str] = ()) -> None:
    """The posture of every store, and what is wrong with the evidence that it was read from."""
    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (
        "store",
        "last drill",
        "verdict",
        "age",
        "RTO",
        "worst",
        "of",
        "RPO",
        "worst",
        "of",
        "lag",
        "verified point",
    ):
        table.add_column(name, justify="left" if name in ("store", "last drill", "verdict") else "right")
    for one in stores:
        table.add_row(
            one.store,
            one.last_drill or "-",
            one.verdict or "-",
            _age(one.drill_age),
            figures.seconds(one.rto_seconds),
            figures.seconds(one.worst_rto_seconds),
            describe_duration(one.rto),
            figures.seconds(one.rpo_seconds),
            figures.seconds(one.worst_rpo_seconds),
            describe_duration(one.rpo),
            figures.seconds(one.lag_seconds),
            _age(one.restorable_age_seconds),
        )
    tables.show(table, console=console)
    for one in stores:
        for text in (*one.problems, *one.unknown):
            console.print(f"{one.store}: {text}", highlight=False, soft_wrap=True)
    if spoiled:
        text = f"the evidence is not what was written: {spoiled[0]}; midwatch dr report lists all {len(spoiled)}"
        console.print(text, highlight=False, soft_wrap=True)


def show_report(document: dict[str, Any]) -> None:
    """Every drill, and the state of the evidence."""
    console = tables.make_console()
    console.print(f"platform {document['platform']}, owner {document['owner']}", highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("at", "drill", "store", "verdict", "RTO", "RPO", "resolution", "lost", "record", "hash"):
        table.add_column(name)
    for drill in document["drills"]:
        table.add_row(
            drill["at"],
            drill["drill"],
            drill["store"],
            drill["verdict"],
            figures.rto(drill),
            figures.rpo(drill),
            figures.seconds(drill["resolution_seconds"]),
            str(drill["writes"].get("lost", "-")),
            str(drill["seq"]),
            drill["hash"],
        )
    tables.show(table, console=console)
    if "compared" in document:
        tables.show(_compared(document["compared"]), console=console)
    console.print(figures.chain(document["evidence"]), highlight=False, soft_wrap=True)


def _compared(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Each drill's last run beside the one before."""
    title = "compared with the run before" if rows else "no drill has two runs to compare"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("drill", "store", "runs", "verdict", "RTO", "RPO", "configuration"):
        table.add_column(name)
    for row in rows:
        table.add_row(
            row["drill"],
            row["store"],
            str(row["runs"]),
            f"{row['before']['verdict']}, then {row['now']['verdict']}",
            figures.change(row["rto"]),
            figures.change(row["rpo"]),
            "the same" if row["same_configuration"] else "another",
        )
    return table


def _age(value: float | None) -> str:
    return "-" if value is None else describe_duration(value) if value >= 1 else "now"
