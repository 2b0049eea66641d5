"""Limits of what an event may hold, so that whatever is written to the journal can be read back."""

from __future__ import annotations

from collections.abc import Mapping

from exporters.events.reasons import Reason
from midwatch.client.events import (
    MAX_ATTRIBUTED,
    MAX_ATTRIBUTIONS,
    MOST_ATTRIBUTION,
    Event,
    Label,
    Prediction,
    Value,
)

LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1
"""MessagePack has integers of 64 bits, with or without a sign."""

MAX_NAME = 200
"""Characters of the name of a group or a feature and of a trace id, as of ids, models and versions."""

MAX_GROUP_TEXT = 1000
"""Characters of a group's value; a label of a metric shows 64 bytes at most."""

MAX_FEATURE_TEXT = 10_000
"""Characters of a feature's value: no category is as long."""

MAX_FIELDS_TEXT = 256 * 1024
"""Characters of all names and texts of an event's groups and features together."""

MAX_GROUP_BYTES = 32 * 2**20
"""Bytes of the request bodies that one frame of the journal takes, unless one body alone is larger."""

MAX_HALF_BYTES = 64 * 2**20
"""Bytes of the features of one half of an inference log: a fourth of what a frame may have."""

Problem = tuple[Reason, str]


def problem(event: Event) -> Problem | None:
    """Which limit an event is over, as a reason and a sentence with the limit; None when it can be written."""
    if type(event) is Label:
        return _number_problem("label", event.label) if type(event.label) is int else None
    if event.attributions and (found := _attributions_problem(event.attributions)):  # type: ignore[union-attr]
        return found
    return _prediction_problem(event)  # type: ignore[arg-type]


def _prediction_problem(event: Prediction) -> Problem | None:
    if event.trace_id is not None and len(event.trace_id) > MAX_NAME:
        return _too_long("trace_id", event.trace_id, MAX_NAME)
    if type(event.prediction) is int and (found := _number_problem("prediction", event.prediction)):
        return found
    if not event.groups and not event.features:
        return None
    if event.groups and (found := _fields_problem("groups", event.groups, MAX_GROUP_TEXT)):
        return found
    if event.features and (found := _fields_problem("features", event.features, MAX_FEATURE_TEXT)):
        return found
    most = len(event.groups) * (MAX_NAME + MAX_GROUP_TEXT) + len(event.features) * (MAX_NAME + MAX_FEATURE_TEXT)
    return _size_problem(event) if most > MAX_FIELDS_TEXT else None


def _attributions_problem(attributions: Mapping[str, float]) -> Problem | None:
    if len(attributions) > MAX_ATTRIBUTIONS:
        return Reason.TOO_LARGE, f"{len(attributions)} attributions; at most {MAX_ATTRIBUTIONS} are taken"
    for name, amount in attributions.items():
        if len(name) > MAX_ATTRIBUTED:
            return _too_long("a name in attributions", name, MAX_ATTRIBUTED)
        if not abs(amount) <= MOST_ATTRIBUTION:
            limits = f"between -{MOST_ATTRIBUTION:g} and {MOST_ATTRIBUTION:g}"
            return Reason.INVALID, f"attributions.{name} is {amount:g}; it has to be {limits}"
    return None


def _fields_problem(kind: str, fields: Mapping[str, Value | None], longest: int) -> Problem | None:
    for name, value in fields.items():
        if len(name) > MAX_NAME:
            return _too_long(f"a name in {kind}", name, MAX_NAME)
        if type(value) is str:
            if len(value) > longest:
                return _too_long(f"{kind}.{name}", value, longest)
        elif type(value) is int and (found := _number_problem(f"{kind}.{name}", value)):
            return found
    return None


def _size_problem(event: Prediction) -> Problem | None:
    size = 0
    for fields in (event.groups, event.features):
        size += sum(map(len, fields)) + sum(len(value) for value in fields.values() if type(value) is str)
    if size <= MAX_FIELDS_TEXT:
        return None
    return Reason.TOO_LARGE, f"groups and features have {size} characters; at most {MAX_FIELDS_TEXT} are taken"


def _number_problem(name: str, value: Value) -> Problem | None:
    if type(value) is int and not LEAST_INTEGER <= value <= MOST_INTEGER:
        return Reason.INVALID, f"{name} is an integer of more than 64 bits"
    return None


def _too_long(name: str, text: str, most: int) -> Problem:
    return Reason.TOO_LARGE, f"{name} has {len(text)} characters; at most {most} are taken"
