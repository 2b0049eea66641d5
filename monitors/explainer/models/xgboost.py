"""Models of XGBoost in its own format (JSON or UBJSON), which holds no code; contributions are its own `pred_contribs`.

They are what shap's TreeExplainer returns for it: exact, path-dependent, of the margin. Where training was stopped
early, the model is its rounds up to the best one: so XGBoost's own estimators answer, and MLServer by them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Contributions, Loaded, ModelError, as_answers, as_numbers, library

if TYPE_CHECKING:
    from monitors.explainer.remote import Access


_EVERY = (0, 0)
"""Every round, as XGBoost says it."""

EARLY = (
    "%s: explained are the first %d of its %d rounds, those up to best_iteration, by which XGBoost's estimators and "
    "MLServer answer; for a server that answers by all (KServe's: Booster.predict), set_attr(best_iteration=None) first"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Booster:
    """`rounds` are the first one and the one after the last that answer."""

    xgboost: Any
    booster: Any
    columns: list[str] | None
    rounds: tuple[int, int]
    method: str = "XGBoost's pred_contribs (exact, path-dependent, of the margin)"

    def _matrix(self, rows: Rows) -> Any:
        numbers = as_numbers(rows, "a model of XGBoost")
        try:
            return self.xgboost.DMatrix(numbers, feature_names=self.columns, nthread=1)
        except self.xgboost.core.XGBoostError as error:  # of a number beyond 32-bit floats
            said = next((line for line in str(error).splitlines() if line), "")[:200]
            raise ModelError(f"XGBoost does not take the row: {said}") from error

    def predict(self, rows: Rows, seconds: float) -> Floats:  # noqa: ARG002 - takes microseconds for a row
        """Margins."""
        margins = self.booster.predict(self._matrix(rows), output_margin=True, iteration_range=self.rounds)
        return as_answers(margins, len(rows), "the model")

    def contributions(self, rows: Rows) -> Contributions:
        """Contributions to the margins; the last of each output is the base."""
        found = self.booster.predict(
            self._matrix(rows), pred_contribs=True, strict_shape=True, iteration_range=self.rounds
        )
        by_output = np.moveaxis(np.asarray(found, dtype=np.float64), 1, 2)
        return Contributions(attributions=by_output[:, :-1], base=by_output[:, -1])


def load(where: str, columns: Sequence[str], access: Access) -> Loaded:  # noqa: ARG001 - the signature of every kind
    """Read the file; ModelError when it holds no model of trees."""
    xgboost = library("xgboost", "a model of XGBoost")
    booster = xgboost.Booster()
    try:
        booster.load_model(where)
    except Exception as error:
        said = " ".join(str(error).partition("Stack trace")[0].split())[:200]
        raise ModelError(f"{where}: no model of XGBoost in JSON or UBJSON: {said}") from error
    booster.set_param({"nthread": 1})
    if booster.num_features() != len(columns):
        raise ModelError(f"{where}: has {booster.num_features()} features; the background has {len(columns)} columns")
    learner = json.loads(booster.save_config())["learner"]
    is_binary = learner["objective"]["name"].startswith("binary:")
    rounds = _EVERY if learner["gradient_booster"]["name"] == "gblinear" else _rounds(booster, where)
    model = _Booster(xgboost, booster, booster.feature_names, rounds)
    outputs = ("1",) if is_binary else ()
    return Loaded(model=model, trees=model, columns=booster.feature_names, outputs=outputs)


def _rounds(booster: Any, where: str) -> tuple[int, int]:
    """Rounds up to the best one, where training went on after it and the file still has those, too."""
    best, every = booster.attr("best_iteration"), booster.num_boosted_rounds()
    if best is None or int(best) + 1 >= every:
        return _EVERY
    _log.warning(EARLY, where, int(best) + 1, every)
    return 0, int(best) + 1
