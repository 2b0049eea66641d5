"""Where Spark runs: the user's own configuration comes first, and workers of a cluster that cannot work are named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import midwatch
from exporters.stream import workers
from monitors.drift.spark.session import configured


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], set[str]]:
    """Names that are set by a file of defaults and by arguments of spark-submit."""

    def found(defaults: str, arguments: str) -> set[str]:
        (tmp_path / "spark-defaults.conf").write_text(defaults)
        monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
        monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", arguments)
        return configured()

    return found


@pytest.mark.parametrize(
    ("defaults", "arguments", "wanted"),
    [
        ("", "", set()),
        ("# spark.master local\n\nspark.master  spark://host:7077\n", "", {"spark.master"}),
        ("spark.jars.packages=a:b:1\nspark.ui.enabled: false", "", {"spark.jars.packages", "spark.ui.enabled"}),
        ("", "--master k8s://https://api --conf spark.a=1 pyspark-shell", {"spark.master", "spark.a"}),
        ("", "--packages=a:b:1 -c 'spark.b=x y' pyspark-shell", {"spark.jars.packages", "spark.b"}),
    ],
)
def test_the_users_own_spark_configuration_is_read_before_java_is_started(
    submit, defaults: str, arguments: str, wanted: set[str]
) -> None:
    assert submit(defaults, arguments) == wanted


class Cluster:
    """A cluster's context; its workers are of this process, where `has_file` says whether they see the driver's."""

    def __init__(self, master: str, *, has_file: bool = True) -> None:
        self.master, self.defaultParallelism, self._has_file = master, 2, has_file

    def parallelize(self, marks: Iterable[str | None], _count: int) -> Any:
        seen = [mark if self._has_file or mark is None else f"{mark}-elsewhere" for mark in marks]

        def partitions(tell: Callable[[Iterable[str | None]], Iterator[Any]]) -> Any:
            return SimpleNamespace(collect=lambda: list(tell(seen)))

        return SimpleNamespace(mapPartitions=partitions)


def on(spark: Any, cluster: Cluster) -> Any:
    """Spark's Java with another context."""
    return SimpleNamespace(sparkContext=cluster, _jvm=spark._jvm, _jsparkSession=spark._jsparkSession)


def test_workers_that_do_not_see_the_checkpoint_are_named_before_anything_is_counted(spark, tmp_path: Path) -> None:
    unseen = Cluster("spark://host:7077", has_file=False)
    with pytest.raises(workers.WorkersError, match=r"spark://host:7077 do not see .*cp, where the checkpoint"):
        workers.ensure_ready(on(spark, unseen), str(tmp_path / "cp"))
    workers.ensure_ready(on(spark, Cluster("local[2,4]", has_file=False)), str(tmp_path / "cp"))
    workers.ensure_ready(on(spark, Cluster("spark://host:7077")), str(tmp_path / "cp"))
    assert list(tmp_path.iterdir()) == [tmp_path / "cp"]


def test_workers_with_another_midwatch_are_named(spark, tmp_path: Path) -> None:
    here = midwatch.__version__

    class Older(Cluster):
        def parallelize(self, marks: Iterable[str | None], _count: int) -> Any:
            return SimpleNamespace(mapPartitions=lambda _: SimpleNamespace(collect=lambda: [("0.0.1", True)]))

    with pytest.raises(workers.WorkersError, match=rf"have Midwatch 0.0.1: they need Midwatch {here} "):
        workers.ensure_ready(on(spark, Older("k8s://https://api")), str(tmp_path / "cp"))
