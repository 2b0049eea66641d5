"""`midwatch report`: reports that people forward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.app.status.where import AlertmanagerUrl, PrometheusUrl
from midwatch.errors import Exit, MidwatchError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from midwatch.app.report.fairness import FairnessReport
    from midwatch.app.report.read import Sources
    from midwatch.app.report.records import SloReport
    from midwatch.spec.model import Platform

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Reports to forward: a month of promises, pages and drills."
)

TIMEOUT_SECONDS = 60.0
"""A month of counts takes longer than a moment's."""


@app.callback()
def _group() -> None:
    """Reports to forward: a month of promises, pages and drills."""


@app.command()
def slo(
    platform: options.GivenPlatformFile = None,
    month: Annotated[str | None, typer.Option(help="Such as 2026-10; without it the one that ended last.")] = None,
    time_zone: Annotated[
        str, typer.Option(help="Where the month, its nights and shifts are, as Europe/Berlin.")
    ] = "UTC",
    region: Annotated[
        str | None, typer.Option(help="Only this region, at the view over all of them; all without it.")
    ] = None,
    prometheus: PrometheusUrl = None,
    alertmanager: AlertmanagerUrl = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(help="Evidence log, or a folder with some; without it the file's own."),
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the key of the evidence logs.")] = None,
    html: Annotated[bool, typer.Option("--html", help="A page that stands alone.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="The same as PDF, on two pages.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of everything.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead.")] = None,
) -> None:
    """Report a month: promises kept and broken, what spent the budgets, pages and tickets and what they were worth,
    accuracy, drift, drills and cost, beside the month before. What is not known is said.

    Exit code 0 when every promise was kept, 1 when one was broken, 2 for input that cannot be used, 3 when of one
    nothing was counted, or Prometheus did not answer.
    """
    from dataclasses import replace
    from datetime import UTC, datetime

    from midwatch.app.report import month as months
    from midwatch.app.report import read

    if html + pdf + as_json > 1:
        raise MidwatchError("give one of --html, --pdf and --json")
    if pdf and output is None:
        raise MidwatchError("--pdf needs a file: -o report.pdf")
    zone, now = _zone(time_zone), datetime.now(UTC)
    asked = months.last(zone, now=now) if month is None else months.named(month, zone, now=now)
    sources = _sources(platform, prometheus, alertmanager, evidence or (), key_file)
    sources = replace(sources, regions=_regions(sources.platform, region))
    found = read.report(sources, asked, now=now.timestamp())
    _write(found, html=html, pdf=pdf, as_json=as_json, output=output)
    raise typer.Exit(_code(found))


@app.command()
def fairness(
    platform: options.PlatformFile,
    month: Annotated[str | None, typer.Option(help="Such as 2026-10; without it the one that ended last.")] = None,
    time_zone: Annotated[str, typer.Option(help="Where the month is, as Europe/Berlin.")] = "UTC",
    prometheus: PrometheusUrl = None,
    html: Annotated[bool, typer.Option("--html", help="A page that stands alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of everything.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead.")] = None,
) -> None:
    """Report a month of fairness for an auditor: what was promised, for how long it was judged, what was shown of each
    version and since when, the groups with their intervals, and what is not known.

    Exit code 0 when every promise was shown kept, 1 when one was shown broken, 2 for input that cannot be used, 3 when
    of one nothing is known, or Prometheus did not answer.
    """
    from datetime import UTC, datetime

    from midwatch.app.report import fairness as reports
    from midwatch.app.report import month as months
    from midwatch.errors import InvalidInputError, Problem
    from midwatch.prometheus import Client, QueryError
    from midwatch.spec import load

    if html and as_json:
        raise MidwatchError("give one of --html and --json")
    loaded = load.load_platform(platform)
    if not any(model.fairness for model in loaded.models):
        message = "no model of this platform file has a fairness section"
        raise InvalidInputError([Problem(file="--file", message=message, remedy="write models[].fairness")])
    zone, now = _zone(time_zone), datetime.now(UTC)
    asked = months.last(zone, now=now) if month is None else months.named(month, zone, now=now)
    client = Client.of(loaded.prometheus, prometheus, timeout=TIMEOUT_SECONDS)
    url = prometheus or loaded.prometheus.url
    try:
        found = reports.read(client, loaded, platform, asked, now=now.timestamp(), prometheus=url)
    except QueryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.INCONCLUSIVE) from error
    _write_fairness(found, html=html, as_json=as_json, output=output)
    raise typer.Exit(Exit.FAIL if found.is_broken else Exit.PASS if found.is_kept else Exit.INCONCLUSIVE)


def _write_fairness(found: FairnessReport, *, html: bool, as_json: bool, output: Path | None) -> None:
    import json

    from midwatch import files
    from midwatch.app.report import fairness as reports
    from midwatch.app.report import text

    if as_json:
        content = json.dumps(reports.document(found)) + "\n"
    elif html:
        content = reports.html(found)
    elif output is None:
        text.show_fairness(found)
        return
    else:
        content = text.plain_fairness(found)
    if output is None:
        typer.echo(content, nl=False)
        return
    files.replace(output, content.encode())
    typer.echo(f"{output} written", err=True)


def _regions(platform: Platform | None, region: str | None) -> tuple[str, ...]:
    """Regions that are reported of: at a view all, or the one that is named; elsewhere there is nothing to choose."""
    known = sorted(platform.regions.planes) if platform and platform.regions and platform.is_view else []
    if region is None:
        return tuple(known)
    if region not in known:
        where = f"known: {', '.join(known)}" if known else "the platform file is not laid out for a view over regions"
        raise MidwatchError(f"--region: there is no region {region!r}; {where}")
    return (region,)


def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise MidwatchError(f"--time-zone: {name!r} is not a time zone such as Europe/Berlin") from error


def _sources(
    file: Path | None,
    prometheus: str | None,
    alertmanager: str | None,
    evidence: Sequence[Path],
    key_file: Path | None,
) -> Sources:
    """Whom to ask; Alertmanager only where one is named, as it knows the last days alone."""
    from midwatch import alertmanager as alertmanagers
    from midwatch.app import evidence as logs
    from midwatch.app.incident import where as incidents
    from midwatch.app.report.read import Sources
    from midwatch.evidence import read_key
    from midwatch.prometheus import Client
    from midwatch.spec import load

    found = file or options.default_file()
    if found is None and prometheus is None:
        raise MidwatchError("give a platform file with -f, or --prometheus")
    key = read_key(key_file) if key_file else b""
    if found is None:
        return Sources(
            prometheus=Client(prometheus or "", timeout=TIMEOUT_SECONDS),
            prometheus_url=prometheus or "",
            platform=None,
            alertmanager=alertmanagers.Client(alertmanager) if alertmanager else None,
            evidence=tuple(logs.logs_of(evidence)),
            evidence_key=key,
        )
    platform = load.load_platform(found)
    causes = incidents.of_platform(
        platform, load.base_folder(found), Client.of(platform.prometheus, prometheus, retries=0)
    )
    known = evidence or [one for one in causes.evidence if one.exists()]
    return Sources(
        prometheus=Client.of(platform.prometheus, prometheus, timeout=TIMEOUT_SECONDS),
        prometheus_url=prometheus or platform.prometheus.url,
        platform=platform,
        alertmanager=alertmanagers.Client.of(platform, alertmanager),
        evidence=tuple(logs.logs_of(known)),
        evidence_key=key,
        causes=causes,
    )


def _write(found: SloReport, *, html: bool, pdf: bool, as_json: bool, output: Path | None) -> None:
    import json

    from midwatch import files
    from midwatch.app.report import page, text

    if pdf:
        content = page.pdf(found)
    elif html:
        content = page.html(found).encode()
    elif as_json:
        content = (json.dumps({**found.document(), "exit": int(_code(found))}) + "\n").encode()
    elif output is None:
        text.show(found)
        return
    else:
        content = text.plain(found).encode()
    if output is None:
        typer.echo(content.decode(), nl=False)
        return
    files.replace(output, content)
    typer.echo(f"{output} written", err=True)


def _code(found: SloReport) -> Exit:
    if found.now.broken:
        return Exit.FAIL
    is_part = bool(found.now.unknown or found.now.unseen_regions) or not found.now.promises
    return Exit.INCONCLUSIVE if is_part else Exit.PASS
