"""`midwatch stream`: the exporter's counts on Spark Structured Streaming."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midwatch import options

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The exporter's counts by Spark.")


@app.callback()
def _group() -> None:
    """A group of commands, though people run one."""


@app.command(hidden=True)
def executor() -> None:
    """Become the Java of an executor: the command of the pods that Spark makes for a driver in a cluster."""
    from exporters.stream import executor as java

    java.become()


@app.command()
def run(
    platform: options.PlatformFile,
    checkpoint: Annotated[
        str, typer.Option(help="Folder or URL of Spark's checkpoint: offsets, ids, and what waits.")
    ] = "state/stream/checkpoint",
    sink: Annotated[Path, typer.Option(help="File of the counts; it belongs to the checkpoint.")] = Path(
        "state/stream/counts.db"
    ),
    master: Annotated[
        str | None, typer.Option(help="Spark's master, such as spark://HOST:7077; this machine without it.")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores of this machine, instead of stream.cores.")] = None,
    memory: Annotated[str, typer.Option(help="Memory of the driver's Java, as Java writes it.")] = "1g",
    jars: Annotated[
        Path | None, typer.Option(help="Folder with the jars of Spark's Kafka connector, as scripts/kafka-jars prints.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(help="Also push the metrics there by OTLP: a base (http://host:4318), or the full path."),
    ] = None,
    remote_write: Annotated[
        str | None, typer.Option(help="Also push them there by Prometheus' remote write, such as http://host:9090.")
    ] = None,
    remote_write_token_file: Annotated[
        Path | None, typer.Option(help="File with the bearer token of remote write.")
    ] = None,
    push_interval: Annotated[float, typer.Option(min=1.0, help="Seconds between two pushes.")] = 15.0,
    once: Annotated[bool, typer.Option("--once", help="Count what is there, and end.")] = False,
) -> None:
    """Count until SIGTERM what the sources of the section `stream` hold, and serve the exporter's metrics.

    A batch that Spark runs again changes nothing, and a restart goes on where it was. Writes its URL to standard error
    when it serves. Exit code 2 when it cannot start as asked, or the query ends with an error.
    """
    import asyncio
    import logging

    from exporters.stream.session import Machine, ensure_spark
    from midwatch import http_access, telemetry
    from midwatch.errors import MidwatchError
    from midwatch.spec import load

    ensure_spark()
    from exporters.events import privacy
    from exporters.stream import pushing, service
    from exporters.stream.query import Counted
    from exporters.stream.sources import kafka

    loaded = load.load_platform(platform)
    section = loaded.stream
    if section is None:
        raise MidwatchError(f"{platform}: there is no section `stream`, which names what is read; see docs/stream.md")
    if section.kafka:
        kafka.ensure_reachable(section.kafka.servers)
    stop_telemetry = telemetry.setup("midwatch-stream")
    base = load.base_folder(platform)
    host, port = http_access.parse_address(listen or section.listen)
    properties_file = section.kafka.properties_file if section.kafka else None
    pushes = []
    if otlp_endpoint:
        pushes.append(pushing.by_otlp(otlp_endpoint, push_interval, loaded.prometheus.url))
    if remote_write:
        pushes.append(
            pushing.by_remote_write(remote_write, remote_write_token_file, push_interval, loaded.prometheus.url)
        )
    made = service.Service(
        service.Options(
            platform=loaded,
            base=base,
            stream=section.model_copy(update={"cores": cores or section.cores}),
            counted=Counted(
                settings=loaded.exporter,
                models=loaded.models,
                privacy=privacy.load(loaded.exporter.personal, base),
                buckets=section.buckets,
            ),
            machine=Machine(master=master, cores=cores or section.cores, memory=memory, jars=jars),
            properties=service.client_properties(base / properties_file if properties_file else None),
            checkpoint=checkpoint,
            ledger=sink,
            host=host,
            port=port,
            metrics_token_file=metrics_token_file,
            insecure=insecure,
            once=once,
            pushes=pushes,
            digests=loaded.digests,
        )
    )
    asyncio.run(made.run(lambda url: logging.getLogger("exporters").info("ready", extra={"url": url})))
    stop_telemetry()
