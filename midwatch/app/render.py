"""`midwatch render`: everything that is made from the platform file, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import files, options
from midwatch.errors import InvalidInputError, MidwatchError, Problem

if TYPE_CHECKING:
    from midwatch.spec.model import Platform

app = typer.Typer(help="Write everything that is made from the platform file.", add_completion=False)

MANIFEST = ".midwatch-manifest.json"


class Target(StrEnum):
    """Who reads what is rendered: programs that load files, or a cluster's operators."""

    FILES = "files"
    KUBERNETES = "kubernetes"


@app.command()
def render(
    file: options.PlatformFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("build"),
    target: Annotated[Target, typer.Option(help="Files for the programs, or objects for the cluster.")] = Target.FILES,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were changed by hand.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of what was written.")] = False,
) -> None:
    """Write what each folder makes of the platform file. The same input gives the same bytes."""
    from alerts import check
    from chaos import check as chaos
    from midwatch.spec import load

    platform, document = load.load_with_places(file)
    check.ensure_tuning(platform, document)
    chaos.ensure_alerts(platform, document)
    rendered = rendered_files(platform, target)
    check.ensure_rules(platform, rendered if target is Target.FILES else rendered_files(platform))
    changed, removed = write(rendered, output, force=force)
    if as_json:
        typer.echo(
            json.dumps({"output": str(output), "files": sorted(rendered), "changed": changed, "removed": removed})
        )
    else:
        typer.echo(f"{output}: {len(rendered)} files, {len(changed)} changed, {len(removed)} removed", err=True)


def rendered_files(platform: Platform, target: Target = Target.FILES) -> dict[str, str]:
    """Text of each file by its path below the output folder; each folder of the house adds its own."""
    from alerts import kubernetes
    from alerts import render as alerts
    from chaos import experiments, manifests, timers
    from dashboards import render as dashboards
    from dr import manifests as recovery
    from midwatch.app import prometheus
    from monitors.canary import argo

    makers: dict[Target, list[Callable[[Platform], dict[str, str]]]] = {
        Target.FILES: [
            prometheus.render_files,
            alerts.render_files,
            argo.render_files,
            experiments.render_files,
            timers.render_files,
            dashboards.render_files,
            recovery.render_files,
        ],
        Target.KUBERNETES: [
            prometheus.render_objects,
            kubernetes.render_objects,
            argo.render_files,
            manifests.render_files,
            dashboards.render_kubernetes,
            recovery.render_kubernetes,
        ],
    }
    files: dict[str, str] = {}
    for make in makers[target]:
        files |= make(platform)
    return dict(sorted(files.items()))


def write(rendered: Mapping[str, str], output: Path, *, force: bool = False) -> tuple[list[str], list[str]]:
    """Put files in place: those that differ, each atomically; those of an earlier render that are gone are removed.

    Returns the paths that were changed and removed. Raises InvalidInputError, before anything is written, when a file
    was changed by hand since it was rendered, or stands where nothing was rendered before.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        before = _manifest(output)
        present = {name: _digest(output / name) for name in {*rendered, *before}}
        wanted = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in rendered.items()}
        foreign = [
            name
            for name, digest in sorted(present.items())
            if digest is not None and digest != before.get(name) and digest != wanted.get(name)
        ]
        if foreign and not force:
            remedy = "move the change to the platform file, or give --force"
            raise InvalidInputError(
                Problem(file=str(output / name), message="not as it was rendered", remedy=remedy) for name in foreign
            )
        changed = sorted(name for name in rendered if present[name] != wanted[name])
        removed = sorted(name for name in before if name not in rendered and present[name] is not None)
        # A run that was killed half-way left some files as wanted and some as before: neither looks foreign.
        for name in changed:
            _replace(output / name, rendered[name])
        for name in removed:
            (output / name).unlink()
        _replace(output / MANIFEST, json.dumps(wanted, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise MidwatchError(f"{error.filename or output}: {error.strerror}") from error
    return changed, removed


def _manifest(output: Path) -> dict[str, str]:
    try:
        document = json.loads((output / MANIFEST).read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, text.encode())
