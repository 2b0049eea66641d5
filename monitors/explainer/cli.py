"""`midwatch explain serve`: explanations of one version of a model over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midwatch import options


def serve(
    model: Annotated[str, typer.Option(help="Name of the model, as its events have it.")],
    version: Annotated[str, typer.Option(help="Version that is explained.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="KIND:WHERE",
            help="The model: callable:MODULE:FUNCTION; scikit-learn, xgboost, lightgbm or onnx and a file; v1 or v2 "
            "and the URL that predicts.",
        ),
    ],
    background: Annotated[
        Path, typer.Option(help="Parquet, CSV or JSON file of usual rows, with the model's features as columns.")
    ],
    output: Annotated[
        str | None, typer.Option(help="Class or number of the output that is explained, of a model with several.")
    ] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:9580",
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that clients send.")] = None,
    metrics_token_file: options.MetricsTokenFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen off loopback without a token.")] = False,
    budget: Annotated[str, typer.Option(help="Time that sampling may take for a row.")] = "200ms",
    deadline: Annotated[str, typer.Option(help="Time within which a request is answered.")] = "2s",
    precision: Annotated[
        float, typer.Option(help="Sampling ends when no standard error is more of the attributions' span.")
    ] = 0.05,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Requests that are explained at a time.")] = 1,
    waiting: Annotated[int, typer.Option(min=0, max=10_000, help="Requests that may wait beside them.")] = 32,
    cache: Annotated[str, typer.Option(help="Memory for explanations that were given, such as 64MiB.")] = "64MiB",
    model_token_file: Annotated[
        Path | None, typer.Option(help="File with the bearer token of the server that predicts.")
    ] = None,
    model_ca_file: Annotated[Path | None, typer.Option(help="Authority of that server's certificate.")] = None,
) -> None:
    """Serve explanations of a model until SIGTERM: POST /v1/models/MODEL:explain or /v2/models/MODEL/explain.

    Trees are explained exactly, other models by permutations with a stated error, within the budget. Writes its URL to
    standard error when it is ready. Exit code 2 when it cannot start as asked. Needs the extra `explain`.
    """
    import logging
    import re
    import sys

    import threadpoolctl
    import uvloop

    from midwatch import http_access, http_service, telemetry
    from midwatch.errors import MidwatchError
    from monitors.explainer import background as backgrounds
    from monitors.explainer import explainer, models, remote, service

    sys.setswitchinterval(0.001)  # explanations in threads must not hold the answers of others up
    if not 0 < precision <= 1:
        raise MidwatchError(f"--precision {precision:g}: write a share of the attributions' span, such as 0.05")
    limits = service.Limits(
        budget=_seconds("--budget", budget),
        deadline=_seconds("--deadline", deadline),
        threads=threads,
        waiting=waiting,
        cache=_bytes(cache),
    )
    host, port = http_access.parse_address(listen)
    token = http_access.bearer_token(host, token_file, insecure=insecure)
    address = http_service.Address(
        host=host,
        port=port,
        token=token,
        metrics_token=http_access.read_token(metrics_token_file) if metrics_token_file else None,
    )
    if not re.fullmatch(r"[^/:?#\s]{1,200}", model):
        raise MidwatchError(f"--model {model!r} cannot stand in a path; write letters, digits, -, _ and .")
    stop_telemetry = telemetry.setup("midwatch-explainer")
    sample = backgrounds.read(background)
    access = remote.Access(token_file=model_token_file, ca_file=model_ca_file)
    loaded = models.load(source, sample.columns, access)
    made = explainer.build(loaded, sample, model=model, version=version, output=output, precision=precision)
    threadpoolctl.threadpool_limits(1)  # the libraries' own threads would wait for each other over a single row
    log = logging.getLogger(__name__)
    log.info("explains by %s", made.method)
    uvloop.run(service.Service(made, limits).serve(address, lambda url: log.info("ready", extra={"url": url})))
    stop_telemetry()


def _seconds(option: str, text: str) -> float:
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise MidwatchError(f"{option} {error}") from error
    if seconds <= 0:
        raise MidwatchError(f"{option} {text}: write a time such as 200ms")
    return seconds


def _bytes(text: str) -> int:
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise MidwatchError(f"--cache {error}") from error
