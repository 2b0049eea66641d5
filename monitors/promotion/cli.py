"""`midwatch canary promote`: make a version champion, if it has a verdict, an evaluation and a bias check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midwatch import options

if TYPE_CHECKING:
    from monitors.promotion.promoter import Asked

AUDIT = Path("state/gate/audit.jsonl")
"""The gate's evidence log, where it runs without another."""
Audit = Annotated[Path, typer.Option(help="Evidence log of the gate: its verdicts, and the promotions.")]
GateUrl = Annotated[str | None, typer.Option("--gate", help="Address of a running gate that is to do it.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with the bearer token of that gate.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")]


def promote(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model of the platform file.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Version as the registry numbers it.")],
    platform: options.GivenPlatformFile = None,
    audit: Audit = AUDIT,
    gate: GateUrl = None,
    token_file: TokenFile = None,
    canary: Annotated[
        str | None, typer.Option(help="The version as the gate's verdicts call it, such as a pod-template hash.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who promotes; the user without it.")] = None,
    override: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote although something lacks; the reason is on record.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to a version that was champion before; nothing else is needed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it may be promoted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version champion of the registry, if it may be, and write down who did and on what evidence.

    Exit code 0 when it is champion (or may be, with --dry-run), 1 refused, 2 bad input, 3 undecided or not brought
    about.
    """
    from monitors.promotion.promoter import Asked

    asked = Asked(
        model=model,
        version=version,
        by=by or user(),
        canary=canary or "",
        override=override or "",
        is_rollback=rollback,
    )
    document = answered(asked, platform, audit, gate, token_file, promote=not dry_run)
    show(document, as_json=as_json)
    raise typer.Exit(code_of(document))


def user() -> str:
    """Who runs the command; a container may have a number without a name."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.geteuid()}"


def answered(
    asked: Asked, platform: Path | None, audit: Path, gate: str | None, token_file: Path | None, *, promote: bool
) -> dict[str, Any]:
    """The answer about a promotion, of a running gate or of the files here; InvalidInputError for bad input."""
    from midwatch.errors import InvalidInputError, Problem
    from midwatch.spec import load
    from monitors.promotion import promoter, remote
    from monitors.promotion.registry import Registry

    if gate is not None:
        return remote.Gate(url=gate, token_file=token_file).ask(asked, promote=promote)
    file = platform or options.default_file()
    if file is None:
        raise InvalidInputError([Problem(file="--file", message="missing", remedy="or give --gate, with its address")])
    loaded = load.load_platform(file)
    local = promoter.Promoter(loaded, audit, Registry.of(loaded))
    if promote:
        return promoter.document(local.promote(asked))
    return promoter.of_decision(asked, local.decide(asked))


def code_of(document: dict[str, Any]) -> int:
    """Exit code of an answer."""
    from midwatch.errors import Exit

    if document.get("promoted", document["answer"] == "allowed"):
        return Exit.PASS
    return Exit.FAIL if document["answer"] == "refused" else Exit.INCONCLUSIVE


def show(document: dict[str, Any], *, as_json: bool) -> None:
    """Print an answer: as JSON, or each requirement with what to do where it lacks."""
    import json

    from rich.table import Table

    from midwatch import tables

    if as_json:
        typer.echo(json.dumps(document))
        return
    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("requirement", "state", "why"):
        table.add_column(name)
    for one in document["requirements"]:
        table.add_row(one["name"], one["state"], one["reason"])
    tables.show(table, console=console)
    for one in document["requirements"]:
        if one["remedy"]:
            console.print(f"{one['name']}: {one['remedy']}", highlight=False)
    of = f"{document['model']} {document['version']}"
    if document.get("promoted"):
        console.print(f"{of} is champion; before: {document['previous'] or 'none'}")
    elif document.get("problem"):
        console.print(f"{of} is not champion: {document['problem']}", highlight=False)
    else:
        console.print(f"{of}: {document['answer']}")
