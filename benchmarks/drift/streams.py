"""Streams whose truth is known: calm ones, and windows with one stated change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.signal import lfilter

FEATURES = 20
NUMERIC = tuple(f"x{index}" for index in range(16))
CATEGORICAL = ("colour", "plan")
COLOURS, PLANS = ("red", "green", "blue", "black"), ("free", "paid")
OUTPUTS = ("prediction", "score")

Columns = dict[str, Any]


def independent(generator: np.random.Generator, rows: int) -> Any:
    """Independent normal rows; shape (FEATURES, rows)."""
    return generator.normal(size=(FEATURES, rows))


AUTOCORRELATION = 0.8
"""Of a row with the one before: a row of such a stream is worth a ninth of an independent one."""


def autocorrelated(generator: np.random.Generator, rows: int) -> Any:
    """Normal rows, each close to the one before (first-order autoregression), from its stationary start."""
    noise = generator.normal(size=(FEATURES, rows)) * np.sqrt(1 - AUTOCORRELATION**2)
    start = AUTOCORRELATION * generator.normal(size=(FEATURES, 1))
    return lfilter([1.0], [1.0, -AUTOCORRELATION], noise, axis=1, zi=start)[0]


def table(generator: np.random.Generator, rows: int, *, positives: float = 0.2) -> Columns:
    """A model's inputs and outputs: four of 16 numbers and a category depend on the class, and the score on them."""
    label = generator.random(rows) < positives
    values = generator.normal(size=(len(NUMERIC), rows))
    values[:4] += 0.8 * label
    score = 1 / (1 + np.exp(-(values[:4].sum(axis=0) - 2 + 0.5 * generator.normal(size=rows))))
    colour = np.where(label, generator.choice(4, rows, p=[0.1, 0.2, 0.3, 0.4]), generator.choice(4, rows))
    return {
        **dict(zip(NUMERIC, values, strict=True)),
        "colour": np.array(COLOURS)[colour].tolist(),
        "plan": generator.choice(PLANS, rows, p=[0.7, 0.3]).tolist(),
        "prediction": np.where(score > 0.5, "yes", "no").tolist(),
        "score": score,
    }


def _shifted(columns: Columns, by: float, names: tuple[str, ...]) -> Columns:
    return columns | {name: columns[name] + by for name in names}


def _correlated(columns: Columns, _: np.random.Generator) -> Columns:
    share = 0.5
    mixed = share * columns["x4"] + np.sqrt(1 - share**2) * columns["x5"]
    return columns | {"x5": mixed}


def _recoloured(columns: Columns, generator: np.random.Generator) -> Columns:
    chosen = generator.random(len(columns["colour"])) < 0.1
    return columns | {"colour": ["red" if new else old for new, old in zip(chosen, columns["colour"], strict=True)]}


def _missing(columns: Columns, generator: np.random.Generator) -> Columns:
    return columns | {"x4": np.where(generator.random(len(columns["x4"])) < 0.05, np.nan, columns["x4"])}


Change = Callable[[Columns, np.random.Generator], Columns]

CHANGES: dict[str, Change] = {
    "nothing": lambda columns, _: columns,
    "mean: 0.15 deviations in 5 features": lambda columns, _: _shifted(columns, 0.15, NUMERIC[4:9]),
    "variance: 1.2 deviations in 5 features": lambda columns, _: (
        columns | {name: 1.2 * columns[name] for name in NUMERIC[4:9]}
    ),
    "one feature of twenty: 0.2 deviations": lambda columns, _: _shifted(columns, 0.2, ("x4",)),
    "correlation of two features: 0 to 0.5, equal margins": _correlated,
    "category frequencies: a tenth becomes red": _recoloured,
    "missing: 5% of one feature": _missing,
}
"""Of a window, by name; a label shift and a gradual drift are made of other rows and of several windows."""
