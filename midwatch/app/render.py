"""`midwatch render`: everything that is made from the platform file, written whole or not at all."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from midwatch import files, options
from midwatch.app import manifest
from midwatch.errors import Exit, InvalidInputError, MidwatchError, Problem

if TYPE_CHECKING:
    from midwatch.spec.document import Document
    from midwatch.spec.model import Platform

app = typer.Typer(help="Write everything that is made from the platform file.", add_completion=False)


class Target(StrEnum):
    """Who reads what is rendered: programs that load files, a cluster's operators, or Helm for them."""

    FILES = "files"
    KUBERNETES = "kubernetes"
    HELM = "helm"


class Part(StrEnum):
    """What can be rendered by itself."""

    RULES = "rules"
    ROUTES = "routes"
    DASHBOARDS = "dashboards"
    SCRAPES = "scrapes"
    CANARIES = "canaries"


_PATHS = {
    Part.RULES: ("prometheus/rules/", "kubernetes/rules-"),
    Part.ROUTES: ("alertmanager/", "kubernetes/alertmanager"),
    Part.DASHBOARDS: ("grafana/", "kubernetes/grafana/"),
    Part.SCRAPES: ("prometheus/prometheus.yml", "kubernetes/scrape-"),
    Part.CANARIES: ("argo-rollouts/", "tekton/"),
}
"""How the paths of a part's files begin."""


def _is_of(path: str, parts: Collection[Part]) -> bool:
    """Whether a file is of one of the parts; without any, all are."""
    return not parts or path.startswith(tuple(begin for part in parts for begin in _PATHS[part]))


def _parts(text: str | None) -> list[Part]:
    names = [name.strip() for name in text.split(",")] if text is not None else []
    for name in names:
        if name not in list(Part):
            raise MidwatchError(f"--only: there is no part {name!r}; known: {', '.join(Part)}")
    return [Part(name) for name in names]


@app.command()
def render(
    file: options.PlatformFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("build"),
    target: Annotated[
        Target, typer.Option(help="Files for the programs, objects for the cluster, or values of the Helm chart.")
    ] = Target.FILES,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were changed by hand.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Only these parts, as rules,routes; also dashboards, scrapes, canaries.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and write nothing.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show how files would change, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of what was written.")] = False,
) -> None:
    """Write what each folder makes of the platform file. The same input gives the same bytes.

    Exit code 0, 2 for input that cannot be used; with --diff 1 when something would change.
    """
    from alerts import check
    from chaos import check as chaos
    from midwatch.app import prometheus
    from midwatch.spec import load

    parts = _parts(only)
    if parts and target is Target.HELM:
        raise MidwatchError("--only: the chart's values are one file; switch parts off in the chart, by its `parts`")
    platform, document = load.load_with_places(file)
    if problems := prometheus.find_problems(platform, document):
        raise InvalidInputError(problems)
    check.ensure_tuning(platform, document)
    chaos.ensure_alerts(platform, document)
    rendered = rendered_files(platform)
    check.ensure_rules(platform, rendered)
    if target is not Target.FILES:
        rendered = rendered_objects(platform, document, target)
    if dry_run or diff:
        _show(rendered, output, compare(rendered, output, target, parts=parts), diff=diff, as_json=as_json)
        return
    changed, removed = write(rendered, output, target, force=force, parts=parts)
    names = sorted(name for name in rendered if _is_of(name, parts))
    if as_json:
        typer.echo(json.dumps({"output": str(output), "files": names, "changed": changed, "removed": removed}))
    else:
        typer.echo(f"{output}: {len(names)} files, {len(changed)} changed, {len(removed)} removed", err=True)


def _show(rendered: Mapping[str, str], output: Path, found: Changes, *, diff: bool, as_json: bool) -> None:
    """Show what a render would change; with `diff`, exit code 1 when that is anything."""
    if as_json:
        document = {"changed": found.changed, "removed": found.removed, "changed_by_hand": found.foreign}
        typer.echo(json.dumps({"output": str(output), "files": sorted(found.wanted), **document}))
    elif diff:
        for line in differences(rendered, output, found):
            typer.echo(line)
    else:
        for what, names in (("change", found.changed), ("remove", found.removed), ("by hand", found.foreign)):
            for name in names:
                typer.echo(f"{what}: {output / name}")
        count = f"{len(found.changed)} would change, {len(found.removed)} would go"
        typer.echo(f"{output}: {count}; nothing is written", err=True)
    if diff and (found.changed or found.removed):
        raise typer.Exit(Exit.FAIL)


def rendered_objects(platform: Platform, document: Document, target: Target = Target.KUBERNETES) -> dict[str, str]:
    """Text of each file for a cluster: the objects, with what makes them a base of Kustomize, or Helm's values.

    Raises NameTakenError when two objects have one name.
    """
    from midwatch.app import helm, kustomize, merged, objects
    from midwatch.app.workloads import render as workloads

    rendered = rendered_files(platform, Target.KUBERNETES)
    rendered |= merged.render_objects(platform, document)
    rendered |= workloads.render_objects(platform, merged.text_of(document))
    objects.ensure_apart(objects.of_files(rendered))
    return helm.render_values(rendered) if target is Target.HELM else rendered | kustomize.render_base(rendered)


