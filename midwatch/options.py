"""Options that many commands share, defined once: the platform file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from midwatch import platform_files
from midwatch.errors import MidwatchError

FILE_VARIABLE = "MIDWATCH_FILE"
DEFAULT_FILE = Path("platform.yaml")


def _named(given: str | Path | list[str]) -> Path:
    """The path that was given, or all of them as one; MidwatchError for an empty one."""
    return platform_files.path_of(given if isinstance(given, list) else [str(given)])


PlatformFile = Annotated[
    Path,
    typer.Option(
        "--file",
        "-f",
        envvar=FILE_VARIABLE,
        parser=_named,
        metavar="PATH",
        default_factory=lambda: DEFAULT_FILE,
        show_default=str(DEFAULT_FILE),
        help="Platform file, or a folder of them; a further one is laid over it, key by key.",
    ),
]
"""For a command that always needs the platform file."""

GivenPlatformFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        parser=_named,
        metavar="PATH",
        help=f"Platform file, or a folder; without it ${FILE_VARIABLE} or ./{DEFAULT_FILE}, where one is needed.",
    ),
]
"""For a command that can do without: it asks for `default_file` where it needs one."""


def default_file() -> Path | None:
    """The platform file of a command that was given none: that of the variable, else the one in this folder."""
    if named := os.environ.get(FILE_VARIABLE):
        return platform_files.path_of([named])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def moment(text: str) -> datetime:
    """The time that `--at` says; MidwatchError for what is none, or has no zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise MidwatchError(f"--at: {text!r} is not a time; write one such as 2026-11-02T14:00:00Z") from error
    if time.tzinfo is None:
        raise MidwatchError(f"--at: {text!r} has no time zone; write Z or an offset such as +01:00")
    return time


MetricsTokenFile = Annotated[
    Path | None, typer.Option(help="File with a bearer token that admits to /metrics alone, as Prometheus sends it.")
]
