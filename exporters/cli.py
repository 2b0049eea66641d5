"""`midwatch exporter`: the service that takes prediction and label events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from exporters import loading
    from midwatch.spec import model

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Take prediction and label events, serve /metrics.")


@app.callback()
def _group() -> None:
    """Take prediction and label events, serve /metrics."""


@app.command()
def serve(
    platform_file: options.GivenPlatformFile = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    state: Annotated[Path, typer.Option(help="Folder of the journal.")] = Path("state/exporter"),
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients send.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Read events from the topics of exporter.kafka, as one of a fleet.")
    ] = False,
    member: Annotated[
        str | None,
        typer.Option(help="Name in the Kafka group, which stays with the state; else the host's.", metavar="NAME"),
    ] = None,
    judge: Annotated[
        bool,
        typer.Option("--judge", help="With --kafka: judge drift, over all partitions, and count nothing. One a fleet."),
    ] = False,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(help="Also push the metrics there by OTLP: a base (http://host:4318), or the full path."),
    ] = None,
    otlp_interval: Annotated[float, typer.Option(help="Seconds between two pushes.")] = 15.0,
) -> None:
    """Serve until SIGTERM: POST /events (NDJSON or JSON), POST /kserve (CloudEvents), GET /metrics.

    With --kafka events come from topics instead, whose partitions the members of a group share. Writes its URL to
    standard error when it is ready. Exit code 2 when it cannot start as asked.
    """
    import asyncio
    import sys
    import time

    import uvloop

    from exporters import otlp, server
    from exporters.events import privacy
    from exporters.kafka import fleet
    from midwatch import http_access, telemetry
    from midwatch.spec import load, model

    _give_memory_back()
    sys.setswitchinterval(0.001)  # a scrape's thread must not hold requests up for the usual 5 ms at a time
    target = otlp.Target.of(otlp_endpoint) if otlp_endpoint else None
    stop_telemetry = telemetry.setup("midwatch-exporter")
    platform_file = platform_file or options.default_file()
    platform = load.load_platform(platform_file) if platform_file else None
    if target and platform:
        otlp.warn_of_scrape(target.url, platform.prometheus.url)
    settings = platform.exporter if platform else model.Exporter()
    name = _member_name(member, platform) if kafka or member or judge else None
    settings = fleet.of_judge(settings) if judge else settings
    host, port = http_access.parse_address(listen or settings.listen)
    service = server.Service(
        server.Options(
            host=host,
            port=port,
            state=state,
            settings=settings,
            models=platform.models if platform else (),
            platform_file=platform_file,
            digests=platform.digests if platform else {},
            token_file=token_file,
            metrics_token_file=metrics_token_file,
            insecure=insecure,
            member=name,
            judges_alone=judge,
            privacy=privacy.load(settings.personal, load.base_folder(platform_file) if platform_file else Path()),
        )
    )

    async def run() -> None:
        identity = service.store.identity
        sources = [
            otlp.Source(collector=service.on_loop(service.kept_view), since=identity.since),
            otlp.Source(collector=service.on_loop(service.own_view), since=time.time()),
        ]
        stop_push = otlp.start_pusher(sources, identity.instance, target, otlp_interval) if target else None
        await service.run(_say_ready)
        if stop_push:
            await asyncio.to_thread(stop_push)  # the last push takes a view on this loop

    uvloop.run(run())
    stop_telemetry()


@app.command(name="load")
def load_file(
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or NDJSON of predictions and labels.")],
    url: Annotated[str, typer.Option("--url", help="A running exporter.")] = "http://127.0.0.1:9500",
    state: Annotated[Path | None, typer.Option(help="Instead: the state folder of one that does not run.")] = None,
    platform_file: options.GivenPlatformFile = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="FIELD=COLUMN, where a column has another name; repeatable.")
    ] = None,
    value: Annotated[
        list[str] | None, typer.Option("--value", help="FIELD=VALUE, where no column has it; repeatable.")
    ] = None,
    utc: Annotated[bool, typer.Option("--utc", help="Times without a zone are UTC.")] = False,
    token_file: Annotated[Path | None, typer.Option(help="File with the exporter's bearer token.")] = None,
    patience: Annotated[float, typer.Option(help="Seconds to go on when the exporter takes nothing.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Load a file of predictions and labels, such as a scoring job's of the night; again does no harm.

    Predictions may be as old as `exporter.remember_loaded`; so long their ids are remembered, and count once. Exit
    code 1 when events were refused, 2 when the file or the exporter cannot be used.
    """
    import sys

    from exporters import event_files, loading
    from exporters.events import privacy
    from midwatch import http_access
    from midwatch.spec import load, model

    if state:
        platform_file = platform_file or options.default_file()
    platform = load.load_platform(platform_file) if platform_file else None
    reading = event_files.Reading(columns=_pairs(column, "column"), values=_pairs(value, "value"), is_utc=utc)
    opened = event_files.open_file(file, reading)
    if state:
        settings = platform.exporter if platform else model.Exporter()
        fields = privacy.load(settings.personal, load.base_folder(platform_file) if platform_file else Path())
        sending = loading.state_folder(state, settings, tuple(platform.models) if platform else (), fields)
    else:
        token = http_access.bearer_token("localhost", token_file, insecure=True)
        sending = loading.running(url, token.decode() if token else None, patience)
    with sending as send, _progress(file, opened.size, opened.unit) as shown:
        summary = loading.load(opened, send, shown)
    if as_json:
        sys.stdout.write(json.dumps({"file": str(file), **asdict(summary)}) + "\n")
    else:
        typer.echo(
            f"{file}: {summary.accepted:,} accepted, {summary.duplicates:,} known already, "
            f"{summary.dropped:,} dropped, {summary.refused:,} refused"
        )
        for refused in summary.first_refused:
            typer.echo(f"  row {refused['row']}: {refused['reason']}: {refused['message']}")
    raise typer.Exit(1 if summary.refused else 0)


