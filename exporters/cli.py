"""`midwatch exporter`: the service that takes prediction and label events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Take prediction and label events, serve /metrics.")


@app.callback()
def _group() -> None:
    """Take prediction and label events, serve /metrics."""


@app.command()
def serve(
    platform_file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Platform file: models, caps, retention, personal fields.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    state: Annotated[Path, typer.Option(help="Folder of the journal.")] = Path("state/exporter"),
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients send.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(help="Also push the metrics there by OTLP: a base (http://host:4318), or the full path."),
    ] = None,
    otlp_interval: Annotated[float, typer.Option(help="Seconds between two pushes.")] = 15.0,
) -> None:
    """Serve until SIGTERM: POST /events (NDJSON or JSON), POST /kserve (CloudEvents), GET /metrics.

    Writes its URL to standard error when it is ready. Exit code 2 when it cannot start as asked.
    """
    import asyncio
    import sys

    import uvloop

    from exporters import otlp, server
    from exporters.events import privacy
    from midwatch import http_access, telemetry
    from midwatch.spec import load, model

    sys.setswitchinterval(0.001)  # a scrape's thread must not hold requests up for the usual 5 ms at a time
    target = otlp.Target.of(otlp_endpoint) if otlp_endpoint else None
    stop_telemetry = telemetry.setup("midwatch-exporter")
    platform = load.load_platform(platform_file) if platform_file else None
    settings = platform.exporter if platform else model.Exporter()
    host, port = http_access.parse_address(listen or settings.listen)
    service = server.Service(
        server.Options(
            host=host,
            port=port,
            state=state,
            settings=settings,
            models=platform.models if platform else (),
            platform_file=platform_file,
            token_file=token_file,
            insecure=insecure,
            privacy=privacy.load(settings.personal, platform_file.parent if platform_file else Path()),
        )
    )

    async def run() -> None:
        stop_push = otlp.start_pusher(service.on_loop(), target, otlp_interval) if target else None
        await service.run(_say_ready)
        if stop_push:
            await asyncio.to_thread(stop_push)  # the last push takes a view on this loop

    uvloop.run(run())
    stop_telemetry()


def _say_ready(url: str) -> None:
    import logging

    logging.getLogger("exporters").info("ready", extra={"url": url})
