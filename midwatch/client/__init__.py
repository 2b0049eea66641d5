"""What a model server sends its events with: `EventLog`, and the events `Prediction` and `Label`.

Needs msgspec, and nothing of Midwatch but its errors.
"""

from midwatch.client.event_log import EventLog, Stats
from midwatch.client.events import Label, Prediction
from midwatch.client.explainer import Explainer
from midwatch.client.sampling import AttributionSample

__all__ = ["AttributionSample", "EventLog", "Explainer", "Label", "Prediction", "Stats"]
