"""`midwatch up`: the whole plane on this machine, with a live view, and stopped again without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midwatch import options

if TYPE_CHECKING:
    from midwatch.app.up.live_view import LiveView
    from midwatch.app.up.stack import Stack, Traffic
    from midwatch.spec.model import Platform

app = typer.Typer(help="Run the whole plane on this machine, with a live view.", add_completion=False)

SETTLE_SECONDS = 14.0
"""Left of the duration after the traffic, so that alerts can resolve and everything is scraped."""
ENDLESS_TRAFFIC = 3600.0
LATE_SECONDS = 180.0
"""How long past the duration a slow machine's traffic may take to end: what is cut off adds up to nothing."""
COUNT_SECONDS = 45.0
"""How long Prometheus may take to have seen every prediction."""


@app.command()
def up(
    file: options.PlatformFile,
    duration: Annotated[
        str | None, typer.Option(help="Stop after this time, such as 2m; at Ctrl-C without it.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of all state and logs; a new temporary one without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of the run at its end.")] = False,
) -> None:
    """Start Prometheus, Alertmanager, the exporter, the platform's servers and traffic; stop them all at the end.

    Nobody is paged: every channel delivers to a receiver of this machine. Exit code 0 when each prediction was counted
    and each target is up, 1 when not or when a part died, 2 when it cannot start, 3 when Prometheus could not be asked,
    or nothing was sent.
    """
    import json
    import shutil
    import tempfile

    from midwatch import processes
    from midwatch.app.up.stack import Stack
    from midwatch.errors import Exit, MidwatchError
    from midwatch.spec import load
    from midwatch.spec.values import parse_duration

    try:
        seconds = parse_duration(duration) if duration else None
    except ValueError as error:
        raise MidwatchError(f"--duration {error}") from error
    platform = load.load_platform(file)
    folder = state or Path(tempfile.mkdtemp(prefix="midwatch-up-"))
    with processes.sigterm_as_interrupt():
        stack = Stack(platform, file, folder.resolve())
        try:
            document = _run(platform, stack, seconds)
        except BaseException:
            typer.echo(f"state and logs are kept in {folder}", err=True)
            raise
        finally:
            stack.stop()
    if state is None and document["exit"] == Exit.PASS:
        shutil.rmtree(folder, ignore_errors=True)
    elif state is None:
        typer.echo(f"state and logs are kept in {folder}", err=True)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _show(document)
    raise typer.Exit(document["exit"])


def _run(platform: Platform, stack: Stack, seconds: float | None) -> dict[str, Any]:
    import time

    from midwatch import program_versions
    from midwatch.app.up.live_view import LiveView
    from midwatch.app.up.stack import CONSOLE_TOKEN

    with LiveView(platform.platform, {name: url for name, url in stack.urls.items() if "server" not in name}) as view:
        view.note(f"state and logs: {stack.state}; token of the console: {stack.state / CONSOLE_TOKEN}")
        for mismatch in program_versions.of_servers(platform):
            view.note(f"{mismatch.message}: what it reads here is written for the one on PATH")
        if stack.regions.missing:
            view.note(stack.regions.missing)
        for number, command in enumerate(platform.local.prepare, 1):
            with view.working(f"preparing {number} of {len(platform.local.prepare)}: {_readable(command)}"):
                stack.prepare(command)
        with view.working(f"starting {', '.join(stack.urls)}"):
            stack.start()
        deadline = None if seconds is None else time.monotonic() + seconds
        traffic = stack.start_traffic(ENDLESS_TRAFFIC if seconds is None else max(5.0, seconds - SETTLE_SECONDS))
        try:
            _watch(platform, stack, traffic, deadline, view)
        except KeyboardInterrupt:
            view.note("stopping")
            if traffic:
                stack.parts.stop(traffic.part)
        return _document(stack, traffic)


def _readable(words: list[str]) -> str:
    return " ".join(words).replace("{python} -P -m midwatch", "midwatch").replace("{python}", "python")


def _watch(platform: Platform, stack: Stack, traffic: Traffic | None, deadline: float | None, view: LiveView) -> None:
    """Show the plane until the deadline; PartDiedError when a part ends."""
    import time

    from midwatch.app.up import queries
    from midwatch.prometheus import QueryError

    while True:
        stack.parts.ensure_alive()
        ended = traffic is None or traffic.has_ended()
        late = -1.0 if deadline is None else time.monotonic() - deadline
        if (deadline is None and traffic and ended) or late >= (0 if ended else LATE_SECONDS):
            return
        try:
            now = queries.ask(stack.client, platform.models)
        except QueryError:
            now = None
        left = None if deadline is None else max(0.0, -late)
        progress = traffic.progress if traffic else {}
        view.show(now, stack.receiver.alerts, progress, left, stack.canaries.answers, stack.episodes.found)
        time.sleep(0.5)


