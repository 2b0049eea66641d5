"""Kinds of models that can be explained: one module per kind. The table is built by looking at this folder.

A module `KIND` has `load(where, columns, settings)`: the model from what is written after `KIND:`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules

from monitors.explainer.model import Loaded, ModelError
from monitors.explainer.remote import Access

KINDS = {module.name.replace("_", "-"): module.name for module in iter_modules(__path__)}
"""Module of each kind, by what the command calls it."""


Load = Callable[[str, Sequence[str], Access], Loaded]


def load(text: str, columns: Sequence[str], access: Access) -> Loaded:
    """The model of `KIND:WHERE`, for rows of these columns; ModelError when there is none."""
    kind, _, where = text.partition(":")
    if kind not in KINDS or not where:
        raise ModelError(f"--from {text!r} is not KIND:WHERE; kinds are {', '.join(KINDS)}")
    read: Load = import_module(f"{__name__}.{KINDS[kind]}").load
    loaded = read(where, columns, access)
    if loaded.columns is not None and list(loaded.columns) != list(columns):
        raise ModelError(_other_columns(list(loaded.columns), list(columns)))
    return loaded


def _other_columns(model: list[str], background: list[str]) -> str:
    lacks = [name for name in model if name not in background]
    more = [name for name in background if name not in model]
    if not lacks and not more:
        return "the background's columns are in another order than the model's features; write them in the model's"
    said = [f"lacks {', '.join(lacks[:5])}"] if lacks else []
    said += [f"has {', '.join(more[:5])} as well"] if more else []
    return f"the background's columns are not the model's {len(model)} features: it {' and '.join(said)}"
