"""A session of Spark: the user's, or one on this machine."""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
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
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MidwatchError("--engine spark needs PySpark: pip install 'midwatch[spark]'") from error
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")  # it is not used
    builder = SparkSession.builder.appName("midwatch drift")
    if "spark.master" not in configured():
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


def configured() -> set[str]:
    """Names of the settings of the user's own Spark configuration.

    It is `spark-submit`'s where that runs us; else $PYSPARK_SUBMIT_ARGS and Spark's file of defaults, which its Java
    reads once it is started with what is found here.
    """
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        from pyspark import SparkConf, SparkContext

        SparkContext._ensure_initialized()
        return {name for name, _ in SparkConf().getAll()}
    words = shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", ""))
    options = {word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")}
    given = {value.partition("=")[0] for option, value in pairwise(words) if option in ("--conf", "-c")}
    return given | {_OPTIONS[option] for option in options & set(_OPTIONS)} | _defaults()


_OPTIONS = {"master": "spark.master", "packages": "spark.jars.packages", "jars": "spark.jars"}
"""Options of `spark-submit` that are settings."""


def _defaults() -> set[str]:
    """Names in Spark's file of defaults: a name, blanks or `=` or `:`, and a value a line (Java's properties)."""
    from pyspark.find_spark_home import _find_spark_home

    folder = os.environ.get("SPARK_CONF_DIR") or Path(_find_spark_home(), "conf")
    try:
        lines = Path(folder, "spark-defaults.conf").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    told = (line.strip() for line in lines)
    return {re.split(r"[\s=:]", line, maxsplit=1)[0] for line in told if line and line[0] not in "#!"}


def reason(error: Exception) -> str:
    """The line of a report that says what happened first: the last cause, or the end of a worker's traceback."""
    lines = str(error).strip().splitlines()
    raised = (re.match(r"(?:Caused by: |: )?([\w.]*(?:Error|Exception|Invalid)\b.*)", line) for line in lines)
    return [lines[0], *(match[1] for match in raised if match)][-1]
