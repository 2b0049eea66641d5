"""Spark for the stream: the user's cluster, or this machine; with the jars that read Kafka and are not PySpark's."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch.errors import MidwatchError
from monitors.drift.spark.session import LOCAL, configured, reason

JARS_VARIABLE = "MIDWATCH_SPARK_JARS"
"""Names the folder of the connector's jars, where they are not in the cache of `scripts/kafka-jars`."""

STORE = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"

SETTINGS: dict[str, str] = {
    "spark.sql.streaming.stateStore.providerClass": STORE,
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",  # it reads before it writes
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings of every stream: state that is larger than memory, of which a batch writes what it changed."""

JAVA = (
    "-Xss4m",  # Spark's redaction of a long error recurses
    "-XX:Tier4InvocationThreshold=100000",
    "-XX:Tier4MinInvocationThreshold=20000",
    "-XX:Tier4CompileThreshold=200000",
    "-XX:Tier4BackEdgeThreshold=800000",
)
"""Options of the driver's Java, which works for each record where it runs the tasks itself.

The second compiler takes what is run twenty times as often as by default: what is run for each record. Else it spends
in the first minutes a quarter of all processor time on Spark's planner, which runs once a batch.
"""

DRIVER: dict[str, str] = {
    "spark.driver.extraJavaOptions": " ".join(JAVA),
    "spark.driver.maxResultSize": "0",  # `stream.most` bounds a batch
}
"""Settings of the driver, which may be others in the user's own Spark configuration."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where Spark runs: a master, or so many cores of this machine; `memory` is the heap of the driver's Java."""

    master: str | None = None
    cores: int = 2
    memory: str = "1g"
    jars: Path | None = None


@contextmanager
def session(machine: Machine, partitions: int, more: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A Spark session with so many partitions of state, and `more` settings.

    MidwatchError when it does not start, or its workers cannot work.
    """
    ensure_spark()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    logging.getLogger("py4j").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")  # it is not used
    settings: dict[str, Any] = SETTINGS | {"spark.sql.shuffle.partitions": str(partitions)} | dict(more or {})
    builder = SparkSession.builder.appName("midwatch stream")
    found = connector_jars(machine.jars)
    users = configured()
    driver = DRIVER | {"spark.driver.memory": machine.memory}
    settings |= {name: value for name, value in driver.items() if name not in users}
    if found and not users & {"spark.jars", "spark.jars.packages"}:
        settings["spark.jars"] = ",".join(map(str, found))
    if machine.master is None and "spark.master" not in users:
        attempts = 4  # a worker that was killed is started again, as in a cluster
        builder = builder.master(f"local[{machine.cores},{attempts}]")
        settings = LOCAL | settings
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers of this environment
    elif machine.master is not None:
        builder = builder.master(machine.master)
    try:
        made = builder.config(map=settings).getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        raise MidwatchError(
            f"Spark does not start ({reason(error)}); it needs Java 17 or newer, and 512 MiB"
        ) from error
    made.sparkContext.setLogLevel("ERROR")
    try:
        yield made
    finally:
        made.stop()


def ensure_spark() -> None:
    """MidwatchError where PySpark is not installed."""
    try:
        import pyspark  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MidwatchError("midwatch stream needs PySpark: pip install 'midwatch[spark]'") from error


def connector_jars(folder: Path | None) -> list[Path]:
    """Jars in a folder, or in the one of the environment, or in the cache; none when Spark has them from elsewhere.

    MidwatchError for a folder that was named and has none.
    """
    named = folder or (Path(os.environ[JARS_VARIABLE]) if os.environ.get(JARS_VARIABLE) else None)
    if named is not None:
        found = sorted(named.glob("*.jar"))
        if not found:
            raise MidwatchError(f"{named}: there are no jars; scripts/kafka-jars spark fetches them and prints where")
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midwatch" / "jars"
    folders = sorted(cache.glob("spark-*"), key=lambda one: one.stat().st_mtime)
    return sorted(folders[-1].glob("*.jar")) if folders else []