def _document(stack: Stack, traffic: Traffic | None) -> dict[str, Any]:
    """What the run has shown; a figure nobody could give is None."""
    from midwatch.app.up import queries
    from midwatch.errors import Exit
    from midwatch.prometheus import QueryError

    progress = traffic.progress if traffic else {}
    sent, labels = (progress.get(name) if progress.get("final") else None for name in ("ok", "labels"))
    totals: dict[str, float | None] = {}
    code = Exit.INCONCLUSIVE
    try:
        _wait_until_counted(stack, {"predictions_counted": sent, "labels_joined": labels})
        totals = queries.totals(stack.client)
        if totals["predictions_counted"] is not None and (sent is not None or traffic is None):
            right = (traffic is None or totals["predictions_counted"] == sent) and (
                totals["targets_up"] == stack.targets
            )
            code = Exit.PASS if right else Exit.FAIL
        else:
            typer.echo(why_undecided(has_traffic=traffic is not None, is_final=sent is not None), err=True)
    except QueryError as error:
        typer.echo(str(error), err=True)
    alerts = [
        {
            "name": alert.name,
            "severity": alert.severity,
            "owner": alert.owner,
            "model": alert.model,
            "version": alert.version,
            "summary": alert.summary,
            "runbook_url": alert.runbook_url,
            "fired_at": alert.fired_at,
            "resolved_at": alert.resolved_at,
        }
        for alert in stack.receiver.alerts
    ]
    return {
        "predictions_sent": sent,
        **{name: None if value is None else int(value) for name, value in totals.items()},
        "targets_total": stack.targets,
        "labels_sent": progress.get("labels"),
        "canaries": [answer.document() for answer in stack.canaries.answers],
        "episodes": stack.episodes.found,
        "alerts": alerts,
        "pages_delivered": sum(alert["severity"] == "page" for alert in alerts),
        "deliveries": stack.receiver.deliveries,
        "exit": int(code),
    }


def why_undecided(*, has_traffic: bool, is_final: bool) -> str:
    """Why a run whose Prometheus answered says neither that all was counted nor that it was not."""
    if not has_traffic:
        return "undecided: nobody sent a prediction; write local.traffic in the platform file, or send events meanwhile"
    if not is_final:
        return "undecided: the traffic ended without a line with final: true, so nobody knows how many were sent"
    return "undecided: Prometheus has counted no prediction, not even zero; look at the exporter's log"


def _wait_until_counted(stack: Stack, sent: dict[str, int | None]) -> None:
    """Until Prometheus has scraped what was sent last; a figure nobody knows is not waited for."""
    import time

    from midwatch.app.up import queries

    deadline = time.monotonic() + COUNT_SECONDS
    known = {name: count for name, count in sent.items() if count is not None}
    while known.items() - queries.totals(stack.client).items() and time.monotonic() < deadline:
        time.sleep(0.25)


def _show(document: dict[str, Any]) -> None:
    from rich.table import Table

    from midwatch import tables
    from midwatch.app.up import live_view
    from midwatch.spec.values import describe_duration

    console = tables.make_console()
    counts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in document.items():
        if name not in ("alerts", "canaries", "episodes", "exit"):
            counts.add_row(name.replace("_", " "), "unknown" if value is None else str(value))
    tables.show(counts, console=console)
    for one in document["canaries"]:
        after = (
            "" if one["decided_after_seconds"] is None else f" after {describe_duration(one['decided_after_seconds'])}"
        )
        console.print(f"canary {one['canary']} against {one['baseline']}: {one['verdict']}{after}: {one['reason']}")
    for one in document["episodes"]:
        console.print(live_view.episode(one))
    table = Table(title="alerts delivered", title_justify="left")
    for name in ("alert", "severity", "owner", "version", "fired", "resolved", "summary"):
        table.add_column(name, overflow="fold")
    for alert in document["alerts"]:
        times = (alert["fired_at"][11:19], alert["resolved_at"][11:19] if alert["resolved_at"] else "still firing")
        table.add_row(alert["name"], alert["severity"], alert["owner"], alert["version"], *times, alert["summary"])
    tables.show(table, console=console)
