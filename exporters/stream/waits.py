"""Whether an event can be counted at all, and what of a prediction waits for its label: as the exporter has it."""

from __future__ import annotations

from collections.abc import Sequence

from exporters.events import state
from exporters.events.counters import Counters
from exporters.events.inference_log import Half
from exporters.events.waiting import WaitingPrediction
from exporters.stream.parcels import Result
from midwatch.client.events import Event, Prediction
from midwatch.spec import model as spec


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


def waiting_prediction(counters: Counters, now: float, event: Prediction) -> WaitingPrediction | None:
    """What waits of a prediction that arrived at `now`, under its own names; None without an answer to compare.

    The names that it is counted under are known at the driver, when its label comes.
    """
    if event.outcome != "ok" or event.prediction is None:
        return None
    declared = counters.declared.get(event.model)
    groups = counters.published_groups(declared, event.groups) if declared and event.groups else None
    return WaitingPrediction(now, event.ts, event.model, event.version, event.prediction, event.score, groups)  # type: ignore[arg-type]
