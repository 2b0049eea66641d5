"""Kinds of evaluation, one module each; `midwatch.spec.evaluation.PROMISED` says which of them a platform needs.

A module `KIND` has `prepare`, an `evaluation.Prepare`. The table is built by looking at this folder.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from monitors.evaluator.evaluation import Prepare

NAMES = tuple(sorted(module.name for module in iter_modules(__path__)))
"""Names of the kinds."""


def prepare_of(name: str) -> Prepare:
    """How a kind is prepared."""
    found: Prepare = import_module(f"{__name__}.{name}").prepare
    return found
