"""The series of one exporter are bounded, whatever the caps of models, versions, classes and groups multiply to."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from exporters import collector
from exporters.events.state import State, Totals
from midwatch import metrics
from midwatch.client import events
from midwatch.spec import model as spec

NOW = 1_700_000_000.0
CAPS = spec.Caps(series=1000)
OWN = 30
"""Series of the exporter itself, beside those that are counted."""


def written(state: State) -> list[str]:
    view = collector.View(state.totals(), [], ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0))
    return [line for line in collector.exposed(view).decode().splitlines() if not line.startswith("#")]


def told(state: State, groups: int = 0) -> None:
    """Predictions and labels of many models, versions, classes and groups."""
    attributes = [f"g{number}" for number in range(groups)]
    for model, version in itertools.product(range(12), range(12)):
        group, truths = [], []
        for number in range(60):
            common = {"id": f"{version}-{number}", "model": f"m{model}", "ts": NOW}
            values = {name: f"{name}-{number % 13}" for name in attributes}
            predicted = f"c{number % 11}"
            group.append(
                events.Prediction(**common, version=f"v{version}", prediction=predicted, score=0.5, groups=values)
            )
            truths.append(events.Label(**common, label=predicted if number % 2 else f"c{number % 7}"))
        state.apply(NOW, group + truths)


@pytest.mark.parametrize("groups", [0, 3])
def test_all_series_together_are_bounded_and_what_is_folded_is_counted(groups: int) -> None:
    declared = spec.Model.model_validate(
        {"name": "m0", "owner": "o", "task": "classification", "groups": [f"g{n}" for n in range(groups)]}
    )
    state = State(spec.Exporter(caps=CAPS), [declared])
    told(state, groups)
    state.apply(NOW + 90_000, [])
    others = len(state.counters.versions) * (40 + 12 * (1 + groups))
    assert len(written(state)) <= state.counters.series + OWN
    assert state.counters.series < CAPS.series + others
    assert state.counters.folded["series"] > 0
    requests = sum(series.ok for series in state.counters.versions.values())
    assert requests == 12 * 12 * 60


def test_predictions_by_group_stay_whole_when_groups_are_folded() -> None:
    declared = spec.Model.model_validate({"name": "m0", "owner": "o", "task": "classification", "groups": ["g0"]})
    state = State(spec.Exporter(caps=CAPS), [declared])
    told(state, 1)
    for series in state.counters.versions.values():
        if series.model == "m0":
            counted = sum(sum(classes.values()) for classes in series.grouped["g0"].values())
            assert counted == sum(series.predicted.values()) > 0


def test_a_folded_outcome_still_says_whether_the_prediction_was_right() -> None:
    bounded, whole = State(spec.Exporter(caps=CAPS)), State(spec.Exporter(caps=spec.Caps(series=10**6)))
    for state in (bounded, whole):
        told(state)
    right, all_of_them = ([0, 0] for _ in range(2))
    for place, state in enumerate((bounded, whole)):
        for series in state.counters.versions.values():
            for predicted, actuals in series.outcomes.items():
                right[place] += actuals.get(predicted, 0)
                all_of_them[place] += sum(actuals.values())
        state.apply(NOW + 90_000, [])
        settled = [one for _, _, one in state.settling.settled()]
        assert sum(sum(one.unlabelled.values()) for one in settled) == 0
        counted = [actuals for one in settled for actuals in one.outcomes.pairs.items()]
        assert sum(actuals.get(predicted, 0) for predicted, actuals in counted) == right[place]
    assert right[0] == right[1]
    assert all_of_them[0] == all_of_them[1] == 12 * 12 * 60
    assert "another" in {
        actual for one in bounded.counters.versions.values() for actual in one.outcomes.get("other", ())
    }


def test_series_are_counted_the_same_after_a_restart() -> None:
    state, again = State(spec.Exporter(caps=CAPS)), State(spec.Exporter(caps=CAPS))
    told(state)
    again.restore_totals(state.totals())
    assert again.counters.series == state.counters.series
    told(again)
    before = msgspec.msgpack.decode(state.totals(), type=Totals)
    after = msgspec.msgpack.decode(again.totals(), type=Totals)
    assert len(after.series) - len(before.series) <= 12
