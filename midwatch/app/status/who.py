"""`midwatch who`: whose an alert is, and who is told of it now or at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.app.status.where import AlertmanagerUrl, StateFolder
from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from midwatch.app.status.whose import Answer, Whose
    from midwatch.spec.model import Platform

app = typer.Typer(help="Whose an alert is, and who is told of it.", add_completion=False)


@app.command()
def who(
    alert: Annotated[str, typer.Argument(help="Name of the alert.")],
    platform: options.GivenPlatformFile = None,
    alertmanager: AlertmanagerUrl = None,
    state: StateFolder = None,
    label: Annotated[list[str] | None, typer.Option(help="A label of it, as model=x; may repeat.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="When, such as 2026-12-01T03:00:00+01:00; now without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show an alert's owner, channels and receivers, and what mutes, inhibits or silences it at that time.

    The routes are those that Alertmanager runs; where it does not answer, those of the platform file. Exit code 0 when
    somebody is told of each alert of that name, 1 when of one nobody is, 2 for input that cannot be used, 3 when
    Alertmanager does not answer.
    """
    import json
    from datetime import datetime

    from midwatch.alertmanager import AlertmanagerError
    from midwatch.app.status import ask, where, whose
    from midwatch.app.status.silence import labels_of

    sources = where.sources(platform, alertmanager_url=alertmanager, state=state, needs_prometheus=False)
    asked = ask.of_alertmanager(sources.alertmanager)
    labels = labels_of(label or [])
    when = datetime.now().astimezone() if at is None else options.moment(at)
    found = whose.answer(sources.platform, asked, alert, labels, when)
    if found is None:
        gaps = whose.gaps(asked)
        if gaps and not whose.is_of_platform(sources.platform, alert):
            raise AlertmanagerError(f"{'; '.join(gaps)}")
        raise MidwatchError(_unknown(sources.platform, alert))
    code = _code(found)
    if as_json:
        typer.echo(json.dumps({**found.document(), "exit": int(code)}))
    else:
        _show(found)
    raise typer.Exit(code)


def _unknown(platform: Platform | None, alert: str) -> str:
    """Why there is no answer."""
    import difflib

    from alerts import inventory

    if platform is None:
        return f"no alert {alert} fires; with a platform file (-f) its rules are known too"
    names = sorted({entry.name for entry in inventory.entries(platform)})
    close = difflib.get_close_matches(alert, names, 1)
    remedy = f"did you mean {close[0]}?" if close else f"its alerts are {', '.join(names)}"
    if alert in names:
        return f"no alert {alert} has these labels; correct --label"
    return f"the platform has no alert {alert}, and none of that name fires; {remedy}"


def _code(found: Answer) -> Exit:
    if found.unanswered:
        return Exit.INCONCLUSIVE
    return Exit.PASS if all(one.is_told for one in found.alerts) else Exit.FAIL


def _show(found: Answer) -> None:
    from midwatch import tables

    console = tables.make_console()
    for line in found.unanswered:
        typer.echo(line, err=True)
    for one in found.alerts:
        _show_one(console.print, one)
    console.print(f"routes of {found.routes_of}, at {found.at:%Y-%m-%d %H:%M %Z}", style="dim")


def _show_one(put: object, one: Whose) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from midwatch.app.status import view
    from midwatch.spec.values import describe_duration

    say = put if callable(put) else typer.echo
    about = " ".join(f"{name}={value}" for name, value in sorted(one.labels.items()) if name != "alertname")
    fires = {True: "fires now", False: "does not fire", None: "not known whether it fires"}[one.fires]
    say(Text(f"{one.labels.get('alertname', '')}  {about}", style="bold"))
    say(Padding(Text(f"{fires}; owner {one.owner or 'nobody'}"), (0, 0, 0, 2), expand=False))
    if one.channels:
        reached = ", ".join(f"{channel.name} ({channel.kind})" for channel in one.channels)
        hours = f", only in {one.hours}" if one.hours else ""
        say(Padding(Text(f"{one.severity}s reach {one.owner} by {reached}{hours}"), (0, 0, 0, 2), expand=False))
    for told, path, repeats in zip(one.telling, one.paths, one.repeats_every, strict=True):
        line = view.telling(told, asked_ahead=True).append(f"; again every {describe_duration(repeats)}", style="dim")
        say(Padding(line, (0, 0, 0, 2), expand=False))
        say(Padding(Text(" > ".join(path), style="dim"), (0, 0, 0, 4), expand=False))
