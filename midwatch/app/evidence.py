"""`midwatch evidence`: one check for the evidence logs of experiments, drills, the gate and retraining."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from midwatch.anchors import Anchored
    from midwatch.errors import Exit
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
    key_file: Annotated[
        list[Path] | None, typer.Option(help="File with the logs' key; may repeat, keys of before first.")
    ] = None,
    head: Annotated[
        list[str] | None, typer.Option(help="SEQ:HASH of a record that the one log must still have; may repeat.")
    ] = None,
    anchor_file: Annotated[Path | None, typer.Option(help="File in which heads of the one log were kept.")] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL of a Prometheus that has scraped its heads.")] = None,
    log_name: Annotated[str | None, typer.Option(help="What the log is called there, such as flights/drills.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check every byte of evidence logs: that each record is what was written, and that none is missing between two.

    A log whose end was cut off is whole in itself: give the head that an earlier check printed, kept elsewhere, or the
    anchor file or the Prometheus that has it. What lies beside a log is checked by `dr report` and `chaos verify-log`.
    Exit code 0 when all are whole, 1 when one was changed, 2 when one cannot be read or none was found, 3 when one has
    no record: nothing is proven by it.
    """
    import json
    from dataclasses import replace

    from midwatch import evidence
    from midwatch.errors import Exit, InvalidInputError, MidwatchError

    *earlier, key = [_read_key(file) for file in key_file or ()] or [b""]
    logs = list(logs_of(paths))
    if not logs:
        raise InvalidInputError.at(paths[0], "there is no evidence log", remedy="name a log, or a folder with one")
    outside = _outside(anchor_file, prometheus, log_name)
    heads = [*evidence.parse_heads(head or ()), *outside.heads]
    if (heads or outside.problems) and len(logs) > 1:
        raise MidwatchError(f"--head and its like belong to one log, and there are {len(logs)}; name one")
    found = {log: evidence.verify(log, key=key, heads=heads, earlier_keys=earlier) for log in logs}
    checked = {log: replace(one, problems=(*one.problems, *outside.problems)) for log, one in found.items()}
    code = _exit(checked.values())
    if as_json:
        typer.echo(json.dumps({"ok": code is Exit.PASS, "logs": [_document(*one) for one in checked.items()]}))
    else:
        _show(checked)
    raise typer.Exit(code)


@app.command()
def rotate(
    log: Annotated[Path, typer.Argument(help="The log.")],
    new_key_file: Annotated[Path, typer.Option(help="File with the key that signs it from now on.")],
    key_file: Annotated[Path | None, typer.Option(help="File with its key of today; none signs it without.")] = None,
) -> None:
    """Hand a log over to another key: the old one signs a record that names the new one, which signs the next.

    Then name the new file in the platform file, and the old one among the earlier keys. Do it while nothing runs that
    writes to the log.
    """
    from midwatch import evidence
    from midwatch.errors import InvalidInputError

    if not log.is_file():
        raise InvalidInputError.at(log, "there is no evidence log", remedy="name the file")
    record = evidence.Log(log, key=_read_key(key_file) if key_file else b"").hand_over(_read_key(new_key_file))
    typer.echo(f"{log}: record {record.seq} is the first under the key {record.data['key']}", err=True)


def _outside(anchor_file: Path | None, prometheus: str | None, log_name: str | None) -> Anchored:
    """Heads that were kept outside of the log; MidwatchError without its name there."""
    from midwatch import anchors, options
    from midwatch.errors import MidwatchError
    from midwatch.prometheus import client_at

    if log_name is None:
        if anchor_file or prometheus:
            raise MidwatchError("--anchor-file and --prometheus need --log-name: several logs may be kept there")
        return anchors.Anchored()
    found = [anchors.kept(anchor_file, log_name)] if anchor_file else []
    if prometheus:
        found.append(anchors.scraped(client_at(prometheus, options.default_file()), log_name))
    return anchors.joined(found)


def _read_key(file: Path) -> bytes:
    from midwatch.errors import InvalidInputError

    if not (key := _read(file).strip()):
        raise InvalidInputError.at(file, "the key is empty")
    return key


def _exit(checked: Iterable[Verified]) -> Exit:
    """Changed is worse than empty, and an empty log proves nothing."""
    from midwatch.errors import Exit

    checked = list(checked)
    if any(verified.problems for verified in checked):
        return Exit.FAIL
    return Exit.PASS if all(verified.records for verified in checked) else Exit.INCONCLUSIVE


def logs_of(paths: Iterable[Path]) -> Iterable[Path]:
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
        count = len(verified.problems)
        summary = f"{count} problem{'s' * (count != 1)}" if count else "nothing was changed"
        if not verified.records and not count:
            summary = "nothing is proven by it"
        typer.echo(f"{log}: {verified.records} records, {end}; {summary}")
