"""`midwatch check`: the platform file, and what the programs that will read the rendered files say of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import options
from midwatch.errors import Exit, InvalidInputError, Problem

if TYPE_CHECKING:
    from midwatch.spec.document import Document
    from midwatch.spec.model import Platform

app = typer.Typer(help="Check the platform file and everything rendered from it.", add_completion=False)


@app.command()
def check(
    file: options.PlatformFile,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also what the cluster has, and what it would do with the objects.")
    ] = False,
    manifests: Annotated[
        Path | None, typer.Option(help="Also the AnalysisTemplates and Rollouts in this file or folder.")
    ] = None,
    prometheus: Annotated[
        bool,
        typer.Option(
            "--prometheus",
            help="Also whether Prometheus has the jobs that rules name, and keeps samples for long enough.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of the problems.")] = False,
) -> None:
    """Check the platform file, then all that is rendered: rules (promtool), routes (amtool), what both would not say,
    the experiments and the dashboards. Warnings say what cannot be seen as it is written.

    With --cluster also whether an object would overwrite another's, lacks its kind, or is not taken by Alertmanager.

    Exit code 0 without problems, 1 when rendered files or what runs are wrong, 2 when the platform file is, or a
    program is missing, 3 when what runs does not answer.
    """
    warnings: list[Problem] = []
    try:
        of_file, of_rendered = _problems(file, warnings)
        problems = sorted(of_file) + of_rendered
        code = Exit.USAGE if of_file else Exit.FAIL if of_rendered else Exit.PASS
        if not of_file and (cluster or prometheus or manifests):
            live, unanswered = _live_problems(
                file, warnings, cluster=cluster, manifests=manifests, prometheus=prometheus
            )
            problems += [*live, *unanswered]
            code = max(code, Exit.FAIL if live else Exit.PASS) or (Exit.INCONCLUSIVE if unanswered else Exit.PASS)
    except InvalidInputError as error:
        problems, code = list(error.problems), Exit.USAGE
    if as_json:
        said = {"problems": list(map(asdict, problems)), "warnings": list(map(asdict, warnings))}
        typer.echo(json.dumps({"ok": not problems, **said}))
    else:
        for text in (*problems, *(f"warning: {one}" for one in warnings)):
            typer.echo(str(text), err=True)
        if not problems:
            typer.echo(f"{file}: no problems", err=True)
    raise typer.Exit(code)


def _live_problems(
    file: Path, warnings: list[Problem], *, cluster: bool, prometheus: bool, manifests: Path | None = None
) -> tuple[list[Problem], list[Problem]]:
    """Problems of what runs or is to run, and what could not be asked."""
    from midwatch import kubernetes
    from midwatch.app import live, retention
    from midwatch.prometheus import QueryError
    from midwatch.spec import load

    problems: list[Problem] = []
    unanswered: list[Problem] = []
    platform, document = load.load_with_places(file)
    problems += live.manifest_problems(platform, manifests, warnings) if manifests else ()
    try:
        problems += live.prometheus_problems(platform) if prometheus else ()
        warnings += retention.live_warnings(platform) if prometheus else ()
    except QueryError as error:
        unanswered.append(Problem(file=platform.prometheus.url, message=f"its jobs are not known: {error}"))
    try:
        problems += _in_the_cluster(platform, document, warnings) if cluster else ()
    except (kubernetes.UnreachableError, kubernetes.RefusedError) as error:
        unanswered.append(Problem(file="cluster", message=f"what it has is not known: {error}"))
    return problems, unanswered


def _in_the_cluster(platform: Platform, document: Document, warnings: list[Problem]) -> list[Problem]:
    """What the cluster would do with the objects, and what its own analyses would do with a canary."""
    from midwatch.app import cluster_check, live, objects
    from midwatch.app.render import rendered_objects

    rendered = objects.of_files(rendered_objects(platform, document))
    return [*cluster_check.find_problems(platform, rendered), *live.cluster_problems(platform, warnings)]


def _problems(file: Path, warnings: list[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Problems of the platform file, and of what is rendered from the experiments that are right and all the rest.

    What is no problem and yet worth knowing is added to `warnings`.
    """
    from alerts import check as alerts
    from alerts.lint import linter
    from chaos import check as chaos
    from chaos import expectations
    from dashboards import check as dashboards
    from exporters import capacity
    from midwatch import jobs, program_versions, system_check
    from midwatch.app import prometheus, retention
    from midwatch.app.render import rendered_files
    from midwatch.spec import load
    from monitors.canary import argo_check, edges

    reading = load.read(file)
    if reading.problems or reading.platform is None:
        return [*reading.problems, *expectations.check_names(reading)], []
    of_file = list(expectations.check_alerts(reading.platform, reading.document))
    of_file += alerts.check_tuning(reading.platform, reading.document)
    of_file += prometheus.find_problems(reading.platform, reading.document)
    of_file += capacity.find_problems(reading.platform, reading.document)
    platform, document = expectations.without_unknown(reading.platform), reading.document
    files = rendered_files(platform)
    warnings += [*edges.find_warnings(platform, document), *system_check.find_warnings(platform, document)]
    warnings += capacity.find_warnings(platform, document)
    warnings += [document.problem(*one) for one in jobs.find_warnings(platform)]
    warnings += retention.find_warnings(platform, document)
    mismatches = program_versions.of_tools(platform)
    warnings += program_versions.warnings(mismatches, document)
    with ThreadPoolExecutor(max_workers=1) as pool:
        by_programs = pool.submit(alerts.check_files, files)  # promtool reads while the others look
        of_rendered = [
            *linter.problems(platform, document),
            *chaos.check_files(files),
            *dashboards.check_files(files),
            *system_check.find_problems(platform, document),
            *argo_check.check_files(files),
        ]
        of_rendered += _of_objects(platform, document)
        return of_file, list(program_versions.explained([*by_programs.result(), *of_rendered], mismatches))


def _of_objects(platform: Platform, document: Document) -> list[Problem]:
    """Problems of the objects for a cluster. What they cannot say is no problem of whoever renders files."""
    from midwatch.app import objects
    from midwatch.app.render import rendered_objects

    try:
        rendered_objects(platform, document)
    except objects.NameTakenError as error:
        return list(error.problems)
    except InvalidInputError:
        return []
    return []
