"""Stores that are drilled and recovered: one folder per kind, with all that is known of it.

A folder KIND has a module `kind` with one subclass of `kind.Kind`; what else is in it, only that module needs. The keys
of a kind in the platform file are in `midwatch.spec.stores`. A kind is found by its name, when it is needed: drills of
files do not load a driver of PostgreSQL.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # programs of a kind that are started by themselves, such as an endpoint, need none of it
    from dr.stores.kind import Kind
    from midwatch.spec.stores.base import Store

NAMES = [module.name for module in iter_modules(__path__) if module.ispkg]
"""Kinds of stores. They are found by looking at the folder, so that a new kind is a new folder and nothing else."""


@cache
def named(name: str) -> Kind[Any]:
    """The kind of that name."""
    from dr.stores.kind import Kind

    module = import_module(f"{__name__}.{name}.kind")
    classes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Kind)]
    (kind,) = (one for one in classes if one is not Kind)
    return kind()


def kind_of(store: Store) -> Kind[Any]:
    """The kind of a store."""
    return named(store.kind)


def stop_leftovers(folder: Path) -> None:
    """Stop what a drill that was killed left running in its folder."""
    for name in NAMES:
        named(name).stop_leftovers(folder)
