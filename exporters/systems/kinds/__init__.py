"""Systems whose owners are asked: one module per system, switched on by its section `observe`.

A module `SYSTEM` has `build(platform, observed, state)`: the source, from the platform, its section, and a folder of
its own for what has to survive a restart. The table is built by looking at this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from exporters.systems.source import Source
from midwatch.spec.model import Platform
from midwatch.spec.observed.base import Observed

Build = Callable[[Platform, Any, Path], Source]

KINDS = tuple(module.name for module in iter_modules(__path__))
"""Names of the systems that can be asked."""


def build(platform: Platform, observed: Observed, state: Path) -> Source:
    """The source of a system's section; `state` is the exporter's folder."""
    make: Build = import_module(f"{__name__}.{observed.system}").build
    return make(platform, observed, state / observed.system)
