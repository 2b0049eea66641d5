"""Files and folders that only the exporter's own user may read, and that are never reached through a link."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import BinaryIO

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger(__name__)


def open_file(path: Path, flags: int) -> int:
    """A descriptor of a file; OSError where the path is a link. A new file is for its owner alone."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def reading(path: Path) -> BinaryIO:
    """A file to read; OSError where the path is a link."""
    return os.fdopen(open_file(path, os.O_RDONLY), "rb")


def creating(path: Path) -> BinaryIO:
    """A new file to write; FileExistsError where something has its name, be it a link."""
    return os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def make_folder(path: Path) -> None:
    """Have a folder that nobody else may look into; one that others may is closed to them, if it is ours."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    _close(path, os.O_DIRECTORY, 0o700)


def make_inner_folder(path: Path) -> None:
    """Have a folder inside such a one; NotADirectoryError where a link stands in its place."""
    path.mkdir(exist_ok=True, mode=0o700)
    _close(path, os.O_DIRECTORY | os.O_NOFOLLOW, 0o700)


def close_to_others(path: Path) -> None:
    """Take the rights of others to a file away; a link is left as it is, and is not followed."""
    if not path.is_symlink():
        _close(path, os.O_NOFOLLOW, 0o600)


def _close(path: Path, flags: int, mode: int) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        found = os.fstat(handle)
        if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
            os.fchmod(handle, mode)
            _log.warning(
                "others could read it: mode %o, now %o", stat.S_IMODE(found.st_mode), mode, extra={"path": str(path)}
            )
    finally:
        os.close(handle)


def replace(path: Path, content: bytes) -> None:
    """Write a small file beside, to the disk, and move it into place."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with creating(partial) as file:
        file.write(content)
        sync(file)
    partial.replace(path)
    sync_folder(path.parent)


def sync(file: BinaryIO) -> None:
    """Make what was written to a file durable."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
