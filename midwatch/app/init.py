"""`midwatch init`: a commented platform file to start from, and the schema that editors check it with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from midwatch.errors import MidwatchError

app = typer.Typer(help="Write a commented platform.yaml to start from.", add_completion=False)

SCHEMA = "platform.schema.json"
"""Named by the first line of the platform file, so that an editor finds it beside, without a network."""


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path()) -> None:
    """Write a commented platform.yaml; a file that is there already is left alone (exit code 2).

    Beside it goes platform.schema.json, with which an editor completes and checks it.
    """
    from midwatch.app import schema

    path = folder / "platform.yaml"
    text = files("midwatch.app").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        (folder / SCHEMA).write_text(schema.text(), encoding="utf-8")
    except FileExistsError as error:
        raise MidwatchError(f"{path} is there already; give another folder, or move it away") from error
    except OSError as error:
        raise MidwatchError(f"{path}: {error.strerror}") from error
    given = "" if folder == Path() else f" -f {path}"
    typer.echo(f"{path} and {SCHEMA} written; next: midwatch check{given}", err=True)
