"""`midwatch alerts`: who gets an alert and why, what is wrong with rules and routes, proofs, and imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from alerts.amconfig import Config
    from alerts.routing import Delivery
    from midwatch.spec import model as spec

app = typer.Typer(
    help="Who gets an alert and why; what is wrong with rules and routes; proofs; imports.",
    add_completion=False,
    no_args_is_help=True,
)

PlatformFile = Annotated[Path | None, typer.Option("--file", "-f", help="Platform file, or a folder of them.")]
ConfigFile = Annotated[Path | None, typer.Option("--alertmanager", help="Any Alertmanager configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


# Routes ------------------------------------------------------------------------------------------------------------


@app.command()
def route(
    labels: Annotated[list[str] | None, typer.Argument(help="Labels of the alert: alertname=X severity=page …")] = None,
    platform: PlatformFile = None,
    alertmanager: ConfigFile = None,
    at: Annotated[
        str | None, typer.Option("--at", help="When, such as 2026-12-01T03:00:00+01:00; now without it.")
    ] = None,
    firing: Annotated[
        list[str] | None, typer.Option(help="Another alert that fires then, as label=value,label=value; may repeat.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every alert of the platform.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which receivers an alert reaches, by which path, and what mutes or inhibits it.

    Exit code 0 when there is an answer, 2 for input that cannot be used.
    """
    import json

    config, loaded = _routes_of(platform, alertmanager)
    others = [_labels(text.split(",")) for text in firing or ()]
    if every == bool(labels):
        raise MidwatchError("give the labels of one alert, or --all")
    asked = _every_alert(loaded) if every else {"": _labels(labels or ())}
    when = _time(at)
    answers = {name: _answer(config, wanted, when, others) for name, wanted in asked.items()}
    if as_json:
        documents = [
            {"labels": asked[name], "deliveries": [_as_document(one) for one in found]}
            for name, found in answers.items()
        ]
        typer.echo(json.dumps({"at": when.isoformat(), "alerts": documents}))
    elif every:
        _show_all(answers)
    else:
        for found in answers.values():
            _show(found)


def _routes_of(platform: Path | None, alertmanager: Path | None) -> tuple[Config, spec.Platform | None]:
    """Configuration to follow: the given one, else the platform's own."""
    from alerts import amconfig, routes, yamlfile
    from midwatch.spec import load

    loaded = load.load_platform(platform) if platform else None
    if alertmanager:
        return amconfig.load(alertmanager), loaded
    if loaded is None:
        raise MidwatchError("give a platform file with -f, or an Alertmanager configuration with --alertmanager")
    return amconfig.parse(yamlfile.dump(routes.alertmanager(loaded)), "alertmanager/alertmanager.yml"), loaded


def _labels(words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise MidwatchError(f"{word!r} is not a label; write label=value")
        found[name.strip()] = value.strip().strip('"')
    return found


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now().astimezone()
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise MidwatchError(f"--at: {text!r} is not a time such as 2026-12-01T03:00:00+01:00") from error
    if found.tzinfo is None:
        raise MidwatchError(f"--at: {text!r} has no time zone; write Z or an offset such as +01:00")
    return found


def _every_alert(platform: spec.Platform | None) -> dict[str, dict[str, str]]:
    from alerts import inventory

    if platform is None:
        raise MidwatchError("--all needs the platform file whose alerts are meant: -f")
    return {entry.title: entry.labels for entry in inventory.entries(platform)}


def _answer(
    config: Config, labels: Mapping[str, str], at: datetime, firing: Sequence[Mapping[str, str]]
) -> list[Delivery]:
    from alerts import routing

    return routing.route(config, labels, at=at, firing=firing)


def _why(delivery: Delivery) -> str:
    """What keeps a delivery from being told, or an empty text."""
    if delivery.muted_by:
        return f"muted: {delivery.muted_by} is now"
    if delivery.inactive:
        return f"muted: none of {', '.join(delivery.inactive)} is now"
    if delivery.inhibited_by:
        inhibition, source = delivery.inhibited_by
        by = " ".join(f"{name}={value}" for name, value in sorted(source.items()))
        return f"inhibited by {by} (inhibit_rules[{inhibition.place[-1]}])"
    return "" if delivery.integrations else "no integration: reaches nobody"


def _path(delivery: Delivery) -> list[str]:
    return ["{" + ", ".join(map(str, route.matchers)) + "}" if route.matchers else "default" for route in delivery.path]


def _as_document(delivery: Delivery) -> dict[str, Any]:
    return {
        "receiver": delivery.receiver,
        "integrations": list(delivery.integrations),
        "told": delivery.is_told,
        "why_not": _why(delivery),
        "path": _path(delivery),
        "group": dict(delivery.group),
        "repeats_every_seconds": delivery.repeats_every,
    }


def _show(deliveries: Sequence[Delivery]) -> None:
    from midwatch.spec.values import format_duration

    for delivery in deliveries:
        typer.echo(f"{delivery.receiver} ({', '.join(delivery.integrations) or '-'}): {_why(delivery) or 'told'}")
        for depth, step in enumerate(_path(delivery)):
            typer.echo(f"{'  ' * (depth + 1)}{step}")
        group = " ".join(f"{name}={value}" for name, value in delivery.group.items())
        typer.echo(f"  grouped by {group or 'nothing'}; again every {format_duration(delivery.repeats_every)}")


def _show_all(answers: Mapping[str, Sequence[Delivery]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("alert", "receiver", "by", "now"):
        table.add_column(column, overflow="fold")
    for name, found in answers.items():
        for delivery in found:
            integrations = ", ".join(delivery.integrations) or "-"
            table.add_row(name, delivery.receiver, integrations, _why(delivery) or "told")
    Console().print(table)


# Checks ------------------------------------------------------------------------------------------------------------


@app.command()
def check(
    platform: PlatformFile = None,
    alertmanager: ConfigFile = None,
    version: Annotated[
        str | None, typer.Option("--alertmanager-version", help="Version it is for, such as 0.27; amtool's without it.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="Prometheus that has the metrics, such as http://127.0.0.1:9090.")
    ] = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="The files of secrets have to be here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find what works otherwise than it looks in rules and routes: the platform's, or those of any Alertmanager.

    Exit code 0 when clean, 1 with findings, 2 for input that cannot be used.
    """
    import json
    from dataclasses import asdict

    from alerts.lint import everything

    found = everything.look_at(
        platform, alertmanager, version, live=_live(prometheus) if prometheus else None, secrets=secrets
    )
    if as_json:
        document = {"ok": not found.findings, "findings": [asdict(one) for one in found.findings],
                    "unjudged_metrics": found.unjudged}  # fmt: skip
        typer.echo(json.dumps(document))
    else:
        for one in found.findings:
            typer.echo(str(one))
        if found.unjudged:
            names = ", ".join(found.unjudged)
            typer.echo(f"not judged, as no Prometheus was asked (--prometheus): {names}", err=True)
        if not found.findings:
            typer.echo("no findings", err=True)
    raise typer.Exit(Exit.FAIL if found.findings else Exit.PASS)


def _live(url: str) -> frozenset[str]:
    """Names of the metrics that a Prometheus has now."""
    from midwatch.prometheus import Client

    samples = Client(url).query('count by (__name__) ({__name__!=""})')
    return frozenset(sample.labels["__name__"] for sample in samples)
