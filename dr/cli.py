"""`midwatch dr`: drills, the posture of every store, the report of them all, and the recoverer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from datetime import datetime

    from dr.drill_log import DrillLog
    from midwatch.spec.dr import DisasterRecovery
    from midwatch.spec.model import Platform
    from midwatch.spec.stores.base import Store

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Disaster-recovery drills, posture, evidence, and the recoverer."
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
EvidenceFolder = Annotated[Path | None, typer.Option(help="Folder of the evidence, instead of the platform file's.")]


@app.callback()
def _group() -> None:
    """Disaster-recovery drills, posture, evidence, and the recoverer."""


@app.command()
def run(
    drill: Annotated[str, typer.Argument(help="Name of the drill in the platform file.")],
    platform: options.PlatformFile,
    as_json: AsJson = False,
    evidence: EvidenceFolder = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the drill's folder, with servers' logs and data.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the fault's random phase.")] = None,
    limit: Annotated[str | None, typer.Option(help="How long a recovery is waited for, such as 2m.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report of this drill as one page.")] = None,
    spread: Annotated[str | None, typer.Option(help="Begin at a random time within this, such as 1h.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="State folder of a running midwatch up, to lose a region of it.")
    ] = None,
    in_cluster: Annotated[
        bool, typer.Option("--in-cluster", help="Take the lease of the cluster's experiments: one of both at a time.")
    ] = False,
) -> None:
    """Run a drill and say whether the objectives were met.

    Exit code 0 MET, 1 BREACHED, 2 when it cannot begin (nothing was hurt), 3 INCONCLUSIVE.
    """
    import json
    import random
    import time

    from dr import terminal
    from dr.runner import drill as drills
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_duration

    try:
        seconds = parse_duration(limit) if limit else None
        delay = parse_duration(spread) if spread else 0.0
    except ValueError as error:
        raise MidwatchError(f"--limit or --spread: {error}") from error
    if seconds == 0:
        raise MidwatchError(f"--limit {limit}: no recovery would be waited for; write a time, such as 2m")
    time.sleep(random.uniform(0.0, delay))  # noqa: S311 - a phase, not a secret
    request = drills.Request(
        platform_file=platform,
        drill=drill,
        evidence=evidence,
        keep=keep,
        seed=seed,
        limit=seconds,
        state=state,
        in_cluster=in_cluster,
    )
    document = drills.run(request, terminal.progress())
    if html:
        _write_page(html, platform, evidence, document["run"])
    if as_json:
        typer.echo(json.dumps(document))
    else:
        terminal.show_result(document)
    raise typer.Exit(document["exit"])


@app.command()
@app.command("guard", hidden=True)  # its name of before, which stands in units and manifests
def recoverer(
    platform: options.PlatformFile,
    store: Annotated[str, typer.Option(help="Name of the store to recover.")],
    cluster: Annotated[
        Path | None, typer.Option(help="Folder of a local store's cluster (of a drill, or of midwatch up).")
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="New file that takes what it does, or a folder for one of each start.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="A lease of this machine, although the platform file names a cluster.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Ask the recoverer that holds the cluster's lease to step aside.")
    ] = False,
) -> None:
    """Watch a store and recover it when it fails: decide, fence, promote or restore, re-route, rebuild.

    Runs until SIGTERM, under a lease. On a machine a second recoverer of the store ends with exit code 1. Stores of
    kind postgresql and commands have their lease in the cluster that the platform file names: a second recoverer waits
    there, one that cannot renew its lease ends at once with exit code 1, and one that is asked to step aside ends with
    0.
    """
    from dr import stores
    from dr.recoverer import run
    from dr.stores.kind import Site
    from midwatch.spec import load

    loaded = load.load_platform(platform)
    promised = _promised(loaded, platform)
    site = Site(promised=promised, store=_store(promised, store, platform), file=platform, folder=cluster)
    recovery, folder = stores.kind_of(site.store).recovery(site)
    options = run.Options(events=events, local=local, take_over=take_over)
    run.run(loaded, site.store, recovery, folder, options)


@app.command()
def export(
    platform: options.PlatformFile,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; the platform file's without it.")] = None,
    evidence: EvidenceFolder = None,
    cluster: Annotated[
        list[str] | None, typer.Option(help="STORE=FOLDER of a local store's cluster that runs; may be repeated.")
    ] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
) -> None:
    """Publish the posture of every store, and the last result of every drill, at /metrics until SIGTERM.

    Exit code 2 when it cannot start as asked.
    """
    import signal

    from dr.posture import exporter, gauges
    from midwatch import http_access

    promised, log = _open(platform, evidence)
    host, port = http_access.parse_address(listen or promised.listen)
    token = http_access.bearer_token(host, metrics_token_file, insecure=insecure, option="--metrics-token-file")
    clusters = _clusters(cluster)
    watch = gauges.Watch(promised, log, gauges.collectors(promised, platform, clusters))
    serving = exporter.Exporter(watch, host, port, http_access.admission(token))
    exporter.keep_verifying(promised, platform, log, clusters)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, serving.stop)
    serving.run()


@app.command()
def status(
    platform: options.PlatformFile,
    as_json: AsJson = False,
    evidence: EvidenceFolder = None,
    cluster: Annotated[
        list[str] | None, typer.Option(help="STORE=FOLDER of a local store's cluster that runs.")
    ] = None,
) -> None:
    """Say how every store stands against its objectives.

    Exit code 0 when every drill is met and recent and nothing lags, 1 with findings, 3 when something is not known.
    Evidence that is not what was written is a finding: what stands here was read from it.
    """
    import json
    from dataclasses import asdict

    from dr import terminal
    from dr.posture import gauges
    from dr.posture import status as statuses
    from midwatch.errors import Exit

    promised, log = _open(platform, evidence)
    collectors = gauges.collectors(promised, platform, _clusters(cluster))
    stores = statuses.judge(promised, log, gauges.Watch(promised, log, collectors).look())
    spoiled = [str(problem) for problem in log.verified().problems]
    code = Exit.PASS
    if spoiled or any(one.problems for one in stores):
        code = Exit.FAIL
    elif any(one.unknown for one in stores):
        code = Exit.INCONCLUSIVE
    if as_json:
        typer.echo(json.dumps({"stores": [asdict(one) for one in stores], "evidence": spoiled, "exit": int(code)}))
    else:
        terminal.show_status(stores, spoiled)
    raise typer.Exit(code)


@app.command()
def report(
    platform: options.PlatformFile,
    since: Annotated[str | None, typer.Option(help="RFC 3339 time or date; everything without it.")] = None,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write it as one self-contained page.")] = None,
    evidence: EvidenceFolder = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put each drill's last run beside the one before it.")
    ] = False,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of a Prometheus that scrapes dr export: the heads it has seen are compared.")
    ] = None,
) -> None:
    """List every drill with its verdict, figures and evidence, and say whether the evidence is whole.

    The log is checked to the byte, and against its heads in `evidence.anchor_file`; each drill's files by their
    digests, and its verdict is computed again from its ledgers. Exit code 0, 1 when any is not what was written, 3
    when there is no record: nothing is proven by it.
    """
    import json

    from dr import report as reports
    from dr import terminal
    from midwatch import anchors, files
    from midwatch.errors import Exit
    from midwatch.prometheus import client_at

    _, log = _open(platform, evidence)
    outside = anchors.scraped(client_at(prometheus, platform), log.name) if prometheus else None
    document = reports.build(log, _moment(since), outside)
    if compare:
        document["compared"] = reports.compare(document)
    if html:
        files.replace(html, reports.render(document, log, "Disaster-recovery drills").encode())
    if as_json:
        typer.echo(json.dumps(document))
    else:
        terminal.show_report(document)
    if document["evidence"]["problems"]:
        raise typer.Exit(Exit.FAIL)
    raise typer.Exit(Exit.PASS if document["evidence"]["records"] else Exit.INCONCLUSIVE)


@app.command()
def verify(
    store: Annotated[str, typer.Argument(help="Name of the store.")],
    platform: options.PlatformFile,
    as_json: AsJson = False,
    evidence: EvidenceFolder = None,
    cluster: Annotated[Path | None, typer.Option(help="Folder of a local store's cluster that runs.")] = None,
) -> None:
    """Restore the newest backup of a store into an empty target, check it, and keep how new the point is.

    Exit code 0; 1 when nothing could be restored, only an older backup than the newest, or not all of the archive; 2,
    and nothing is on record, when the store cannot be looked at.
    """
    import json

    from dr import terminal
    from dr.posture import verification
    from dr.stores.kind import NothingToVerifyError, Site
    from midwatch.errors import Exit, MidwatchError

    promised, log = _open(platform, evidence)
    if cluster is not None and not cluster.is_dir():
        raise MidwatchError(f"--cluster {cluster}: there is no such folder")
    site = Site(promised=promised, store=_store(promised, store, platform), file=platform, folder=cluster)
    try:
        done = verification.verify(site, log, terminal.progress())
    except NothingToVerifyError:
        raise
    except MidwatchError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.FAIL) from error
    if as_json:
        typer.echo(json.dumps(done))
    else:
        typer.echo(f"{store}: {done['backup']} restored in {done['seconds']:g} s; {done['detail']}", err=True)
        for flaw in done["unusable"]:
            typer.echo(f"cannot be used: {flaw}", err=True)
        for hole in done["holes"]:
            typer.echo(f"BREACHED: {hole}", err=True)
    raise typer.Exit(Exit.PASS if done["verdict"] == "MET" else Exit.FAIL)


@app.command()
def publish(
    store: Annotated[str, typer.Argument(help="Name of a store of kind files.")],
    platform: options.PlatformFile,
    remove: Annotated[
        list[str] | None, typer.Option(help="File that goes, by its path in the folder; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say that what is in a store's folder now is meant: write its manifest, the next generation, and only then remove.

    What the manifest lists and is damaged or gone later is put back; what changes without being published is an alert.
    """
    import json
    from dataclasses import asdict

    from dr import stores
    from dr.stores.kind import Site
    from midwatch.spec import load

    promised = _promised(load.load_platform(platform), platform)
    site = Site(promised=promised, store=_store(promised, store, platform), file=platform)
    done = stores.kind_of(site.store).publish(site, remove or ())
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    counts = ((done.added, "added"), (done.changed, "changed"), (done.removed, "removed"))
    typer.echo(f"{store}: generation {done.generation}", err=True)
    for names, how in counts:
        for name in names:
            typer.echo(f"{how}: {name}", err=True)


