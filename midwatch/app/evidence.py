"""`midwatch evidence`: one check for the evidence logs of experiments, drills, the gate and retraining."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from midwatch.evidence import Verified

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Check the evidence logs of chaos, drills, the gate and retraining.",
)

NAMES = ("evidence.jsonl", "audit.jsonl")
"""What Midwatch calls its logs: one of these counts even when nothing in it is a record any more."""
CHAINED = (b'"prev":"', b'"hash":"')
"""What every record has in it: a log of another name is known by it."""


@app.callback()
def _group() -> None:
    """Check the evidence logs of chaos, drills, the gate and retraining."""


@app.command()
def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Logs, or folders that are searched for them.")
    ],
    key_file: Annotated[Path | None, typer.Option(help="File with the logs' key, if they have one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check every byte of evidence logs: that each record is what was written, and that none is missing between two.

    A log whose end was cut off is whole in itself: compare the head that is printed with one that was kept elsewhere.
    Exit code 0 when all are whole, 1 when one was changed, 2 when one cannot be read or none was found.
    """
    import json

    from midwatch import evidence
    from midwatch.errors import Exit, InvalidInputError

    key = _read(key_file).strip() if key_file else b""
    if key_file and not key:
        raise InvalidInputError.at(key_file, "the key is empty")
    logs = list(_logs(paths))
    if not logs:
        raise InvalidInputError.at(paths[0], "there is no evidence log", remedy="name a log, or a folder with one")
    checked = {log: evidence.verify(log, key=key) for log in logs}
    is_whole = not any(verified.problems for verified in checked.values())
    if as_json:
        typer.echo(json.dumps({"ok": is_whole, "logs": [_document(*one) for one in checked.items()]}))
    else:
        _show(checked)
    raise typer.Exit(Exit.PASS if is_whole else Exit.FAIL)


def _logs(paths: Iterable[Path]) -> Iterable[Path]:
    """Logs that were named, and those in folders that were; InvalidInputError for one that cannot be read."""
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*.jsonl")) if file.name in NAMES or _is_chained(file))
        else:
            _read(path)
            yield path


def _is_chained(file: Path) -> bool:
    content = _read(file)
    return all(part in content for part in CHAINED)


def _read(file: Path) -> bytes:
    from midwatch.errors import InvalidInputError

    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError.at(file, error.strerror or "cannot be read") from error


def _document(log: Path, verified: Verified) -> dict[str, Any]:
    from dataclasses import asdict

    return {"log": str(log), "ok": not verified.problems, **asdict(verified)}


def _show(checked: dict[Path, Verified]) -> None:
    for log, verified in checked.items():
        for problem in verified.problems:
            typer.echo(str(problem), err=True)
        end = f"up to {verified.head.seq}:{verified.head.hash}" if verified.head else "no record"
        summary = f"{len(verified.problems)} problems" if verified.problems else "nothing was changed"
        typer.echo(f"{log}: {verified.records} records, {end}; {summary}")
