"""`midwatch chaos`: experiments listed, planned, run and stopped, and their evidence checked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midwatch import options

if TYPE_CHECKING:
    from chaos import run as runner
    from chaos import runs
    from midwatch.spec import model as spec

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

    from chaos import experiments

    loaded, _ = _platform(platform, state)
    rows = [_row(document, state) for document in experiments.documents(loaded).values()]
    if as_json:
        typer.echo(json.dumps({"experiments": rows}))
        return
    columns = ("experiment", "does", "expected_alert", "schedule", "last_verdict")
    _table(columns, [[str(row[name] or "-") for name in columns] for row in rows])


@app.command()
def plan(
    name: Name,
    platform: options.GivenPlatformFile = None,
    state: State = Path("state"),
    where: Mode = Where.LOCAL,
    as_json: Json = False,
) -> None:
    """Show which targets would be hit, how far that reaches, and what each guard says now; nothing is changed.

    Exit code 0 when it may start, 3 when a guard refuses.
    """
    import json
    from dataclasses import asdict

    from midwatch.errors import Exit

    made = _supervisor(name, platform, state, where).plan()
    if as_json:
        typer.echo(json.dumps(asdict(made) | {"refusals": made.refusals}, default=str))
    else:
        _show_plan(made)
    raise typer.Exit(Exit.INCONCLUSIVE if made.refusals else Exit.PASS)


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
    inconclusive: a guard refused, it was stopped, or a fault was not seen to happen.
    """
    import json

    from chaos import publish, report
    from midwatch import telemetry

    stop_telemetry = telemetry.setup("midwatch-chaos")
    try:
        supervisor = _supervisor(name, platform, state, where)
        with telemetry.span("chaos run", experiment=supervisor.name, where=where.value):
            result = supervisor.run().document()
        for problem in publish.ended(supervisor.place, result):
            typer.echo(f"not told: {problem}", err=True)
    finally:
        stop_telemetry()
    for path in (Path(result["folder"]) / "report.html", *([html] if html else [])):
        report.write(path, result)
    if as_json:
        typer.echo(json.dumps(result, default=str))
    else:
        _show_result(result)
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

    from chaos import stopping
    from midwatch.errors import Exit

    platform = platform or options.default_file()
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
    key_file: Annotated[Path | None, typer.Option(help="File with the log's key, if it has one.")] = None,
    head: Annotated[list[str] | None, typer.Option(help="SEQ:HASH that the log has to hold; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Check every byte of the evidence log, and that it holds the heads that the runs' results have kept.

    Exit code 0 when nothing was changed, 1 when something was, 2 when there is no log.
    """
    import json
    from dataclasses import asdict

    from chaos import runs
    from midwatch import evidence
    from midwatch.errors import Exit, InvalidInputError

    home = runs.Home(state)
    path = log or home.evidence
    if not path.is_file():
        raise InvalidInputError.at(path, "there is no evidence log", remedy="give --state or --log")
    key = _read_key(key_file)
    heads = [*_given_heads(head or []), *([] if log else _kept_heads(home))]
    verified = evidence.verify(path, key=key, heads=heads)
    if as_json:
        typer.echo(json.dumps(asdict(verified) | {"ok": not verified.problems, "heads_checked": len(heads)}))
    else:
        for problem in verified.problems:
            typer.echo(str(problem), err=True)
        end = f"up to {verified.head.seq}:{verified.head.hash}" if verified.head else "empty"
        found = f"{len(verified.problems)} problems" if verified.problems else "nothing was changed"
        typer.echo(f"{path}: {verified.records} records, {end}; {len(heads)} heads checked; {found}")
    raise typer.Exit(Exit.FAIL if verified.problems else Exit.PASS)


# What the commands share -------------------------------------------------------------------------------------------


def _platform(file: Path | None, state: Path) -> tuple[spec.Platform, Path]:
    """The platform of a file, else of the plane that runs in a state folder, else of the default file."""
    from chaos.local.plane import Plane
    from midwatch.spec import load

    if file is None and not (state / "plane.json").exists():
        file = options.default_file()
    if file is not None:
        return load.load_platform(file), file
    plane = Plane(state)
    return plane.platform, plane.platform_file


def _supervisor(name: str, file: Path | None, state: Path, where: Where) -> runner.Supervisor:
    from chaos import run as runner
    from chaos import runs

    place = runs.Place(where=where.value, state=state, platform_file=file or options.default_file())
    return runner.Supervisor(place, _experiment(name, place), lambda text: typer.echo(text, err=True))


def _experiment(name: str, place: runs.Place) -> dict[str, Any]:
    """An experiment by its name, or from a file."""
    import difflib
    import os

    from chaos import experiments
    from midwatch.errors import MidwatchError

    os.environ.update(place.environment())  # a file may refer to it
    path = Path(name)
    if path.suffix in (".json", ".yaml", ".yml"):
        return _loaded(path)
    known = experiments.documents(place.platform)
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
        raise MidwatchError(f"there is no experiment {name!r}; {hint}")
    return known[name]


def _loaded(path: Path) -> dict[str, Any]:
    import yaml
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid

    from midwatch.errors import InvalidInputError

    try:
        document = yaml.safe_load(path.read_text())
        ensure_experiment_is_valid(document)
    except OSError as error:
        raise InvalidInputError.at(path, error.strerror or "cannot be read") from error
    except (yaml.YAMLError, ChaosException, ValueError, AttributeError, TypeError) as error:
        raise InvalidInputError.at(path, f"not a Chaos Toolkit experiment: {str(error).splitlines()[0]}") from error
    if "dry" in document:
        # Chaos Toolkit ignores a text here, and the actions really run.
        raise InvalidInputError.at(path, "dry has no effect", remedy="remove it; midwatch chaos plan changes nothing")
    found: dict[str, Any] = document
    return found


def _row(document: dict[str, Any], state: Path) -> dict[str, Any]:
    import json

    from chaos import catalogue, experiments, runs
    from midwatch.spec.chaos import Kind

    about = experiments.extension(document)
    try:
        known = json.loads((runs.Home(state).folder / "results.json").read_text())
    except (OSError, ValueError):
        known = {}
    return {
        **{name: about[name] for name in ("experiment", "kind", "model", "blast_radius", "expected_alert", "schedule")},
        "does": catalogue.ENTRIES[Kind(about["kind"])].does,
        "last_verdict": known.get(about["experiment"], {}).get("verdict"),
    }


def _read_key(path: Path | None) -> bytes:
    from midwatch.errors import InvalidInputError

    if path is None:
        return b""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise InvalidInputError.at(path, error.strerror or "cannot be read") from error


def _given_heads(texts: list[str]) -> list[Any]:
    from midwatch.errors import MidwatchError
    from midwatch.evidence import Head

    heads = []
    for text in texts:
        seq, colon, digest = text.partition(":")
        if not colon or not seq.isdigit():
            raise MidwatchError(f"--head {text!r} is not SEQ:HASH")
        heads.append(Head(seq=int(seq), hash=digest))
    return heads


def _kept_heads(home: runs.Home) -> list[Any]:
    """Heads in the results of runs: another place than the log itself."""
    import json

    from midwatch.evidence import Head

    heads = []
    for path in sorted(home.runs.glob("*/result.json")):
        try:
            kept = json.loads(path.read_text())["evidence_head"]
        except (OSError, ValueError, KeyError):
            continue
        if kept:
            heads.append(Head(seq=kept["seq"], hash=kept["hash"]))
    return heads


# For people --------------------------------------------------------------------------------------------------------


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    from rich.table import Table

    from midwatch import tables

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*row)
    tables.show(table)


def _show_plan(made: runner.Plan) -> None:
    typer.echo(made.title)
    typer.echo(f"would hit {len(made.hit)} of {len(made.candidates)}: {', '.join(made.hit) or 'nothing'}")
    for line in made.what:
        typer.echo(f"  {line}")
    typer.echo(f"blast radius: {made.blast_radius}")
    typer.echo(f"expected to tell of it: {made.expected_alert or 'not stated'}")
    _table(
        ("guard", "", "says"),
        [[one.guard, "allowed" if one.allowed else "refused", one.reason] for one in made.guards],
    )
    typer.echo("it may start" if not made.refusals else "it may not start: " + "; ".join(made.refusals))


def _show_result(result: dict[str, Any]) -> None:
    typer.echo(f"{result['experiment']}: {result['verdict']}, {result['seconds']} s")
    for reason in result["reasons"]:
        typer.echo(f"  {reason}")
    hit = f"{len(result['hit'])} of {len(result['candidates'])}: {', '.join(result['hit']) or 'nothing'}"
    typer.echo(f"nothing was injected; it would have hit {hit}" if result["refused"] else f"hit {hit}")
    rows = [
        [one["phase"], str(one["name"]), "yes" if one["good"] else "NO", f"{one['seconds']:.2f} s"]
        for one in result["activities"]
    ]
    if rows:
        _table(("phase", "activity", "", "took"), rows)
    if result["seconds_to_clean"] is not None:
        typer.echo(f"clean after {result['seconds_to_clean']:.3f} s; {result['folder']}/report.html")
