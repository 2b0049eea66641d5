"""Models of XGBoost in its own format (JSON or UBJSON), which holds no code; contributions are its own `pred_contribs`.

They are what shap's TreeExplainer returns for it: exact, path-dependent, of the margin.
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


@dataclass(frozen=True)
class _Booster:
    xgboost: Any
    booster: Any
    columns: list[str] | None
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
        return as_answers(self.booster.predict(self._matrix(rows), output_margin=True), len(rows), "the model")

    def contributions(self, rows: Rows) -> Contributions:
        """Contributions to the margins; the last of each output is the base."""
        found = self.booster.predict(self._matrix(rows), pred_contribs=True, strict_shape=True)
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
    model = _Booster(xgboost, booster, booster.feature_names)
    return Loaded(model=model, trees=model, columns=booster.feature_names)
