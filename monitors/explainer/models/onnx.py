"""Models in ONNX, which hold no code, run by onnxruntime on one processor: an input of all columns, or one of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Loaded, ModelError, as_answers, library

if TYPE_CHECKING:
    from monitors.explainer.remote import Access

_TYPES: dict[str, Any] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": object,
}
_NUMBERS = ("tensor(float16)", "tensor(float)", "tensor(double)")


@dataclass(frozen=True)
class _Graph:
    """`inputs` are name, type and columns of each input, a number where its tensor is a line.

    `output` is the one that is explained.
    """

    where: str
    session: Any
    inputs: list[tuple[str, Any, list[int] | int]]
    output: str

    def predict(self, rows: Rows, seconds: float) -> Floats:  # noqa: ARG002 - a graph of a model ends
        """Answers of the output."""
        fed = {name: _fed(name, kind, rows[:, columns]) for name, kind, columns in self.inputs}
        try:
            (answers,) = self.session.run([self.output], fed)
        except Exception as error:
            raise ModelError(f"{self.where} fails: {' '.join(str(error).split())[:200]}") from error
        return as_answers(answers, len(rows), self.where)


def _fed(name: str, kind: Any, values: Rows) -> Rows:
    """Values of an input; ModelError where they are numbers that its whole numbers would make others of."""
    if not np.issubdtype(kind, np.integer) and kind is not np.bool_:
        return values.astype(kind)
    numbers = values.astype(np.float64)
    least, beyond, takes = 0.0, 2.0, "true and false"
    if kind is not np.bool_:
        least = float(np.iinfo(kind).min)
        beyond, takes = -least, f"whole numbers ({np.dtype(kind).name})"
    is_whole = (np.floor(numbers) == numbers) & (numbers >= least) & (numbers < beyond)
    if not is_whole.all():
        said = f"the input {name} takes {takes}, and a row has {numbers[~is_whole][0]}"
        raise ModelError(f"{said}; leave such rows out, or export the model with an input of floats")
    return numbers.astype(kind)


def load(where: str, columns: Sequence[str], access: Access) -> Loaded:  # noqa: ARG001 - the signature of every kind
    """Read the file; ModelError when its inputs are not the columns, or it answers with no tensor of numbers."""
    runtime = library("onnxruntime", "a model in ONNX")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(where, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{where}: no model in ONNX: {' '.join(str(error).split())[:200]}") from error
    inputs = session.get_inputs()
    names = [one.name for one in inputs]
    if len(inputs) > 1 and sorted(names) != sorted(columns):
        raise ModelError(f"{where}: its inputs are {', '.join(names[:5])}, and not the background's columns")
    if fixed := [one.shape[0] for one in inputs if one.shape and isinstance(one.shape[0], int)]:
        said = f"{where}: takes {fixed[0]} rows at a time, and explaining asks for hundreds"
        raise ModelError(f"{said}; export it with a free number of rows (dynamic_axes of torch.onnx.export)")
    places = [_places(one, list(columns), is_only=len(inputs) == 1) for one in inputs]
    width = inputs[0].shape[-1] if len(inputs) == 1 and len(inputs[0].shape) == 2 else None
    if isinstance(width, int) and width != len(columns):
        raise ModelError(f"{where}: has {width} features; the background has {len(columns)} columns")
    if unknown := [one for one in inputs if one.type not in _TYPES]:
        raise ModelError(f"{where}: its input {unknown[0].name} is a {unknown[0].type}, which no background has")
    fed = [(one.name, _TYPES[one.type], place) for one, place in zip(inputs, places, strict=True)]
    return Loaded(model=_Graph(where, session, fed, _output(session, where)))


def _places(one: Any, columns: list[str], *, is_only: bool) -> list[int] | int:
    """Columns of an input: all of them for the only one, else its own, as a line where its tensor has one dimension."""
    if is_only and len(one.shape) != 1:
        return list(range(len(columns)))
    place = 0 if is_only else columns.index(one.name)
    return place if len(one.shape) == 1 else [place]


def _output(session: Any, where: str) -> str:
    """The output that is explained: probabilities come last (skl2onnx), and a label is no float."""
    numbers = [one.name for one in session.get_outputs() if one.type in _NUMBERS]
    if not numbers:
        kinds = ", ".join(f"{one.name}: {one.type}" for one in session.get_outputs())
        raise ModelError(f"{where}: answers with no tensor of floats ({kinds}); convert it with zipmap=False")
    return str(numbers[-1])
