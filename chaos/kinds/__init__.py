"""Kinds of faults, one a module. A new module of this folder is a new kind: nothing lists them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from chaos.kinds.base import Injection


@cache
def table() -> dict[str, type[Injection[Any]]]:
    """Every kind by its name: the class that each module of this folder defines."""
    names = sorted(module.name for module in iter_modules(__path__) if module.name != "base")
    return {name: _defined_in(f"{__name__}.{name}") for name in names}


def injection(name: str, arguments: Mapping[str, Any]) -> Injection[Any]:
    """An injection of a kind by its name and the arguments of its action; ValueError when there is no such one."""
    if name not in table():
        raise ValueError(f"there is no action {name!r}")
    return table()[name].given(arguments)


def _defined_in(module: str) -> type[Injection[Any]]:
    defined = [
        one
        for one in vars(import_module(module)).values()
        if isinstance(one, type) and issubclass(one, Injection) and one.__module__ == module
    ]
    if len(defined) != 1:
        raise TypeError(f"{module} defines {len(defined)} kinds of faults; a module defines one")
    return defined[0]
