"""A real Prometheus with a past that a test writes down."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from midwatch.prometheus import Client
from tests.conftest import free_port, need_program, wait_for

STEP = 15
POINTS = 60
"""A quarter of an hour of samples, as a Prometheus that scrapes every 15 s has them."""

Series = dict[str, Callable[[int], float]]
"""Value of each series (with its labels) at the n-th scrape."""


class Past:
    """A Prometheus whose newest sample is at `end`."""

    def __init__(self, url: str, end: float) -> None:
        self.url, self.end = url, end
        self.client = Client(url)

    def values(self, expr: object) -> dict[tuple[str, ...], float]:
        """Value by the values of the labels, sorted by their names."""
        samples = self.client.query(expr, at=self.end)
        return {tuple(value for _, value in sorted(one.labels.items())): one.value for one in samples}


@pytest.fixture(scope="module")
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """The past that the test's module calls `SERIES`."""
    promtool, program = need_program("promtool"), need_program("prometheus")
    folder = tmp_path_factory.mktemp("past")
    end = time.time() // STEP * STEP
    lines = []
    for name, value in request.module.SERIES.items():
        metric = name.partition("{")[0]
        lines.append(f"# TYPE {metric.removesuffix('_total')} {'counter' if metric.endswith('_total') else 'gauge'}")
        start = end - (POINTS - 1) * STEP
        lines += [f"{name} {value(point)} {start + point * STEP:.0f}" for point in range(POINTS)]
    (folder / "past.txt").write_text("\n".join([*_grouped(lines), "# EOF", ""]))
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "past.txt"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    port = free_port()
    (folder / "prometheus.yml").write_text("")
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=1000d"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield Past(f"http://127.0.0.1:{port}", end)
    finally:
        process.terminate()
        process.wait()


def _grouped(lines: list[str]) -> list[str]:
    """OpenMetrics wants the samples of a family together, under one TYPE line."""
    families: dict[str, list[str]] = {}
    current = ""
    for line in lines:
        if line.startswith("# TYPE"):
            current = line
            families.setdefault(current, [])
        else:
            families[current].append(line)
    return [text for head, samples in families.items() for text in (head, *samples)]
