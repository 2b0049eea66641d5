"""`midwatch loop helped`: is the new version better than the old one, and if it is worse, how to go back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitors.loop.better import Comparison, Helped
    from monitors.loop.rollback import Command


def helped(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model of the platform file.")],
    platform_file: options.PlatformFile,
    new: Annotated[str, typer.Option(help="The new version, as servers call it.")],
    old: Annotated[str, typer.Option(help="The version that it replaces.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Rows that both versions predicted (.parquet, .csv, .ndjson), or counts of them (.json)."),
    ] = None,
    within: Annotated[
        float | None, typer.Option(min=0, help="Of a regression: how far off an answer may be and count as right.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="RFC 3339 time since when traffic counts; the new one's first without it.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="RFC 3339 time until when; now without it.")] = None,
    no_traffic: Annotated[bool, typer.Option("--no-traffic", help="Compare the evaluation alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Compare a new version with the old one, on rows of the drifted window and on the traffic that both served.

    Exit code 0 better, 1 no better or worse, 2 bad input, 3 not yet known.
    """
    import json

    from midwatch.errors import Exit
    from midwatch.prometheus import Client
    from midwatch.spec import load
    from monitors.loop import evaluation_file, helped
    from monitors.loop.better import Verdict

    begin, until = _ensure_sound(new, old, evaluation, no_traffic, start, end)
    platform = load.load_platform(platform_file)
    named = helped.model_of(platform, model)
    rows = None if evaluation is None else evaluation_file.load(evaluation, named.groups, within=within)
    said = helped.judged(
        None if no_traffic else Client.of(platform.prometheus),
        platform,
        named,
        old=old,
        new=new,
        start=begin,
        end=until,
        evaluation=rows,
    )
    back = helped.recommended(said, platform, named, platform_file)
    if as_json:
        typer.echo(json.dumps(helped.document(said, back)))
    else:
        _show(said, back)
    codes = {Verdict.BETTER: Exit.PASS, Verdict.UNKNOWN: Exit.INCONCLUSIVE}
    raise typer.Exit(codes.get(said.verdict, Exit.FAIL))


def _ensure_sound(
    new: str, old: str, evaluation: Path | None, no_traffic: bool, start: str | None, end: str | None
) -> tuple[float | None, float | None]:
    """The times; InvalidInputError with every option that is none."""
    from midwatch.errors import InvalidInputError, Problem
    from monitors.canary import times

    begin, until, problems = times.stretch(start, end)
    if new == old:
        problems.append(Problem(file="--new", message=f"{new!r} is the old version too", remedy="name two versions"))
    if no_traffic and evaluation is None:
        problems.append(Problem(file="--no-traffic", message="nothing is left to compare", remedy="give --evaluation"))
    if problems:
        raise InvalidInputError(problems)
    return begin, until


def _show(said: Helped, back: Sequence[Command]) -> None:
    from rich.table import Table

    from midwatch import tables

    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("compared", "verdict", "new against old", "interval", "rows"):
        table.add_column(name, justify="left" if name in ("compared", "verdict") else "right")
    for one in said.comparisons:
        table.add_row(one.name, _word(one), _number(one, one.value), _interval(one), f"{one.rows:,}")
    tables.show(table, console=console)
    console.print(f"{said.new} against {said.old}: {said.verdict.value}")
    console.print(said.reason, highlight=False, soft_wrap=True)
    console.print(said.reading, highlight=False, soft_wrap=True)
    for note in said.notes:
        console.print(f"note: {note}", style="dim", highlight=False)
    if said.needed is not None:
        console.print(f"to decide: about {said.needed:,} more labelled rows")
    for command in back:
        console.print(f"{command.does}:\n  {command.line}", highlight=False, soft_wrap=True)


def _word(one: Comparison) -> str:
    from monitors.loop.better import Role, Verdict

    is_no_worse = one.role is Role.NO_WORSE and one.verdict is Verdict.BETTER
    return "no worse" if is_no_worse else one.verdict.value


def _number(one: Comparison, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} times" if one.is_ratio else f"{value:+.2%}"


def _interval(one: Comparison) -> str:
    low = "0" if one.low is None and one.is_ratio else _number(one, one.low)
    high = "∞" if one.high is None and one.is_ratio else _number(one, one.high)
    return f"{low} to {high}"
