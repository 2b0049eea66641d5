"""`midwatch loop`: the service that follows retrainings, and what is on record of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.errors import Exit, MidwatchError
from monitors.loop import helped_cli
from monitors.regression import cli as regression

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform
    from monitors.loop.episode import Episode, Step

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Ask for retrainings, and follow them from drift to a better model in production.",
)

State = Annotated[Path, typer.Option(help="Folder of the log of episodes.")]
FOLDER = Path("state/loop")


@app.callback()
def _group() -> None:
    """Ask for retrainings, and follow them from drift to a better model in production."""


@app.command()
def serve(
    file: options.PlatformFile,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; the platform file's without it.")] = None,
    state: State = FOLDER,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients send.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    prometheus: Annotated[str | None, typer.Option(help="URL of Prometheus, if not the platform file's.")] = None,
) -> None:
    """Ask for each retraining once, follow it to its end, and serve /metrics and /episodes until SIGTERM.

    Of several with one state folder one acts; another takes over when that is gone. Exit code 2 when it cannot start
    as asked.
    """
    import asyncio
    import logging

    from midwatch import http_access, http_service, telemetry
    from midwatch.spec import load
    from monitors.loop import service

    platform = load.load_platform(file)
    if platform.loop is None:
        raise MidwatchError(f"{file}: it has no section loop; see docs/loop.md")
    host, port = http_access.parse_address(listen or platform.loop.listen)
    token = http_access.bearer_token(host, token_file, insecure=insecure)
    metrics_token = http_access.read_token(metrics_token_file) if metrics_token_file else None
    stop_telemetry = telemetry.setup(service.SERVICE)
    wanted = service.Options(platform=platform, base=load.base_folder(file), state=state, prometheus=prometheus)
    address = http_service.Address(host=host, port=port, token=token, metrics_token=metrics_token)
    log = logging.getLogger("monitors.loop")
    asyncio.run(service.serve(service.Loop(wanted), address, lambda url: log.info("ready", extra={"url": url})))
    stop_telemetry()


@app.command()
def episodes(
    file: options.PlatformFile,
    model: Annotated[str | None, typer.Option(help="Those of one model.")] = None,
    state: State = FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the episodes on record: drift of which version, what replaced it, how it ended and why.

    Exit code 0; 1 when the log is not what was written.
    """
    import json
    import time

    from midwatch import tables
    from midwatch.spec import load
    from monitors.loop import document, view

    platform = load.load_platform(file)
    known = [one.name for one in platform.models]
    if model is not None and model not in known:
        raise MidwatchError(f"--model: there is no model {model!r}; known: {', '.join(sorted(known))}")
    found = [one for one in _recorded(state, platform) if model in (None, one.model)]
    blind = _unobserved(platform)
    if as_json:
        said = [document.of_episode(one, blind.get(one.model)) for one in found]
        typer.echo(json.dumps({"episodes": said}))
    elif found:
        tables.show(view.table(found, time.time(), blind))
    else:
        typer.echo(f"no episode is on record in {state}")
    raise typer.Exit(_damages(state))


