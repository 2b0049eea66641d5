"""`midwatch schema`: the JSON schema of the platform file, which editors complete and check with."""

from __future__ import annotations

import typer

app = typer.Typer(help="Print the JSON schema of the platform file.", add_completion=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of the platform file, for editors and other programs. It needs no network."""
    typer.echo(text(), nl=False)


def text() -> str:
    """The schema as it is printed and written beside a new platform file."""
    import json

    from midwatch.spec import schema as spec

    return json.dumps(spec.document(), indent=1) + "\n"
