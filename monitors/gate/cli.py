"""`midwatch canary gate`: the HTTP service that Argo Rollouts asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from midwatch import options
from monitors.canary import cli
from monitors.promotion import cli as promotion


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
    model: Annotated[str | None, typer.Option(help="Instead of serving: may a version of it be promoted?")] = None,
    version: Annotated[str | None, typer.Option(help="That version, as the registry numbers it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="That answer as one JSON document.")] = False,
) -> None:
    """Serve until SIGTERM: GET or POST /verdict or /passed (model, baseline, canary, start, end), and GET /metrics.

    Also /promotion, /promote and MLflow's webhook /mlflow, where a model has a promotion section. Writes its URL to
    standard error when it is ready. Exit code 2 when it cannot start as asked. With --model and --version it serves
    nothing: 0 says that the version may be promoted, 1 that it lacks something, which is named, 3 undecided.
    """
    if model is not None or version is not None or as_json:
        _answer_once(platform, audit, model, version, as_json=as_json)
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


def _answer_once(platform: Path, audit: Path, model: str | None, version: str | None, *, as_json: bool) -> NoReturn:
    """Say whether a version may be promoted, and end."""
    from midwatch.errors import InvalidInputError, Problem
    from monitors.promotion.promoter import Asked

    given = {"--model": model, "--version": version}
    if model is None or version is None:
        raise InvalidInputError(
            Problem(file=name, message="missing", remedy="a promotion has both; to serve, leave --json out")
            for name, value in given.items()
            if value is None
        )
    asked = Asked(model=model, version=version, by=promotion.user())
    document = promotion.answered(asked, platform, audit, None, None, promote=False)
    promotion.show(document, as_json=as_json)
    raise typer.Exit(promotion.code_of(document))


app = cli.app
app.command("gate")(gate)
app.command("promote")(promotion.promote)
