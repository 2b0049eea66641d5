"""`midwatch evaluate`: the service that evaluates promises that PromQL alone cannot."""

from __future__ import annotations

from typing import Annotated

import typer

from midwatch import options

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Evaluate, again and again, promises that PromQL alone cannot."
)


@app.callback()
def _group() -> None:
    """A group of commands, though there is one."""


@app.command()
def serve(
    file: options.PlatformFile,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; the platform file's without it.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    prometheus: Annotated[str | None, typer.Option(help="URL of another Prometheus than the file's.")] = None,
) -> None:
    """Judge fairness and attributions of models from Prometheus, and serve the verdicts on /metrics until SIGTERM.

    It keeps nothing: since when a version is judged it reads back from Prometheus. Exit code 2 when it cannot start
    as asked, or nothing is promised that it evaluates.
    """
    import asyncio
    import logging

    from midwatch import http_access, http_service, telemetry
    from midwatch.errors import MidwatchError
    from midwatch.prometheus import Client
    from midwatch.spec import evaluation, load
    from monitors.evaluator import kinds
    from monitors.evaluator.rounds import Rounds

    platform = load.load_platform(file)
    promised = evaluation.promised(platform)
    if not promised:
        remedy = "write models[].fairness or models[].explanations"
        raise MidwatchError(f"{file}: nothing is promised that has to be evaluated; {remedy}")
    host, port = http_access.parse_address(listen or platform.evaluator.listen)
    token = http_access.bearer_token(host, metrics_token_file, insecure=insecure, option="--metrics-token-file")
    client = Client.of(
        platform.prometheus, prometheus, timeout=max(platform.prometheus.timeout, platform.evaluator.every)
    )
    rounds = Rounds(client, {name: kinds.prepare_of(name)(platform) for name in promised})
    stop_telemetry = telemetry.setup("midwatch-evaluator")
    address = http_service.Address(host=host, port=port, token=token)
    log = logging.getLogger(__name__)
    asyncio.run(rounds.serve(platform.evaluator.every, address, lambda url: log.info("ready", extra={"url": url})))
    stop_telemetry()
