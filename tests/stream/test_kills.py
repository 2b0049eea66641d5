"""Executors, workers and drivers that are killed: what is counted in the end is what was sent, each event once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.kafka.fleet import create_topics
from benchmarks.stream_kills.driver import Driver, Place
from benchmarks.stream_kills.feeder import Sending, counted
from tests.conftest import need_program

TOPICS = ["killed-predictions", "killed-labels"]


@pytest.fixture
def place(kafka: str, tmp_path: Path) -> Place:
    need_program("java")
    pytest.importorskip("pyspark")
    create_topics(kafka, TOPICS, 2)
    return Place(tmp_path, kafka, TOPICS)


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Driver]]:
    """Starts a driver; those that are left are killed in the end."""
    started: list[Driver] = []

    def begin(*, executors: bool) -> Driver:
        started.append(Driver(place, executors=executors))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.mark.timeout(900)  # Java starts four times, on a machine that may be busy
def test_killed_executors_workers_and_drivers_lose_nothing_and_count_nothing_twice(
    kafka: str, place: Place, start: Callable[..., Driver]
) -> None:
    """Executors of a cluster of this machine; the next driver does their work itself, with the same checkpoint."""
    sending = Sending(kafka, TOPICS, seed=5)
    sending.send(300)
    driver = start(executors=True)
    driver.until(lambda: place.committed >= 0 and len(driver.executors()) == 2)
    workers = driver.workers()
    for pid in [driver.executors()[0], *workers]:
        os.kill(pid, signal.SIGKILL)
    sending.send(300)
    driver.until(lambda: place.committed >= 1)
    sending.send(300)  # the driver is killed with a batch under way, or before it
    driver.kill()
    sending.finish()
    driver = start(executors=False)
    driver.until(lambda: driver.total("midwatch_stream_records_total") >= sending.sent)
    assert workers
    assert counted(driver) == sending.wanted()
