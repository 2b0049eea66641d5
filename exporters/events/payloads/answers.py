"""From the values of a row to its prediction and score, and from columns and rows to features.

Prediction: a scalar is itself. A vector of probabilities gives the index of its maximum, and as score, when there are
two classes, the probability of class 1. An object gives its `prediction` and `score`. Other vectors have no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.events.inference_log import Answer, Features

PROBABILITY_TOLERANCE = 0.01
"""How far from 1 a vector of probabilities may add up to: half precision, rounded for the answer."""

SCALARS = frozenset({str, int, float, bool, type(None)})
LARGEST = 2**63
"""Whole numbers beyond cannot be written to the journal."""

NUMBERS = frozenset({int, float})


def is_scalar(value: Any) -> bool:
    """Whether a value can be a feature or a class."""
    kind = type(value)
    return kind in SCALARS and (kind is not int or -LARGEST <= value < LARGEST)


def answer_of(value: Any) -> Answer:
    """Prediction and score of one row of a response."""
    kind = type(value)
    if kind is list and len(value) == 1:
        value, kind = value[0], type(value[0])
    if kind in SCALARS:
        return value if is_scalar(value) else None, None
    if kind is dict:
        prediction, score = value.get("prediction"), value.get("score")
        return prediction if is_scalar(prediction) else None, _probability(score)
    if kind is list and _are_probabilities(value):
        return value.index(max(value)), float(value[1]) if len(value) == 2 else None
    return None, None


def _probability(score: Any) -> float | None:
    return float(score) if type(score) in NUMBERS and 0 <= score <= 1 else None


def _are_probabilities(values: list[Any]) -> bool:
    return (
        len(values) > 1
        and all(type(value) in NUMBERS and 0 <= value <= 1 for value in values)
        and abs(sum(values) - 1) <= PROBABILITY_TOLERANCE
    )


def combined(columns: list[list[Answer]]) -> list[Answer]:
    """Answers of rows whose outputs are columns: the first gives the prediction, the first with a score the score."""
    return [
        (answers[0][0], next((score for _, score in answers if score is not None), None))
        for answers in zip(*columns, strict=True)
    ]


def features_of(instance: Any, names: Sequence[str]) -> Features:
    """Features of a row: an object keeps its keys, a list gets the model's feature names if there are as many."""
    if type(instance) is dict:
        return {name: value for name, value in instance.items() if is_scalar(value)}
    values = instance if type(instance) is list else [instance]
    if len(values) != len(names):
        return {}
    return {name: value for name, value in zip(names, values, strict=True) if is_scalar(value)}


def fill(rows: list[Features], name: str, values: Sequence[Any]) -> None:
    """Give each row its value of a feature."""
    for row, value in zip(rows, values, strict=True):
        if is_scalar(value):
            row[name] = value
