"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from midwatch.errors import MidwatchError


def replace(path: Path, content: bytes) -> None:
    """Write a file beside, to the disk, and move it into place; MidwatchError when that cannot be done."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MidwatchError(f"{path}: cannot be written: {error.strerror or error}") from error
