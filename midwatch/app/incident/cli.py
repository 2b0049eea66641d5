"""`midwatch explain`: what changed before an alert, which change most likely caused it, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from midwatch import options
from monitors.explainer import cli as explainer

if TYPE_CHECKING:
    from midwatch.app.incident.explain import Sources
    from monitors.incident.records import Incident

DEFAULT = "alert"


class _AlertFirst(TyperGroup):
    """A group whose first word may be an alert: `midwatch explain ModelLatencyHigh`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default sub-command before what is none."""
        is_own = bool(args) and (args[0] in self.commands or args[0] in ("--help", *_COMPLETION))
        return super().parse_args(ctx, args if is_own or not args else [DEFAULT, *args])


_COMPLETION = ("--install-completion", "--show-completion")

app = typer.Typer(
    cls=_AlertFirst,
    no_args_is_help=True,
    add_completion=False,
    help="What changed before an alert, and which change most likely caused it.",
)


@app.callback()
def _group() -> None:
    """What changed before an alert, and which change most likely caused it: midwatch explain ALERT."""


Label = Annotated[
    list[str] | None, typer.Option(help="NAME=VALUE that the alert has, such as model=fraud; may repeat.")
]
At = Annotated[str | None, typer.Option(help="Time with its zone, such as 2026-11-02T14:00:00Z; now without it.")]
PrometheusUrl = Annotated[str | None, typer.Option(help="URL of another Prometheus than the file's.")]
StateFolder = Annotated[Path | None, typer.Option(help="State folder of a midwatch up that runs: its plane is asked.")]


@app.command(DEFAULT)
def alert(
    name: Annotated[str | None, typer.Argument(metavar="[ALERT]", help="The alert; without one give --model.")] = None,
    file: options.GivenPlatformFile = None,
    label: Label = None,
    model: Annotated[str | None, typer.Option(help="The model, as --label model=MODEL.")] = None,
    at: At = None,
    prometheus: PrometheusUrl = None,
    state: StateFolder = None,
    confirm: Annotated[
        str | None, typer.Option(help="Keep that this was the cause: an id that was listed, or none.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who says so, with --confirm.")] = "",
    note: Annotated[str, typer.Option(help="What there is to say about it, with --confirm.")] = "",
    show_all: Annotated[bool, typer.Option("--all", help="Also every rejected change, and the runbook.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say which change most likely caused an alert, since when there is harm, and what to do.

    Deployments, promotions, commits, retrainings, drift, features, certificates, nodes, scaling, experiments, drills
    and trouble upstream are ranked by the counts of the alert's own events; "none of these" is ranked with them.
    Exit code 0 with an answer, 2 for input that cannot be used, 3 when Prometheus does not answer, knows no such
    alert, or has no sample of that time.
    """
    from midwatch.app.incident import confirmed, view, where
    from midwatch.errors import MidwatchError
    from monitors.incident import records

    if name is None and model is None:
        raise MidwatchError("give an alert, or a model with --model (and a time with --at)")
    sources = where.sources(file, prometheus, state)
    incident = _incident(sources, name, _labels(label, model), at)
    if confirm is not None:
        if sources.confirmed is None:
            raise AssertionError("every source of a command keeps confirmed causes")
        kept = confirmed.confirm(sources.confirmed, incident, confirm, by=by, note=note)
        typer.echo(f"{sources.confirmed}: the cause of {incident.alert or model} is kept: {kept.what}", err=True)
    if as_json:
        typer.echo(records.to_json(incident).decode())
    else:
        view.show(incident, every=show_all)


@app.command()
def calibration(
    file: options.GivenPlatformFile = None,
    state: StateFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show how far stated probabilities came true, over the incidents whose cause was confirmed.

    Exit code 0 with a table, 2 for input that cannot be used, 3 while too few causes were confirmed.
    """
    import json

    import msgspec

    from midwatch.app.incident import confirmed, view, where
    from midwatch.errors import Exit

    sources = where.sources(file, None, state)
    if sources.confirmed is None:
        raise AssertionError("every source of a command keeps confirmed causes")
    table = confirmed.read(sources.confirmed)
    if as_json:
        document = {"incidents": table.incidents, "share_of_none": table.share_of_none, "said": table.text}
        rows = {"bins": msgspec.to_builtins(table.bins), "kinds": msgspec.to_builtins(table.kinds)}
        typer.echo(json.dumps({**document, **rows, "is_calibrated": table.is_known}))
    else:
        view.show_calibration(table)
    raise typer.Exit(Exit.PASS if table.is_known else Exit.INCONCLUSIVE)


@app.command()
def watch(
    file: options.PlatformFile,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; the platform file's without it.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    prometheus: PrometheusUrl = None,
    evidence: Annotated[list[Path] | None, typer.Option(help="A further log, or folder of logs; may repeat.")] = None,
    every: Annotated[str, typer.Option(help="How often Prometheus is asked which alerts hold.")] = "5s",
) -> None:
    """Explain alerts while they are pending, and serve /metrics with a line for each, which their annotations read.

    Needs `incidents.watch` in the platform file, which gives the rules that annotation. Serves until SIGTERM; exit
    code 2 when it cannot start as asked.
    """
    import asyncio
    import logging
    from dataclasses import replace

    from midwatch import http_access, http_service, telemetry
    from midwatch.app.incident import where
    from midwatch.app.incident.watch import Watch
    from midwatch.errors import MidwatchError

    seconds = _interval(every)
    sources = where.sources(file, prometheus, None)
    if not sources.platform.incidents.watch:
        raise MidwatchError(f"{file}: no rule reads the lines; write incidents: {{watch: true}}, and render")
    host, port = http_access.parse_address(listen or sources.platform.incidents.listen)
    token = http_access.bearer_token(host, metrics_token_file, insecure=insecure, option="--metrics-token-file")
    sources = replace(sources, evidence=(*sources.evidence, *(evidence or ())))
    stop_telemetry = telemetry.setup("midwatch-incidents")
    address = http_service.Address(host=host, port=port, token=token)
    log = logging.getLogger(__name__)
    asyncio.run(Watch(sources).serve(seconds, address, lambda url: log.info("ready", extra={"url": url})))
    stop_telemetry()


app.command("serve")(explainer.serve)


def _interval(text: str) -> float:
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise MidwatchError(f"--every {error}") from error
    if seconds <= 0:
        raise MidwatchError(f"--every {text}: write a time such as 5s")
    return seconds


def _incident(sources: Sources, name: str | None, labels: dict[str, str], at: str | None) -> Incident:
    import time

    from midwatch.app.incident import explain

    now = time.time()
    asked = now if at is None else _seconds(at, now)
    if name is not None:
        return explain.of_alert(sources, name, labels, asked, now)
    model = labels.pop("model")
    return explain.of_model(sources, model, labels, asked, now)


def _labels(given: list[str] | None, model: str | None) -> dict[str, str]:
    from midwatch.errors import MidwatchError

    labels = {"model": model} if model else {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise MidwatchError(f"--label {text!r} is not NAME=VALUE, such as model=fraud")
        labels[name] = value
    return labels


EARLIEST_YEAR = 1971
"""No platform had a Prometheus before, and a look back from there on is still a time."""


def _seconds(text: str, now: float) -> float:
    from midwatch.errors import MidwatchError

    time = options.moment(text)
    if time.year < EARLIEST_YEAR:
        raise MidwatchError(f"--at: nobody has measured anything at {text}")
    if time.timestamp() > now:
        raise MidwatchError(f"--at: {text} has not come yet; without --at it is now")
    return time.timestamp()
