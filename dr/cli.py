"""`midwatch dr`: drills, the posture of every store, the report of them all, and the recoverer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass

app = typer.Typer(no_args_is_help=True, help="Disaster-recovery drills, posture, evidence, and the recoverer.")

PlatformFile = Annotated[Path, typer.Option("--file", "-f", help="Platform file, or a folder of them.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
EvidenceFolder = Annotated[Path | None, typer.Option(help="Folder of the evidence, instead of the platform file's.")]


@app.callback()
def _group() -> None:
    """Disaster-recovery drills, posture, evidence, and the recoverer."""


@app.command()
def run(
    drill: Annotated[str, typer.Argument(help="Name of the drill in the platform file.")],
    platform: PlatformFile,
    as_json: AsJson = False,
    evidence: EvidenceFolder = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the drill's folder, with servers' logs and data.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the fault's random phase.")] = None,
    limit: Annotated[str | None, typer.Option(help="How long a recovery is waited for, such as 2m.")] = None,
) -> None:
    """Run a drill and say whether the objectives were met.

    Exit code 0 MET, 1 BREACHED, 2 when it cannot begin (nothing was hurt), 3 INCONCLUSIVE.
    """
    import json

    from dr import drill as drills
    from dr import view
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_duration

    try:
        seconds = parse_duration(limit) if limit else None
    except ValueError as error:
        raise MidwatchError(f"--limit {error}") from error
    request = drills.Request(
        platform_file=platform, drill=drill, evidence=evidence, keep=keep, seed=seed, limit=seconds
    )
    document = drills.run(request, view.progress())
    if as_json:
        typer.echo(json.dumps(document))
    else:
        view.show_result(document)
    raise typer.Exit(document["exit"])


@app.command()
def guard(
    platform: PlatformFile,
    store: Annotated[str, typer.Option(help="Name of the store to guard.")],
    cluster: Annotated[
        Path | None, typer.Option(help="Folder of a local store's cluster (of a drill, or of midwatch up).")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="File that takes what it does; a new one each start.")] = None,
) -> None:
    """Watch a store and recover it when it fails: decide, fence, promote or restore, re-route, rebuild.

    Runs until SIGTERM, under a lease: a second guard of the store ends with exit code 1.
    """
    import time

    from dr import guard as guards
    from dr import guarding
    from midwatch.errors import MidwatchError
    from midwatch.spec import load

    recovery = load.load_platform(platform).disaster_recovery
    if recovery is None or store not in {one.name for one in recovery.stores}:
        raise MidwatchError(f"{platform}: there is no store {store!r} in disaster_recovery")
    watched, folder = guarding.recovery_of(recovery, recovery.store(store), platform, cluster)
    policy = guards.Policy(interval=recovery.guard.interval, failures=recovery.guard.failures)
    path = events or folder / f"guard-{time.time_ns()}.ledger"
    guards.run(watched, policy, folder, path, f"midwatch dr guard {store}")
