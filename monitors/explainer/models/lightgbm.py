"""Models of LightGBM in its own text format, which holds no code; contributions are its own `pred_contrib`.

They are exact, path-dependent, of the raw score. A forest (`boosting: rf`) answers with the mean of its trees, and
LightGBM's raw scores and contributions are their sums: both are divided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Contributions, Loaded, ModelError, as_answers, as_numbers, library

if TYPE_CHECKING:
    from monitors.explainer.remote import Access

_UNNAMED = "Column_"
"""Begins the names that LightGBM gives to features without one."""


@dataclass(frozen=True)
class _Booster:
    """`parts` is what raw scores are sums of in place of means: the trees of a forest, and 1 of what adds up."""

    booster: Any
    features: int
    parts: int
    method: str = "LightGBM's pred_contrib (exact, path-dependent, of the raw score)"

    def _asked(self, rows: Rows, **what: bool) -> Floats:
        found = self.booster.predict(as_numbers(rows, "a model of LightGBM"), num_threads=1, **what)
        return np.asarray(found, dtype=np.float64) / self.parts

    def predict(self, rows: Rows, seconds: float) -> Floats:  # noqa: ARG002 - takes microseconds for a row
        """Raw scores."""
        return as_answers(self._asked(rows, raw_score=True), len(rows), "the model")

    def contributions(self, rows: Rows) -> Contributions:
        """Contributions to the raw scores; the last of each output is the base."""
        found = self._asked(rows, pred_contrib=True)
        by_output = np.moveaxis(found.reshape(len(rows), -1, self.features + 1), 1, 2)
        return Contributions(attributions=by_output[:, :-1], base=by_output[:, -1])


def load(where: str, columns: Sequence[str], access: Access) -> Loaded:  # noqa: ARG001 - the signature of every kind
    """Read the file; ModelError when it holds no model."""
    lightgbm = library("lightgbm", "a model of LightGBM")
    try:
        booster = lightgbm.Booster(model_file=where)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{where}: no model of LightGBM: {said}") from error
    features = booster.num_feature()
    if features != len(columns):
        raise ModelError(f"{where}: has {features} features; the background has {len(columns)} columns")
    names = booster.feature_name()
    is_named = not all(name == f"{_UNNAMED}{place}" for place, name in enumerate(names))
    header = booster.model_to_string(num_iteration=1).partition("\nTree=")[0].splitlines()
    model = _Booster(booster, features, booster.current_iteration() if "average_output" in header else 1)
    outputs = ("1",) if any(line.startswith("objective=binary") for line in header) else ()
    return Loaded(model=model, trees=model, columns=names if is_named else None, outputs=outputs)
