"""`midwatch status`: the state of the promises now, in a terminal, as JSON, or watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.app.status.where import AlertmanagerUrl, PrometheusUrl, StateFolder
from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from midwatch.app.status.read import Sources
    from midwatch.app.status.records import Overview, State

app = typer.Typer(help="The state of the promises now: what fires, what is left, who was told.", add_completion=False)

LEAST_EVERY = 1.0


@app.command()
def status(
    platform: options.GivenPlatformFile = None,
    prometheus: PrometheusUrl = None,
    alertmanager: AlertmanagerUrl = None,
    state: StateFolder = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option(help="How often it is looked at with --watch.")] = "5s",
    show_all: Annotated[bool, typer.Option("--all", help="Also models and services that are calm.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show models by trouble, budgets, what fires and who was told, drift, canaries, drills, and what answers.

    Prometheus and Alertmanager are asked, whoever runs them: those of the platform file, or of the options. Exit code 0
    calm, 1 somebody should act, 2 for input that cannot be used, 3 when something that would say so did not answer.
    """
    import json

    from midwatch import tables
    from midwatch.app.status import read, view, where

    if watch and as_json:
        raise MidwatchError("--json is one document, and --watch goes on; give one of them")
    sources = where.sources(platform, prometheus_url=prometheus, alertmanager_url=alertmanager, state=state)
    if watch:
        raise typer.Exit(_code(_watch(sources, _seconds(every), show_all=show_all)))
    found = read.overview(sources)
    if as_json:
        typer.echo(json.dumps({**found.document(), "exit": int(_code(found.state))}))
    else:
        console = tables.make_console()
        console.print(view.page(found, console.width, every=show_all), crop=console.is_terminal)
    raise typer.Exit(_code(found.state))


def _code(state: State) -> Exit:
    from midwatch.app.status.records import State

    return {State.CALM: Exit.PASS, State.ACT: Exit.FAIL, State.UNKNOWN: Exit.INCONCLUSIVE}[state]


def _seconds(text: str) -> float:
    from midwatch.spec.values import parse_duration

    try:
        return max(LEAST_EVERY, parse_duration(text))
    except ValueError as error:
        raise MidwatchError(f"--every: {error}") from error


def _watch(sources: Sources, every: float, *, show_all: bool) -> State:
    """Look again and again until Ctrl-C; the last state is returned. An outage is shown, and waited out."""
    import time
    from contextlib import suppress

    from rich.live import Live

    from midwatch import tables
    from midwatch.app.status import read, view
    from midwatch.app.status.records import State

    console, last = tables.make_console(), State.UNKNOWN
    if not console.is_terminal:
        return _log(sources, every)
    known: Overview | None = None
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = read.overview(sources)
            known, last = (now if now.prometheus_at else known), now.state
            live.update(view.with_last_known(now, known, console.width, every=show_all), refresh=True)
            time.sleep(every)
    return last


def _log(sources: Sources, every: float) -> State:
    """Where there is no terminal: a line whenever the state or its reasons are other ones."""
    import time
    from contextlib import suppress

    from midwatch.app.status import read, view
    from midwatch.app.status.records import State

    said: tuple[object, ...] = ()
    last = State.UNKNOWN
    with suppress(KeyboardInterrupt):
        while True:
            now = read.overview(sources)
            last = now.state
            if (now.state, now.reasons) != said:
                said = now.state, now.reasons
                typer.echo(view.line(now))
            time.sleep(every)
    return last
