"""`midwatch drift`: a reference from a table, and a verdict on a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options, progress
from monitors.drift import engines

if TYPE_CHECKING:
    from monitors.drift.counts import Floats
    from monitors.drift.reference import Reference
    from monitors.drift.seasons import Windows

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Drift of a model's inputs: a reference, and verdicts on windows."
)

PERSONAL = "exporter.personal of the platform file names it"
"""Why nothing is stored of a column."""


@app.command()
def fit(
    table: Annotated[Path, typer.Argument(help="Parquet, CSV, Arrow or JSON lines file, in time order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the reference.")],
    features: Annotated[
        str | None,
        typer.Option(help="Comma-separated columns, of times NAME:hour or NAME:age; else all."),
    ] = None,
    window_rows: Annotated[
        int | None, typer.Option(min=2, help="Rows of the windows it will be compared with; 1000 without --time.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Column with the times of the rows: compare with the same hour, or day of the week."),
    ] = None,
    window: Annotated[str, typer.Option(help="With --time: how long such a window is.")] = "1h",
    labels: Annotated[
        str | None, typer.Option(help="Comma-separated columns of labels, which come later than their rows.")
    ] = None,
    engine: Annotated[engines.Engine, typer.Option(help="Where it is read.")] = engines.Engine.LOCAL,
    platform: options.GivenPlatformFile = None,
) -> None:
    """Fit a reference: per feature the distribution, and how far calm windows of it stray by themselves.

    Nothing is stored of fields that the platform file names in `exporter.personal`.
    """
    from midwatch.errors import InvalidInputError
    from midwatch.spec.drift import Feature
    from monitors.drift import fitting, reference_file, seasons, times

    personal = _personal(platform or options.default_file())
    with engines.opened(engine, table) as data:
        kinds = {name: kind for name, kind in data.kinds.items() if name not in personal}
        left_out = dict(data.left_out) | dict.fromkeys(sorted(personal & {*data.kinds, *data.left_out}), PERSONAL)
        if features is not None:
            wanted = [name.strip() for name in features.split(",")]
            if hidden := [name for name in wanted if not personal.isdisjoint(_columns(name))]:
                raise InvalidInputError.at(table, f"{', '.join(hidden)}: {PERSONAL}, so nothing of it may be stored")
            kinds |= {name: Feature.NUMERIC for name in wanted if times.column(name) in left_out and times.parse(name)}
            missing = [name for name in wanted if name not in kinds]
            if missing:
                raise InvalidInputError.at(table, f"no numeric or categorical column {', '.join(missing)}")
            unnamed = {name: "--features does not name it" for name in sorted(kinds) if name not in wanted}
            left_out = {name: why for name, why in left_out.items() if why is PERSONAL} | unnamed
            kinds = {name: kinds[name] for name in wanted}
        windows = None
        if time is not None:
            kinds.pop(time, None)
            left_out[time] = "windows are cut by it"
            windows = seasons.by_times(data.times(time), _seconds("--window", window))
        late = [name.strip() for name in labels.split(",")] if labels else []
        unknown = [name for name in late if name not in kinds]
        if unknown:
            raise InvalidInputError.at(table, f"--labels: no column {', '.join(unknown)} is compared")
        if not kinds:
            raise InvalidInputError.at(table, "no numeric or categorical column")
        with progress.bar("fitting features", len(kinds)) as step:
            fitted = fitting.fit_columns(
                data.columns(kinds),
                kinds,
                window_rows=window_rows or (max(2, windows.size) if windows else 1000),
                progress=lambda _: step(1),
                left_out=left_out,
                windows=windows,
                time=time or "",
                labels=late,
            )
    reference_file.save(fitted, output)
    typer.echo(
        f"{output}: {fitted.rows} rows, {len(fitted.features)} features, {output.stat().st_size} bytes", err=True
    )
    if windows is not None:
        typer.echo(_said_of(windows), err=True)
    for name, why in left_out.items():
        typer.echo(f"not compared: {name} ({why})", err=True)
    for name in sorted(set(kinds) - set(late) - set(fitted.joint.embedding.features)):
        typer.echo(f"left out of methods that look at whole rows: {name} (it changes too slowly)", err=True)


def _columns(feature: str) -> list[str]:
    """Columns of a table that a feature is made of."""
    from monitors.drift import times

    part = times.parse(feature)
    return [feature] if part is None else part.columns


def _personal(platform_file: Path | None) -> set[str]:
    """Fields that name a person, by the platform file; none without one."""
    from midwatch.spec import load

    if platform_file is None:
        return set()
    fields = load.load_platform(platform_file).exporter.personal
    return {*fields.drop, *fields.hash}


@app.command()
def compare(
    reference_path: Annotated[Path, typer.Option("--reference", help="Reference that `drift fit` wrote.")],
    current: Annotated[Path, typer.Option(help="Parquet, CSV, Arrow or JSON lines file: the window to judge.")],
    methods: Annotated[str, typer.Option(help="Comma-separated methods that vote.")] = "ks,psi",
    quorum: Annotated[int, typer.Option(min=1, help="Votes that make drift.")] = 2,
    false_alarms: Annotated[str, typer.Option(help="Budget, such as '1 per 90d'.")] = "1 per 90d",
    window: Annotated[
        str | None, typer.Option(help="Time between two such windows; else what `fit` was told, or 1h.")
    ] = None,
    min_samples: Annotated[int, typer.Option(min=2, help="Rows below which nothing is decided.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
    engine: Annotated[engines.Engine, typer.Option(help="Where it is read.")] = engines.Engine.LOCAL,
    html: Annotated[Path | None, typer.Option(help="Also write one page with every feature's distributions.")] = None,
    platform: options.GivenPlatformFile = None,
    model: Annotated[
        str | None, typer.Option(help="Model whose inputs they are; the page says whose it is by the platform file.")
    ] = None,
) -> None:
    """Judge a window: exit 0 stable, 1 drift, 2 bad input, 3 inconclusive."""
    import json
    from dataclasses import replace

    from midwatch.errors import Exit, MidwatchError
    from monitors.drift import document, reference_file, report, times, verdict, view
    from monitors.drift import methods as drift_methods

    chosen = [name.strip() for name in methods.split(",")]
    offered = [*drift_methods.FEATURE, *drift_methods.ROW]
    unknown = [name for name in chosen if name not in offered]
    if unknown or quorum > len(chosen):
        known = ", ".join(offered)
        raise MidwatchError(f"--methods {methods} --quorum {quorum}: choose among {known}, and a quorum within them")
    asked = html is not None or model is not None
    whose = _whose(platform or (options.default_file() if asked else None), model)
    page = report.Page(window=_written(current), reference=_written(reference_path), **whose)
    fitted = reference_file.load(reference_path)
    seconds = _seconds("--window", window) if window is not None else fitted.window_seconds or 3600.0
    try:
        alpha = verdict.window_alpha(false_alarms, seconds)
    except ValueError as error:
        raise MidwatchError(f"--false-alarms {false_alarms!r}: {error}") from error
    with_rows = not set(chosen).isdisjoint(drift_methods.ROW)
    with (
        engines.opened(engine, current, {name: one.kind for name, one in fitted.features.items()}) as data,
        progress.bar("reading values", data.rows * len(fitted.features)) as step,
    ):
        scanned = data.scan(fitted, with_rows=with_rows, progress=step)
        phase = None
        if fitted.time:
            moments = data.times(fitted.time)
            phase = fitted.phase(*_middle(moments, fitted.time, current))
            page = replace(page, rows_of=_stretch(moments))
        not_compared = dict(fitted.left_out) | {
            name: "the reference does not have it"
            for name in sorted({*data.kinds, *data.left_out})
            if name not in fitted.left_out and name not in map(times.column, fitted.features)
        }
    judgement = verdict.judge(
        fitted.features,
        scanned.counts,
        samples=scanned.samples,
        methods=chosen,
        quorum=quorum,
        alpha=alpha,
        min_samples=min_samples,
        together=None if scanned.rows is None else (fitted.joint, scanned.rows),
        phase=phase,
    )
    if fitted.time:
        typer.echo(_compared_with(fitted, phase), err=True)
    if html is not None:
        report.write(html, page, judgement, fitted.features, scanned.counts, not_compared)
    if as_json:
        typer.echo(json.dumps(document.document(judgement, not_compared)))
    else:
        view.show(judgement, fitted.features, scanned.counts, not_compared)
    code = {"stable": Exit.PASS, "drift": Exit.FAIL, "inconclusive": Exit.INCONCLUSIVE}[judgement.verdict.value]
    raise typer.Exit(code)


def _whose(platform_file: Path | None, model: str | None) -> dict[str, str]:
    """Whose inputs they are, as far as options and the platform file say; InvalidInputError for an unknown model."""
    from midwatch.errors import InvalidInputError
    from midwatch.spec import load

    named = {} if model is None else {"model": model}
    if platform_file is None:
        return named
    platform = load.load_platform(platform_file)
    if model is None:
        return {"platform": platform.platform}
    owners = {one.name: one.owner for one in platform.models}
    if model not in owners:
        said = f"there is no model {model!r}"
        raise InvalidInputError.at(platform_file, said, remedy=f"known: {', '.join(sorted(owners))}")
    return named | {"platform": platform.platform, "owner": owners[model]}


def _written(file: Path) -> str:
    """A file's name, and when it was written."""
    from datetime import UTC, datetime

    if not file.exists():
        return file.name
    return f"{file.name}, written {datetime.fromtimestamp(file.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"


