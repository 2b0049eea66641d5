"""Copies of a folder with a manifest of checksums: a file that did not change is a hard link to the copy before.

Files are taken to be written once (models, references, rendered dashboards and rules): a file whose content changes
without a new name is damage, and new files are new. A copy is whole when its manifest is there, which is written last,
and good when every file is as the manifest says.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from midwatch import files
from midwatch.errors import MidwatchError

MANIFEST = "manifest.json"
CHUNK = 2**20


class CopyError(MidwatchError):
    """A copy cannot be made, or none can be used."""


class DamageError(CopyError):
    """A file has another content than in the copy before: copying it would make the damage the truth."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy: its folder, when it began (seconds since the epoch), and digest and size of every file by its path."""

    folder: Path
    began: float
    digests: dict[str, tuple[str, int]]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.digests.values())


def take(source: Path, backup: Path, *, now: float, keep: int) -> Copy:
    """Copy a folder; the oldest copies beyond `keep` go. CopyError when it cannot be, DamageError when it must not."""
    try:
        before = newest_first(backup)
        number = 1 + max((int(copy.folder.name.rpartition("-")[2]) for copy in before), default=0)
        partial = backup / f".copy-{number:06d}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        digests = {}
        for path in _files(source):
            name = str(path.relative_to(source))
            digests[name] = _copy(path, partial / name, before[0] if before else None, name)
            if before and name in before[0].digests and before[0].digests[name] != digests[name]:
                raise DamageError(f"{name} is not what {before[0].folder.name} holds: a file is written once")
        files.replace(partial / MANIFEST, json.dumps({"began": now, "files": digests}).encode())
        final = backup / f"copy-{number:06d}"
        partial.rename(final)
        for old in before[keep - 1 :]:
            shutil.rmtree(old.folder)
    except OSError as error:
        raise CopyError(f"{error.filename or source}: {error.strerror}") from error
    return Copy(folder=final, began=now, digests=digests)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CopyError(f"{folder} is not a folder")
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _copy(path: Path, target: Path, before: Copy | None, name: str) -> tuple[str, int]:
    target.parent.mkdir(parents=True, exist_ok=True)
    status = path.stat()
    known = before.digests.get(name) if before else None
    earlier = before.folder / name if before else None
    if known and earlier and _is_same(earlier, status):
        os.link(earlier, target)
        return known
    shutil.copy2(path, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return digest(target), status.st_size


def _is_same(earlier: Path, status: os.stat_result) -> bool:
    try:
        other = earlier.stat()
    except OSError:
        return False
    return (other.st_size, other.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            made.update(data)
    return made.hexdigest()


def newest_first(backup: Path) -> list[Copy]:
    """Whole copies."""
    whole = []
    for folder in sorted(backup.glob("copy-*"), reverse=True):
        try:
            document = json.loads((folder / MANIFEST).read_text())
            digests = {name: (str(text), int(size)) for name, (text, size) in document["files"].items()}
            whole.append(Copy(folder=folder, began=float(document["began"]), digests=digests))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return whole


def flaw(copy: Copy, where: Path | None = None) -> str | None:
    """The first file that is not as the manifest says, in the copy or in a folder restored from it; None if all are."""
    folder = where or copy.folder
    for name, (wanted, _) in copy.digests.items():
        try:
            if digest(folder / name) != wanted:
                return f"{name} of {copy.folder.name} is not what was copied"
        except OSError:
            return f"{name} of {copy.folder.name} is missing"
    return None


def newest_good(backup: Path) -> tuple[Copy, list[str]]:
    """The newest copy that verifies, and what was wrong with those after it; CopyError when none does."""
    flaws: list[str] = []
    for copy in newest_first(backup):
        wrong = flaw(copy)
        if wrong is None:
            return copy, flaws
        flaws.append(wrong)
    raise CopyError("no copy can be used: " + ("; ".join(flaws) or f"there is none in {backup}"))


def restore(copy: Copy, target: Path) -> None:
    """Lay a copy into an empty folder and check every file of it; CopyError when it is not empty or comes out wrong."""
    if target.exists() and any(target.iterdir()):
        raise CopyError(f"{target} is not empty; a restore goes into an empty target")
    free = shutil.disk_usage(target.parent).free
    if free < copy.size * 1.1:
        raise CopyError(f"{target.parent} has {free} bytes free, and {copy.size * 1.1:.0f} are needed")
    try:
        for name in copy.digests:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(copy.folder / name, target / name)
    except OSError as error:
        raise CopyError(f"{error.filename}: {error.strerror}") from error
    if wrong := flaw(copy, target):
        raise CopyError(f"after the restore: {wrong}")
