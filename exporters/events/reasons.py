"""Why an event was not counted: label values of `midwatch_exporter_events_total`, and what answers say."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A closed set; the guide explains each."""

    ID = "id"
    INVALID = "invalid"
    NOT_JSON = "not_json"
    NO_TIME_ZONE = "no_time_zone"
    IN_FUTURE = "in_future"
    TOO_OLD = "too_old"
    NO_PREDICTION = "no_prediction"
    WRONG_TYPE = "wrong_type"
    OTHER_MODEL = "other_model"
    SAMPLED_OUT = "sampled_out"
    WAITING_FULL = "waiting_full"
    ROWS_DIFFER = "rows_differ"
    OTHER_HALF_MISSING = "other_half_missing"
    NOT_DURABLE = "not_durable"
