"""`midwatch exporter`: the service that takes prediction and label events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from midwatch.client import events
    from midwatch.spec import model as spec

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Take prediction and label events, serve /metrics.")


@app.callback()
def _group() -> None:
    """Take prediction and label events, serve /metrics."""


@app.command()
def serve(
    platform: options.GivenPlatformFile = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    state: Annotated[Path, typer.Option(help="Folder of the journal.")] = Path("state/exporter"),
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients send.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    otlp_endpoint: Annotated[str | None, typer.Option(help="Also push the metrics there by OTLP.")] = None,
    otlp_interval: Annotated[float, typer.Option(help="Seconds between two pushes.")] = 15.0,
) -> None:
    """Serve until SIGTERM: POST /events (NDJSON or JSON), POST /kserve (CloudEvents), GET /metrics.

    Writes its URL to standard error when it is ready. Exit code 2 when it cannot start as asked.
    """
    import asyncio
    import sys

    import uvloop

    from exporters import otlp, server
    from midwatch import http_access, telemetry
    from midwatch.spec import load
    from midwatch.spec import model as spec

    sys.setswitchinterval(0.001)  # a scrape's thread must not hold requests up for the usual 5 ms at a time
    stop_telemetry = telemetry.setup("midwatch-exporter")
    platform = platform or options.default_file()
    loaded = load.load_platform(platform) if platform else None
    settings = loaded.exporter if loaded else spec.Exporter()
    host, port = http_access.parse_address(listen or settings.listen)
    service = server.Service(
        server.Options(
            host=host,
            port=port,
            state=state,
            settings=settings,
            models=loaded.models if loaded else (),
            platform_file=platform,
            token_file=token_file,
            insecure=insecure,
            privacy=_privacy(settings, platform),
        )
    )

    async def run() -> None:
        stop_push = otlp.start_pusher(service.on_loop(), otlp_endpoint, otlp_interval) if otlp_endpoint else None
        await service.run(_say_ready)
        if stop_push:
            await asyncio.to_thread(stop_push)  # the last push takes a view on this loop

    uvloop.run(run())
    stop_telemetry()


def _say_ready(url: str) -> None:
    import logging

    logging.getLogger("exporters").info("ready", extra={"url": url})


def _privacy(settings: spec.Exporter, platform: Path | None) -> events.Privacy | None:
    from midwatch.client import events

    personal = settings.personal
    if not personal.drop and not personal.hash:
        return None
    key = b""
    if personal.key_file is not None:
        path = (platform.parent if platform else Path()) / personal.key_file
        key = events.read_key(path)
    return events.Privacy(drop=frozenset(personal.drop), hashed=frozenset(personal.hash), key=key)
