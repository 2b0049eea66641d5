"""The publish protocol of a folder: a manifest with a generation, written last, says which files it has.

Who changes a folder adds files under new names, then publishes (`midwatch dr publish`), and removes what is not listed
any more after that. A listed file that is gone or changed is damage then, for certain, and anything else is a change.
Who cannot keep the order puts the file `CHANGING` into the folder first; publishing takes it away.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dr.stores.kind import Publication
from midwatch import files
from midwatch.errors import MidwatchError

MANIFEST = ".midwatch-published.json"
"""The manifest, in the folder itself."""
CHANGING = ".midwatch-changing"
"""A file that says that somebody is changing the folder."""
DRILL = ".midwatch-drill"
"""Folder of the drills' own files; they come and go."""
MARKER = ".midwatch-drills-allowed"
"""A file in the folder that says that drills may hurt it. Nobody has one in production by mistake."""

CHUNK = 2**20


class PublishError(MidwatchError):
    """A folder cannot be published, or its manifest is none."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A manifest: its generation, which grows by one each time, and digest and size of every file by its path."""

    generation: int
    files: Mapping[str, tuple[str, int]]


def is_artefact(name: str) -> bool:
    """Whether a path in the folder is one of the store's files, not one of Midwatch's own."""
    return PurePosixPath(name).parts[0] not in (MANIFEST, CHANGING, DRILL, MARKER)


def inside(folder: Path, name: str) -> Path:
    """The path of a manifest's file in a folder; PublishError when it leads out of it, by its name or by a link."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise PublishError(f"{name!r} is not a path inside {folder}")
    walked = folder
    for part in path.parts:
        walked /= part
        if walked.is_symlink():
            raise PublishError(f"{walked} is a symbolic link, which may lead out of {folder}")
    return walked


def artefacts(folder: Path) -> list[str]:
    """Paths of the store's own files; PublishError when it is no folder. Links are not followed."""
    if not folder.is_dir():
        raise PublishError(f"{folder} is not a folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [name for path in paths if is_artefact(name := path.relative_to(folder).as_posix())]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            made.update(data)
    return made.hexdigest()


def read(folder: Path) -> Published | None:
    """What a folder's manifest says, None without one; PublishError when it is none that this wrote."""
    file = folder / MANIFEST
    try:
        return parsed(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PublishError(f"{file}: {error.strerror}") from error
    except PublishError as error:
        raise PublishError(f"{file}: {error}") from error


def parsed(content: bytes) -> Published:
    """A manifest's content; PublishError when it is none."""
    try:
        document: Any = json.loads(content)
        generation, listed = document["generation"], digests(document["files"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PublishError("not a manifest that midwatch dr publish wrote") from error
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 1:
        raise PublishError(f"its generation is {generation!r}, not a number from 1 on")
    for name in listed:
        inside(Path(), name)
    return Published(generation=generation, files=listed)


def digests(document: Any) -> dict[str, tuple[str, int]]:
    """Digest and size of files by their paths, as JSON has them; ValueError, TypeError or AttributeError for others."""
    return {str(name): (str(text), int(size)) for name, (text, size) in document.items()}


def publish(folder: Path, *, known: int = 0, remove: Iterable[str] = ()) -> Publication:
    """Write the manifest of what is in a folder now, then remove the files of `remove`.

    `known` is the highest generation that copies have: where the manifest is lost or broken, the number goes on from
    there. PublishError when the folder cannot be read, or has no file that is to be removed.
    """
    present = artefacts(folder)
    leaving = set(remove)
    if strange := sorted(leaving - set(present)):
        raise PublishError(f"{folder} has no {', '.join(strange)}")
    try:
        before = read(folder)
    except PublishError:
        before = None
    listed = {}
    for name in present:
        if name not in leaving:
            path = folder / name
            listed[name] = _read(path)
    earlier = before.files if before else {}
    generation = 1 + max(before.generation if before else 0, known)
    document = {"generation": generation, "published": time.time(), "files": listed}
    files.replace(folder / MANIFEST, json.dumps(document, indent=1).encode())
    for name in sorted(leaving):
        (folder / name).unlink(missing_ok=True)
    (folder / CHANGING).unlink(missing_ok=True)
    return Publication(
        generation=generation,
        added=tuple(name for name in listed if name not in earlier),
        changed=tuple(name for name, said in listed.items() if name in earlier and earlier[name] != said),
        removed=tuple(name for name in earlier if name not in listed),
    )


def _read(path: Path) -> tuple[str, int]:
    try:
        return digest(path), path.stat().st_size
    except OSError as error:
        raise PublishError(f"{path}: {error.strerror}; was it removed meanwhile?") from error


def changing_for(folder: Path) -> float | None:
    """Seconds since somebody said that the folder is being changed; None when nobody does."""
    try:
        return max(0.0, time.time() - (folder / CHANGING).stat().st_mtime)
    except OSError:
        return None
