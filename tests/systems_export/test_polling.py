"""What is published of a source: its last answer for a while, never for ever, never too much, and that it is silent."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from exporters.systems.polling import Clock, Polled
from exporters.systems.source import Sample
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.observed.mlflow import MlflowObserved

SETTINGS = MlflowObserved(url="http://mlflow", interval="1m", max_series=2)


class Scripted:
    """A source whose answers are given; an error is raised."""

    def __init__(self, *answers: list[Sample] | Exception) -> None:
        self.answers, self.time = list(answers), 0.0

    def read(self, now: float) -> list[Sample]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def polled(source: Scripted) -> Polled:
    return Polled(source, SETTINGS, Clock(wall=lambda: 5000.0 + source.time, steady=lambda: source.time))


def champions(*models: str) -> list[Sample]:
    return [Sample(metric=metrics.REGISTRY_CHAMPIONS, labels={"model": model}, value=1) for model in models]


def values(source: Polled) -> dict[str, float]:
    return {metric.name: value for metric, _, value in source.samples()}


def names(samples: Iterable[tuple[metrics.Metric, object, float]]) -> list[str]:
    return [metric.name for metric, _, _ in samples]


def test_a_source_that_was_not_asked_is_not_up() -> None:
    assert values(polled(Scripted())) == {"midwatch_source_up": 0}


def test_the_last_answer_stays_for_three_intervals_and_then_goes() -> None:
    scripted = Scripted(champions("a"), MidwatchError("refused"))
    source = polled(scripted)
    source.poll()
    assert values(source)["midwatch_source_up"] == 1
    scripted.time = 60.0
    source.poll()
    assert (values(source)["midwatch_source_up"], source.problem) == (0, "refused")
    assert "registry_champions" in values(source)
    scripted.time = 181.0
    assert "registry_champions" not in values(source)
    assert values(source)["midwatch_source_last_success_timestamp_seconds"] == 5000.0


def test_a_source_that_hangs_is_not_up() -> None:
    class Hanging(Scripted):
        def read(self, now: float) -> list[Sample]:
            self.time += 61.0
            assert values(source)["midwatch_source_up"] == 0
            return super().read(now)

    source = polled(Hanging(champions("a"), champions("a")))
    source.poll()
    source.poll()
    assert values(source)["midwatch_source_up"] == 1


def test_series_beyond_the_most_are_left_out_and_counted() -> None:
    source = polled(Scripted(champions("c", "a", "b")))
    source.poll()
    published = source.samples()
    assert [labels["model"] for metric, labels, _ in published if metric is metrics.REGISTRY_CHAMPIONS] == ["a", "b"]
    assert values(source)["midwatch_source_series_left_out"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        champions("a", "a"),
        [Sample(metric=metrics.REGISTRY_CHAMPIONS, labels={}, value=1)],
        KeyError("registered_model"),
    ],
    ids=["a series twice", "a label that is missing", "a document of another form"],
)
def test_an_answer_that_is_no_exposition_is_no_answer(answer: list[Sample] | Exception) -> None:
    source = polled(Scripted(answer))
    source.poll()
    assert names(source.samples()) == ["midwatch_source_up"]
    assert source.problem.startswith("unexpected")
