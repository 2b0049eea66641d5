"""A model behind the open inference protocol (KServe's second), asked at the URL of its `infer`.

MLServer answers for a classifier with classes, and with probabilities where a request names the output `predict_proba`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from monitors.explainer import remote
from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Loaded, ModelError

PROBABILITIES = {"outputs": [{"name": "predict_proba"}]}
"""What a request of MLServer's runtimes of scikit-learn and XGBoost has for them."""


class NoFloatsError(ModelError):
    """An answer of classes alone."""


class _Predictor:
    """Asks for what the server answers with, and for probabilities where that has no floats."""

    def __init__(self, usual: remote.RemoteModel, of_probabilities: remote.RemoteModel) -> None:
        self._model, self._of_probabilities = usual, of_probabilities

    def predict(self, rows: Rows, seconds: float) -> Floats:
        """Answers to all rows within `seconds`; ModelError when they do not come, or are none."""
        try:
            return self._model.predict(rows, seconds)
        except NoFloatsError as error:
            try:
                found = self._of_probabilities.predict(rows, seconds)
            except ModelError as second:
                raise ModelError(f"{error}, nor when asked for predict_proba ({second})") from second
        self._model = self._of_probabilities
        return found


def load(where: str, columns: Sequence[str], access: remote.Access) -> Loaded:
    """The model at a URL; it is not asked yet. Rows of numbers are one tensor, rows with text one for each column."""

    def body(further: Mapping[str, Any], rows: Rows) -> Any:
        if rows.dtype != object:
            shape = [len(rows), len(columns)]
            tensor = {"name": "input-0", "shape": shape, "datatype": "FP64", "data": remote.plain(rows)}
            return {"inputs": [tensor], **further}
        return {"inputs": [_column(name, rows[:, place]) for place, name in enumerate(columns)], **further}

    pool = remote.pool(access.ca_file)
    usual = remote.RemoteModel(url=where, body=partial(body, {}), read=partial(_read, where), pool=pool, access=access)
    return Loaded(model=_Predictor(usual, replace(usual, body=partial(body, PROBABILITIES))))


def _column(name: str, values: Rows) -> dict[str, Any]:
    kind = "BYTES" if any(isinstance(value, str) for value in values) else "FP64"
    (data,) = remote.plain(values[np.newaxis])
    return {"name": name, "shape": [len(values), 1], "datatype": kind, "data": data}


def _read(where: str, document: Any) -> Any:
    outputs = document["outputs"]
    floats = [one for one in outputs if one["datatype"].startswith("FP")]
    if outputs and not floats:
        kinds = ", ".join(str(one["datatype"]) for one in outputs)
        raise NoFloatsError(f"{where}: answers with {kinds}, and with no floats")
    (*_, answers) = floats
    return np.asarray(answers["data"], dtype=np.float64).reshape(answers["shape"])
