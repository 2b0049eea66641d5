"""Ordinary events counted many at once: the exporter's counters to the last digit, whatever stands between them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporters.events.state import State
from tests.stream.test_same_answer import Pipeline, batches
from tests.stream.traffic import START, Record, World, counted_by_the_exporter, in_order, lines, world

SECONDS, RATE = 12, 160

ORDINARY: dict[str, Any] = {}
ROOM = {"caps": {"models": 6, "versions": 3, "classes": 4, "groups": 3, "series": 1000}}


def events(one: random.Random, odd: float) -> Iterator[tuple[float, dict[str, Any]]]:
    """Predictions with labels that come in order, late or early; of some, something is not as in the others."""
    for number in range(SECONDS * RATE):
        at = START + number / RATE
        model = one.choice(["fraud", "fraud", "fraud", "colour", "unknown", "price"])
        answers = {"fraud": ["fraud", "fine", True, 1], "colour": ["red", "green"], "price": [1.25, 3]}
        event: dict[str, Any] = {
            "event": "prediction",
            "id": f"id-{number}",
            "model": model,
            "version": one.choice(["v1", "v2"]),
            "ts": at - one.random(),
            "duration_seconds": one.random(),
            "prediction": one.choice(answers.get(model, ["yes", "no"])),
            "groups": {"country": one.choice(["de", "fr", True, 1]), "customer": one.choice(["Ann", "Bob"])},
        }
        if one.random() < 0.3:
            event["score"] = one.random()
        if one.random() < 0.1:
            event["trace_id"] = f"{number:032x}"
        if one.random() < 0.05:
            event |= {"outcome": "error", "prediction": None}
        if one.random() < odd:
            event |= one.choice(
                [
                    {"version": f"v{number}"},
                    {"prediction": f"class {number}"},
                    {"prediction": "Dear Ms Smith, your card"},
                    {"groups": {"country": f"c{number}"}},
                    {"attributions": {"amount": one.random()}},
                    {"model": f"model-{number}"},
                    {"ts": at - 90},
                ]
            )
        yield at, event
        if one.random() < 0.8:
            truth = one.choice(["fraud", "fine", "red", 1, 1.5, event["prediction"] or "none"])
            came = max(float(START), at + one.choice([-0.5, 0.2, 0.3, 3, 9, 70]))
            named = event["model"]
            yield came, {"event": "label", "id": f"id-{number}", "model": named, "label": truth, "ts": came - 0.1}


def records(seed: int, odd: float) -> list[Record]:
    one = random.Random(seed)
    made = sorted(events(one, odd), key=lambda sent: sent[0])
    return in_order(
        Record("events", 0, offset, int(at * 1000), json.dumps(event).encode(), None)
        for offset, (at, event) in enumerate(made)
    )


class Calls:
    """Counts the predictions and labels that a State takes one by one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        for name in ("_predict", "_label"):
            patch.setattr(State, name, self._counting(getattr(State, name)))

    def _counting(self, method: Any) -> Any:
        def counted(state: State, *arguments: Any) -> Any:
            self.taken += 1
            return method(state, *arguments)

        return counted


def counted_by_the_stream(given: World, made: list[Record]) -> Pipeline:
    stream = Pipeline(given)
    for batch in batches(random.Random(3), made):
        stream.fold.take(stream.batch(batch))
    return stream


@pytest.mark.parametrize(("changes", "odd"), [(ORDINARY, 0.0), (ORDINARY, 0.05), (ROOM, 0.3), ({"sample": "40%"}, 0.1)])
def test_events_counted_together_give_the_exporters_counters_to_the_last_digit(
    tmp_path: Path, changes: dict[str, Any], odd: float
) -> None:
    given, made = world(tmp_path, **changes), records(11, odd)
    state, results = counted_by_the_exporter(given, made)
    fold = counted_by_the_stream(given, made).fold
    assert lines(fold) == lines(state)
    assert fold.results == results
    assert fold.settling.progress == state.settling.progress
    assert fold.counters.series == state.counters.series
    assert fold.counters.versions == state.counters.versions


def test_few_ordinary_events_are_taken_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, made = world(tmp_path, caps={}), [record for record in records(5, 0.0) if b'"price"' not in record.value]
    calls = Calls(monkeypatch)
    fold = counted_by_the_stream(given, made).fold
    assert sum(Counter(fold.accepted).values()) == len(made)
    assert calls.taken < len(made) / 5
