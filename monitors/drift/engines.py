"""Where a table is read: on this machine, or by Spark; both give the same results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitors.drift.spark import Spark
    from monitors.drift.table import Local


class Engine(StrEnum):
    """Which engine."""

    LOCAL = "local"
    SPARK = "spark"


@contextmanager
def opened(engine: Engine, path: Path) -> Iterator[Local | Spark]:
    """A table; InvalidInputError when it cannot be read, MidwatchError when the engine is not installed."""
    if engine is Engine.LOCAL:
        from monitors.drift.table import Local

        yield Local(path)
        return
    from monitors.drift import spark

    with spark.session() as session:
        yield spark.Spark(session, path)
