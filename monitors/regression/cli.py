"""`midwatch loop regressions`: trainings and releases of a model against their own history."""

from __future__ import annotations

from typing import Annotated

import typer

from midwatch import options


def regressions(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model of the platform file.")],
    platform_file: options.PlatformFile,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Compare trainings (duration, metrics), the pipeline's runs and latency by release with their history.

    Exit code 0 steady, 1 regressed, 2 bad input, 3 undecided: too short a history, or an owner that does not answer.
    """
    import json
    import time

    from rich.table import Table

    from midwatch import tables
    from midwatch.errors import Exit, InvalidInputError, Problem
    from midwatch.prometheus import Client
    from midwatch.spec import load
    from monitors.regression import judged
    from monitors.regression.change import Verdict

    platform = load.load_platform(platform_file)
    named = {one.name: one for one in platform.models}
    if model not in named:
        known = ", ".join(named) or "none"
        message = f"there is no model {model!r}"
        raise InvalidInputError([Problem(file="MODEL", message=message, remedy=f"known: {known}")])
    found = judged.judge(Client.of(platform.prometheus), platform, named[model], now=time.time())
    said = judged.whole(found)
    if as_json:
        typer.echo(json.dumps(judged.document(model, found)))
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("series", "verdict", "values", "since", "why"):
            table.add_column(name, justify="right" if name == "values" else "left")
        for one in found:
            table.add_row(one.series, one.verdict.value, str(one.values), one.since or "", one.reason)
        tables.show(table)
        typer.echo(f"{model}: {said.value}")
    raise typer.Exit({Verdict.STEADY: Exit.PASS, Verdict.REGRESSED: Exit.FAIL}.get(said, Exit.INCONCLUSIVE))
