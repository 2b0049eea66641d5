"""An inference log: the request and the response of one inference, each logged on its own, and their predictions.

A batch of N rows is N predictions, each with the request's latency: id `ID` for one row, `ID/0` to `ID/N-1` for more;
labels use the same ids. What cannot be read, and rows that differ, make one prediction without class and features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Self

import msgspec

from exporters.events.reasons import Unread
from midwatch.client.events import Prediction
from midwatch.errors import MidwatchError

PART_ROWS = 10_000
"""Rows of one half: more are split, so that applying one takes no longer than applying a group of events."""

MAX_ROWS = 200_000
"""Rows of one inference: a row makes about a kilobyte of prediction. Beyond, it counts as one request."""

Scalar = str | int | float | bool | None
Features = dict[str, Scalar]
Answer = tuple[Scalar, float | None]
"""Prediction and score of a row."""


MAX_SECONDS = 86_400.0
"""A longer latency is the difference of two clocks."""

MAX_TOKENS = 2**40
"""A larger count is none."""

TOKEN_KINDS = frozenset({"input", "output"})
FINISH_LABELS = frozenset({"stop", "length", "tool_calls", "content_filter", "error", "other"})
"""Label values that an answer of a language model may be counted by."""


class MalformedError(ValueError):
    """An event that is not what an inference logger sends; the text says what is wrong with it."""


class UnreadableError(MidwatchError):
    """A payload that cannot be read."""

    def __init__(self, reason: Unread, text: str = "") -> None:
        self.reason = reason
        super().__init__(text or reason)


class Generation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the answer of a language model says about its making: tokens by kind, why it ended, and its times."""

    tokens: dict[str, int] = {}
    finish_reasons: list[str] = []
    first_token_seconds: float | None = None
    output_token_seconds: float | None = None


class RequestPayload(NamedTuple):
    """What was read of a request: its number of rows, and the features of each, or none at all."""

    size: int
    rows: list[Features] = []  # noqa: RUF012 - nobody changes it


class ResponsePayload(NamedTuple):
    """What was read of a response: the answer of each row, or None when it says `error`."""

    answers: list[Answer] | None
    version: str | None = None
    generation: Generation | None = None


class _Half(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What request and response have in common; `ts` is seconds since the epoch.

    Of an inference with `total` rows, a half has those from `first` on; `total` 0 is a half that was not split.
    `unread` is the reason why the payload could not be read.
    """

    id: str
    model: str
    namespace: str
    component: str
    ts: float
    trace_id: str | None
    first: int = 0
    total: int = 0
    unread: Unread | None = None

    @property
    def key(self) -> str:
        """What the two halves of one inference share."""
        key = f"{self.namespace}/{self.model}/{self.component}/{self.id}"
        return f"{key}\0{self.first}" if self.first else key


class RequestHalf(_Half, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", tag="request"):
    """A logged request: the features of each of its rows, or none and only how many there are."""

    rows: list[Features]
    count: int = 0

    @property
    def size(self) -> int:
        """Rows of it."""
        return self.count or len(self.rows)


class ResponseHalf(_Half, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", tag="response"):
    """A logged response: prediction and score of each of its rows, or None when it says `error`."""

    version: str
    answers: list[Answer] | None
    generation: Generation | None = None

    @property
    def size(self) -> int:
        """Rows of it; 1 for an error."""
        return 1 if self.answers is None else len(self.answers)


Half = RequestHalf | ResponseHalf


class Envelope(NamedTuple):
    """What a logger says about an inference beside its payload."""

    id: str
    model: str
    namespace: str
    component: str
    ts: float
    trace_id: str | None

    def request(self, payload: RequestPayload) -> list[RequestHalf]:
        """Halves of a request."""
        return [
            RequestHalf(**self._asdict(), first=first, total=total, rows=payload.rows[first:end], count=end - first)
            for first, end, total in _parts(payload.size)
        ]

    def response(self, payload: ResponsePayload, version: str) -> list[ResponseHalf]:
        """Halves of a response; its making is told with the first."""
        if payload.answers is None:
            return [ResponseHalf(**self._asdict(), version=version, answers=None)]
        return [
            ResponseHalf(
                **self._asdict(),
                first=first,
                total=total,
                version=version,
                answers=payload.answers[first:end],
                generation=None if first else payload.generation,
            )
            for first, end, total in _parts(len(payload.answers))
        ]

    def unread_request(self, reason: Unread) -> list[RequestHalf]:
        """The half of a request that cannot be read."""
        return [RequestHalf(**self._asdict(), rows=[], count=1, unread=reason)]

    def unread_response(self, reason: Unread, version: str) -> list[ResponseHalf]:
        """The half of a response that cannot be read."""
        return [ResponseHalf(**self._asdict(), version=version, answers=[(None, None)], unread=reason)]


def ensure_rows(count: int) -> None:
    """UnreadableError unless an inference may have this many rows."""
    if not 0 < count <= MAX_ROWS:
        raise UnreadableError(Unread.ROWS, f"{count} rows; one inference has between 1 and {MAX_ROWS}")


def _parts(count: int) -> list[tuple[int, int, int]]:
    """First row, end, and rows in all of each part."""
    ensure_rows(count)
    if count <= PART_ROWS:
        return [(0, count, 0)]
    return [(first, min(first + PART_ROWS, count), count) for first in range(0, count, PART_ROWS)]


class Joined(NamedTuple):
    """Predictions of an inference, what was said about its making, and why a payload of it was not read."""

    predictions: list[Prediction]
    generation: Generation | None
    unread: list[Unread]

    @classmethod
    def of(cls, request: RequestHalf, response: ResponseHalf) -> Self:
        """Join the halves of an inference, or of one part of it."""
        unread = [half.unread for half in (request, response) if half.unread is not None]
        if not unread and max(_rows(request), _rows(response)) > MAX_ROWS:
            unread = [Unread.ROWS]
        if not unread and response.answers is not None and _rows(request) != _rows(response):
            if request.first:
                return cls([], None, [])  # the first part says it
            unread = [Unread.ROWS_DIFFER]
        return cls(list(_predictions(request, response, unread)), response.generation, unread)


def _rows(half: Half) -> int:
    return half.total or half.size


def _predictions(request: RequestHalf, response: ResponseHalf, unread: list[Unread]) -> Iterator[Prediction]:
    answers, features = response.answers, request.rows
    if answers is None:
        answers = [(None, None)] * (1 if Unread.ROWS in unread else _rows(request))
    elif unread and (response.unread or response.total or not request.unread):
        answers, features = [(None, None)], []
    is_single = len(answers) == 1 and (bool(unread) or not request.total)
    outcome: Literal["error", "ok"] = "error" if response.answers is None else "ok"
    duration = min(max(0.0, response.ts - request.ts), MAX_SECONDS)
    for row, (prediction, score) in enumerate(answers):
        yield Prediction(
            id=request.id if is_single else f"{request.id}/{request.first + row}",
            model=request.model,
            version=response.version,
            ts=request.ts,
            duration_seconds=duration,
            outcome=outcome,
            prediction=prediction,
            score=score if score is not None and 0 <= score <= 1 else None,
            features=features[row] if row < len(features) else {},
            trace_id=request.trace_id or response.trace_id,
        )
