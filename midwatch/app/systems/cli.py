"""`midwatch systems`: whether their metrics are what rules read, a player of them, and what is asked beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midwatch.app.systems.answers import Answer
    from midwatch.spec.model import Platform
    from midwatch.spec.observed.mlflow import MlflowObserved

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Check the systems' metrics and play them; ask for what they do not publish.",
)


@app.callback()
def _group() -> None:
    """Check the systems' metrics and play them; ask for what they do not publish."""


@app.command()
def check(
    file: options.PlatformFile,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of the Prometheus; the platform file's without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Ask a Prometheus of every system: it answers, speaks another version, exposes nothing, or is not scraped.

    Exit code 0 when all answer, 1 when one does not, 2 when the input is broken, 3 when Prometheus does not answer.
    """
    import json
    from dataclasses import asdict

    from midwatch.app.systems import answers
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load, system_rules

    platform = load.load_platform(file)
    installed = list(system_rules.installed(platform))
    if not installed:
        raise MidwatchError(f"{file}: it names no systems; see docs/systems.md")
    client = Client.of(platform.prometheus, prometheus)
    try:
        found = [answers.judge(system, answers.ask(client, system)) for system in installed]
    except QueryError as error:
        typer.echo(f"{error}; nothing is known of any system", err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    is_ok = all(one.state is answers.State.ANSWERS for one in found)
    if as_json:
        typer.echo(json.dumps({"ok": is_ok, "systems": [asdict(one) for one in found]}))
    else:
        _show(found)
    raise typer.Exit(Exit.PASS if is_ok else Exit.FAIL)


def _show(found: Sequence[Answer]) -> None:
    for one in found:
        down = f"{len(one.down)} of its targets do not answer" if one.down and one.state.value != "not scraped" else ""
        said = "; ".join(text for text in (one.message, one.remedy, down) if text)
        typer.echo(f"{one.system} ({one.stated}): {one.state}{f': {said}' if said else ''}")


@app.command()
def play(
    file: options.PlatformFile,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:9530",
    configuration: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a configuration of Prometheus that scrapes the player.")
    ] = None,
) -> None:
    """Serve the metrics of every system of the platform file, as recorded or as their folders say, for a Prometheus.

    Counters rise, so that rates are not empty. For trying rules and dashboards without the systems. Serves until
    SIGTERM. Exit code 2 when it cannot start as asked.
    """
    import signal
    import threading

    from midwatch import files, http_access
    from midwatch.app.systems import player, stage
    from midwatch.spec import load

    platform = load.load_platform(file)
    if not platform.systems:
        raise MidwatchError(f"{file}: it names no systems; see docs/systems.md")
    host, port = http_access.parse_address(listen)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with player.serving(platform, host, port) as address:
        if configuration is not None:
            files.replace(configuration, stage.configuration(platform, address).encode())
        typer.echo(f"ready: http://{address}", err=True)
        stopped.wait()


@app.command()
def export(
    file: options.PlatformFile,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; the platform file's without it.")] = None,
    state: Annotated[Path, typer.Option(help="Folder of what was seen, such as the registry's history.")] = Path(
        "state/systems"
    ),
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Ask once, write the exposition to standard output.")] = False,
) -> None:
    """Ask systems for what they do not publish, and serve it at /metrics until SIGTERM; nothing is changed in them.

    Asked are the systems that have `observe` in the platform file. Exit code 2 when it cannot start as asked; with
    --once 3 when one does not answer.
    """
    import asyncio

    from exporters.systems import service
    from midwatch import http_access
    from midwatch.spec import load

    platform = load.load_platform(file)
    sources = service.of_platform(platform, state)
    if not sources:
        raise MidwatchError(f"{file}: no system has observe; see docs/systems.md")
    if once:
        silent = service.poll_once(sources)
        typer.echo(service.text(sources).decode(), nl=False)
        for problem in silent:
            typer.echo(problem, err=True)
        raise typer.Exit(Exit.INCONCLUSIVE if silent else Exit.PASS)
    host, port = http_access.parse_address(listen or platform.systems_exporter.listen)
    address = service.Address(host=host, port=port, token_file=metrics_token_file, insecure=insecure)
    asyncio.run(service.serve(sources, address, lambda url: typer.echo(f"ready: {url}", err=True)))


@app.command()
def versions(
    file: options.PlatformFile,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of the Prometheus; the platform file's without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say of each model which version is champion, which Argo CD has deployed and which serves.

    Exit code 0 when they agree, 1 when those of one model do not, 3 when a part of one cannot be seen.
    """
    import json
    from dataclasses import asdict

    from midwatch.app.systems import releases
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load

    platform = load.load_platform(file)
    registry = _registry(platform, file)
    try:
        seen = releases.ask(Client.of(platform.prometheus, prometheus), platform, registry)
    except QueryError as error:
        typer.echo(f"{error}; nothing is known of any model", err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    found = [releases.judge(one, float(registry.tolerated_share)) for one in seen]
    if as_json:
        typer.echo(json.dumps({"models": [{**asdict(one), "text": one.text} for one in found]}))
    else:
        for one in found:
            typer.echo(one.text)
    states = {one.state for one in found}
    if releases.State.DISAGREES in states:
        raise typer.Exit(Exit.FAIL)
    raise typer.Exit(Exit.INCONCLUSIVE if releases.State.UNDECIDED in states else Exit.PASS)


@app.command()
def history(
    file: options.PlatformFile,
    model: Annotated[str, typer.Option(help="Name of the model in the platform file.")],
    at: Annotated[str | None, typer.Option(help="A time with its zone, such as 2026-11-02T14:00:00Z.")] = None,
    role: Annotated[
        str | None, typer.Option(help="Another role, such as `alias challenger` or `stage Staging`.")
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder of midwatch systems export.")] = Path("state/systems"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say which version of a model was champion and when, or with --at at that time; as it was seen, gaps included.

    Exit code 0, 1 when the log is not what was written, 3 when nobody can say who was champion at the time.
    """
    import json
    from dataclasses import asdict

    from exporters.systems import registry_history
    from midwatch.app.systems import past_champions
    from midwatch.spec import load

    platform = load.load_platform(file)
    registry = _registry(platform, file)
    known = registry.registered([one.name for one in platform.models])
    if model not in known:
        raise MidwatchError(f"--model: there is no model {model!r}; known: {', '.join(sorted(known))}")
    folder, asked = state / registry.system, role or registry.champion_role
    past = registry_history.load(folder)
    answer = registry_history.who_was(past, model, asked, options.moment(at).timestamp()) if at else None
    if as_json:
        said = asdict(answer) if answer else {"events": past_champions.documents(past, model, asked)}
        typer.echo(json.dumps({"model": model, "role": asked, **said}))
    else:
        lines = [past_champions.text(answer, asked)] if answer else past_champions.lines(past, model, asked)
        for line in lines:
            typer.echo(line)
    damages = past_champions.damages(folder)
    for damage in damages:
        typer.echo(damage, err=True)
    if damages:
        raise typer.Exit(Exit.FAIL)
    raise typer.Exit(Exit.PASS if answer is None or answer.is_known else Exit.INCONCLUSIVE)


def _registry(platform: Platform, file: Path) -> MlflowObserved:
    """The section of the registry; MidwatchError without one."""
    from midwatch.spec.observed.mlflow import MlflowObserved

    for use in platform.systems.values():
        if isinstance(use.observe, MlflowObserved):
            return use.observe
    raise MidwatchError(f"{file}: systems.mlflow has no observe, so the registry is not asked; see docs/systems.md")
