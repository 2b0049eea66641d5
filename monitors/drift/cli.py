"""`midwatch drift`: a reference from a table, and a verdict on a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from monitors.drift import verdict

app = typer.Typer(no_args_is_help=True, help="Drift of a model's inputs: a reference, and verdicts on windows.")

_MOST_ROWS_SHOWN = 40


@app.command()
def fit(
    table: Annotated[Path, typer.Argument(help="Parquet, CSV or Arrow file, in time order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the reference.")],
    features: Annotated[str | None, typer.Option(help="Comma-separated columns; all that fit without it.")] = None,
    window_rows: Annotated[int, typer.Option(min=2, help="Rows of the windows it will be compared with.")] = 1000,
) -> None:
    """Fit a reference: per feature the distribution, and how far calm windows of it stray by themselves."""
    from midwatch.errors import InvalidInputError
    from monitors.drift import reference
    from monitors.drift import table as tables

    data = tables.read(table)
    kinds = tables.kinds(data)
    if features is not None:
        wanted = [name.strip() for name in features.split(",")]
        missing = [name for name in wanted if name not in kinds]
        if missing:
            raise InvalidInputError.at(table, f"no numeric or categorical column {', '.join(missing)}")
        kinds = {name: kinds[name] for name in wanted}
    fitted = reference.fit(tables.columns(data, kinds, table), kinds, window_rows=window_rows)
    reference.save(fitted, output)
    typer.echo(
        f"{output}: {fitted.rows} rows, {len(fitted.features)} features, {output.stat().st_size} bytes", err=True
    )


@app.command()
def compare(
    reference_file: Annotated[Path, typer.Option("--reference", help="Reference that `drift fit` wrote.")],
    current: Annotated[Path, typer.Option(help="Parquet, CSV or Arrow file: the window to judge.")],
    methods: Annotated[str, typer.Option(help="Comma-separated methods that vote.")] = "ks,psi",
    quorum: Annotated[int, typer.Option(min=1, help="Votes that make drift.")] = 2,
    false_alarms: Annotated[str, typer.Option(help="Budget, such as '1 per 90d'.")] = "1 per 90d",
    window: Annotated[str, typer.Option(help="Time between two such windows.")] = "1h",
    min_samples: Annotated[int, typer.Option(min=2, help="Rows below which nothing is decided.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Judge a window: exit 0 stable, 1 drift, 2 bad input, 3 inconclusive."""
    import json

    from midwatch.errors import Exit, MidwatchError
    from midwatch.spec.values import parse_duration
    from monitors.drift import reference, verdict
    from monitors.drift import table as tables

    chosen = [name.strip() for name in methods.split(",")]
    unknown = [name for name in chosen if name not in reference.METHODS]
    if unknown or quorum > len(chosen):
        known = ", ".join(reference.METHODS)
        raise MidwatchError(f"--methods {methods} --quorum {quorum}: choose among {known}, and a quorum within them")
    fitted = reference.load(reference_file)
    kinds = {name: feature.kind for name, feature in fitted.features.items()}
    data = tables.columns(tables.read(current), kinds, current)
    try:
        alpha = verdict.window_alpha(false_alarms, parse_duration(window))
    except ValueError as error:
        raise MidwatchError(f"--false-alarms {false_alarms!r} --window {window!r}: {error}") from error
    judgement = verdict.judge(
        fitted,
        {name: feature.count(data[name]) for name, feature in fitted.features.items()},
        samples=len(next(iter(data.values()))),
        methods=chosen,
        quorum=quorum,
        alpha=alpha,
        min_samples=min_samples,
    )
    if as_json:
        typer.echo(json.dumps(_document(judgement)))
    else:
        _show(judgement)
    code = {"stable": Exit.PASS, "drift": Exit.FAIL, "inconclusive": Exit.INCONCLUSIVE}[judgement.verdict.value]
    raise typer.Exit(code)


def _document(judgement: verdict.Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "votes": judgement.votes,
        "quorum": judgement.quorum,
        "samples": judgement.samples,
        "alpha": judgement.alpha,
        "findings": [
            {
                "feature": finding.feature,
                "method": finding.method,
                "statistic": finding.result.statistic,
                "p_value": finding.result.p_value,
                "effect": finding.result.effect,
                "floor": finding.floor,
                "votes": finding.votes,
                "reference_size": finding.result.reference_size,
                "window_size": finding.result.window_size,
            }
            for finding in judgement.findings
        ],
    }


def _show(judgement: verdict.Judgement) -> None:
    from rich.console import Console
    from rich.table import Table

    view = Table(title=f"{judgement.verdict.value}: {judgement.reason}", title_justify="left")
    for name in ("feature", "method", "effect", "floor", "p-value", "statistic", "vote"):
        view.add_column(name, justify="left" if name in ("feature", "method") else "right")
    ranked = sorted(judgement.findings, key=lambda finding: finding.floor - finding.result.effect)
    for finding in ranked[:_MOST_ROWS_SHOWN]:
        result = finding.result
        numbers = (f"{result.effect:.3f}", f"{finding.floor:.3f}", f"{result.p_value:.2g}", f"{result.statistic:.3f}")
        view.add_row(finding.feature, finding.method, *numbers, "yes" if finding.votes else "")
    Console().print(view)
