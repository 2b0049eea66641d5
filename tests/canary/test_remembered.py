"""Samples that are remembered between looks: the counts are those of a look that asks for all, at a fraction of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midwatch.prometheus import Client, Line
from midwatch.spec.canary import Canary
from monitors.canary import counts_file, fetch
from monitors.canary.ask import unanswered
from monitors.canary.question import Question
from monitors.gate import service
from monitors.gate.remembered import MARGIN_SECONDS, Remembered
from tests.canary.arms import STEP, prometheus_with
from tests.canary.test_fetch import START, calm

SETTINGS = Canary.model_validate({"criteria": [{"metric": "errors", "negligible": "2%"}]})


class Asked:
    """A Prometheus with one counter that grows by one each second; what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def samples(self, _: object, *, start: float, end: float) -> list[Line]:
        self.asked.append((start, end))
        return [Line(labels={"a": "b"}, points=tuple((float(at), float(at)) for at in range(int(start), int(end) + 1)))]

    def query(self, *_: object, **__: object) -> Any: ...
    def query_range(self, *_: object, **__: object) -> Any: ...


def times(lines: list[Line]) -> list[float]:
    (line,) = lines
    return [at for at, _ in line.points]


def test_a_look_asks_for_what_is_new_and_the_newest_again() -> None:
    prometheus = Asked()
    before = Remembered().before(prometheus)
    for end in (300.0, 320.0, 500.0, 500.0, 310.0):
        assert times(before.samples("x", start=0.0, end=end)) == [float(at) for at in range(int(end) + 1)]
    assert prometheus.asked == [(0.0, 300.0), (300.0 - MARGIN_SECONDS, 320.0), (320.0 - MARGIN_SECONDS, 500.0)]
    before.samples("y", start=0.0, end=10.0)
    before.samples("x", start=1.0, end=10.0)
    assert prometheus.asked[3:] == [(0.0, 10.0), (1.0, 10.0)]


class LeftOpen(Asked):
    """The same as Prometheus 3 answers: without a sample at the very beginning of a range."""

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        (line,) = super().samples(selector, start=start, end=end)
        return [Line(labels=line.labels, points=tuple(point for point in line.points if point[0] > start))]


@pytest.mark.parametrize("prometheus", [Asked(), LeftOpen()], ids=["Prometheus 2", "Prometheus 3"])
def test_no_sample_is_lost_or_doubled_where_two_looks_meet(prometheus: Asked) -> None:
    before = Remembered().before(prometheus)
    for end in (300.0, 320.0, 500.0, 515.0):
        found = times(before.samples("x", start=0.0, end=end))
        assert found == [float(at) for at in range(int(found[0]), int(end) + 1)]


def test_what_was_not_asked_about_for_longest_is_forgotten_first() -> None:
    prometheus = Asked()
    before = Remembered(max_samples=250).before(prometheus)
    for selector in ("x", "y", "x", "z", "x", "y"):
        before.samples(selector, start=0.0, end=99.0)
    assert len(prometheus.asked) == 4  # y was forgotten for z


def test_a_late_sample_and_a_new_series_are_taken_over() -> None:
    late = Asked()
    late.samples = lambda _, *, start, end: [  # type: ignore[method-assign]
        Line(labels={"a": "1"}, points=tuple((at, 1.0) for at in (10.0, 250.0, 290.0) if start <= at <= end)),
        *([Line(labels={"a": "2"}, points=((295.0, 2.0),))] if end > 300 else []),
    ]
    before = Remembered().before(late)
    before.samples("x", start=0.0, end=280.0)
    found = {line.labels["a"]: [at for at, _ in line.points] for line in before.samples("x", start=0.0, end=301.0)}
    assert found == {"1": [10.0, 250.0, 290.0], "2": [295.0]}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_with(calm(), tmp_path_factory.mktemp("remembered")) as url:
        yield url


def test_counts_are_those_of_a_look_that_asks_for_all(past: str) -> None:
    client = Client(past)
    before = Remembered().before(client)
    for intervals in (3, 4, 9, 30, 31):
        asked = Question(model="fraud", baseline="v1", canary="v2", start=START, end=START + intervals * STEP)
        found = [fetch.fetch(one, asked, SETTINGS, interval=STEP) for one in (client, before)]
        assert counts_file.document(found[0], SETTINGS) == counts_file.document(found[1], SETTINGS)


def test_a_verdict_stands_until_the_next_interval_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = unanswered(Question(model="m", baseline="a", canary="b", start=1000.0), 15.0, "no answer")
    two = replace(nothing, baseline_requests=np.ones(2, dtype=np.int64))
    monkeypatch.setattr(time, "time", lambda: 1045.0)
    assert service._stands_until(nothing) == 0.0
    assert service._stands_until(two) == 1055.0  # the third interval ends at 1045, its scrapes are there 10 s later
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert service._stands_until(two) == 1015.0  # a clock that is behind holds it up for an interval only
