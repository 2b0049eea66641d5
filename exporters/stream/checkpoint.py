"""What Spark's checkpoint says of a batch: which records it takes."""

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
    jvm = spark._jvm
    try:
        path = jvm.org.apache.hadoop.fs.Path(f"{checkpoint}/offsets/{batch}")
        system = path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
        stream = system.open(path)
        try:
            text = str(jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()
    except Py4JError as error:
        raise CheckpointError(f"{checkpoint}/offsets/{batch}: cannot be read: {reason(error)}") from error
    return sha256("\n".join(text.split("\n")[2:]).encode()).hexdigest()
