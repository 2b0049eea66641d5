"""Activities of toy experiments; TOY is their folder."""

from __future__ import annotations

import os
import time
from pathlib import Path


def folder() -> Path:
    return Path(os.environ["TOY"])


def touch(name: str = "touched") -> None:
    (folder() / name).touch()


def fail() -> None:
    raise RuntimeError("boom")


def is_true() -> bool:
    return True


def is_false() -> bool:
    return False


def is_missing(name: str) -> bool:
    return not (folder() / name).exists()


def fails_later() -> bool:
    """True the first time."""
    mark = folder() / "asked"
    if mark.exists():
        raise RuntimeError("no answer")
    mark.touch()
    return True


def sleep() -> None:
    touch("sleeps")
    time.sleep(60)
