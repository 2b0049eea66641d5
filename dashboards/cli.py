"""`midwatch dashboards`: whether every panel has data, and bringing dashboards to a Grafana.

Each command imports what it needs: its help is shown without Grafana's and Prometheus' libraries.
"""

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
from midwatch.spec.values import parse_duration

if TYPE_CHECKING:
    from dashboards.reader import Document

app = typer.Typer(
    help="Verify dashboards against Prometheus, preview them, push them to Grafana.", add_completion=False
)

PREVIEW_POINTS = 120
"""Steps of a line of a preview: as many as half a screen shows."""

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document of the result.")]


@app.callback()
def dashboards() -> None:
    """Verify dashboards against Prometheus, preview them, push them to Grafana."""


@app.command("verify")
def verify_elements(
    file: options.PlatformFile,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of the Prometheus; the platform file's without it.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back panels look.")] = "15m",
    choose: Annotated[list[str] | None, typer.Option("--var", help="NAME=VALUE of a variable, instead of all.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with Prometheus' bearer token.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Empty panels and variables fail too.")] = False,
    systems: Annotated[bool, typer.Option("--systems", help="Only the pages of the platform's systems.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run every panel's, variable's and annotation's query against a live Prometheus.

    Exit code 0 without errors, 1 with errors (with --strict: or with anything empty), 2 when the input is broken, 3
    when Prometheus does not answer or no panel has any data: then nothing was verified.
    """
    from dashboards import reader, render, verify, view
    from midwatch import grafana, progress
    from midwatch.prometheus import Client, UnreachableError
    from midwatch.spec import load

    platform = load.load_platform(file)
    settings = platform.prometheus
    client = Client.of(settings, prometheus, token=_token(token_file))
    time_range = verify.TimeRange(end=time.time(), since=_seconds(since), scrape=settings.scrape_interval)
    verifier = verify.Verifier(client, time_range, _values(choose or []))
    of_systems = {grafana.dashboard_uid(platform.platform, grafana.system_page(name)) for name in platform.systems}
    documents = [one for one in render.documents(platform) if not systems or one["uid"] in of_systems]
    verifications: list[verify.Verification] = []
    try:
        client.query("vector(1)")
        with progress.bar("panels", sum(len(list(reader.panels(document))) for document in documents)) as step:
            for document in documents:
                verifications += verifier.verify(document, lambda: step(1))
    except UnreachableError as error:
        typer.echo(f"{error}; nothing was verified", err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    code = verify.judge(verifications, strict=strict)
    if as_json:
        counts = {status.value: sum(one.status is status for one in verifications) for status in verify.Status}
        findings = [asdict(one) for one in verifications]
        typer.echo(json.dumps({"counts": counts, "findings": findings, "exit": int(code)}))
    else:
        view.show_verifications(verifications)
    raise typer.Exit(code)


@app.command("preview")
def preview_dashboards(
    file: options.PlatformFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that the pages are written to.")],
    prometheus: Annotated[
        str | None, typer.Option(help="URL of the Prometheus; the platform file's without it.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back panels look.")] = "1h",
    choose: Annotated[list[str] | None, typer.Option("--var", help="NAME=VALUE of a variable, instead of all.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--dashboard", help="Only this one, by its uid or the last word of it.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Folder of rendered files, REVISION in Git, or REVISION:FOLDER: draw what changed twice."),
    ] = None,
    values: Annotated[int, typer.Option(min=1, help="Values of a variable, such as models, that are drawn.")] = 3,
    max_queries: Annotated[int, typer.Option(min=1, help="How often Prometheus is asked at most.")] = 2000,
    token_file: Annotated[Path | None, typer.Option(help="File with Prometheus' bearer token.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Empty panels fail too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw every panel from a live Prometheus as static pages, to review a change without a Grafana.

    Exit code 0 when every panel could be asked, 1 when one failed (with --strict: or has no data), 2 when the input is
    broken, 3 when Prometheus does not answer or no panel has any data.
    """
    from dashboards import render, verify, view
    from dashboards.preview import page, shown, sources
    from dashboards.preview.answers import Bounded
    from midwatch import progress
    from midwatch.prometheus import Client, UnreachableError
    from midwatch.spec import load

    def rendered(of: Path) -> Sequence[Document]:
        return render.documents(load.load_platform(of))

    platform = load.load_platform(file)
    settings = platform.prometheus
    client = Bounded(Client.of(settings, prometheus, token=_token(token_file)), max_queries)
    interval = settings.scrape_interval
    time_range = verify.TimeRange(end=time.time(), since=_seconds(since), scrape=interval, points=PREVIEW_POINTS)
    documents = _chosen(render.documents(platform), only or [])
    earlier = None if against is None else _chosen(sources.before(against, file, rendered), only or [], is_needed=False)
    previewer = shown.Previewer(client, time_range, _values(choose or []), most_values=values)
    try:
        client.query("vector(1)")
        with progress.bar("dashboards", len(documents)) as step:
            found = list(page.compared(previewer, documents, earlier, lambda: step(1)))
    except UnreachableError as error:
        typer.echo(f"{error}; nothing was drawn", err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    page.write(output, platform, found, time_range, against or "")
    code = shown.judge([one for dashboard in found for one in dashboard.shown.panels], strict=strict)
    if as_json:
        typer.echo(json.dumps(page.document(found, output, int(code), client.asked)))
    else:
        view.show_preview(found, output)
    raise typer.Exit(code)


def _chosen(documents: Sequence[Document], names: Sequence[str], *, is_needed: bool = True) -> list[Document]:
    """The dashboards of those names, all without one; MidwatchError names one that is not there."""
    found = [one for one in documents if not names or any(one["uid"].endswith(name) for name in names)]
    unknown = [name for name in names if is_needed and not any(one["uid"].endswith(name) for one in documents)]
    if unknown:
        known = ", ".join(one["uid"] for one in documents)
        raise MidwatchError(f"--dashboard {unknown[0]}: there is none; known: {known}")
    return found


@app.command("push")
def push_dashboards(
    file: options.PlatformFile,
    grafana: Annotated[str | None, typer.Option(help="URL of the Grafana; the platform file's without it.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with a service account's token.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what differs in a Grafana, then save only that.

    Exit code 0 when Grafana has everything, 1 when it refused something or, with --dry-run, when there is a difference,
    2 when the input is broken, 3 when Grafana does not answer.
    """
    from dashboards import provisioning, push, render, view
    from midwatch.grafana import folder_uid
    from midwatch.spec import load

    platform = load.load_platform(file)
    folder = push.Folder(uid=folder_uid(platform.platform), title=provisioning.folder_title(platform.platform))
    client = push.GrafanaClient(grafana or platform.grafana.url, _token(token_file))
    comparisons = client.compare(render.documents(platform), folder)
    different = [one for one in comparisons if one.status is not push.SyncStatus.SAME]
    if not as_json:
        view.show_comparisons(comparisons)
    if different and not dry_run:
        client.ensure_folder(folder)
        for comparison in different:
            client.save(comparison, folder)
    code = Exit.FAIL if different and dry_run else Exit.PASS
    if as_json:
        listed = [
            {
                "uid": one.document["uid"],
                "kind": one.status.value,
                "differences": [asdict(difference) for difference in one.differences],
            }
            for one in comparisons
        ]
        typer.echo(json.dumps({"dashboards": listed, "pushed": not dry_run, "exit": int(code)}))
    else:
        saved = "nothing was changed" if dry_run or not different else f"{len(different)} dashboards saved"
        typer.echo(saved, err=True)
    raise typer.Exit(code)


def _seconds(since: str) -> float:
    try:
        return parse_duration(since)
    except ValueError as error:
        raise MidwatchError(f"--since {error}") from error


def _values(choose: Sequence[str]) -> dict[str, str]:
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
