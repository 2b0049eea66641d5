"""What Spark's checkpoint says of batches: which records one takes, and which is done."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from py4j.protocol import Py4JError

from midwatch.errors import MidwatchError
from monitors.drift.spark.session import reason


class CheckpointError(MidwatchError):
    """A checkpoint that cannot be read."""


def offsets(spark: Any, checkpoint: str, batch: int) -> str:
    """Digest of the offsets up to which a batch reads each source: another one, when it was planned anew.

    Spark writes them before the batch begins, in lines behind a version and the batch's settings. Those have the time
    of the plan, which tells nothing of records. CheckpointError where they cannot be read.
    """
    try:
        path, system = _found(spark, f"{checkpoint}/offsets/{batch}")
        stream = system.open(path)
        try:
            text = str(spark._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()
    except Py4JError as error:
        raise CheckpointError(f"{checkpoint}/offsets/{batch}: cannot be read: {reason(error)}") from error
    return sha256("\n".join(text.split("\n")[2:]).encode()).hexdigest()


def committed(spark: Any, checkpoint: str) -> int:
    """The last batch that Spark knows to be done, -1 without any; CheckpointError where that cannot be read."""
    try:
        path, system = _found(spark, f"{checkpoint}/commits")
        listed = system.listStatus(path) if system.exists(path) else ()
        names = [str(one.getPath().getName()) for one in listed]
    except Py4JError as error:
        raise CheckpointError(f"{checkpoint}/commits: cannot be read: {reason(error)}") from error
    return max((int(name) for name in names if name.isdecimal()), default=-1)


def _found(spark: Any, address: str) -> tuple[Any, Any]:
    """Hadoop's path of an address, and the file system that has it."""
    path = spark._jvm.org.apache.hadoop.fs.Path(address)
    return path, path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
