"""`midwatch alerts` says who gets an alert and why, checks rules and routes, proves alerts, and imports objectives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midwatch import options
from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from alerts.proofs.prove import Proved
    from alerts.routing.configuration import Config
    from alerts.routing.delivery import Delivery
    from midwatch.spec.model import Platform

app = typer.Typer(
    help="Who gets an alert and why; what is wrong with rules and routes; proofs; imports.",
    add_completion=False,
    no_args_is_help=True,
)

ConfigFile = Annotated[Path | None, typer.Option("--alertmanager", help="Any Alertmanager configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


# Routes ------------------------------------------------------------------------------------------------------------


@app.command()
def route(
    labels: Annotated[list[str] | None, typer.Argument(help="Labels of the alert: alertname=X severity=page …")] = None,
    platform: options.GivenPlatformFile = None,
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

    if every or alertmanager is None:
        platform = platform or options.default_file()
    config, loaded = _routes_of(platform, alertmanager)
    others = [_labels(text.split(",")) for text in firing or ()]
    if every == bool(labels):
        raise MidwatchError("give the labels of one alert, or --all")
    asked = _every_alert(loaded) if every else {"": _labels(labels or ())}
    when = datetime.now().astimezone() if at is None else options.moment(at)
    answers = {name: _answer(config, wanted, when, others) for name, wanted in asked.items()}
    if as_json:
        documents = [
            {"labels": asked[name], "deliveries": [_as_document(one) for one in deliveries]}
            for name, deliveries in answers.items()
        ]
        typer.echo(json.dumps({"at": when.isoformat(), "alerts": documents}))
    elif every:
        _show_all(answers)
    else:
        for deliveries in answers.values():
            _show(deliveries)


def _routes_of(platform: Path | None, alertmanager: Path | None) -> tuple[Config, Platform | None]:
    """Configuration to follow: the given one, else the platform's own."""
    from alerts.routing import configuration, generate, versions
    from midwatch import yamlfile
    from midwatch.spec import load

    loaded = load.load_platform(platform) if platform else None
    if alertmanager:
        return configuration.load(alertmanager, versions.version_of(loaded) if loaded else None), loaded
    if loaded is None:
        raise MidwatchError("give a platform file with -f, or an Alertmanager configuration with --alertmanager")
    return configuration.parse(
        yamlfile.dump(generate.alertmanager_config(loaded)), "alertmanager/alertmanager.yml"
    ), loaded


def _labels(words: Sequence[str]) -> dict[str, str]:
    labels = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise MidwatchError(f"{word!r} is not a label; write label=value")
        labels[name.strip()] = value.strip().strip('"')
    return labels


def _every_alert(platform: Platform | None) -> dict[str, dict[str, str]]:
    from alerts import inventory

    if platform is None:
        raise MidwatchError("--all needs the platform file whose alerts are meant: -f")
    return {entry.title: entry.labels for entry in inventory.entries(platform)}


def _answer(
    config: Config, labels: Mapping[str, str], at: datetime, firing: Sequence[Mapping[str, str]]
) -> list[Delivery]:
    from alerts.routing import delivery

    return delivery.deliveries(config, labels, at=at, firing=firing)


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
        "by_machine_zone": list(delivery.by_machine_zone),
    }


def _show(deliveries: Sequence[Delivery]) -> None:
    from midwatch.spec.values import describe_duration

    for delivery in deliveries:
        typer.echo(f"{delivery.receiver} ({', '.join(delivery.integrations) or '-'}): {_why(delivery) or 'told'}")
        for depth, step in enumerate(_path(delivery)):
            typer.echo(f"{'  ' * (depth + 1)}{step}")
        group = " ".join(f"{name}={value}" for name, value in delivery.group.items())
        typer.echo(f"  grouped by {group or 'nothing'}; again every {describe_duration(delivery.repeats_every)}")
        for name in delivery.by_machine_zone:
            typer.echo(
                f"  {name} is in the time zone of Alertmanager's machine (location: Local); here this one's is used"
            )


