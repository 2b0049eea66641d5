"""A model that is a function of Python, `MODULE:FUNCTION`: it takes an array of rows and returns their answers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Loaded, ModelError, as_answers

if TYPE_CHECKING:
    from monitors.explainer.remote import Access


@dataclass(frozen=True)
class _Function:
    name: str
    function: Callable[[Rows], Any]

    def predict(self, rows: Rows, seconds: float) -> Floats:  # noqa: ARG002 - nobody can end a function
        """Answers of the function."""
        try:
            answers = self.function(rows)
        except (Exception, SystemExit) as error:
            raise ModelError(f"{self.name} fails: {type(error).__name__}: {error}") from error
        return as_answers(answers, len(rows), self.name)


def load(where: str, columns: Sequence[str], access: Access) -> Loaded:  # noqa: ARG001 - the signature of every kind
    """Import the function; ModelError when there is none."""
    module, _, name = where.partition(":")
    if not module or not name:
        raise ModelError(f"callable:{where} is not callable:MODULE:FUNCTION")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ModelError(f"{module} cannot be imported ({said}); is its folder in PYTHONPATH?") from error
    if not callable(found):
        raise ModelError(f"{module} has no function {name}")
    return Loaded(model=_Function(where, found))
