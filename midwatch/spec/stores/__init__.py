"""Stores that disaster recovery is promised for: one module per kind, with all that the platform file may say of it.

A module `KIND` has one subclass of `Store`, whose field `KIND` holds the kind's own keys. The table of kinds is built
by looking at this folder, and the key in the file says which of them a store is.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Tag

from midwatch.spec.stores.base import Store


def _class_of(kind: str) -> type[Store]:
    module = import_module(f"{__name__}.{kind}")
    classes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Store)]
    (store,) = (one for one in classes if one is not Store)
    if store.kind != kind or kind not in store.model_fields:
        raise AssertionError(f"{module.__name__} has to define the store of kind {kind}")
    return store


KINDS = {module.name: _class_of(module.name) for module in iter_modules(__path__) if module.name != "base"}
"""Class of each kind. It is built by looking at the folder, so that a new kind is a new module and nothing else."""

FAULTS = {kind: sorted(store.faults) for kind, store in KINDS.items()}
"""What a drill may do to a store, by its kind."""


def _given(raw: dict[str, Any]) -> list[str]:
    """The kinds that a store of the file names."""
    return [kind for kind in KINDS if raw.get(kind) is not None]


def _of_one_kind(raw: Any) -> Any:
    """The store without keys that are null; ValueError unless it is of exactly one kind."""
    if isinstance(raw, Store):
        return raw
    if not isinstance(raw, dict):
        raise ValueError(f"{raw!r} is not a mapping")
    if len(_given(raw)) != 1:
        near = [match for key in raw for match in difflib.get_close_matches(str(key), KINDS, 1) if key not in KINDS]
        raise ValueError(f"needs exactly one of {', '.join(KINDS)}{f'; did you mean {near[0]}?' if near else ''}")
    return {key: value for key, value in raw.items() if key not in KINDS or value is not None}


def _tag(raw: Any) -> str:
    """The branch of the union. Its brackets keep it out of the places that problems name."""
    return f"[{raw.kind if isinstance(raw, Store) else _given(raw)[0]}]"


if TYPE_CHECKING:
    AnyStore = Store
else:
    AnyStore = Annotated[
        Union[tuple(Annotated[store, Tag(f"[{kind}]")] for kind, store in KINDS.items())],  # noqa: UP007 - made at run time
        Discriminator(_tag),
        BeforeValidator(_of_one_kind),
    ]
"""A store of any kind."""
