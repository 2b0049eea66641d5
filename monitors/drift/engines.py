"""Where a table is read: on this machine, or by Spark; both give the same results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midwatch.spec.drift import Feature
    from monitors.drift.table import Table


class Engine(StrEnum):
    """Which engine."""

    LOCAL = "local"
    SPARK = "spark"


@contextmanager
def opened(engine: Engine, path: Path, known: Mapping[str, Feature] | None = None) -> Iterator[Table]:
    """A table; InvalidInputError when it cannot be read, MidwatchError when the engine is not installed.

    Columns of text files are read as the kinds that are `known`.
    """
    if engine is Engine.LOCAL:
        from monitors.drift.local import LocalTable

        yield LocalTable(path, known)
        return
    from monitors.drift.spark import session
    from monitors.drift.spark.table import SparkTable

    with session.session() as spark:
        yield SparkTable(spark, path)
