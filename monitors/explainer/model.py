"""What the service needs of a model: answers to rows, or contributions that are exact."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from midwatch.errors import MidwatchError
from monitors.explainer.explanation import Floats, Rows

EXTRA = "pip install 'midwatch[explain]'"


class ModelError(MidwatchError):
    """A model that cannot be loaded, or that gives no answer that can be explained."""


class RefusedError(ModelError):
    """Rows that the model does not take; `words` are its own."""

    def __init__(self, text: str, words: str) -> None:
        self.words = words
        super().__init__(text)


class Model(Protocol):
    """A model that is asked for answers: one for each row, or a line of them where it has several outputs."""

    def predict(self, rows: Rows, seconds: float) -> Floats:
        """Answers within `seconds`, as far as the model can be held to that; ModelError when there is none.

        RefusedError where the model says that the rows are what is wrong.
        """


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Exact contributions: by row, feature and output; `base` is by row and output."""

    attributions: Floats
    base: Floats


class TreeModel(Protocol):
    """A model of trees, whose contributions are computed."""

    @property
    def method(self) -> str:
        """Who computes them, and which sort of Shapley values they are."""

    def predict(self, rows: Rows, seconds: float) -> Floats:
        """Answers in the unit of the contributions: margins of a classifier that adds its trees up."""

    def contributions(self, rows: Rows) -> Contributions:
        """Contributions to the answers of all outputs."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model of a file or an address: its features in their order where it has names for them, and its trees.

    `trees` is None where the answers have to be sampled.
    """

    model: Model
    trees: TreeModel | None = None
    columns: Sequence[str] | None = None
    outputs: Sequence[str] = ()
    """Names of the outputs, where the model has some."""


def library(module: str, needs: str) -> ModuleType:
    """A library that is imported now; ModelError says how it is had."""
    try:
        with warnings.catch_warnings():  # of libraries among themselves: nobody here can do anything about them
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None) or module
        raise ModelError(
            f"{needs} needs the library {module}, and {missing} is not installed: {how(module)}"
        ) from error


def how(module: str) -> str:
    """The command that installs a library: those of the extra with it, a model's own by its name."""
    own = {"xgboost": "pip install xgboost", "lightgbm": "pip install lightgbm"}
    return own.get(module.partition(".")[0], EXTRA)


def as_numbers(rows: Rows, whose: str) -> Floats:
    """Rows of a library that takes numbers alone; ModelError names what is text."""
    try:
        return np.asarray(rows, dtype=np.float64)
    except ValueError as error:
        said = f"{whose} takes numbers, and a column has text ({error})"
        raise ModelError(f"{said}; write categories as the numbers that it was trained with") from error


def as_answers(given: Any, rows: int, whose: str) -> Floats:
    """Answers by row and output; ModelError when there are others than one for each row."""
    try:
        answers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{whose} answers with no numbers: {type(given).__name__}") from error
    if answers.ndim not in (1, 2) or len(answers) != rows or not answers.size:
        raise ModelError(f"{whose} answers {rows} rows with the shape {answers.shape}; it needs one line for each row")
    if not np.isfinite(answers).all():
        raise ModelError(f"{whose} answers with a number that is none: NaN or infinite")
    return answers.reshape(rows, -1)
