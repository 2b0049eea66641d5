"""Dashboards as they were: of a folder with rendered files, or of a revision in Git."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dashboards import schema
from dashboards.reader import Document
from midwatch.errors import InvalidInputError, MidwatchError

GIT_SECONDS = 60


Render = Callable[[Path], Sequence[Document]]
"""Dashboards of a platform file."""


def before(against: str, platform_file: Path, render: Render) -> Sequence[Document]:
    """The dashboards that `against` means; MidwatchError says why there are none.

    A folder holds rendered files. `REVISION` renders the platform file as it was in that revision; `REVISION:FOLDER`
    holds rendered files in that revision, the folder from the root of the repository.
    """
    if Path(against).is_dir():
        return of_folder(Path(against))
    revision, _, folder = against.partition(":")
    if not revision or revision.startswith("-"):
        raise MidwatchError(f"--against {against!r} is neither a folder nor a revision in Git")
    root = platform_file.resolve()
    place = root if root.is_dir() else root.parent
    with tempfile.TemporaryDirectory(prefix="midwatch-preview-") as name:
        target = Path(name)
        if folder:
            _export(place, f"{revision}:{folder}", target)
            return of_folder(target)
        _export(place, revision, target)
        return render(target if root.is_dir() else target / root.name)


def of_folder(folder: Path) -> list[Document]:
    """Every dashboard among the JSON files below a folder, by title; InvalidInputError for a file that is not JSON.

    A dashboard that somebody else made is an error too: it may lack what is drawn, or ask what is not understood.
    """
    found = list(_documents(folder))
    if not found:
        raise InvalidInputError.at(folder, "no dashboard is in it", remedy="give the folder that render wrote")
    return sorted(found, key=lambda document: str(document["title"]))


def _documents(folder: Path) -> Iterator[Document]:
    for file in sorted(folder.rglob("*.json")):
        try:
            document: Any = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInputError.at(file, f"not JSON: {error}") from error
        if isinstance(document, dict) and {"uid", "title", "panels"} <= document.keys():
            wrong = next(schema.violations(document), None)
            if wrong is not None:
                raise InvalidInputError.at(
                    file,
                    f"{wrong.place}: {wrong.message}: not a dashboard that midwatch rendered",
                    remedy="only those can be drawn; take it out of the folder",
                )
            yield document


def _export(place: Path, tree: str, target: Path) -> None:
    """Write a tree of the repository that holds `place`; a revision alone gives what lies in `place`."""
    command = ["git", "-C", str(place), "archive", "--format=tar", tree]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MidwatchError(f"--against {tree}: git cannot be asked: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["git said nothing"]
        raise MidwatchError(f"--against {tree}: {said[-1].removeprefix('fatal: ')}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")
