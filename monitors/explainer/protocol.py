"""Requests and answers: KServe's first protocol with its `:explain`, and the open inference protocol (the second).

The second has no verb for explanations. MLServer's explainers answer `infer` and `explain` with an output
`explanation` of JSON text; here the numbers are tensors beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from midwatch.errors import MidwatchError
from monitors.explainer.background import RowError
from monitors.explainer.explainer import Explainer
from monitors.explainer.explanation import Explanation, Rows

FIRST = re.compile(rb"/v1/models/([^/:]+)(:explain)?")
SECOND = re.compile(rb"/v2/models/([^/:]+)(?:/versions/([^/:]+))?(?:/(explain|infer|ready))?")
BINARY_HEADER = b"inference-header-content-length"
"""Says that tensors follow the JSON as bytes."""

_json = msgspec.json.Encoder().encode


class RequestError(MidwatchError):
    """A request that is not explained, with the status to say so."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        self.status = status
        super().__init__(text)


Answer = Callable[[Sequence[Explanation]], bytes]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Rows to explain, what the request calls them, and what makes the answer of their explanations."""

    key: str
    rows: Sequence[Rows]
    answer: Answer


def first(body: bytes, explainer: Explainer, most_rows: int) -> Asked:
    """Read `{"instances": [...]}`; RequestError when it is none."""
    instances = _document(body).get("instances")
    rows = _rows(instances, "instances", explainer, most_rows)
    return Asked(key="instances", rows=rows, answer=lambda explanations: _first_answer(explainer, explanations))


def _first_answer(explainer: Explainer, explanations: Sequence[Explanation]) -> bytes:
    columns = explainer.sample.columns
    told = [_told(columns, explanation) for explanation in explanations]
    return _json({"explanations": told, **_about(explainer)})


def _about(explainer: Explainer) -> dict[str, Any]:
    return {
        "model": explainer.model_name,
        "version": explainer.version,
        "output": explainer.output_name,
        "method": explainer.method,
        "background": explainer.sample.identity,
    }


def _told(columns: Sequence[str], explanation: Explanation) -> dict[str, Any]:
    """An explanation by the names of the features. A residual is what is missing of the prediction."""
    errors = explanation.standard_errors
    return {
        "attributions": dict(zip(columns, explanation.attributions.tolist(), strict=True)),
        "standard_errors": None if errors is None else dict(zip(columns, errors.tolist(), strict=True)),
        "base": explanation.base,
        "prediction": explanation.prediction,
        "residual": explanation.residual,
        "samples": explanation.samples,
        "stopped": explanation.stopped,
    }


def second(body: bytes, explainer: Explainer, most_rows: int) -> Asked:
    """Read `{"inputs": [...]}`: a tensor of rows, or a tensor for each column; RequestError when it is none."""
    document = _document(body)
    rows = _rows(_of_tensors(document.get("inputs"), explainer.sample.columns), "inputs", explainer, most_rows)
    identity = document.get("id")
    return Asked(
        key="inputs",
        rows=rows,
        answer=lambda explanations: _second_answer(explainer, explanations, {"id": identity} if identity else {}),
    )


def _of_tensors(inputs: Any, columns: Sequence[str]) -> list[Any]:
    if not isinstance(inputs, list) or not inputs or not all(map(_is_tensor, inputs)):
        raise _invalid("inputs is no list of tensors with name, shape and data")
    if len(inputs) == 1:
        return _of_one(inputs[0], len(columns))
    by_name = {one["name"]: _flat(one["data"]) for one in inputs}
    if sorted(by_name) != sorted(columns) or len(by_name) != len(inputs):
        raise _invalid(f"inputs are neither one tensor of rows nor one for each of the {len(columns)} features")
    if len({len(data) for data in by_name.values()}) != 1:
        raise _invalid("the tensors of inputs have different numbers of values")
    return [list(row) for row in zip(*(by_name[name] for name in columns), strict=True)]


def _is_tensor(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("data"), list)


def _flat(data: list[Any]) -> list[Any]:
    """Values of a column, each in a list of its own or not."""
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]


def _of_one(tensor: dict[str, Any], width: int) -> list[Any]:
    data = tensor["data"]
    if data and isinstance(data[0], list):
        return list(data)
    shapes = [[len(data) // width, width], *([[len(data)]] if width == 1 else [])]
    if tensor.get("shape") not in shapes or len(data) % width:
        raise _invalid(f"the shape of {tensor['name']} is {tensor.get('shape')}, and not [rows, {width}] of its data")
    return [data[start : start + width] for start in range(0, len(data), width)]


def _second_answer(explainer: Explainer, explanations: Sequence[Explanation], further: dict[str, Any]) -> bytes:
    count, columns = len(explanations), explainer.sample.columns
    texts = [_json({**_told(columns, one), **_about(explainer)}).decode() for one in explanations]
    attributions = [value for one in explanations for value in one.attributions.tolist()]
    outputs = [
        {"name": "explanation", "shape": [count, 1], "datatype": "BYTES", "data": texts},
        _tensor("attributions", [count, len(columns)], attributions),
        _tensor("base", [count, 1], [one.base for one in explanations]),
        _tensor("prediction", [count, 1], [one.prediction for one in explanations]),
    ]
    return _json(
        {**further, "model_name": explainer.model_name, "model_version": explainer.version, "outputs": outputs}
    )


def _tensor(name: str, shape: list[int], data: list[float]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": "FP64", "data": data}


def metadata(explainer: Explainer) -> bytes:
    """What the second protocol says of a model."""
    columns = explainer.sample.columns
    inputs = [
        {"name": name, "datatype": "BYTES" if is_text else "FP64", "shape": [-1, 1]}
        for name, is_text in zip(columns, explainer.sample.is_text, strict=True)
    ]
    outputs = [
        {"name": "explanation", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "attributions", "datatype": "FP64", "shape": [-1, len(columns)]},
        {"name": "base", "datatype": "FP64", "shape": [-1, 1]},
        {"name": "prediction", "datatype": "FP64", "shape": [-1, 1]},
    ]
    return _json(
        {
            "name": explainer.model_name,
            "versions": [explainer.version],
            "platform": "midwatch_explainer",
            "inputs": inputs,
            "outputs": outputs,
            "parameters": _about(explainer),
        }
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(f"the body is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise _invalid("the body is no JSON object")
    return document


def _rows(instances: Any, key: str, explainer: Explainer, most_rows: int) -> list[Rows]:
    if not isinstance(instances, list) or not instances:
        raise _invalid(f"{key} is no list of rows")
    if len(instances) > most_rows:
        raise _invalid(f"{key} has {len(instances)} rows; at most {most_rows} are explained at once")
    rows = []
    for place, instance in enumerate(instances):
        try:
            rows.append(explainer.sample.row(instance))
        except RowError as error:
            raise _invalid(f"{key}[{place}] {error}") from error
    return rows


def _invalid(text: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, text)
