"""`midwatch console`: the state of the promises as pages in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midwatch import options
from midwatch.app.status.where import AlertmanagerUrl, PrometheusUrl, StateFolder

app = typer.Typer(help="The state of the promises as pages in a browser.", add_completion=False)

LEAST_EVERY = 1.0
MAX_CONNECTIONS = 1000


@app.command()
def console(
    file: options.PlatformFile,
    listen: Annotated[
        str | None,
        typer.Option(help="HOST:PORT; off loopback it needs --token-file. The file's console.listen without."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token: who has it may silence, and off loopback read.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let anybody read; silences need the token all the same.")
    ] = False,
    prometheus: PrometheusUrl = None,
    alertmanager: AlertmanagerUrl = None,
    state: StateFolder = None,
    evidence: Annotated[list[Path] | None, typer.Option(help="Folder with evidence logs to show; may repeat.")] = None,
    every: Annotated[str, typer.Option(help="How often the state is read.")] = "5s",
    span: Annotated[str, typer.Option(help="Time that charts show first: 15m, 1h, 3h, 12h, 2d, 7d or 30d.")] = "3h",
) -> None:
    """Serve the console until Ctrl-C: overview, models, objectives, canaries, alerts, recovery, evidence.

    It only reads, but for silences and acknowledgements, which need the token. Exit code 0, 2 when it cannot start.
    """
    import contextlib

    import uvicorn

    from midwatch import http_access, processes
    from midwatch.app.console.access import Access
    from midwatch.app.console.application import Application, Console
    from midwatch.app.console.page import SPANS
    from midwatch.app.console.queries import Asked
    from midwatch.app.console.state import State
    from midwatch.app.console.what_changed import WhatChanged
    from midwatch.app.incident import where as incidents
    from midwatch.app.status import read, where
    from midwatch.errors import MidwatchError
    from midwatch.spec import addresses
    from midwatch.spec import console as spec
    from midwatch.spec.values import parse_duration

    if span not in SPANS:
        raise MidwatchError(f"--span: {span!r} is none of {', '.join(SPANS)}")
    try:
        seconds = max(LEAST_EVERY, parse_duration(every))
    except ValueError as error:
        raise MidwatchError(f"--every {error}") from error
    for folder in evidence or ():
        if not folder.is_dir():
            raise MidwatchError(f"--evidence: {folder} is no folder; name one that is there, or leave it out")
    sources = where.sources(file, prometheus_url=prometheus, alertmanager_url=alertmanager, state=state)
    if sources.platform is None:
        raise MidwatchError("the console needs a platform file; give it with -f")
    settings = sources.platform.console or spec.Console()
    host, port = http_access.parse_address(listen or settings.listen)
    token = http_access.bearer_token(host, token_file, insecure=insecure)
    is_local = addresses.is_loopback(host)
    served = Console(
        platform=sources.platform,
        file=file,
        state=State(lambda: read.overview(sources)),
        asked=Asked(sources.prometheus, fresh_seconds=seconds),
        what_changed=WhatChanged(incidents.sources(file, sources.prometheus_url, state)),
        alertmanager=sources.alertmanager,
        access=Access(token=token, reads_need_token=not is_local and not insecure, local_only=is_local),
        every=seconds,
        url=settings.url or "",
        default_span=span,
        folders=tuple(evidence or ()),
    )
    typer.echo(f"console: http://{'127.0.0.1' if is_local else host}:{port}", err=True)
    config = uvicorn.Config(
        Application(served).app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    # Where it cannot listen uvicorn logs why and exits with a code of its own.
    with processes.sigterm_as_interrupt(), contextlib.suppress(KeyboardInterrupt, SystemExit):
        server.run()
    if not server.started:
        raise MidwatchError(f"{host}:{port}: cannot be listened on; its log line is above; choose another by --listen")
