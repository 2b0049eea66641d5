"""A session of Spark: the user's, or one on this machine."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from midwatch.errors import MidwatchError

LOCAL: dict[str, Any] = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.python.authenticate.socketTimeout": "120s",  # its 15 s are too few for a worker's start on a busy machine
    "spark.sql.shuffle.partitions": "8",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings without a master of the user's: this machine, and nobody else."""


@contextmanager
def session() -> Iterator[Any]:
    """The Spark session there is, or one of this process; without a master it is on this machine, on loopback."""
    try:
        from pyspark import SparkConf
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MidwatchError("--engine spark needs PySpark: pip install 'midwatch[spark]'") from error
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")  # it is not used
    builder = SparkSession.builder.appName("midwatch drift")
    if not SparkConf().contains("spark.master"):
        builder = builder.master("local[*]").config(map=LOCAL)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers of this environment
    running = SparkSession.getActiveSession()
    try:
        made = running or builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise MidwatchError(f"Spark does not start ({reason(error)}); it needs Java 17 or newer") from error
    made.sparkContext.setLogLevel("ERROR")
    try:
        yield made
    finally:
        if running is None:
            made.stop()


def reason(error: Exception) -> str:
    """The line of a report that says what happened first: the last cause, or the end of a worker's traceback."""
    lines = str(error).strip().splitlines()
    raised = (re.match(r"(?:Caused by: |: )?([\w.]*(?:Error|Exception|Invalid)\b.*)", line) for line in lines)
    return [lines[0], *(match[1] for match in raised if match)][-1]
