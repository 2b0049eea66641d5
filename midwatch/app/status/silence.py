"""`midwatch silence`: hold back an alert that fires, with whose silence it is and why; or end a silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.app.status.where import AlertmanagerUrl, PrometheusUrl, StateFolder
from midwatch.errors import MidwatchError

if TYPE_CHECKING:
    from midwatch.alertmanager import Client
    from midwatch.app.status.silencing import Made

app = typer.Typer(help="Hold back an alert that fires, with a reason; or end a silence.", add_completion=False)


@app.command()
def silence(
    alert: Annotated[str | None, typer.Argument(help="Name of the alert.")] = None,
    platform: options.GivenPlatformFile = None,
    prometheus: PrometheusUrl = None,
    alertmanager: AlertmanagerUrl = None,
    state: StateFolder = None,
    for_: Annotated[str | None, typer.Option("--for", help="How long, such as 2h.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason, which whoever looks later reads.")] = None,
    by: Annotated[str | None, typer.Option(help="Whose silence it is; who is logged in here without it.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label that it must have too, as model=x; may repeat.")
    ] = None,
    ahead: Annotated[bool, typer.Option("--ahead", help="Also when nothing of it fires yet.")] = False,
    expire: Annotated[str | None, typer.Option(metavar="ID", help="End this silence instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Silence what fires under a name, with labels where they are given, and print the silence's id.

    The same again has it last that long from now on, and the id stays. Nobody is notified meanwhile; what the alert is
    about goes on, and `midwatch status` shows it. Exit code 0 when it is silenced or ended, 1 when nothing of it fires,
    2 for input that cannot be used, 3 when Alertmanager does not answer.
    """
    import json

    import msgspec

    from midwatch.app.status import where

    client = where.sources(
        platform, prometheus_url=prometheus, alertmanager_url=alertmanager, state=state, needs_prometheus=False
    ).alertmanager
    if expire is not None:
        _expire(client, expire, alert, as_json=as_json)
        return
    if alert is None or for_ is None or not (why or "").strip():
        raise MidwatchError("give the alert's name, --for and --why; or --expire and a silence's id")
    made = _make(client, alert, labels_of(label or []), for_, str(why).strip(), by, ahead=ahead)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(made)))
    else:
        _show(made)


def _make(
    client: Client, alert: str, labels: dict[str, str], for_: str, why: str, by: str | None, *, ahead: bool
) -> Made:
    import getpass
    from datetime import UTC, datetime

    from midwatch import alertmanager
    from midwatch.app.status import silencing
    from midwatch.spec.values import parse_duration

    try:
        seconds = parse_duration(for_)
    except ValueError as error:
        raise MidwatchError(f"--for: {error}") from error
    if not seconds:
        raise MidwatchError("--for: a silence of no time holds nothing back")
    matchers = silencing.matchers_of(alert, labels)
    annotations = [one.annotations for one in client.alerts() if alertmanager.fits(matchers, one.labels)]
    return silencing.make(
        client,
        matchers,
        now=datetime.now(UTC),
        seconds=seconds,
        created_by=by or getpass.getuser(),
        comment=silencing.with_link(why, annotations),
        ahead=ahead,
    )


def labels_of(words: list[str]) -> dict[str, str]:
    """Labels of words such as `model=x`; MidwatchError for one that is none."""
    labels = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip():
            raise MidwatchError(f"--label {word!r} is not a label; write label=value")
        if not value:
            raise MidwatchError(f"--label {word!r}: a label without a value matches whatever lacks it; write one")
        labels[name.strip()] = value
    return labels


def _expire(client: Client, silence: str, alert: str | None, *, as_json: bool) -> None:
    import json

    if alert is not None:
        raise MidwatchError("--expire ends a silence by its id; leave the alert's name out")
    client.expire(silence)
    if as_json:
        typer.echo(json.dumps({"id": silence, "expired": True}))
    else:
        typer.echo(f"{silence} has ended", err=True)


def _show(made: Made) -> None:
    """The id on standard output, what it does on standard error."""
    typer.echo(made.id)
    holds = "now holds back" if made.extended else "holds back"
    count = len(made.holds_back)
    alerts = f"{count} alert{'' if count == 1 else 's'} that fire{'s' if count == 1 else ''}"
    typer.echo(f"{made.url} {holds} {alerts} until {made.ends_at:%Y-%m-%d %H:%M} UTC", err=True)
    for labels in made.holds_back:
        typer.echo("  " + " ".join(f"{name}={value}" for name, value in sorted(labels.items())), err=True)
