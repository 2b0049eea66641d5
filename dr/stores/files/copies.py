"""Copies of a folder with a manifest of checksums: a file that did not change is a hard link to the copy before.

A copy is whole when its manifest is there, which is written last, and good when every file is as the manifest says.
What a manifest names is a path inside the copy: whoever can write a manifest must not be able to write elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from dr.stores.files import published
from dr.stores.files.published import Published, PublishError, digest
from midwatch import files
from midwatch.errors import MidwatchError

MANIFEST = ".midwatch-copy.json"
EARLIER_MANIFEST = "manifest.json"
"""Its name before, which a file of the store could have as well."""

NAME = re.compile(r"copy-(\d+)")


class CopyError(MidwatchError):
    """A copy cannot be made, or none can be used."""


class DamageError(CopyError):
    """A file has another content than in the copy before, and nobody published it: copying it could spread damage."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy: its folder, when it began (seconds since the epoch), and digest and size of every file by its path.

    `published` is the manifest of the folder that was copied, None where nothing was published.
    """

    folder: Path
    began: float
    digests: dict[str, tuple[str, int]]
    published: Published | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.digests.values())


def take(source: Path, backup: Path, *, now: float, keep: int) -> Copy:
    """Copy a folder; the oldest copies beyond `keep` go. CopyError when it cannot be, DamageError when it must not."""
    before = newest_first(backup)
    newest = before[0] if before else None
    number = 1 + max((_number(copy.folder) or 0 for copy in before), default=0)
    partial = backup / f".copy-{number:06d}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        digests = {}
        for path in _files(source):
            name = path.relative_to(source).as_posix()
            digests[name] = _copy(path, partial / name, newest, name)
        copied = _published(partial, digests)
        _ensure_unspoiled(digests, copied, newest)
        files.replace(partial / MANIFEST, json.dumps({"began": now, "files": digests}).encode())
        final = backup / f"copy-{number:06d}"
        partial.rename(final)
        for old in before[keep - 1 :]:
            shutil.rmtree(old.folder)
    except OSError as error:
        raise CopyError(f"{error.filename or source}: {error.strerror}") from error
    except PublishError as error:
        raise CopyError(str(error)) from error
    return Copy(folder=final, began=now, digests=digests, published=copied)


def _ensure_unspoiled(digests: dict[str, tuple[str, int]], copied: Published | None, newest: Copy | None) -> None:
    """DamageError for files that are not as they were published, or not as in the copy before without a word."""
    for name, said in copied.files.items() if copied else ():
        if digests.get(name) != said:
            raise DamageError(f"{name} is not what its manifest says")
    for name, earlier in newest.digests.items() if newest and not copied else ():
        if published.is_artefact(name) and digests.get(name, earlier) != earlier:
            raise DamageError(f"{name} is not as in the copy before, and nobody published it")


def _published(folder: Path, digests: dict[str, tuple[str, int]]) -> Published | None:
    """The manifest of the folder that was copied, as it lies in the copy; PublishError when it is none."""
    return published.read(folder) if published.MANIFEST in digests else None


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CopyError(f"{folder} is not a folder")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if folder / MANIFEST in found:
        raise CopyError(f"{folder / MANIFEST} has the name of a copy's manifest: is the folder a copy?")
    return found


def _copy(path: Path, target: Path, before: Copy | None, name: str) -> tuple[str, int]:
    target.parent.mkdir(parents=True, exist_ok=True)
    status = path.stat()
    known = before.digests.get(name) if before else None
    earlier = before.folder / name if before else None
    if known and earlier and _is_same(earlier, status):
        os.link(earlier, target, follow_symlinks=False)
        return known
    shutil.copy2(path, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return digest(target), status.st_size


def _is_same(earlier: Path, status: os.stat_result) -> bool:
    try:
        other = earlier.lstat()
    except OSError:
        return False
    return (other.st_mode, other.st_size, other.st_mtime_ns) == (status.st_mode, status.st_size, status.st_mtime_ns)


def newest_first(backup: Path) -> list[Copy]:
    """Whole copies."""
    numbers = {path: number for path in backup.glob("copy-*") if (number := _number(path)) is not None}
    newest_first = sorted(numbers, key=lambda path: numbers[path], reverse=True)
    return [copy for folder in newest_first if (copy := _described(folder)) is not None]


def _number(folder: Path) -> int | None:
    match = NAME.fullmatch(folder.name)
    return int(match[1]) if match and not folder.is_symlink() else None


def _described(folder: Path) -> Copy | None:
    """A copy by its manifest, None when that is none."""
    file = next((folder / name for name in (MANIFEST, EARLIER_MANIFEST) if (folder / name).is_file()), None)
    if file is None:
        return None
    try:
        document = json.loads(file.read_bytes())
        digests = published.digests(document["files"])
        began = float(document["began"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    try:
        copied = _published(folder, digests)
    except PublishError:
        copied = None  # the file is damaged, as its checksum says
    return Copy(folder=folder, began=began, digests=digests, published=copied)


def flaw(copy: Copy, where: Path | None = None) -> str | None:
    """The first file that is not as the manifest says, in the copy or in a folder restored from it; None if all are."""
    return next((wrong for name in copy.digests if (wrong := _flaw_of(copy, name, where or copy.folder))), None)


def _flaw_of(copy: Copy, name: str, folder: Path) -> str | None:
    try:
        path = published.inside(folder, name)
        found = digest(path) if path.is_file() else None
    except PublishError as error:
        return f"{copy.folder.name}: {error}"
    except OSError as error:
        return f"{name} of {copy.folder.name} cannot be read: {error.strerror}"
    if found is None:
        return f"{name} of {copy.folder.name} is missing"
    return None if found == copy.digests[name][0] else f"{name} of {copy.folder.name} is not what was copied"


def newest_good(backup: Path, *, is_published: bool = False) -> tuple[Copy, list[str]]:
    """The newest copy that verifies, and what was wrong with those after it; CopyError when none does.

    With `is_published` it is of a folder that was published.
    """
    flaws: list[str] = []
    for copy in newest_first(backup):
        wrong = flaw(copy)
        if wrong is None and (copy.published or not is_published):
            return copy, flaws
        flaws.append(wrong or f"{copy.folder.name} is of no published generation")
    raise CopyError("no copy can be used: " + ("; ".join(flaws) or f"there is none in {backup}"))


def newest_with(known: list[Copy], name: str, wanted: str) -> Copy | None:
    """The newest copy that holds a file with this digest, and whose file still has it."""
    holding = (copy for copy in known if copy.digests.get(name, ("", 0))[0] == wanted)
    return next((copy for copy in holding if _flaw_of(copy, name, copy.folder) is None), None)


def restore(copy: Copy, target: Path) -> None:
    """Lay a copy into an empty folder and check every file of it; CopyError when it is not empty or comes out wrong."""
    if target.is_symlink():
        raise CopyError(f"{target} is a symbolic link; a restore goes into a folder of its own")
    if target.exists() and any(target.iterdir()):
        raise CopyError(f"{target} is not empty; a restore goes into an empty target")
    free = shutil.disk_usage(target.parent).free
    if free < copy.size * 1.1:
        raise CopyError(f"{target.parent} has {free} bytes free, and {copy.size * 1.1:.0f} are needed")
    for name in copy.digests:
        lay(copy, name, target)
    if wrong := flaw(copy, target):
        raise CopyError(f"after the restore: {wrong}")


def lay(copy: Copy, name: str, target: Path) -> None:
    """Put one file of a copy into a folder; CopyError when it cannot be, or either path leads out of its folder."""
    try:
        source, path = published.inside(copy.folder, name), published.inside(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, path, follow_symlinks=False)
    except PublishError as error:
        raise CopyError(f"{copy.folder.name}: {error}") from error
    except OSError as error:
        raise CopyError(f"{error.filename}: {error.strerror}") from error
