"""`midwatch check`: the platform file, and what the programs that will read the rendered files say of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from midwatch import options
from midwatch.errors import Exit, InvalidInputError

app = typer.Typer(help="Check the platform file and everything rendered from it.", add_completion=False)


@app.command()
def check(
    file: options.PlatformFile,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of the problems.")] = False,
) -> None:
    """Check the platform file, then all that is rendered: rules (promtool), routes (amtool), what both would not say,
    the experiments and the dashboards.

    Exit code 0 without problems, 1 when rendered files are wrong, 2 when the platform file is, or a program is missing.
    """
    from alerts import check as alerts
    from alerts.lint import linter
    from chaos import check as chaos
    from dashboards import check as dashboards
    from midwatch import system_check
    from midwatch.app.render import rendered_files
    from midwatch.spec import load
    from monitors.canary import argo_check

    code = Exit.PASS
    try:
        platform, document = load.load_with_places(file)
        chaos.ensure_alerts(platform, document)
        files = rendered_files(platform)
        problems = (
            *alerts.check_files(files),
            *linter.problems(platform, document),
            *chaos.check_files(files),
            *dashboards.check_files(files),
            *system_check.find_problems(platform, document),
            *argo_check.check_files(files),
        )
        code = Exit.FAIL if problems else Exit.PASS
    except InvalidInputError as error:
        problems, code = error.problems, Exit.USAGE
    if as_json:
        typer.echo(json.dumps({"ok": not problems, "problems": [asdict(problem) for problem in problems]}))
    else:
        for problem in problems:
            typer.echo(str(problem), err=True)
        if not problems:
            typer.echo(f"{file}: no problems", err=True)
    raise typer.Exit(code)
