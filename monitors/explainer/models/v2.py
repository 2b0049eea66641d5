"""A model behind the open inference protocol (KServe's second), asked at the URL of its `infer`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from monitors.explainer import remote
from monitors.explainer.explanation import Rows
from monitors.explainer.model import Loaded, ModelError


def load(where: str, columns: Sequence[str], access: remote.Access) -> Loaded:
    """The model at a URL; it is not asked yet. Rows of numbers are one tensor, rows with text one for each column."""

    def body(rows: Rows) -> Any:
        if rows.dtype != object:
            shape = [len(rows), len(columns)]
            return {"inputs": [{"name": "input-0", "shape": shape, "datatype": "FP64", "data": remote.plain(rows)}]}
        return {"inputs": [_column(name, rows[:, place]) for place, name in enumerate(columns)]}

    pool = remote.pool(access.ca_file)
    return Loaded(model=remote.RemoteModel(url=where, body=body, read=partial(_read, where), pool=pool, access=access))


def _column(name: str, values: Rows) -> dict[str, Any]:
    kind = "BYTES" if any(isinstance(value, str) for value in values) else "FP64"
    (data,) = remote.plain(values[np.newaxis])
    return {"name": name, "shape": [len(values), 1], "datatype": kind, "data": data}


def _read(where: str, document: Any) -> Any:
    outputs = document["outputs"]
    floats = [one for one in outputs if one["datatype"].startswith("FP")]
    if outputs and not floats:
        said = f"{where}: answers with {', '.join(str(one['datatype']) for one in outputs)}, and with no floats"
        raise ModelError(f"{said}; have it answer with probabilities (predict_proba), not with classes")
    (*_, answers) = floats
    return np.asarray(answers["data"], dtype=np.float64).reshape(answers["shape"])
