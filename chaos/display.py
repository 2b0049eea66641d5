"""Plans and results as people read them on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from chaos.run.plan import Plan


def show_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print rows below the names of their columns."""
    from rich.table import Table

    from midwatch import tables

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*row)
    tables.show(table)


def show_plan(plan: Plan) -> None:
    """Print what a run would do, and whether it may."""
    typer.echo(plan.title)
    typer.echo(f"would hit {len(plan.hit)} of {len(plan.candidates)}: {', '.join(plan.hit) or 'nothing'}")
    for line in plan.what:
        typer.echo(f"  {line}")
    typer.echo(f"blast radius: {plan.blast_radius}")
    typer.echo(f"expected to tell of it: {plan.expected_alert or 'not stated'}")
    show_table(
        ("precondition", "", "says"),
        [[one.guard, "allowed" if one.allowed else "refused", one.reason] for one in plan.guards],
    )
    typer.echo("it may start" if not plan.refusals else "it may not start: " + "; ".join(plan.refusals))


def show_result(result: dict[str, Any]) -> None:
    """Print what a run has shown."""
    typer.echo(f"{result['experiment']}: {result['verdict']}, {result['seconds']} s")
    typer.echo(f"platform {result['platform']}, owner {result['owner']}")
    for reason in result["reasons"]:
        typer.echo(f"  {reason}")
    hit = f"{len(result['hit'])} of {len(result['candidates'])}: {', '.join(result['hit']) or 'nothing'}"
    typer.echo(f"nothing was injected; it would have hit {hit}" if result["refused"] else f"hit {hit}")
    rows = [
        [one["phase"], str(one["name"]), "yes" if one["good"] else "NO", f"{one['seconds']:.2f} s"]
        for one in result["activities"]
    ]
    if rows:
        show_table(("phase", "activity", "", "took"), rows)
    if not result["refused"]:
        seen = f"clean after {result['seconds_to_clean']:.3f} s" if result["clean"] else "NOT seen to be clean"
        typer.echo(f"{seen}; {result['folder']}/report.html")