def _moment(text: str | None) -> datetime | None:
    from datetime import UTC, datetime

    from midwatch.errors import MidwatchError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MidwatchError(f"--since {text!r} is not a time; write one such as 2026-11-01") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _write_page(path: Path, platform: Path, evidence: Path | None, run: str) -> None:
    from dr import report as reports
    from midwatch import files

    _, log = _open(platform, evidence)
    document = reports.build(log, None)
    mine = [drill for drill in document["drills"] if drill["run"] == run]
    files.replace(path, reports.render(document | {"drills": mine}, log, f"Drill {mine[0]['drill']}").encode())


def _clusters(given: list[str] | None) -> dict[str, Path]:
    return {name: Path(folder) for name, _, folder in (text.partition("=") for text in given or ())}


def _open(platform: Path, evidence: Path | None) -> tuple[DisasterRecovery, DrillLog]:
    """The platform's recovery section and its log of drills; MidwatchError without the section."""
    from dr.drill_log import DrillLog
    from midwatch.spec import load

    loaded = load.load_platform(platform)
    return _promised(loaded, platform), DrillLog.of(loaded, platform, evidence)


def _promised(loaded: Platform, file: Path) -> DisasterRecovery:
    from midwatch.errors import MidwatchError

    if loaded.disaster_recovery is None:
        raise MidwatchError(f"{file}: there is no section disaster_recovery")
    return loaded.disaster_recovery


def _store(promised: DisasterRecovery, name: str, file: Path) -> Store:
    from midwatch.errors import MidwatchError

    stores = {store.name: store for store in promised.stores}
    if name not in stores:
        raise MidwatchError(f"{file}: there is no store {name!r}; known: {', '.join(sorted(stores))}")
    return stores[name]
