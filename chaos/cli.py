"""`midwatch chaos`: experiments listed, planned, run and stopped, and their evidence checked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from chaos.run.supervisor import Supervisor

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run experiments that surely stop, and tell whether they were noticed.",
)


class Where(StrEnum):
    """Where experiments act."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


State = Annotated[
    Path, typer.Option(help="State folder: that of midwatch up, or any to keep evidence in (kubernetes).")
]
Mode = Annotated[Where, typer.Option(help="This machine's plane, or the cluster.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Name = Annotated[str, typer.Argument(help="Name of an experiment, or a Chaos Toolkit file (.json, .yaml).")]


@app.command("list")
def list_(platform: options.GivenPlatformFile = None, state: State = Path("state"), as_json: Json = False) -> None:
    """List the experiments of a platform file, or of a running plane, with the last result of each."""
    import json

    from chaos import choice, display

    rows = choice.rows(choice.load_platform(platform, state), state)
    if as_json:
        typer.echo(json.dumps({"experiments": rows}))
        return
    columns = ("experiment", "does", "expected_alert", "schedule", "last_verdict")
    display.show_table(columns, [[str(row[name] or "-") for name in columns] for row in rows])


@app.command()
def plan(
    name: Name,
    platform: options.GivenPlatformFile = None,
    state: State = Path("state"),
    where: Mode = Where.LOCAL,
    as_json: Json = False,
) -> None:
    """Show which targets would be hit, how far that reaches, and what each precondition says now; nothing is changed.

    Exit code 0 when it may start, 3 when a precondition refuses.
    """
    import json
    from dataclasses import asdict

    from chaos import display
    from midwatch.errors import Exit

    plan = _supervisor(name, platform, state, where).plan()
    if as_json:
        typer.echo(json.dumps(asdict(plan) | {"refusals": plan.refusals}, default=str))
    else:
        display.show_plan(plan)
    raise typer.Exit(Exit.INCONCLUSIVE if plan.refusals else Exit.PASS)


@app.command()
def run(
    name: Name,
    platform: options.GivenPlatformFile = None,
    state: State = Path("state"),
    where: Mode = Where.LOCAL,
    html: Annotated[
        Path | None, typer.Option(help="Also write the report there; it always is in the run's folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run one experiment. Ctrl-C, SIGTERM and `midwatch chaos stop` end it, and its faults are reverted first.

    Exit code 0 when it held, 1 when it deviated or something stays, 2 when it cannot be run as asked, 3 when it is
    inconclusive: a precondition refused, it was stopped, or a fault was not seen to happen.
    """
    import json

    from chaos import display, kept, report
    from midwatch import telemetry
    from midwatch.errors import MidwatchError

    stop_telemetry = telemetry.setup("midwatch-chaos")
    try:
        supervisor = _runnable(name, platform, state, where)
        with telemetry.span("chaos run", experiment=supervisor.name, where=where.value):
            result = supervisor.run().document()
    finally:
        stop_telemetry()
    for path in (Path(result["folder"]) / kept.REPORT, *([html] if html else [])):
        report.write(path, result)
    try:
        supervisor.seal()
    except MidwatchError as error:  # a full disk, or an anchor that is away: the run has its verdict all the same
        typer.echo(f"not kept: {error}", err=True)
    if as_json:
        typer.echo(json.dumps(result, default=str))
    else:
        display.show_result(result)
    raise typer.Exit(result["exit"])


@app.command()
def stop(
    platform: options.GivenPlatformFile = None,
    state: State = Path("state"),
    where: Mode = Where.LOCAL,
    lift: Annotated[bool, typer.Option("--lift", help="Allow experiments again.")] = False,
    as_json: Json = False,
) -> None:
    """Stop whatever experiment runs, revert what is left of earlier ones, and let none start until `--lift`.

    Exit code 0 when all is clean, 1 when something stays.
    """
    import json

    from chaos.run import stopping
    from midwatch.errors import Exit

    stopped = stopping.lift(state, platform, where.value) if lift else stopping.stop(state, platform, where.value)
    if as_json:
        typer.echo(json.dumps(stopped))
    else:
        typer.echo(stopped["said"])
        for problem in stopped["problems"]:
            typer.echo(problem, err=True)
    raise typer.Exit(Exit.FAIL if stopped["problems"] else Exit.PASS)


@app.command("verify-log")
def verify_log(
    state: State = Path("state"),
    log: Annotated[Path | None, typer.Option(help="The log, if it is elsewhere.")] = None,
    key_file: Annotated[
        list[Path] | None, typer.Option(help="File with the log's key; may repeat, keys of before first.")
    ] = None,
    head: Annotated[list[str] | None, typer.Option(help="SEQ:HASH that the log has to hold; may be repeated.")] = None,
    anchor_file: Annotated[Path | None, typer.Option(help="File in which its heads were kept.")] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL of a Prometheus that has scraped its heads.")] = None,
    log_name: Annotated[str | None, typer.Option(help="What the log is called there.")] = None,
    as_json: Json = False,
) -> None:
    """Check every byte of the evidence log, that it holds the heads that were kept, and the files of each run.

    Heads are kept in the runs' results, in `chaos.evidence_anchor_file`, and in Prometheus. Results, journals and
    reports of the runs have to be what the log says of them. Exit code 0 when nothing was changed, 1 when something
    was, 2 when there is no log.
    """
    import json
    from dataclasses import asdict, replace

    from chaos import kept
    from chaos.places.place import Home
    from midwatch import anchors, evidence
    from midwatch.errors import Exit, InvalidInputError
    from midwatch.prometheus import client_at

    home = Home(state)
    path = log or home.evidence
    if not path.is_file():
        raise InvalidInputError.at(path, "there is no evidence log", remedy="give --state or --log")
    *earlier, key = [evidence.read_key(file) for file in key_file or ()] or [b""]
    name = log_name or kept.log_name(path)
    outside = [anchors.kept(anchor_file, name)] if anchor_file else []
    outside += [anchors.scraped(client_at(prometheus, options.default_file()), name)] if prometheus else []
    anchored = anchors.joined(outside)
    heads = [*evidence.parse_heads(head or []), *anchored.heads, *([] if log else kept.heads(home))]
    verified = evidence.verify(path, key=key, heads=heads, earlier_keys=earlier)
    found = (*verified.problems, *anchored.problems, *(() if log else kept.check(home)))
    verified = replace(verified, problems=found)
    if as_json:
        typer.echo(json.dumps(asdict(verified) | {"ok": not verified.problems, "heads_checked": len(heads)}))
    else:
        for problem in verified.problems:
            typer.echo(str(problem), err=True)
        end = f"up to {verified.head.seq}:{verified.head.hash}" if verified.head else "empty"
        judged = f"{len(verified.problems)} problems" if verified.problems else "nothing was changed"
        typer.echo(f"{path}: {verified.records} records, {end}; {len(heads)} heads checked; {judged}")
    raise typer.Exit(Exit.FAIL if verified.problems else Exit.PASS)


# What the commands share -------------------------------------------------------------------------------------------


def _runnable(name: str, file: Path | None, state: Path, where: Where) -> Supervisor:
    """As `_supervisor`; where no plane runs any more, what earlier runs left behind is reverted all the same."""
    from chaos.places.local.plane import NoPlaneError
    from chaos.places.place import Home
    from chaos.run import recovery
    from midwatch.errors import MidwatchError

    try:
        return _supervisor(name, file, state, where)
    except NoPlaneError as error:
        problems = recovery.recover_without_plane(Home(state), lambda text: typer.echo(text, err=True))
        if problems:
            raise MidwatchError(f"{error}; {'; '.join(problems)}") from error
        raise


def _supervisor(name: str, file: Path | None, state: Path, where: Where) -> Supervisor:
    from chaos import choice
    from chaos.places.known import open_asked
    from chaos.run.supervisor import Supervisor

    place = open_asked(where.value, state, file)
    return Supervisor(place, choice.experiment(name, place), lambda text: typer.echo(text, err=True))
