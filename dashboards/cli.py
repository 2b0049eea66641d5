"""`midwatch dashboards`: whether every panel has data, and bringing dashboards to a Grafana."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from dashboards.push import Change
    from dashboards.verify import Finding
    from midwatch.spec import model as spec

app = typer.Typer(help="Verify dashboards against Prometheus; push them to Grafana.", add_completion=False)

SHOWN_DIFFERENCES = 12

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document of the result.")]


@app.callback()
def dashboards() -> None:
    """Verify dashboards against Prometheus; push them to Grafana."""


@app.command()
def verify(
    platform: options.PlatformFile,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of the Prometheus; the platform file's without it.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back panels look.")] = "15m",
    choose: Annotated[list[str] | None, typer.Option("--var", help="NAME=VALUE of a variable, instead of all.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with Prometheus' bearer token.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Empty panels and variables fail too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run every panel's, variable's and annotation's query against a live Prometheus.

    Exit code 0 without errors, 1 with errors (with --strict: or with anything empty), 2 when the input is broken, 3
    when Prometheus does not answer or no panel has any data: then nothing was verified.
    """
    from dashboards.verify import Status
    from midwatch.prometheus import UnreachableError
    from midwatch.spec import load

    loaded = load.load_platform(platform)
    try:
        findings = _asked(loaded, prometheus or loaded.prometheus.url, since, choose or [], token_file)
    except UnreachableError as error:
        typer.echo(f"{error}; nothing was verified", err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    code = _judged(findings, strict=strict)
    if as_json:
        counts = {status.value: sum(one.status is status for one in findings) for status in Status}
        typer.echo(json.dumps({"counts": counts, "findings": [asdict(one) for one in findings], "exit": int(code)}))
    else:
        _show(findings)
    raise typer.Exit(code)


@app.command()
def push(
    platform: options.PlatformFile,
    grafana: Annotated[str | None, typer.Option(help="URL of the Grafana; the platform file's without it.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with a service account's token.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what differs in a Grafana, then save only that.

    Exit code 0 when Grafana has everything, 1 when it refused something or, with --dry-run, when there is a difference,
    2 when the input is broken, 3 when Grafana does not answer.
    """
    from dashboards import provisioning, render
    from dashboards import push as pushing
    from midwatch.grafana import folder_uid
    from midwatch.spec import load

    loaded = load.load_platform(platform)
    folder = pushing.Folder(uid=folder_uid(loaded.platform), title=provisioning.folder(loaded))
    there = pushing.Grafana(grafana or loaded.grafana.url, _token(token_file))
    changes = there.compared(render.documents(loaded), folder)
    different = [change for change in changes if change.kind is not pushing.Kind.SAME]
    if not as_json:
        _show_changes(changes)
    if different and not dry_run:
        there.ensure_folder(folder)
        for change in different:
            there.push(change, folder)
    code = Exit.FAIL if different and dry_run else Exit.PASS
    if as_json:
        typer.echo(
            json.dumps({"dashboards": [_change(one) for one in changes], "pushed": not dry_run, "exit": int(code)})
        )
    else:
        typer.echo(
            "nothing was changed" if dry_run or not different else f"{len(different)} dashboards saved", err=True
        )
    raise typer.Exit(code)


def _change(change: Change) -> dict[str, object]:
    return {
        "uid": change.document["uid"],
        "kind": change.kind.value,
        "differences": [asdict(one) for one in change.differences],
    }


def _show_changes(changes: Sequence[Change]) -> None:
    """A line for each dashboard, and under it the first places that differ."""
    from rich.console import Console

    from dashboards.push import Kind

    signs = {Kind.NEW: "+", Kind.CHANGED: "~", Kind.SAME: "="}
    console = Console(highlight=False)
    for change in changes:
        console.print(f"{signs[change.kind]} {change.kind.value:<8}{change.document['uid']}", markup=False)
        for one in change.differences[:SHOWN_DIFFERENCES]:
            console.print(f"    {one.place}: {_short(one.before)} -> {_short(one.after)}", markup=False, soft_wrap=True)
        more = len(change.differences) - SHOWN_DIFFERENCES
        if more > 0:
            console.print(f"    and {more} more; --json has all", markup=False)


def _short(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _asked(
    platform: spec.Platform, url: str, since: str, choose: Sequence[str], token_file: Path | None
) -> list[Finding]:
    from dashboards import contents, render
    from dashboards import verify as verification
    from midwatch import progress
    from midwatch.prometheus import Client

    client = Client(url, timeout=platform.prometheus.timeout, token=_token(token_file))
    moment = verification.Time(end=time.time(), since=_seconds(since), scrape=platform.prometheus.scrape_interval)
    verifier = verification.Verifier(client, moment, _chosen(choose))
    documents = render.documents(platform)
    client.query("vector(1)")
    findings: list[Finding] = []
    with progress.bar("panels", sum(len(list(contents.panels(document))) for document in documents)) as step:
        for document in documents:
            findings += verifier.verify(document, lambda: step(1))
    return findings


def _seconds(text: str) -> float:
    from midwatch.spec.values import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise MidwatchError(f"--since {error}") from error


def _chosen(choose: Sequence[str]) -> dict[str, str]:
    wrong = [text for text in choose if "=" not in text]
    if wrong:
        raise MidwatchError(f"--var {wrong[0]}: write NAME=VALUE")
    return dict(text.split("=", 1) for text in choose)


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MidwatchError(f"{file}: the token cannot be read: {error}") from error


def _judged(findings: Sequence[Finding], *, strict: bool) -> Exit:
    from dashboards.verify import Status

    statuses = {one.status for one in findings}
    if Status.ERROR in statuses or (strict and Status.EMPTY in statuses):
        return Exit.FAIL
    has_data = any(one.kind == "panel" and one.status is Status.OK for one in findings)
    return Exit.PASS if has_data else Exit.INCONCLUSIVE


def _show(findings: Sequence[Finding]) -> None:
    """A line for each panel, variable and annotation, and the sum of them."""
    from rich.table import Table

    from dashboards.verify import Status
    from midwatch import tables

    signs = {
        Status.OK: "● ok",
        Status.EMPTY: "○ empty",
        Status.ERROR: "▼ error",
        Status.QUIET: "· quiet",
        Status.SKIPPED: "- skipped",
    }
    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("dashboard", "what", "with", "status", "series", "why"):
        table.add_column(name, overflow="fold", justify="right" if name == "series" else "left")
    for one in findings:
        what = one.title if one.kind == "panel" else f"{one.kind} {one.title}"
        values = " ".join(f"{name}={value}" for name, value in one.values.items())
        table.add_row(one.dashboard, what, values, signs[one.status], str(one.series or ""), one.reason)
    tables.show(table, console=console)
    counts = (f"{sum(one.status is status for one in findings)} {status.value}" for status in Status)
    console.print(f"{len(findings)} asked: {', '.join(counts)}")
