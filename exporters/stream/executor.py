"""An executor of Spark in a pod: its Java, started as the entry point of Spark's own image does.

Images of Midwatch have PySpark's jars, and not that script. Spark says in the environment what is to be started (its
`BasicExecutorFeatureStep`, and `kubernetes/dockerfiles/spark/entrypoint.sh`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from exporters.stream import session
from midwatch.errors import MidwatchError

MAIN = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"

_ARGUMENTS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
"""Arguments of the program, and the variables that have their values."""


def become() -> None:
    """Replace this process by the executor; MidwatchError outside a pod that Spark made, or without Java."""
    session.ensure_spark()
    from pyspark.find_spark_home import _find_spark_home

    words = command(os.environ, Path(_find_spark_home()))
    try:
        os.execvp(words[0], words)  # noqa: S606 - Java, with what Spark said
    except OSError as error:
        raise MidwatchError(
            f"{words[0]} does not start ({error.strerror}): the image needs Java 17 or newer"
        ) from error


def command(environment: Mapping[str, str], spark: Path) -> list[str]:
    """The command of the executor that an environment describes; MidwatchError where something is missing."""
    missing = sorted({*_ARGUMENTS.values(), "SPARK_EXECUTOR_MEMORY"} - environment.keys())
    if missing:
        raise MidwatchError(
            f"there is no ${missing[0]}: Spark starts executors, in the pods that it makes for a driver"
        )
    home, memory = environment.get("JAVA_HOME"), environment["SPARK_EXECUTOR_MEMORY"]
    numbered = {
        int(match[1]): value
        for name, value in environment.items()
        if (match := re.fullmatch(r"SPARK_JAVA_OPT_(\d+)", name))
    }
    paths = [environment.get("SPARK_CLASSPATH", ""), environment.get("SPARK_CONF_DIR", ""), f"{spark}/jars/*"]
    return [
        f"{home}/bin/java" if home else shutil.which("java") or "java",
        *(numbered[number] for number in sorted(numbered)),
        *(f"-Xms{memory}", f"-Xmx{memory}"),
        *("-cp", ":".join(path for path in paths if path)),
        MAIN,
        *(word for option, name in _ARGUMENTS.items() for word in (option, environment[name])),
    ]
