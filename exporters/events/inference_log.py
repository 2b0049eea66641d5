"""An inference log: the request and the response of one inference, each logged on its own, and their predictions.

A batch of N rows is N predictions, each with the request's latency: id `ID` for one row, `ID/0` to `ID/N-1` for more;
labels use the same ids.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from midwatch.client.events import Prediction

MAX_ROWS = 10_000
"""Rows of one request: two bytes of body make a row, and a row makes about a kilobyte of prediction."""

Scalar = str | int | float | bool | None
Features = dict[str, Scalar]
Answer = tuple[Scalar, float | None]
"""Prediction and score of a row."""


class MalformedError(ValueError):
    """An event that is not what an inference logger sends; the text says what is wrong with it."""


class _Half(msgspec.Struct, frozen=True, kw_only=True):
    """What request and response have in common; `ts` is seconds since the epoch."""

    id: str
    model: str
    namespace: str
    component: str
    ts: float
    trace_id: str | None

    @property
    def key(self) -> str:
        """What the two halves of one inference share."""
        return f"{self.namespace}/{self.model}/{self.component}/{self.id}"


class RequestHalf(_Half, frozen=True, kw_only=True, tag_field="event", tag="request"):
    """A logged request: the features of each of its rows."""

    rows: list[Features]


class ResponseHalf(_Half, frozen=True, kw_only=True, tag_field="event", tag="response"):
    """A logged response: prediction and score of each of its rows, or None when it says `error`."""

    version: str
    answers: list[Answer] | None


Half = RequestHalf | ResponseHalf


def join(request: RequestHalf, response: ResponseHalf) -> list[Prediction]:
    """Make the predictions of a request and its response; MalformedError if their numbers of rows differ."""
    count = len(request.rows)
    answers = response.answers if response.answers is not None else [(None, None)] * count
    if len(answers) != count:
        raise MalformedError(f"{request.id}: the request has {count} rows and its response {len(answers)}")
    duration = max(0.0, response.ts - request.ts)
    outcome: Literal["error", "ok"] = "error" if response.answers is None else "ok"
    return [
        Prediction(
            id=identifier,
            model=request.model,
            version=response.version,
            ts=request.ts,
            duration_seconds=duration,
            outcome=outcome,
            prediction=prediction,
            score=score,
            features=features,
            trace_id=request.trace_id or response.trace_id,
        )
        for identifier, features, (prediction, score) in zip(
            _row_ids(request.id, count), request.rows, answers, strict=True
        )
    ]


def _row_ids(identifier: str, count: int) -> list[str]:
    return [identifier] if count == 1 else [f"{identifier}/{row}" for row in range(count)]


def ensure_rows(count: int) -> None:
    """MalformedError unless a request or a response has this many rows."""
    if not 0 < count <= MAX_ROWS:
        raise MalformedError(f"{count} rows; one request has between 1 and {MAX_ROWS}")
