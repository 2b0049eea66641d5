"""The methods, one a module; which there are, and of which sort, is said in `midwatch.spec.drift`.

A module has one `METHOD`: a `FeatureMethod` or a `RowMethod` (`monitors.drift.comparison`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from midwatch.spec import drift as spec
from monitors.drift.comparison import FeatureMethod, RowMethod

FEATURE: Mapping[str, FeatureMethod] = {
    name: import_module(f"{__name__}.{name}").METHOD for name in spec.FEATURE_METHODS
}
ROW: Mapping[str, RowMethod] = {name: import_module(f"{__name__}.{name}").METHOD for name in spec.ROW_METHODS}
