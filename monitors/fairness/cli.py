"""`midwatch fairness judge`: whether groups are treated alike, from what Prometheus counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midwatch.prometheus import Client
    from midwatch.spec.fairness import Fairness
    from midwatch.spec.model import Model, Platform
    from monitors.fairness.looks import Look
    from monitors.fairness.promises import Finding

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Whether a model treats groups of people alike.")


@app.command()
def judge(
    platform: options.PlatformFile,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version.")] = None,
    end: Annotated[str | None, typer.Option(help="RFC 3339 time until when; now without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the tables.")] = False,
) -> None:
    """Judge what models promise under `fairness`: exit 0 all shown fair, 1 any unfair, 2 bad input, 3 not known yet.

    Evidence counts from the window's start or the version's first prediction; it may be looked at as often as you like.
    """
    import json

    from midwatch.errors import Exit
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load
    from monitors.fairness import document, promises, view

    loaded = load.load_platform(platform)
    models = _models(loaded, model)
    until = _end(end)
    try:
        looks = _looks(Client.of(loaded.prometheus), models, until)
    except QueryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    names = _names(loaded, platform, models)
    judged = [
        (look, [promises.named(one, names) for one in look.findings if version in (None, one.version)])
        for look in looks
    ]
    if as_json:
        documents = [document.document(findings, look.window, look.queries) for look, findings in judged]
        typer.echo(json.dumps({"windows": documents}))
    else:
        view.show([(look.window, findings) for look, findings in judged])
    raise typer.Exit(_exit(models, [one for _, found in judged for one in found]))


@app.command()
def advise(
    platform: options.PlatformFile,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version.")] = None,
    end: Annotated[str | None, typer.Option(help="RFC 3339 time until when; now without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the text.")] = False,
) -> None:
    """Propose what may close a gap, with its expected effect: exit 0 all shown fair, 1 any unfair, 3 not known yet.

    Nothing is applied. The effect is measured on the blocks of time that did not choose the proposal.
    """
    import json

    from midwatch.errors import Exit
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load
    from monitors.fairness.advice import advise as advising
    from monitors.fairness.advice import document, view

    loaded = load.load_platform(platform)
    models = _models(loaded, model)
    until = _end(end)
    client = Client.of(loaded.prometheus)
    try:
        advised = [(look, advising.advise(client, look, version)) for look in _looks(client, models, until)]
    except QueryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    names = _names(loaded, platform, models)
    windows = [(look.window, [one.named(names) for one in found]) for look, found in advised]
    if as_json:
        typer.echo(json.dumps({"windows": [document.document(found, window) for window, found in windows]}))
    else:
        view.show(windows)
    raise typer.Exit(_exit(models, [finding for _, found in windows for one in found for finding in one.findings]))


def _models(platform: Platform, name: str | None) -> list[Model]:
    from midwatch.errors import InvalidInputError, Problem

    promising = {model.name: model for model in platform.models if model.fairness}
    if name is not None and name not in promising:
        known = ", ".join(promising) or "none"
        message = f"no model {name!r} promises fairness"
        raise InvalidInputError([Problem(file="--model", message=message, remedy=f"known: {known}")])
    if not promising:
        message = "no model of this platform file has a fairness section"
        raise InvalidInputError([Problem(file="--file", message=message, remedy="write models[].fairness")])
    return list(promising.values()) if name is None else [promising[name]]


def _end(text: str | None) -> float | None:
    from midwatch.errors import InvalidInputError, Problem
    from monitors.canary.times import parse_moment

    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise InvalidInputError([Problem(file="--end", message=str(error))]) from error


def _looks(client: Client, models: Sequence[Model], end: float | None) -> list[Look]:
    from monitors.fairness import looks

    return looks.look(client, models, client.query("time()")[0].value if end is None else end)


def _names(loaded: Platform, file: Path, models: Sequence[Model]) -> dict[str, str]:
    """Names that the promises list, by the hash that stands for each in metrics, where the key can be read."""
    from midwatch import keyed_hash
    from midwatch.platform_files import base_folder

    personal = loaded.exporter.personal
    hashed = [
        value
        for model in models
        for promise in model.fairness
        if set(promise.named_attributes) & set(personal.hash)
        for value in promise.values
    ]
    if personal.key_file is None or not hashed:
        return {}
    key = keyed_hash.read_key(base_folder(file) / personal.key_file)
    return {keyed_hash.digest(value, key): value for value in hashed}


def _exit(models: Sequence[Model], findings: Sequence[Finding]) -> int:
    """Unfair or lately unfair is a failure; a promise of which nothing is found, or anything unknown, is undecided."""
    from midwatch.errors import Exit
    from monitors.fairness.verdict import Verdict

    found = {(one.model, *one.promise.key) for one in findings}
    silent = [
        (model.name, promise)
        for model in models
        for promise in model.fairness
        if (model.name, *promise.key) not in found
    ]
    for name, promise in silent:
        typer.echo(f"{name}: nothing is known of {promise.title}: {_why_silent(promise)}", err=True)
    if any(one.judgement.verdict is Verdict.UNFAIR or one.judgement.became_unfair for one in findings):
        return Exit.FAIL
    if silent or any(one.judgement.verdict is Verdict.UNKNOWN for one in findings):
        return Exit.INCONCLUSIVE
    return Exit.PASS


def _why_silent(promise: Fairness) -> str:
    """What a version has to do to be judged."""
    from midwatch.spec.values import format_duration
    from monitors.fairness.promises import LATEST

    return f"no version has predicted in the last {format_duration(promise.over / LATEST)}"
