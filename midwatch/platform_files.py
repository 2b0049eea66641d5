"""Which files a platform file's path stands for: a file, a folder of them, or several that are laid over each other."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from midwatch.errors import InvalidInputError, MidwatchError

ENDINGS = (".yaml", ".yml")
RENDERED = ".midwatch-manifest"
"""What `midwatch render` leaves in a folder that it has written."""
RENDERED_BEFORE = ".midwatch-manifest.json"
"""As releases before this one called it."""
STATE = "plane.json"
"""What `midwatch up` leaves in its state folder."""


def path_of(given: Iterable[str]) -> Path:
    """One path for several, joined as in PATH, so that it can be handed on as one word.

    Several are made absolute, for whoever reads them in another folder. Raises MidwatchError for an empty name: it
    comes from a variable that is not set, and would mean this folder.
    """
    names = [part for text in given for part in _split(text)]
    if not all(names):
        raise MidwatchError("the name of a platform file is empty; is a variable not set?")
    return Path(os.pathsep.join(map(os.path.abspath, names))) if len(names) > 1 else Path(*names)


def layers(path: Path) -> list[Path]:
    """The files and folders that a path stands for: the first, and overlays in their order."""
    names = _split(str(path))
    return [path] if len(names) == 1 else [_near(Path(name)) for name in names]


def base_folder(path: Path) -> Path:
    """Folder that relative paths in a platform file start from: that of the first, where there are overlays."""
    first = Path(_split(str(path))[0])
    return first if first.is_dir() else first.parent


def files_of(layer: Path) -> list[Path]:
    """The file, or those of a folder and its subfolders; InvalidInputError when there is none."""
    if not layer.exists():
        raise InvalidInputError.at(layer, "there is no such file", remedy="midwatch init writes one to start from")
    files = sorted(_below(layer)) if layer.is_dir() else [layer]
    if not files:
        raise InvalidInputError.at(layer, "the folder has no .yaml file")
    return files


def _split(text: str) -> list[str]:
    """Names in a text; a file whose own name has the separator is one."""
    return [text] if text and Path(text).exists() else text.split(os.pathsep)


def _near(path: Path) -> Path:
    """A path as problems name it: short where it is below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _below(folder: Path) -> Iterator[Path]:
    """Files of a folder, without those of editors, hidden ones, and folders that a command of ours has written."""
    for name, folders, files in os.walk(folder):
        inside = Path(name)
        if inside != folder and _is_written_by_us(files):
            folders.clear()
            continue
        folders[:] = [one for one in folders if not is_hidden(one)]
        yield from (inside / one for one in files if one.endswith(ENDINGS) and not is_hidden(one))


def _is_written_by_us(files: Collection[str]) -> bool:
    return not {RENDERED, RENDERED_BEFORE, STATE}.isdisjoint(files)


def is_hidden(name: str) -> bool:
    """Whether a name is of a hidden file, or of an editor's: a lock, a copy, a half-written file."""
    return name.startswith((".", "#", "~")) or name.endswith(("~", "#"))
