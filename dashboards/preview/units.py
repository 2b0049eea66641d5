"""Grafana's units as pages say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from midwatch.html import numbers


@dataclass(frozen=True)
class Unit:
    """A unit of `numbers.number`, and what Grafana's values are multiplied by to be in it."""

    name: str
    factor: float = 1.0


PLAIN = Unit("")

UNITS: Mapping[str, Unit] = {
    "none": PLAIN,
    "short": PLAIN,
    "sci": PLAIN,
    "percentunit": Unit("ratio"),
    "percent": Unit("ratio", 0.01),
    "reqps": Unit("per_second"),
    "ops": Unit("per_second"),
    "cps": Unit("per_second"),
    "ns": Unit("seconds", 1e-9),
    "µs": Unit("seconds", 1e-6),
    "ms": Unit("seconds", 1e-3),
    "s": Unit("seconds"),
    "m": Unit("seconds", 60.0),
    "h": Unit("seconds", 3600.0),
    "d": Unit("seconds", 86_400.0),
    "dtdurations": Unit("seconds"),
    "bytes": Unit("B"),
    "decbytes": Unit("B"),
    "Bps": Unit("B/s"),
    "binBps": Unit("B/s"),
}
"""Grafana's ids (packages/grafana-data/src/valueFormats/categories.ts)."""

KEEPS_AS_IT_IS = 1e-3
"""Below it a plain value is written with its power of ten."""


def of(grafana: str) -> Unit:
    """A unit by Grafana's id; one that is not known stands behind the value as it is."""
    return UNITS.get(grafana, Unit(grafana))


def said(value: float | None, grafana: str, decimals: int | None = None) -> str:
    """A value of a panel in words.

    >>> said(0.25, "percentunit"), said(1500, "ms"), said(0.98765, "short", 2), said(3, "celsius")
    ('25%', '1.5 s', '0.99', '3 celsius')
    """
    unit = of(grafana)
    if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return numbers.UNKNOWN
    if decimals is not None and unit is PLAIN:
        return f"{value:,.{decimals}f}"
    return numbers.number(value * unit.factor, unit.name)
