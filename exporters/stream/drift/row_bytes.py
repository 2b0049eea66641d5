"""What drift is judged by of one prediction, in a few bytes: numbers, which of them are none, and texts."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from midwatch.client.events import Prediction
from midwatch.spec import model as spec
from midwatch.spec.drift import Drift, Feature
from monitors.drift import sample

_NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Features of a model that is judged, in order; whether its rows are sampled, and its windows end by a count."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    is_sampled: bool
    is_by_count: bool

    @classmethod
    def of(cls, drift: Drift) -> Watched:
        """What a platform file watches of a model."""
        by_kind = {kind: tuple(name for name, one in drift.features.items() if one is kind) for kind in Feature}
        return cls(
            numeric=by_kind[Feature.NUMERIC],
            categorical=by_kind[Feature.CATEGORICAL],
            is_sampled=drift.looks_at_rows,
            is_by_count=drift.rows is not None,
        )

    @property
    def has_answers(self) -> bool:
        """Whether the prediction or its score is watched."""
        return not {"prediction", "score"}.isdisjoint((*self.numeric, *self.categorical))


def watched(models: Sequence[spec.Model]) -> dict[str, Watched]:
    """What is watched of each model that is judged."""
    return {model.name: Watched.of(model.drift) for model in models if model.drift}


class Row(msgspec.Struct, array_like=True, gc=False):
    """A row: hash of its id (0 where rows are not sampled), float64 of the numeric features, texts of the others.

    `wrong` has a bit for each numeric feature whose value is no number; it and one that is missing are NaN.
    """

    key: int
    numbers: bytes
    wrong: int
    texts: list[str | None]


_encode = msgspec.msgpack.Encoder().encode


class Packer:
    """Makes rows of predictions."""

    def __init__(self, watched: Mapping[str, Watched]) -> None:
        self._watched = watched
        self._numbers = {name: struct.Struct(f"<{len(one.numeric)}d") for name, one in watched.items()}

    def __call__(self, event: Prediction) -> bytes | None:
        """The row of a prediction; None of one that is not judged: an error, or of a model that is not watched."""
        one = self._watched.get(event.model)
        if one is None or event.outcome != "ok":
            return None
        features = event.features
        if one.has_answers:  # as the exporter's judge has them: a feature of the same name comes first
            features = {"prediction": event.prediction, "score": event.score} | features
        numbers = [features.get(name) for name in one.numeric]
        wrong = 0
        for place, value in enumerate(numbers):
            if not isinstance(value, float | int):
                numbers[place] = _NAN
                wrong |= (value is not None) << place
        texts = [features.get(name) for name in one.categorical]
        return _encode(
            Row(
                key=next(iter(sample.hashes([event.id]))) if one.is_sampled else 0,
                numbers=self._numbers[event.model].pack(*numbers),
                wrong=wrong,
                texts=[value if value is None or type(value) is str else str(value) for value in texts],
            )
        )
