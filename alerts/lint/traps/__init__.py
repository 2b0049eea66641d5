"""The traps of real systems' metrics, a module each with `ID` and `find`; what a metric is, its system's folder says.

Found by looking at the folder, so that a trap more is a file more. Rules of shipped systems are judged where they are
written (`midwatch.system_check`), by the same facts.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from alerts.lint.ruleset import RuleCheck

_MODULES = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]

CHECKS: dict[str, RuleCheck] = {module.ID: module.find for module in _MODULES}
"""Checks of the traps by id."""