def _member_name(given: str | None, platform: model.Platform | None) -> str:
    """Name of a member in its group; ServeError when it cannot read from Kafka."""
    import socket
    from importlib.util import find_spec

    from midwatch import http_access

    if platform is None or platform.exporter.kafka is None:
        raise http_access.ServeError("--kafka needs a platform file (-f) with exporter.kafka: brokers and topics")
    if find_spec("confluent_kafka") is None:
        raise http_access.ServeError("--kafka needs confluent-kafka: pip install 'midwatch[kafka]'")
    return given or socket.gethostname()


def _pairs(options: list[str] | None, name: str) -> dict[str, str]:
    pairs = [option.partition("=") for option in options or ()]
    for field, equals, text in pairs:
        if not (field and equals and text):
            raise typer.BadParameter(f"{field}{equals}{text}: write --{name} FIELD={name.upper()}")
    return {field: text for field, _, text in pairs}


@contextmanager
def _progress(file: Path, size: int, unit: str) -> Iterator[Callable[[int, loading.Summary], None]]:
    """A bar on a terminal; elsewhere a line on standard error for each tenth."""
    import sys

    from midwatch import progress

    reached = 0
    with progress.bar(f"loading {file.name}", size) as advance:

        def shown(position: int, summary: loading.Summary) -> None:
            nonlocal reached
            advance(position - reached)
            if not sys.stderr.isatty() and position * 10 // max(size, 1) > reached * 10 // max(size, 1):
                done = summary.accepted + summary.duplicates + summary.dropped + summary.refused
                sys.stderr.write(f"{file}: {position:,} of {size:,} {unit}, {done:,} events\n")
            reached = position

        yield shown


_MMAP_THRESHOLD, _LARGE = -3, 256 * 1024
"""Option of glibc's mallopt(3), and bytes."""


def _give_memory_back() -> None:
    """Have large buffers returned to the system once they are free: glibc would learn to keep them."""
    import ctypes
    from contextlib import suppress

    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def _say_ready(url: str) -> None:
    import logging

    logging.getLogger("exporters").info("ready", extra={"url": url})
