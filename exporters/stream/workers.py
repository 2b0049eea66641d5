"""Whether the workers of a cluster can work: they have this Midwatch, and reach the checkpoint.

Without a look Spark says of the first in a long traceback, and of the second nothing: each worker keeps its part of the
state on a disk of its own, and it is missing once another machine goes on with it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from py4j.protocol import Py4JJavaError

import midwatch
from midwatch.errors import MidwatchError
from monitors.drift.spark.session import reason


class WorkersError(MidwatchError):
    """Workers of a cluster that cannot work."""


class _Told(NamedTuple):
    """What a worker says: its Midwatch, and whether it sees a file."""

    version: str
    has_file: bool


def ensure_ready(spark: Any, checkpoint: str) -> None:
    """WorkersError unless the workers that are there can work; of those on this machine alone nothing is asked."""
    context = spark.sparkContext
    if context.master.partition("[")[0] == "local":
        return
    folder = _local(spark, checkpoint)
    if folder is None:
        _ensure(context, None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=".reached-") as mark:
        if not _ensure(context, mark.name):
            raise WorkersError(
                f"workers of {context.master} do not see {folder}, where the checkpoint is to be: give --checkpoint a "
                f"folder or a URL that all machines have, such as s3a://bucket/stream or a shared file system"
            )


def _ensure(context: Any, mark: str | None) -> bool:
    """Ask each worker whether it has this Midwatch and a file; whether all have the file."""
    count = max(2, context.defaultParallelism)
    try:
        told = context.parallelize([mark] * count, count).mapPartitions(_tell).collect()
    except Py4JJavaError as error:
        text = str(error)
        missing = re.search(r"No module named '[\w.]+'|PYTHON_VERSION_MISMATCH[^\n]*", text)
        if missing is None:
            raise WorkersError(f"workers of {context.master} cannot work: {reason(error)}") from error
        raise WorkersError(f"workers of {context.master} lack something ({missing[0]}): {_REMEDY}") from error
    versions = {version for version, _ in told} - {midwatch.__version__}
    if versions:
        raise WorkersError(f"workers of {context.master} have Midwatch {min(versions)}: {_REMEDY}")
    return all(has_file for _, has_file in told)


_REMEDY = (
    f"they need Midwatch {midwatch.__version__} with the extra spark, and the driver's version of Python: an image, or "
    f"spark.archives with $PYSPARK_PYTHON; see docs/stream.md"
)


def _tell(marks: Iterable[str | None]) -> Iterator[_Told]:
    for mark in marks:
        yield _Told(midwatch.__version__, mark is None or Path(mark).exists())


def _local(spark: Any, checkpoint: str) -> Path | None:
    """The folder of a checkpoint on a file system of the machine; None for one elsewhere."""
    path = spark._jvm.org.apache.hadoop.fs.Path(checkpoint)
    system = path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    address = path.makeQualified(system.getUri(), system.getWorkingDirectory()).toUri()
    return Path(address.getPath()) if address.getScheme() == "file" else None
