"""`midwatch canary gate`: the HTTP service that Argo Rollouts asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midwatch import options
from monitors.canary import cli


def gate(
    platform: options.PlatformFile,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    audit: Annotated[Path, typer.Option(help="Evidence log that every verdict is recorded in.")] = Path(
        "state/gate/audit.jsonl"
    ),
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients send.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    prometheus: Annotated[str | None, typer.Option(help="URL of Prometheus, if not the platform file's.")] = None,
) -> None:
    """Serve until SIGTERM: GET or POST /verdict or /passed (model, baseline, canary, start, end), and GET /metrics.

    Writes its URL to standard error when it is ready. Exit code 2 when it cannot start as asked.
    """
    import logging
    import sys

    import uvloop

    from midwatch import http_access, telemetry
    from midwatch.spec import load
    from monitors.gate import service

    sys.setswitchinterval(0.001)  # judges in threads must not hold the answers of others up
    loaded = load.load_platform(platform)
    host, port = http_access.parse_address(listen or loaded.gate.listen)
    token = http_access.bearer_token(host, token_file, insecure=insecure)
    stop_telemetry = telemetry.setup("midwatch-gate")
    running = service.Gate(
        service.Options(
            host=host,
            port=port,
            platform=loaded,
            audit=audit,
            prometheus=prometheus,
            deadline=loaded.gate.deadline,
            token=token,
            metrics_token=http_access.read_token(metrics_token_file) if metrics_token_file else None,
        )
    )
    uvloop.run(running.run(lambda url: logging.getLogger("exporters").info("ready", extra={"url": url})))
    stop_telemetry()


app = cli.app
app.command("gate")(gate)
