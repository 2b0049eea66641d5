"""Why an event was not counted, or counted without its payload: label values, and what answers say."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an event was not counted; label values of `midwatch_exporter_events_total`. The guide explains each."""

    ID = "id"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NO_TIME_ZONE = "no_time_zone"
    IN_FUTURE = "in_future"
    TOO_OLD = "too_old"
    NO_PREDICTION = "no_prediction"
    WRONG_TYPE = "wrong_type"
    OTHER_MODEL = "other_model"
    SAMPLED_OUT = "sampled_out"
    WAITING_FULL = "waiting_full"
    OTHER_HALF_MISSING = "other_half_missing"
    NOT_DURABLE = "not_durable"
    UNREADABLE = "unreadable"
    UNUSABLE = "unusable"
    FILE_UNREADABLE = "file_unreadable"
    FILE_CHANGED = "file_changed"
    FILE_COLUMNS = "file_columns"


class Unread(StrEnum):
    """Why the payload of an inference could not be read; label values of `midwatch_exporter_unread_payloads_total`.

    Such an inference is counted as one request with its latency, without class and features.
    """

    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    PROTOCOL = "protocol"
    TENSOR = "tensor"
    ROWS = "rows"
    ROWS_DIFFER = "rows_differ"
    WRONG_TYPE = "wrong_type"
