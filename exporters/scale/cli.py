"""`midwatch scale check`: what a rate of requests needs, and what of the platform file would not hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporters.scale.needs import Need
    from midwatch.errors import Problem
    from midwatch.spec.base import Finding
    from midwatch.spec.document import Document
    from midwatch.spec.model import Platform

app = typer.Typer(
    help="What a rate of requests needs, and whether the platform file holds it.",
    add_completion=False,
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """What a rate of requests needs, and whether the platform file holds it."""


@app.command()
def check(
    file: options.PlatformFile,
    requests: Annotated[float, typer.Option(min=1, max=1e9, help="Requests a second of all models together.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Show what so many requests a second need of exporters and Prometheus, and what of the file would not hold.

    They are spread over the models as their requests_per_second are, else evenly. Figures beyond what was measured are
    marked.

    Exit code 0 when the platform file holds them, 1 when it does not, 2 for input that cannot be used.
    """
    import json
    from dataclasses import asdict

    from exporters.scale import needs
    from midwatch.errors import Exit
    from midwatch.spec import load

    platform, document = load.load_with_places(file)
    found, problems = needs.of(platform, requests), _problems(platform, document, requests)
    if as_json:
        said = {
            "requests_per_second": requests,
            "needs": list(map(asdict, found)),
            "problems": list(map(asdict, problems)),
        }
        typer.echo(json.dumps({"ok": not problems, **said}))
    else:
        _show(found, problems)
    raise typer.Exit(Exit.FAIL if problems else Exit.PASS)


def _problems(platform: Platform, document: Document, requests: float) -> list[Problem]:
    """What would not hold: too few exporters or streams, and the limits of each exporter."""
    from exporters import capacity
    from exporters.scale import needs

    if not platform.has_exporters:
        return [document.problem(*found) for found in _of_stream(platform, requests)]
    have = capacity.exporters_of(platform)
    each_of = max(have, needs.exporters_for(platform, requests))  # where there are too few, limits of as many as needed
    loaded = needs.spread(platform, requests * have / each_of)
    return [
        *(document.problem(*found) for found in _of_exporters(platform, requests)),
        *capacity.find_problems(loaded, document),
    ]


def _of_stream(platform: Platform, requests: float) -> Iterator[Finding]:
    from exporters.scale import needs

    needed = needs.streams_for(platform, requests)
    if needed > 1:
        message = f"1 of {needed} streams of two cores that {requests:,.0f} requests/s need: it would fall behind"
        yield ("stream",), message, "give each some of the topics, or measure one on your cluster (make bench)"


def _of_exporters(platform: Platform, requests: float) -> Iterator[Finding]:
    from exporters import capacity
    from exporters.scale import needs

    have, needed = capacity.exporters_of(platform), needs.exporters_for(platform, requests)
    if have >= needed:
        return
    is_fleet = platform.exporter.kafka is not None
    where = "in the topic" if is_fleet else "at the senders"
    message = f"{have} of {needed} exporters that {requests:,.0f} requests/s need: events would wait {where}"
    then = "with as many partitions at least" if is_fleet else "and send the events of an id to one of them"
    yield ("exporter",), message, f"run {needed}, {then}"


def _show(found: Sequence[Need], problems: Sequence[Problem]) -> None:
    from rich.table import Table

    from midwatch import tables

    table = Table(box=None, pad_edge=False)
    for column in ("needed", "", "", "from", ""):
        table.add_column(column, overflow="fold", justify="right" if column == "" else "left")
    for one in found:
        table.add_row(one.what, _number(one.amount), one.unit, one.basis, "extrapolated" if one.is_extrapolated else "")
    tables.show(table)
    for problem in problems:
        typer.echo(str(problem), err=True)


def _number(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:.3g}"