def _show_all(answers: Mapping[str, Sequence[Delivery]]) -> None:
    from rich.table import Table

    from midwatch import tables

    table = Table(box=None, pad_edge=False)
    for column in ("alert", "receiver", "by", "now"):
        table.add_column(column, overflow="fold")
    for name, deliveries in answers.items():
        for delivery in deliveries:
            integrations = ", ".join(delivery.integrations) or "-"
            table.add_row(name, delivery.receiver, integrations, _why(delivery) or "told")
    tables.show(table)


# Messages ----------------------------------------------------------------------------------------------------------


@app.command()
def preview(
    alert: Annotated[str, typer.Argument(help="Name of an alert; of several the first.")],
    platform: options.PlatformFile,
    channel: Annotated[str, typer.Option(help="The channel that it is told through.")],
    label: Annotated[list[str] | None, typer.Option(help="A label of its series, as version=v2; may repeat.")] = None,
    value: Annotated[float, typer.Option(help="The value of its series.")] = 0.42,
    resolved: Annotated[bool, typer.Option("--resolved", help="The message that it is over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the message that a person gets of an alert, as Alertmanager's own templates fill it in (amtool).

    Exit code 0, or 2 for input that cannot be used, or without amtool.
    """
    import json

    from alerts import preview as previews
    from midwatch.spec import load

    loaded = load.load_platform(platform)
    entry = previews.entry_of(loaded, alert)
    labels = _labels(label or ())
    fields = previews.message(loaded, entry, channel, labels=labels, value=value, resolved=resolved)
    if as_json:
        typer.echo(json.dumps({"alert": entry.title, "channel": channel, "fields": fields}))
        return
    typer.echo(f"{entry.title} through {channel} ({loaded.channels[channel].kind})", err=True)
    for name, text in fields.items():
        typer.echo(f"{name}:\n{text}\n")


# The deadman's switch ----------------------------------------------------------------------------------------------


@app.command()
def deadman(
    platform: options.PlatformFile,
    alertmanager: Annotated[str | None, typer.Option(help="Another Alertmanager, which is told.")] = None,
    url_file: Annotated[Path | None, typer.Option(help="File with an address that is told by a POST.")] = None,
    patience: Annotated[str, typer.Option(help="How long the heartbeat may be missing.")] = "5m",
    label: Annotated[list[str] | None, typer.Option(help="A label of the alert, as team=sre; may repeat.")] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:9520",
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that is sent here.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
) -> None:
    """Take the heartbeat of `alertmanager.deadman`, and tell another Alertmanager, or an address, when it stops.

    Run it elsewhere than what it watches. Serves until SIGTERM; /healthz answers 503 while the heartbeat is missing.
    Exit code 2 when it cannot start as asked.
    """
    import signal
    import threading

    from alerts import heartbeat
    from midwatch import http_access
    from midwatch.spec import load

    if (alertmanager is None) == (url_file is None):
        raise MidwatchError("give one of --alertmanager and --url-file: who is told")
    loaded = load.load_platform(platform)
    host, port = http_access.parse_address(listen)
    watch = heartbeat.Watch(
        heartbeat.Options(
            host=host,
            port=port,
            patience=_seconds(patience, "--patience"),
            labels={"severity": "page", "owner": loaded.operator, "platform": loaded.platform, **_labels(label or ())},
            annotations=_of_silence(loaded, patience),
            alertmanager=alertmanager,
            url=_first_line(url_file) if url_file else None,
            token=http_access.bearer_token(host, token_file, insecure=insecure),
        )
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    watch.run(stopped, lambda url: typer.echo(f"ready: {url}", err=True))


def _of_silence(platform: Platform, patience: str) -> dict[str, str]:
    from alerts import alerting_rule

    return {
        "summary": f"{platform.platform}: alerting has been silent for {patience}",
        "description": "The heartbeat does not arrive: Prometheus, Alertmanager or the way from them is broken, and "
        "nobody is told of anything else.",
        "runbook_url": platform.runbooks.replace("{alert}", alerting_rule.DEADMAN),
    }


def _first_line(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MidwatchError(f"{file}: the address cannot be read: {error}") from error
    if not text.startswith(("http://", "https://")):
        raise MidwatchError(f"{file} holds no address that begins with http:// or https://")
    return text


# Checks ------------------------------------------------------------------------------------------------------------


@app.command()
def check(
    platform: options.GivenPlatformFile = None,
    alertmanager: ConfigFile = None,
    version: Annotated[
        str | None, typer.Option("--alertmanager-version", help="Version it is for, such as 0.27; amtool's without it.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="Prometheus that has the metrics, such as http://127.0.0.1:9090.")
    ] = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="The files of secrets have to be here.")] = False,
    rule_files: Annotated[
        list[Path] | None,
        typer.Option("--rules", help="Any rule file of Prometheus, or promtool's tests of one; may repeat."),
    ] = None,
    scrape_interval: Annotated[str, typer.Option(help="How often the metrics of --rules are scraped.")] = "15s",
    as_json: AsJson = False,
) -> None:
    """Find what works otherwise than it looks in rules and routes: the platform's, or those of anybody.

    Exit code 0 when clean, 1 with findings, 2 for input that cannot be used.
    """
    import json
    from dataclasses import asdict

    from alerts.lint import linter

    if alertmanager is None and not rule_files:
        platform = platform or options.default_file()
    live, exported = _live(prometheus, platform) if prometheus else (None, None)
    report = linter.Report(problems=[], unjudged=[])
    if rule_files:
        interval = _seconds(scrape_interval)
        report = linter.lint_rules(rule_files, live=live, exported=exported, scrape_interval=interval)
    if platform or alertmanager or not rule_files:
        report += linter.lint(platform, alertmanager, version, live=live, exported=exported, secrets=secrets)
    if as_json:
        document = {
            "ok": not report.problems,
            "findings": [asdict(problem) for problem in report.problems],
            "unjudged_metrics": report.unjudged,
            "turned_off": [asdict(one) for one in report.turned_off],
        }
        typer.echo(json.dumps(document))
    else:
        for problem in report.problems:
            typer.echo(str(problem))
        for off in report.turned_off:
            typer.echo(f"off: {off.alert} of {off.of}: {off.reason}", err=True)
        if report.unjudged:
            names = ", ".join(report.unjudged)
            typer.echo(f"not judged, as no Prometheus was asked (--prometheus): {names}", err=True)
        if not report.problems:
            typer.echo("no findings", err=True)
    raise typer.Exit(Exit.FAIL if report.problems else Exit.PASS)


def _seconds(text: str, option: str = "--scrape-interval") -> float:
    from midwatch.spec.values import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise MidwatchError(f"{option}: {error}") from error


def _live(url: str, platform: Path | None) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Names of the metrics that a Prometheus has now, and which labels of which it keeps as `exported_…`.

    The platform's own Prometheus is asked as the platform file says.
    """
    from midwatch.prometheus import client_at
    from midwatch.system_facts import OF_A_TARGET

    client = client_at(url, platform)
    names = client.query('count by (__name__) ({__name__!=""})')
    exported = [
        (sample.labels["__name__"], label)
        for label in sorted(OF_A_TARGET)
        for sample in client.query(f'count by (__name__) ({{__name__!="", exported_{label}!=""}})')
    ]
    return frozenset(sample.labels["__name__"] for sample in names), frozenset(exported)


# Proofs ------------------------------------------------------------------------------------------------------------


@app.command()
def prove(
    platform: options.PlatformFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the generated promtool tests and their rules.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="An alert without a proof fails.")] = False,
    alert: Annotated[list[str] | None, typer.Option(help="Only alerts of this name; may repeat.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove every alert: series that fire it within its stated time, series under which it is silent, and its route.

    Exit code 0 when all are proven, 1 when one fails (with --strict, also when one has no proof), 3 when one has none.
    """
    import json

    from alerts.proofs import prove as proofs
    from midwatch import program_versions
    from midwatch.spec import load

    loaded = load.load_platform(platform)
    for mismatch in program_versions.of_tools(loaded):
        typer.echo(f"warning: {mismatch.message}; what is proven is proven for that", err=True)
    results = _proved(loaded, alert or [])
    if not results:
        raise MidwatchError(f"there is no alert {', '.join(alert or [])}")
    if output:
        _write_tests(results, output)
    counts = {outcome: sum(one.outcome is outcome for one in results) for outcome in proofs.Outcome}
    failed = counts[proofs.Outcome.FAILED] + (counts[proofs.Outcome.UNPROVEN] if strict else 0)
    code = Exit.FAIL if failed else Exit.INCONCLUSIVE if counts[proofs.Outcome.UNPROVEN] else Exit.PASS
    if as_json:
        totals = {outcome.value: number for outcome, number in counts.items()}
        typer.echo(json.dumps({**totals, "alerts": [proofs.as_document(one) for one in results], "exit": int(code)}))
    else:
        _show_proofs(results)
    raise typer.Exit(code)


def _proved(platform: Platform, names: Sequence[str]) -> list[Proved]:
    """Prove alerts with a bar, or with a line for each tenth of them where standard error is no terminal."""
    from rich.progress import Progress

    from alerts.proofs import prove as proofs
    from midwatch import tables

    console, total = tables.make_console(stderr=True), len(proofs.chosen(platform, names))
    done = itertools.count(1)

    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("proving", total=total)

        def tell(_: Proved) -> None:
            progress.advance(task)
            number = next(done)
            if not console.is_terminal and number * 10 // total > (number - 1) * 10 // total:
                typer.echo(f"{number} of {total} alerts looked at", err=True)

        return proofs.prove(platform, names, tell)


def _write_tests(results: Sequence[Proved], folder: Path) -> None:
    from midwatch import files

    folder.mkdir(parents=True, exist_ok=True)
    for one in results:
        if one.test:
            files.replace(folder / f"{one.file}.test.yml", one.test.encode())
            files.replace(folder / f"{one.file}.rules.yml", one.rules.encode())


def _show_proofs(results: Sequence[Proved]) -> None:
    from rich.table import Table

    from midwatch import tables
    from midwatch.spec.values import describe_duration

    table = Table(box=None, pad_edge=False)
    for column in ("alert", "outcome", "fires within", "to"):
        table.add_column(column, overflow="fold")
    for one in results:
        within = "-" if one.within is None else describe_duration(one.within)
        table.add_row(one.alert, one.outcome.value, within, ", ".join(one.receivers))
    console = tables.make_console()
    tables.show(table, console=console)
    for one in results:
        if one.reason:
            console.print(f"{one.alert}: {one.outcome.value}: {one.reason}", highlight=False, markup=False)
    proven = sum(one.outcome.value == "proven" for one in results)
    console.print(f"{proven} of {len(results)} alerts proven")


# Imports -----------------------------------------------------------------------------------------------------------


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File of Sloth, OpenSLO, Pyrra, or rules of Prometheus.")],
    owner: Annotated[str, typer.Option(help="Owner of the objectives and rules.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Rule file to write; printed without it.")
    ] = None,
    sloth: Annotated[bool, typer.Option("--sloth", help="Keep Sloth's names and expressions.")] = False,
    runbook: Annotated[
        str | None, typer.Option(help="Runbook of rules that name none, such as https://wiki/{alert}.")
    ] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Leave out what cannot be translated, and list it.")] = False,
) -> None:
    """Translate objectives of Sloth prometheus/v1, OpenSLO v1 and v1alpha, or Pyrra, or rules, into a rule file.

    What cannot be translated is refused with its line and reason, and nothing is written; what is called otherwise is
    said. Exit code 0, or 2.
    """
    from alerts.imports import files as imports
    from midwatch import files

    if output is not None and output.exists():
        raise MidwatchError(f"{output} is there already; give another file, or move it away")
    compatibility = "sloth" if sloth else None
    imported = imports.translate(file, owner, compatibility=compatibility, runbook=runbook, lossy=lossy)
    for problem in imported.notes:
        typer.echo(f"changed: {problem}", err=True)
    for problem in imported.dropped:
        typer.echo(f"dropped: {problem}", err=True)
    if output is None:
        typer.echo(imported.text(), nl=False)
        return
    files.replace(output, imported.text().encode())
    typer.echo(f"{output} written; name it in rule_files of the platform file", err=True)
