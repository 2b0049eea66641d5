"""Kinds of panel, a module each, called as Grafana's type with `_` for `-`.

Each has `draw(answer)`: what an answer with at least one series becomes; MidwatchError says why it cannot be drawn.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module

from dashboards.preview.answers import Answer
from dashboards.preview.drawings import Drawing

Draw = Callable[[Answer], Drawing]


@cache
def drawers() -> Mapping[str, Draw]:
    """What draws each type of panel: the modules of this folder."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    return {name.replace("_", "-"): import_module(f"{__name__}.{name}").draw for name in names}
