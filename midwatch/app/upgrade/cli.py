"""`midwatch upgrade`: what another release of Midwatch would not read, or calls otherwise, before it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midwatch import options
from midwatch.errors import Exit, InvalidInputError, MidwatchError, Problem

if TYPE_CHECKING:
    from midwatch.app.upgrade.forms import Found
    from midwatch.releases import Release
    from midwatch.spec.document import Document

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What changes with another release of Midwatch.")


@app.callback()
def _group() -> None:
    """What changes with another release of Midwatch."""


@app.command()
def check(
    file: options.PlatformFile,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="State, references, logs, and files that name metrics; or folders."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="The release that ran until now; every recorded one without it.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Instead: the earlier release to go back to, and what that would lose.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say what this release would not read, and what it calls otherwise. Nothing is changed, and an exporter may run.

    Looked at are the platform file with its references, and the paths: state of exporters, references of drift, logs of
    evidence and counts of canaries are opened as far as it takes to know, other texts are searched for metrics that
    changed their names. Exit code 0 when there is nothing to do, 1 when there is, 2 for input that cannot be used.
    """
    from midwatch.app.upgrade import forms
    from midwatch.spec import load

    _ensure_one(since, to)
    reading = load.read(file)
    given = list(paths or ())
    found = list(forms.find([*_references(reading.document, file), *given]))
    _ensure_known(given, found)
    problems = [*reading.problems, *_unopened(found)]
    problems += _lost(reading.document, found, to) if to is not None else _renamed(reading.document, given, since)
    if as_json:
        said = {"files": list(map(_entry, found)), "problems": list(map(asdict, problems))}
        typer.echo(json.dumps({"ok": not problems, **said}))
    else:
        _show(found, problems)
        if not given:
            typer.echo("no state, rules or dashboards were given, and none was looked at", err=True)
    raise typer.Exit(Exit.FAIL if problems else Exit.PASS)


def _ensure_one(since: str | None, to: str | None) -> None:
    from midwatch import releases

    if since is not None and to is not None:
        raise MidwatchError("--from and --to: give one; one is for going on, the other for going back")
    for option, name in (("--from", since), ("--to", to)):
        if name is not None and name not in releases.names():
            raise MidwatchError(f"{option}: there is no release {name!r}; recorded are {', '.join(releases.names())}")


def _references(document: Document, file: Path) -> list[Path]:
    """References that the models name and that are there."""
    from midwatch.spec import load

    models = document.values.get("models")
    named = [
        one["drift"]["reference"]
        for one in (models if isinstance(models, list) else ())
        if isinstance(one, dict)
        and isinstance(one.get("drift"), dict)
        and isinstance(one["drift"].get("reference"), str)
    ]
    paths = [load.base_folder(file) / name for name in named]
    return [path for path in paths if path.exists()]


def _ensure_known(paths: Sequence[Path], found: Sequence[Found]) -> None:
    """InvalidInputError for paths with nothing to look at: they are not what was meant, or nothing is left of it."""
    from midwatch.app.upgrade import comparison

    kinds = "no state, reference, log or counts of Midwatch, and no text that may name metrics"
    blind = [
        path
        for path in paths
        if not any(one.path.is_relative_to(path) for one in found) and not comparison.has_texts(path)
    ]
    if blind:
        remedy = "give what the exporter's --state names, and folders of rules, dashboards or evidence"
        raise InvalidInputError(Problem(file=str(path), message=f"it has {kinds}", remedy=remedy) for path in blind)


def _unopened(found: Sequence[Found]) -> Iterator[Problem]:
    for one in found:
        if one.problem:
            yield Problem(file=str(one.path), message=f"the {one.kind.name} does not open: {one.problem}")


def _renamed(document: Document, paths: list[Path], since: str | None) -> Iterator[Problem]:
    """Metrics that this release calls otherwise; a key that it replaced is a problem of the platform file."""
    from midwatch import releases
    from midwatch.app.upgrade import comparison

    metrics = releases.replaced_metrics(since or "")
    yield from comparison.replaced_in_document(document, metrics)
    yield from comparison.replaced_in_files(paths, metrics)


def _lost(document: Document, found: Sequence[Found], to: str) -> Iterator[Problem]:
    """What an earlier release would not have, or not read."""
    from midwatch import releases
    from midwatch.app.upgrade import comparison, present

    earlier = releases.read(to)
    for place in comparison.unknown_keys(document, earlier):
        yield document.problem(place, f"{to} does not know this key, and refuses the file", "remove it before")
    for one in found:
        if one.form == one.kind.written != earlier.forms.get(one.kind.name):
            message = f"{to} does not open this {one.kind.name} ({one.form}): lost is {one.kind.lost}"
            yield Problem(file=str(one.path), message=message)
    yield from _lost_metrics(present.release(), earlier)


def _lost_metrics(here: Release, earlier: Release) -> Iterator[Problem]:
    from midwatch.app.upgrade import comparison

    for name in comparison.lost_metrics(here, earlier):
        labels = ", ".join(here.metrics[name])
        message = f"{earlier.name} has no {name}" + (f" with the labels {labels}" if labels else "")
        yield Problem(file="metrics", message=message, remedy="rules and dashboards of this release find nothing there")


def _entry(found: Found) -> dict[str, Any]:
    return {"path": str(found.path), "kind": found.kind.name, "form": found.form or None, "problem": found.problem}


def _show(found: Sequence[Found], problems: Sequence[Problem]) -> None:
    from rich.table import Table

    from midwatch import tables

    table = Table(box=None, pad_edge=False)
    for column in ("path", "kind", "form", ""):
        table.add_column(column, overflow="fold")
    for one in found:
        table.add_row(str(one.path), one.kind.name, one.form or "-", "opens" if one.form else "does not open")
    if found:
        tables.show(table, console=tables.make_console())
    for problem in problems:
        typer.echo(str(problem), err=True)
    if not problems:
        typer.echo("nothing to do", err=True)