def rendered_files(platform: Platform, target: Target = Target.FILES) -> dict[str, str]:
    """Text of each file by its path below the output folder; each folder of the house adds its own."""
    from alerts import kubernetes
    from alerts import render as alerts
    from chaos import experiments, manifests, timers
    from dashboards import render as dashboards
    from dr import manifests as recovery
    from exporters.systems import manifests as systems
    from midwatch.app import prometheus, units
    from monitors.canary import argo
    from monitors.loop.drill import timers as loop_drills
    from monitors.promotion import tekton

    evaluating: dict[Target, list[Callable[[Platform], dict[str, str]]]] = {
        Target.FILES: [prometheus.render_files, alerts.render_files, dashboards.render_files],
        Target.KUBERNETES: [prometheus.render_objects, kubernetes.render_objects, dashboards.render_kubernetes],
    }
    running: dict[Target, list[Callable[[Platform], dict[str, str]]]] = {
        Target.FILES: [
            argo.render_files,
            tekton.render_files,
            experiments.render_files,
            timers.render_files,
            recovery.render_files,
            loop_drills.render_files,
            units.render_files,
        ],
        Target.KUBERNETES: [
            argo.render_files,
            tekton.render_files,
            manifests.render_files,
            recovery.render_kubernetes,
            systems.render_files,
        ],
    }
    # The view over all regions evaluates; what runs is in the regions.
    makers = [*evaluating[target], *([] if platform.is_view else running[target])]
    files: dict[str, str] = {}
    for make in makers:
        files |= make(platform)
    return dict(sorted(files.items()))


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a render changes in a folder: paths that differ and that go, and those that somebody else wrote or changed.

    `kept` are digests of files of an earlier render of the target that this one is not about, `others` those of other
    targets.
    """

    changed: list[str]
    removed: list[str]
    foreign: list[str]
    wanted: dict[str, str]
    kept: dict[str, str]
    others: Mapping[str, dict[str, str]]


def compare(
    rendered: Mapping[str, str], output: Path, target: Target = Target.FILES, *, parts: Collection[Part] = ()
) -> Changes:
    """What writing these files of a target would change in a folder; with `parts`, of the files of those alone."""
    chosen = {name: text for name, text in rendered.items() if _is_of(name, parts)}
    earlier = manifest.read(output, target)
    before = {name for name in earlier.own if _is_of(name, parts)}
    present = {name: _digest(output / name) for name in {*chosen, *before}}
    wanted = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in chosen.items()}
    gone = sorted(name for name in before - chosen.keys() if not earlier.is_of_others(name))
    return Changes(
        changed=sorted(name for name in chosen if present[name] != wanted[name]),
        removed=[name for name in gone if present[name] is not None],
        foreign=[
            name
            for name in sorted({*chosen, *gone})
            if present[name] not in {None, wanted.get(name), *earlier.known(name)}
        ],
        wanted=wanted,
        kept={name: digest for name, digest in earlier.own.items() if name not in before},
        others=earlier.others,
    )


def write(
    rendered: Mapping[str, str],
    output: Path,
    target: Target = Target.FILES,
    *,
    force: bool = False,
    parts: Collection[Part] = (),
) -> tuple[list[str], list[str]]:
    """Put files in place: those that differ, each atomically; those of an earlier render that are gone are removed.

    Files of other targets stay as they are, and with `parts` those of other parts. Returns the paths that were changed
    and removed. Raises InvalidInputError, before anything is written, when a file was changed by hand since it was
    rendered, or stands where nothing was rendered before.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        found = compare(rendered, output, target, parts=parts)
        if found.foreign and not force:
            remedy = "move the change to the platform file, or give --force"
            raise InvalidInputError(
                Problem(file=str(output / name), message="not as it was rendered", remedy=remedy)
                for name in found.foreign
            )
        # A run that was killed half-way left some files as wanted and some as before: neither looks foreign.
        for name in found.changed:
            _replace(output / name, rendered[name])
        for name in found.removed:
            (output / name).unlink()
        manifest.write(output, target, {**found.kept, **found.wanted}, found.others)
    except OSError as error:
        raise MidwatchError(f"{error.filename or output}: {error.strerror}") from error
    return found.changed, found.removed


def differences(rendered: Mapping[str, str], output: Path, found: Changes) -> Iterator[str]:
    """Lines of a unified diff from what is there to what would be written; MidwatchError for what cannot be read."""
    for name in sorted([*found.changed, *found.removed]):
        before, after = _text(output / name), rendered.get(name, "") if name in found.changed else ""
        yield from difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"{output / name}", f"{name} as rendered", lineterm=""
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise MidwatchError(f"{path}: {error.strerror}") from error


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, text.encode())