@app.command()
def show(
    episode: Annotated[str, typer.Argument(help="Id of the episode, or the beginning of it that no other has.")],
    file: options.PlatformFile,
    state: State = FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show every step of an episode: when it was done, as who says so, and what was not seen or cannot be.

    Exit code 0 when it ended better, 1 when it ended otherwise or the log is not what was written, 3 while it is open
    or undecided.
    """
    import json

    from midwatch import tables
    from midwatch.spec import load
    from monitors.loop import document, view

    platform = load.load_platform(file)
    found = _chosen(_recorded(state, platform), episode, state)
    blind = _unobserved(platform).get(found.model, {})
    if as_json:
        typer.echo(json.dumps(document.of_episode(found, blind)))
    else:
        typer.echo(view.headline(found))
        tables.show(view.steps(found, blind))
    raise typer.Exit(_damages(state) or _code(found))


@app.command()
def drill(
    file: options.PlatformFile,
    model: Annotated[str, typer.Option(help="The model whose loop is drilled, on its copy.")],
    state: State = FOLDER,
    limit: Annotated[str | None, typer.Option(help="How long a better version is waited for, such as 2h.")] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL of Prometheus, if not the platform file's.")] = None,
    restore: Annotated[bool, typer.Option("--restore", help="Only put back what a drill has left open.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Put a known drift into a marked copy of a model's traffic, and see whether a better version comes in time.

    Exit code 0 MET, 1 BREACHED, 2 when it cannot begin (nothing was touched), 3 INCONCLUSIVE, or MET and not put back.
    """
    import json

    from midwatch.spec.values import parse_duration
    from monitors.loop.drill import present, run

    try:
        seconds = parse_duration(limit) if limit else None
    except ValueError as error:
        raise MidwatchError(f"--limit: {error}") from error
    if seconds == 0:
        raise MidwatchError(f"--limit {limit}: no better version would be waited for; write a time, such as 2h")
    request = run.Request(platform_file=file, model=model, state=state, limit=seconds, prometheus=prometheus)
    if restore:
        typer.echo(run.restore(request), err=True)
        return
    document = run.run(request, lambda said: typer.echo(said, err=True))
    if as_json:
        typer.echo(json.dumps(document))
    else:
        present.show(document)
    raise typer.Exit(document["exit"])


@app.command()
def drills(
    file: options.PlatformFile,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write it as one self-contained page.")] = None,
) -> None:
    """List every drill of a loop with verdict, figures and reasons, and say whether the evidence is whole.

    Each verdict is computed again from the drill's ledger. A drill that left no result is named. Exit code 0, 1 when
    any is not what was written, 3 when there is no result: nothing is proven.
    """
    import json

    from midwatch.spec import load
    from monitors.loop.drill import kept, present

    log = kept.DrillLog.of(load.load_platform(file), file)
    results, problems, unfinished = log.results(), [str(one) for one in log.problems()], log.unfinished()
    if html:
        present.write(html, log.platform, results, problems)
    if as_json:
        typer.echo(json.dumps({"drills": results, "unfinished": unfinished, "problems": problems}))
    else:
        present.table(results)
        if not results:
            typer.echo(f"no drill with a result is on record in {log.folder}; midwatch loop drill runs one", err=True)
        for said in (*unfinished, *problems):
            typer.echo(said, err=True)
    if problems:
        raise typer.Exit(Exit.FAIL)
    raise typer.Exit(Exit.PASS if results else Exit.INCONCLUSIVE)


def _code(episode: Episode) -> Exit:
    from monitors.loop.episode import Outcome

    if episode.outcome is Outcome.BETTER:
        return Exit.PASS
    return Exit.INCONCLUSIVE if episode.outcome in (Outcome.OPEN, Outcome.UNDECIDED) else Exit.FAIL


def _recorded(state: Path, platform: Platform) -> list[Episode]:
    from monitors.loop import episode_log

    found = list(episode_log.load(state / episode_log.LOG).values())
    episode_log.ensure_of(platform.platform, found, state)
    return found


def _chosen(episodes: list[Episode], wanted: str, state: Path) -> Episode:
    matching = [one for one in episodes if one.id.startswith(wanted)]
    if len(matching) != 1:
        known = ", ".join(one.id for one in matching or episodes) or "none"
        what = "several episodes begin" if matching else "no episode begins"
        raise MidwatchError(f"{state}: {what} with {wanted!r}; there are: {known}")
    return matching[0]


def _damages(state: Path) -> Exit:
    """Whether the log is what was written; what is wrong with it is said on standard error."""
    from midwatch import evidence
    from monitors.loop import episode_log

    path = state / episode_log.LOG
    if not path.exists():
        return Exit.PASS
    problems = evidence.verify(path).problems
    for problem in problems:
        typer.echo(str(problem), err=True)
    return Exit.FAIL if problems else Exit.PASS


def _unobserved(platform: Platform) -> dict[str, dict[Step, str]]:
    """Of each model that is followed the steps that nobody can be asked about, and why."""
    from midwatch.prometheus import Client
    from midwatch.spec import loop as loop_spec
    from monitors.loop import owners
    from monitors.loop.owner import Place

    def of_model(model: Model) -> dict[Step, str]:
        place = Place(platform=platform, model=model, client=Client.of(platform.prometheus))
        return owners.of_model(place).unobserved

    return {model.name: of_model(model) for model in loop_spec.followed(platform)}


app.command("helped")(helped_cli.helped)
app.command("regressions")(regression.regressions)
