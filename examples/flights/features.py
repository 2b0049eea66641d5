"""The feature pipeline: what a model sees of a flight, in the units of the pipeline's release of the day.

Its release is a word in a file: the replay brings a new one out, and whoever trains computes the months before with the
one of today, as the servers will be asked with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import data

IMPERIAL, METRIC = "imperial", "metric"

_TO_METRIC: dict[str, Callable[[Any], Any]] = {
    "distance": lambda value: value * 1.609344,
    "temp": lambda value: (value - 32) / 1.8,
    "wind_speed": lambda value: value * 1.609344,
    "visib": lambda value: value * 1.609344,
    "precip": lambda value: value * 25.4,
}
"""Miles to kilometres, Fahrenheit to Celsius, miles to kilometres an hour, inches to millimetres."""


def of_flight(known: dict[str, Any], release: str) -> dict[str, Any]:
    """Features of one flight, from what is known of it in imperial units; None where something is not known."""
    features = {name: known[name] for name in data.FEATURES}
    if release == METRIC:
        changed = {name: convert(features[name]) for name, convert in _TO_METRIC.items() if features[name] is not None}
        features |= changed
    return features


def of_table(known: Any, release: str) -> Any:
    """The same for a table of flights (a pandas.DataFrame), whose other columns stay."""
    if release != METRIC:
        return known
    return known.assign(**{name: convert(known[name]) for name, convert in _TO_METRIC.items()})


def bring_out(folder: Path, release: str) -> None:
    """Make this the release of the day."""
    partial = folder / "feature-release.partial"
    partial.write_text(release)
    partial.replace(folder / "feature-release")


def of_today(folder: Path) -> str:
    """The release of the day."""
    file = folder / "feature-release"
    return file.read_text() if file.exists() else IMPERIAL
