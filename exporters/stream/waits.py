"""Whether an event can be counted at all, and what of a prediction waits for its label: as the exporter has it."""

from __future__ import annotations

from collections.abc import Sequence

from exporters.events import state
from exporters.events.class_names import class_name
from exporters.events.counters import Counters
from exporters.events.inference_log import Half
from exporters.events.waiting import WaitingPrediction
from exporters.stream.parcels import Result
from midwatch.client.events import Event, Prediction, Value
from midwatch.spec import model as spec

MOST_GROUPS = 10_000
"""Sets of groups that are known, at most."""


class Fitness:
    """Whether an event can be counted, whatever else there is: asked of a State that knows no event."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model]) -> None:
        self._state = state.State(settings, models)
        self._is_sampled = settings.sample < 1
        self._is_needed = self._is_sampled or any(model.task == "regression" for model in models)

    def unfit(self, event: Event | Half, key: state.Key) -> Result | None:
        """The result and its reason for an event that is not counted."""
        return self._state.admit([event], [key])[0] if self._is_needed else None

    def is_sampled_out(self, model: str, key: state.Key) -> bool:
        """Whether no label of a prediction is taken."""
        return self._is_sampled and self._state.is_sampled_out(model, key[1])


class WaitingPredictions:
    """What waits of predictions, under their own names.

    The names that they are counted under are known at the driver, when their labels come.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._published: dict[tuple[object, ...], dict[str, Value]] = {}

    def of(self, now: float, event: Prediction) -> WaitingPrediction | None:
        """What waits of a prediction that arrived at `now`; None without an answer to compare."""
        if event.outcome != "ok" or event.prediction is None:
            return None
        groups = self._groups(event) if event.groups else None
        return WaitingPrediction(now, event.ts, event.model, event.version, event.prediction, event.score, groups)  # type: ignore[arg-type]

    def _groups(self, event: Prediction) -> dict[str, Value] | None:
        declared = self._counters.declared.get(event.model)
        if declared is None:
            return None
        key = (event.model, *event.groups, *map(class_name, event.groups.values()))
        published = self._published.get(key)
        if published is None:
            published = self._counters.published_groups(declared, event.groups)
            if len(self._published) < MOST_GROUPS:
                self._published[key] = published
        return published
