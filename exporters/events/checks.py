"""What is taken of events, and what is taken away from them before anything is stored; keeping them is for others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from exporters.events import bounds
from exporters.events.bodies import Refused
from exporters.events.class_names import TEXT, is_class_like
from exporters.events.counters import Counters
from exporters.events.inference_log import Answer as RowAnswer
from exporters.events.inference_log import Features, Half, RequestHalf, ResponseHalf
from exporters.events.lateness import Lateness
from exporters.events.privacy import Privacy
from exporters.events.reasons import Reason
from midwatch.client.events import Event, Label, Prediction, Value
from midwatch.spec import model as spec

BYTES_OF_VALUE = 10
"""Bytes of a number in the journal, with the head of its name."""

MAX_CLASSES = 10_000
"""Names of classes that are known to be some, so that they are not looked at again."""


class Checked(NamedTuple):
    """Events that can be taken with their places, those that cannot, and about how many bytes the halves take."""

    good: list[tuple[int, Event | Half]]
    refused: list[Refused]
    size: int


class Checks:
    """Refuses what cannot be taken, and takes away what must not be stored."""

    def __init__(
        self, settings: spec.Exporter, models: Sequence[spec.Model], privacy: Privacy | None, counters: Counters
    ) -> None:
        self._privacy, self._counters = privacy, counters
        self._future = settings.future
        self._explained = frozenset(model.name for model in models if model.explanations)
        self._watched = {model.name: frozenset(model.drift.features) for model in models if model.drift}
        self._lateness = Lateness(settings, models)
        self._class_like: set[str] = set()

    def check(self, items: Sequence[tuple[int, Event | Half]], now: float, *, loaded: bool = False) -> Checked:
        """Look at events that came at `now`, and change them in place; those that were `loaded` may be older."""
        oldest, newest = now - self._lateness.least, now + self._future
        good: list[tuple[int, Event | Half]] = []
        refused: list[Refused] = []
        size = 0
        for item in items:
            line, event = item
            if type(event) is not Prediction and type(event) is not Label:
                if reason := self._half_refusal(event, now):  # type: ignore[arg-type]
                    refused.append(Refused(line, *reason))
                    continue
                half = self._stripped_half(event)  # type: ignore[arg-type]
                size += self._bytes_of(half)
                good.append((line, half))
                continue
            # Almost every event passes this comparison; the others are looked at with what their model allows.
            if not (type(event.ts) is float and oldest <= event.ts <= newest and _has_answer(event)):
                limit = now - self._lateness.too_old(event.model, loaded=loaded)
                reason = refusal(event, now=now, oldest=limit, newest=newest)
                if reason:
                    refused.append(Refused(line, *reason))
                    continue
            self._strip(event)
            if found := bounds.problem(event):
                refused.append(Refused(line, *found))
                continue
            good.append(item)
        return Checked(good, refused, size)

    def _half_refusal(self, half: Half, now: float) -> tuple[Reason, str] | None:
        """Reason and sentence why a half cannot be taken: it is held to the same times as a prediction."""
        limit = self._lateness.too_old(half.model)
        return _moment_refusal(half.ts, now=now, oldest=now - limit, newest=now + self._future)

    def _strip(self, event: Event) -> None:
        if type(event) is Prediction:
            answer = event.prediction
            if type(answer) is str and answer not in self._class_like:
                event.prediction = self._published(event.model, answer)
            if event.features and event.model not in self._watched:
                event.features = {}
            if event.attributions and event.model not in self._explained:
                event.attributions = {}
            if self._privacy:
                self._privacy.apply(event)
            for name, value in event.groups.items():
                if type(value) is str and len(value) > bounds.MAX_GROUP_TEXT:
                    event.groups[name] = TEXT
        elif type(event) is Label and type(event.label) is str and event.label not in self._class_like:
            event.label = self._published(event.model, event.label)

    def _published(self, model: str, text: str) -> Value:
        """A predicted or actual class as it may be kept; a declared regression's is refused by the state."""
        if self._is_number_model(model):
            return text
        if is_class_like(text) and len(self._class_like) < MAX_CLASSES:
            self._class_like.add(text)
        return self._counters.published_answer(model, text)

    def _is_number_model(self, model: str) -> bool:
        """Whether the model is a declared regression, whose texts the state refuses."""
        declared = self._counters.declared.get(model)
        return declared is not None and declared.task == "regression"

    def _stripped_half(self, half: Half) -> Half:
        if isinstance(half, ResponseHalf):
            return self._stripped_response(half)
        if not half.rows:
            return half
        watched = self._watched.get(half.model)
        if watched is None or self._bytes_of(half) > bounds.MAX_HALF_BYTES:
            return msgspec.structs.replace(half, rows=[], count=half.size)
        rows = [_only(watched, row) for row in half.rows]
        return msgspec.structs.replace(half, rows=list(map(self._privacy.fields, rows)) if self._privacy else rows)

    def _bytes_of(self, half: Half) -> int:
        """About as many bytes as the half takes in the journal."""
        row = 2 * BYTES_OF_VALUE
        if isinstance(half, RequestHalf):
            row = sum(len(name.encode()) + BYTES_OF_VALUE for name in self._watched.get(half.model, ()))
        return half.size * row

    def _stripped_response(self, half: ResponseHalf) -> ResponseHalf:
        if not half.answers or not any(type(prediction) is str for prediction, _ in half.answers):
            return half
        # A regression's answer is no text; that it was one is counted when the halves are joined.
        is_number = self._is_number_model(half.model)
        answers: list[RowAnswer] = [
            ((TEXT if is_number else self._published(half.model, prediction)), score)
            if type(prediction) is str
            else (prediction, score)
            for prediction, score in half.answers
        ]
        return msgspec.structs.replace(half, answers=answers)


def _only(watched: frozenset[str], row: Features) -> Features:
    """The features of a row that somebody looks at, without texts that are no category."""
    return {
        name: value
        for name, value in row.items()
        if name in watched and not (type(value) is str and len(value) > bounds.MAX_FEATURE_TEXT)
    }


def _has_answer(event: Event) -> bool:
    return type(event) is Label or event.prediction is not None or event.outcome == "error"  # type: ignore[union-attr]


def refusal(event: Event, *, now: float, oldest: float, newest: float) -> tuple[Reason, str] | None:
    """Reason and sentence why an event cannot be taken at `now`, or None; sets its `ts` to seconds.

    A prediction older than `oldest` is refused because its id may have been forgotten, and counting it twice could not
    be ruled out.
    """
    ts = event.ts
    if type(ts) is not float:
        if not isinstance(ts, datetime):
            ts = float(ts)
        elif ts.tzinfo is None:
            return Reason.NO_TIME_ZONE, f"ts {ts.isoformat()} has no time zone"
        else:
            ts = ts.timestamp()
        event.ts = ts
    refused = _moment_refusal(ts, now=now, oldest=oldest if type(event) is Prediction else 0.0, newest=newest)
    if refused is None and type(event) is Prediction and event.prediction is None and event.outcome == "ok":
        return Reason.NO_PREDICTION, "outcome is ok, and there is no prediction"
    return refused


def _moment_refusal(ts: float, *, now: float, oldest: float, newest: float) -> tuple[Reason, str] | None:
    if ts > newest:
        return Reason.IN_FUTURE, f"ts is {ts - now:.0f} s in the future; at most {newest - now:.0f} s are taken"
    if ts < oldest:
        return Reason.TOO_OLD, f"ts is {now - ts:.0f} s ago; at most {now - oldest:.0f} s are taken"
    return None
