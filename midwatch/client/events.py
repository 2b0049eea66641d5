"""Shapes of the events: `Prediction` and `Label`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Value = str | bool | int | float
Moment = float | datetime
"""Seconds since the epoch, or RFC 3339 text with a time zone; seconds once accepted."""
MAX_ATTRIBUTIONS = 10_000
"""Attributions of an event: no model that explains each feature has more."""
MAX_ATTRIBUTED = 200
"""Characters of a feature's name among attributions."""
MOST_ATTRIBUTION = 1e15
"""Greatest amount of an attribution: sums of squares of a billion of them are still numbers."""


class Prediction(msgspec.Struct, tag_field="event", tag="prediction", omit_defaults=True, kw_only=True):
    """One answer of a model. `score` is its probability of the positive class; an error has no prediction.

    `attributions` are the features' shares of the answer, from SHAP or whatever adds up; only some events need them.
    `rank` is the place at which a ranking shows what was scored, from 1 at the top; each place is an event of its own.
    """

    id: Text
    model: Text
    version: Text
    ts: Moment
    duration_seconds: Annotated[float, msgspec.Meta(ge=0, le=86400)] | None = None
    outcome: Literal["ok", "error"] = "ok"
    prediction: Value | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    features: dict[str, Value | None] = {}
    groups: dict[str, Value] = {}
    trace_id: str | None = None
    attributions: dict[str, float] = {}
    rank: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class Label(msgspec.Struct, tag_field="event", tag="label", omit_defaults=True, kw_only=True):
    """What turned out to be true for the prediction of this id."""

    id: Text
    model: Text
    label: Value
    ts: Moment


Event = Prediction | Label