def _stretch(times: Floats) -> str:
    """From when to when rows are."""
    from datetime import UTC, datetime

    import numpy as np

    known = times[np.isfinite(times)]
    first, last = (datetime.fromtimestamp(float(one), UTC) for one in (known.min(), known.max()))
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _seconds(option: str, text: str) -> float:
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise MidwatchError(f"{option} {text!r}: {error}") from error


def _middle(times: Floats, column: str, place: Path) -> tuple[float, float]:
    """Middle of a window's times, and how long it is; InvalidInputError when no row has one."""
    import numpy as np

    from midwatch.errors import InvalidInputError

    known = times[np.isfinite(times)]
    if not known.size:
        said = f"no row has a time in {column}, by which the reference compares windows"
        raise InvalidInputError.at(place, said, remedy="give the rows their times, or fit a reference without --time")
    first, last = known.min(), known.max()
    return float((first + last) / 2), float(last - first)


def _said_of(windows: Windows) -> str:
    from monitors.drift.seasons import FEWEST_WINDOWS, Cycle

    said = f"calm windows: {len(windows.phases)} of about {windows.size} rows"
    if windows.cycle is Cycle.NONE:
        return f"{said}, all compared alike: no hour or day of the week has {FEWEST_WINDOWS} of them"
    return f"{said}, compared by the {windows.cycle.value} (UTC)"


def _compared_with(fitted: Reference, phase: int | None) -> str:
    if phase is None:
        return "compared with the whole reference"
    return f"compared with windows of {fitted.cycle.value} {phase} (UTC)"
