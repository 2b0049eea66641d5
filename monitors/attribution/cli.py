"""`midwatch attributions compare`: whether a model uses its features otherwise than before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Whether a model uses its features otherwise than before."
)


@app.callback()
def _group() -> None:
    """A group of commands, though there is one."""


@app.command()
def compare(
    platform: options.PlatformFile,
    model: Annotated[str, typer.Option(help="Model whose attributions are compared.")],
    version: Annotated[str, typer.Option(help="Version whose last window is judged.")],
    against: Annotated[str | None, typer.Option(help="Version that it replaces, instead of its own past.")] = None,
    window: Annotated[
        str | None, typer.Option(help="Length of a window, such as 6h; the platform file's without it.")
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(
            min=20, max=1000, help="Earlier windows that it is compared with; the platform file's without it."
        ),
    ] = None,
    end: Annotated[str | None, typer.Option(help="RFC 3339 time until when; now without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Compare attributions: exit 0 as before, 1 changed, 2 bad input, 3 too little to tell.

    Choose a window in which a day's course does not show, or in which it shows each time, such as 24h.

    Prometheus has to keep 20 windows beside the last one.
    """
    import json
    from dataclasses import asdict

    from midwatch.errors import Exit, InvalidInputError, Problem
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load
    from midwatch.spec.values import describe_duration, parse_duration
    from monitors.attribution import fetch, judge, view
    from monitors.attribution.change import Verdict
    from monitors.canary.times import moment, parse_moment

    loaded = load.load_platform(platform)
    explained = {one.name: one.explanations for one in loaded.models if one.explanations}
    if model not in explained:
        message = f"no model {model!r} has an explanations section"
        known = f"known: {', '.join(explained) or 'none'}"
        raise InvalidInputError([Problem(file="--model", message=message, remedy=known)])
    if against == version:
        raise InvalidInputError([Problem(file="--against", message=f"{version!r} is the version that is judged")])
    own = explained[model]
    seconds = own.window if window is None else _parsed("--window", window, parse_duration)
    if seconds < loaded.prometheus.scrape_interval:
        least = describe_duration(loaded.prometheus.scrape_interval)
        message = f"{describe_duration(seconds)} is shorter than a scrape interval"
        raise InvalidInputError([Problem(file="--window", message=message, remedy=f"write at least {least}")])
    until = None if end is None else _parsed("--end", end, parse_moment)
    client = Client.of(loaded.prometheus)
    try:
        now = client.query("time()")[0].value if until is None else until
        span = fetch.Span.until(now, seconds, (windows or own.windows) + judge.NEWEST)
        new = fetch.ask(client, model, version, span)
        old = None if against is None else fetch.ask(client, model, against, span)
    except QueryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    said = judge.over_time(new, own.twins) if old is None else judge.between(old, new, own.twins)
    if as_json:
        span_of = {"start": moment(span.end - span.window), "end": moment(span.end), "window_seconds": span.window}
        names = {"model": model, "version": version, "against": against}
        queries = [*new.queries, *(old.queries if old else ())]
        typer.echo(json.dumps(names | span_of | asdict(said) | {"queries": queries}))
    else:
        view.show(said)
    raise typer.Exit({Verdict.STABLE: Exit.PASS, Verdict.CHANGED: Exit.FAIL}.get(said.verdict, Exit.INCONCLUSIVE))


def _parsed(option: str, text: str, parse: Callable[[str], float]) -> float:
    from midwatch.errors import InvalidInputError, Problem

    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInputError([Problem(file=option, message=str(error))]) from error
