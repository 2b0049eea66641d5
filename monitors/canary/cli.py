"""`midwatch canary judge` and `calibrate`: one verdict, and the margin that a fleet needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from midwatch.spec.canary import Canary
    from monitors.canary.counts import Counts
    from monitors.canary.judge import Judgement
    from monitors.canary.question import Question
    from monitors.canary.report import Whose

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Whether a new version is worse than the one it replaces."
)


@app.command()
def judge(
    platform: options.GivenPlatformFile = None,
    model: Annotated[str | None, typer.Option(help="Model whose versions are compared.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Version that serves.")] = None,
    canary: Annotated[str | None, typer.Option(help="Version that is tried.")] = None,
    start: Annotated[
        str | None, typer.Option(help="RFC 3339 time since when; the canary's first traffic without it.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="RFC 3339 time until when; now without it.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Region whose versions are compared, at the view over all of them.")
    ] = None,
    counts_path: Annotated[
        Path | None, typer.Option("--counts", help="Counts by interval (or a --json document) instead of Prometheus.")
    ] = None,
    samples_path: Annotated[
        Path | None, typer.Option("--samples", help="Samples of the gauges instead of Prometheus.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only this criterion; may be given again.")] = None,
    two_sided: Annotated[
        bool, typer.Option("--two-sided", help="Whether two versions differ, either way: an A/B test.")
    ] = False,
    wait: Annotated[
        str | None, typer.Option(help="Look again until it is decided, at most so long, such as 1h.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write one page with the evidence.")] = None,
) -> None:
    """Judge a canary: exit 0 pass, 1 fail, 2 bad input, 3 inconclusive.

    Two-sided, 0 says that the versions are equivalent within the unacceptable ratio, 1 that they differ beyond the
    tolerated one. The same data gives the same bytes, whenever it is asked.
    """
    import json

    from midwatch.errors import Exit
    from monitors.canary import document, report, view

    if counts_path is None and samples_path is None:
        platform = platform or options.default_file()
    if counts_path is not None or samples_path is not None:
        settings, counts, said = _replayed(counts_path, samples_path, platform, model, metric, two_sided)
    else:
        settings, counts, said = _asked(platform, model, baseline, canary, start, end, region, metric, two_sided, wait)
    if html is not None:
        report.write(html, counts, settings, said, _whose(platform, counts.model))
    if as_json:
        typer.echo(json.dumps(document.document(counts, settings, said)))
    else:
        view.show(counts, said)
    raise typer.Exit({"pass": Exit.PASS, "fail": Exit.FAIL}.get(said.verdict.value, Exit.INCONCLUSIVE))


@app.command()
def calibrate(
    platform: options.PlatformFile,
    model: Annotated[str, typer.Option(help="Model whose pods are compared.")],
    version: Annotated[str, typer.Option(help="Version that all of them serve.")],
    by: Annotated[str, typer.Option(help="Label that tells the pods apart.")] = "instance",
    history: Annotated[str, typer.Option(help="How far back, such as 6h.")] = "6h",
    window: Annotated[str, typer.Option(help="How long a canary is analysed.")] = "1h",
    end: Annotated[str | None, typer.Option(help="RFC 3339 time until when; now without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """What margin the fleet needs, from pods of one version: exit 0 enough, 1 too small, 3 too little history.

    Counters have to be those of the pods (`source: servers`, or own counters): one exporter for all has no pods.
    """
    import json
    from dataclasses import asdict

    from midwatch.errors import Exit, MidwatchError
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load
    from midwatch.spec.values import describe_duration
    from monitors.canary import ask, calibrate, view

    loaded = load.load_platform(platform)
    settings, interval = ask.settings_of(loaded, model)
    seconds, stretch = _seconds("--history", history) or 0.0, _seconds("--window", window) or 0.0
    if not interval <= stretch <= seconds:
        raise MidwatchError(
            f"--window {window} is not between the interval, {describe_duration(interval)}, and --history {history}"
        )
    client = Client.of(loaded.prometheus)
    question = _question(model, "others", "pod", None, end)
    of = {"model": model, "version": version, "by": by}
    served = ask.served_by(loaded, model)
    try:
        until = client.query("time()")[0].value if question.end is None else question.end
        pods = calibrate.pods(client, settings, **of, served=served, end=until, history=seconds)
        histories = []
        if len(pods) > 1:
            histories = calibrate.compare(
                client,
                settings,
                pods,
                **of,
                served=served,
                start=until - seconds,
                end=until,
                interval=interval,
                progress=lambda pod: typer.echo(f"comparing {pod} with the others", err=True),
            )
    except QueryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    told = calibrate.assess(histories, settings, looks=round(stretch / interval))
    if as_json:
        typer.echo(json.dumps({**of, "pods": pods, "criteria": [asdict(one) for one in told]}))
    else:
        view.show_calibration(pods, told)
    if any(one.margin is None and one.comparisons * float(settings.false_alarm) < 1 for one in told):
        raise typer.Exit(Exit.INCONCLUSIVE)
    enough = all(one.margin is not None and one.margin <= one.configured for one in told)
    raise typer.Exit(Exit.PASS if enough else Exit.FAIL)


def _whose(platform: Path | None, model: str) -> Whose:
    """Whose a canary is, by the platform file that it was judged with."""
    from midwatch.spec import load
    from monitors.canary.report import NOBODY, Whose

    if platform is None:
        return NOBODY
    loaded = load.load_platform(platform)
    owners = {one.name: one.owner for one in loaded.models}
    return Whose(platform=loaded.platform, owner=owners.get(model, NOBODY.owner))


def _asked(
    platform: Path | None,
    model: str | None,
    baseline: str | None,
    canary: str | None,
    start: str | None,
    end: str | None,
    region: str | None,
    metric: list[str] | None,
    two_sided: bool,
    wait: str | None,
) -> tuple[Canary, Counts, Judgement]:
    import time
    from dataclasses import replace

    from midwatch.errors import InvalidInputError, Problem
    from midwatch.prometheus import Client
    from midwatch.spec import load
    from monitors.canary import ask

    needed = {"--file": platform, "--model": model, "--baseline": baseline, "--canary": canary}
    missing = [
        Problem(file=name, message="missing", remedy="or give --counts") for name, given in needed.items() if not given
    ]
    if missing or platform is None or model is None:
        raise InvalidInputError(missing)
    question = _question(model, baseline or "", canary or "", start, end)
    loaded = load.load_platform(platform)
    settings, interval = ask.settings_of(loaded, model)
    settings = _only(settings, metric)
    question = ask.placed(replace(question, served=ask.served_by(loaded, model)), loaded, region)
    ask.ensure_two_arms(question, settings)
    client = Client.of(loaded.prometheus)
    seconds = _seconds("--wait", wait)

    def look() -> tuple[Counts, Judgement]:
        return ask.ask(client, question, settings, interval=interval, two_sided=two_sided, clock=time.time())

    counts, said = look() if seconds is None else _waited(look, seconds, interval)
    return settings, counts, said


def _question(model: str, baseline: str, canary: str, start: str | None, end: str | None) -> Question:
    from midwatch.errors import InvalidInputError, Problem
    from monitors.canary import times
    from monitors.canary.question import Question

    begin, until, problems = times.stretch(start, end)
    if baseline == canary:
        problems.append(Problem(file="--canary", message=f"{canary!r} is the baseline too", remedy="name two versions"))
    if problems:
        raise InvalidInputError(problems)
    return Question(model=model, baseline=baseline, canary=canary, start=begin, end=until)


def _waited(look: Callable[[], tuple[Counts, Judgement]], seconds: float, interval: float) -> tuple[Counts, Judgement]:
    """Look once an interval until it is decided or the time is over."""
    import time

    from monitors.canary.findings import Verdict

    deadline = time.monotonic() + seconds
    while True:
        counts, said = look()
        if said.verdict is not Verdict.INCONCLUSIVE or time.monotonic() + interval > deadline:
            return counts, said
        typer.echo(f"inconclusive: {said.reason}", err=True)
        time.sleep(interval)


def _replayed(
    counts_path: Path | None,
    samples_path: Path | None,
    platform: Path | None,
    model: str | None,
    metric: list[str] | None,
    two_sided: bool,
) -> tuple[Canary, Counts, Judgement]:
    """Judgement of files; the settings are the platform file's, else those that the counts were saved with."""
    from dataclasses import replace

    from midwatch.errors import InvalidInputError
    from midwatch.spec import load
    from monitors.canary import ask, counts_file, judge
    from monitors.canary.question import Question

    saved: Canary | None = None
    if counts_path is not None:
        given, saved = counts_file.load(counts_path)
    else:
        nothing = Question(model=model or "", baseline="baseline", canary="canary")
        given = replace(ask.unanswered(nothing, 60.0, ""), doubts=())
    if platform is not None:
        settings, _ = ask.settings_of(load.load_platform(platform), model or given.model)
    elif saved is not None:
        settings = saved
    else:
        file = counts_path or samples_path or Path()
        raise InvalidInputError.at(file, "no settings", remedy="give the platform file with -f and --model")
    settings = _only(settings, metric)
    if counts_path is None:
        gauges = [one for one in settings.criteria if one.metric == "gauge"]
        settings = settings.model_copy(update={"criteria": gauges})
    if samples_path is not None:
        given = replace(given, gauges={**given.gauges, **counts_file.load_samples(samples_path)})
    return settings, given, judge.judge(given, settings, two_sided=two_sided)


def _only(settings: Canary, names: list[str] | None) -> Canary:
    from midwatch.errors import InvalidInputError, Problem
    from midwatch.spec.canary import name_of

    known = {name_of(one): one for one in settings.criteria}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        remedy = f"known: {', '.join(known)}"
        raise InvalidInputError(
            Problem(file="--metric", message=f"there is no criterion {name!r}", remedy=remedy) for name in unknown
        )
    return settings.model_copy(update={"criteria": [known[name] for name in names]}) if names else settings


def _seconds(option: str, text: str | None) -> float | None:
    from midwatch.errors import MidwatchError
    from midwatch.spec.values import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise MidwatchError(f"{option} {error}") from error
