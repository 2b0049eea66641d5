"""Charts as data: lines over time, or bars by category; with drawing, numbers as a table, and queries to take away.

A chart is drawn here as SVG, which needs no script and prints; with scripts, `charts.js` draws the lines again with
uPlot, so that a reader can point at a moment. Text stands outside the SVG and keeps its size at any width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from midwatch.html import numbers

WIDTH, HEIGHT = 1000.0, 200.0
"""Size of the drawing in its own units; a page stretches it."""
PALETTE = ("now", "before", "third", "fourth", "fifth", "sixth")
"""Colours of lines that mean nothing in particular, as variables of the style sheet."""

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line or row of bars; None or NaN leaves a gap.

    `kind` names its colour: now, before, baseline, canary, good, bad, unsure, or one of `PALETTE`.
    """

    name: str
    values: Values
    kind: str = ""
    is_dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Band:
    """An interval at each x, such as that of an estimate."""

    name: str
    low: Values
    high: Values
    kind: str = "now"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A value that stays, such as an objective."""

    name: str
    at: float
    kind: str = "bad"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment at which something happened, such as a deployment."""

    name: str
    at: float
    kind: str = "unsure"


@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a legend."""

    kind: str
    name: str
    last: str = ""


@dataclass(frozen=True, kw_only=True)
class Path:
    """A line or an area of a drawing, as the `d` of an SVG path."""

    kind: str
    d: str
    is_dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over x; x is unix seconds with `x_unit` time, else a number of that unit.

    `unit` is that of y, as `numbers.number` knows it. With `x_names` x counts from 0 and each has a name, such as a
    boundary of a histogram. `low` and `high` fix the axis; without them it holds every
    value, and zero unless `from_zero` is false.
    """

    title: str
    x: Sequence[float]
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    rules: Sequence[Rule] = ()
    marks: Sequence[Mark] = ()
    unit: str = ""
    x_unit: str = "time"
    x_names: Sequence[str] = ()
    note: str = ""
    queries: Sequence[str] = ()
    low: float | None = None
    high: float | None = None
    from_zero: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is no value to draw."""
        return not any(_known(value) for line in self.lines for value in line.values)

    def kind_of(self, index: int) -> str:
        """Colour of a line."""
        return self.lines[index].kind or PALETTE[index % len(PALETTE)]

    @property
    def limits(self) -> tuple[float, float]:
        """Bottom and top of the axis of y; nothing but zeros has an axis to 1, not one of a billionth."""
        told = [value for line in self.lines for value in line.values if _known(value)]
        told += [value for band in self.bands for side in (band.low, band.high) for value in side if _known(value)]
        told += [rule.at for rule in self.rules if math.isfinite(rule.at)]
        bottom, top = (min(told), max(told)) if told else (0.0, 0.0)
        if self.from_zero:
            bottom, top = min(bottom, 0.0), max(top, 0.0)
        if top - bottom < 1e-12 * max(abs(top), abs(bottom), 1e-6):
            bottom, top = (0.0, 1.0) if top == 0 else (min(0.0, 2 * top), max(0.0, 2 * top))
        room = (top - bottom) * 0.05
        low = bottom if self.from_zero and bottom == 0 else bottom - room
        high = min(top + room, 1.0) if self.unit == "ratio" and top <= 1 else top + room
        return (low if self.low is None else self.low, high if self.high is None else self.high)

    def height_of(self, value: float) -> float:
        """Where a value stands in the drawing, from its top."""
        low, high = self.limits
        return round(min(HEIGHT, max(0.0, HEIGHT - (value - low) / (high - low) * HEIGHT)), 1)

    def place_of(self, x: float) -> float:
        """Where an x stands in the drawing, from its left."""
        first, last = (self.x[0], self.x[-1]) if len(self.x) else (0.0, 0.0)
        return round((x - first) / (last - first) * WIDTH, 1) if last > first else 0.0

    @property
    def paths(self) -> list[Path]:
        """The lines, in their order."""
        return [
            Path(kind=self.kind_of(index), d=self._path(line.values), is_dashed=line.is_dashed)
            for index, line in enumerate(self.lines)
        ]

    @property
    def areas(self) -> list[Path]:
        """The bands."""
        return [Path(kind=band.kind, d=self._area(band)) for band in self.bands]

    def _path(self, values: Values) -> str:
        words, pen = [], "M"
        for at, value in zip(self.x, values, strict=True):
            if _known(value):
                words.append(f"{pen}{self.place_of(at)} {self.height_of(value)}")
                pen = "L"
            else:
                pen = "M"
        if len(words) == 1:  # a point alone would not be seen
            words.append(f"h{WIDTH if len(self.x) == 1 else 4}")
        return " ".join(words)

    def _area(self, band: Band) -> str:
        pieces: list[list[tuple[float, float, float]]] = [[]]
        for at, low, high in zip(self.x, band.low, band.high, strict=True):
            if _known(low) and _known(high):
                pieces[-1].append((self.place_of(at), self.height_of(low), self.height_of(high)))
            elif pieces[-1]:
                pieces.append([])
        return " ".join(_outline(piece) for piece in pieces if piece)

    @property
    def y_labels(self) -> list[str]:
        """Words of the axis of y, from the top."""
        low, high = self.limits
        return [numbers.number(value, self.unit) for value in (high, (low + high) / 2, low)]

    @property
    def x_labels(self) -> list[str]:
        """Words of the axis of x, from the left."""
        if not len(self.x):
            return []
        if 0 < len(self.x_names) < 3:
            return list(self.x_names)
        first, last = self.x[0], self.x[-1]
        return [self.x_text(first + (last - first) * share, last - first) for share in (0.0, 0.5, 1.0)]

    def x_text(self, at: float, within: float) -> str:
        """An x as it is said on the axis, or whole in a table (`within` 0)."""
        if self.x_names:
            return self.x_names[round(at)]
        if self.x_unit != "time":
            return numbers.number(at, self.x_unit)
        return numbers.clock(at, within) if within else numbers.moment(at)

    @property
    def legend(self) -> list[Key]:
        """What each colour means, with the newest value of each line."""
        lines = [
            Key(kind=self.kind_of(index), name=line.name, last=numbers.number(_last(line.values), self.unit))
            for index, line in enumerate(self.lines)
        ]
        rules = [Key(kind=rule.kind, name=rule.name, last=numbers.number(rule.at, self.unit)) for rule in self.rules]
        bands = [Key(kind=band.kind, name=band.name) for band in self.bands]
        return lines + bands + rules + [Key(kind=mark.kind, name=mark.name) for mark in self.marks]

    @property
    def summary(self) -> str:
        """The chart in one sentence, for who does not see it."""
        said = "; ".join(f"{key.name} {key.last}".strip() for key in self.legend if key.last)
        return f"{self.title}: {said or 'no data'}"

    @property
    def header(self) -> list[str]:
        """First row of the table of numbers."""
        bands = [f"{band.name}, {side}" for band in self.bands for side in ("low", "high")]
        return ["time (UTC)" if self.x_unit == "time" else self.x_unit, *(line.name for line in self.lines), *bands]

    @property
    def rows(self) -> list[list[str]]:
        """Rows of the table of numbers, newest first; a gap is a dash."""
        sides = [line.values for line in self.lines] + [side for band in self.bands for side in (band.low, band.high)]
        return [
            [
                self.x_text(at, 0),
                *(numbers.number(one[index], self.unit) if _known(one[index]) else "-" for one in sides),
            ]
            for index, at in reversed([*enumerate(self.x)])
        ]

    @property
    def data(self) -> dict[str, Any]:
        """What `charts.js` draws from; a gap is null."""
        low, high = self.limits
        return {
            "x": list(self.x),
            "time": self.x_unit == "time",
            "names": list(self.x_names),
            "unit": self.unit,
            "low": low,
            "high": high,
            "lines": [
                {
                    "name": line.name,
                    "kind": self.kind_of(index),
                    "dashed": line.is_dashed,
                    "values": [value if _known(value) else None for value in line.values],
                }
                for index, line in enumerate(self.lines)
            ],
            "bands": [
                {
                    "name": band.name,
                    "kind": band.kind,
                    "low": [value if _known(value) else None for value in band.low],
                    "high": [value if _known(value) else None for value in band.high],
                }
                for band in self.bands
            ],
            "rules": [{"name": rule.name, "kind": rule.kind, "at": rule.at} for rule in self.rules],
            "marks": [{"name": mark.name, "kind": mark.kind, "at": mark.at} for mark in self.marks],
        }


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a drawing, with the words that a pointer at it shows."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars of several series beside each other, a group for each name; such as two distributions."""

    title: str
    names: Sequence[str]
    series: Sequence[Line]
    unit: str = "ratio"
    note: str = ""
    queries: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is no value to draw."""
        return not any(_known(value) for line in self.series for value in line.values)

    @property
    def top(self) -> float:
        """Top of the axis."""
        return max((value for line in self.series for value in line.values if _known(value)), default=0.0) or 1.0

    @property
    def bars(self) -> list[Bar]:
        """The bars, from the left."""
        step = WIDTH / max(1, len(self.names))
        width = step * 0.84 / max(1, len(self.series))
        return [
            Bar(
                kind=self.kind_of(index),
                x=round(place * step + step * 0.08 + index * width, 1),
                y=round(HEIGHT - size, 1),
                width=round(width, 1),
                height=round(size, 1),
                words=f"{name}: {line.name} {numbers.number(value, self.unit)}",
            )
            for place, name in enumerate(self.names)
            for index, line in enumerate(self.series)
            if _known(value := line.values[place])
            for size in [max(0.0, value) / self.top * HEIGHT]
        ]

    def kind_of(self, index: int) -> str:
        """Colour of a series."""
        return self.series[index].kind or PALETTE[index % len(PALETTE)]

    @property
    def y_labels(self) -> list[str]:
        """Words of the axis of y, from the top."""
        return [numbers.number(self.top * share, self.unit) for share in (1.0, 0.5, 0.0)]

    @property
    def x_labels(self) -> list[str]:
        """First, middle and last name."""
        if len(self.names) < 4:
            return list(self.names)
        return [self.names[0], self.names[len(self.names) // 2], self.names[-1]]

    @property
    def legend(self) -> list[Key]:
        """What each colour means."""
        return [Key(kind=self.kind_of(index), name=line.name) for index, line in enumerate(self.series)]

    @property
    def summary(self) -> str:
        """The chart in one sentence, for who does not see it."""
        return f"{self.title}: {', '.join(line.name for line in self.series)} over {len(self.names)} groups"

    @property
    def header(self) -> list[str]:
        """First row of the table of numbers."""
        return ["group", *(line.name for line in self.series)]

    @property
    def rows(self) -> list[list[str]]:
        """Rows of the table of numbers; a gap is a dash."""
        return [
            [
                name,
                *(
                    numbers.number(line.values[place], self.unit) if _known(line.values[place]) else "-"
                    for line in self.series
                ),
            ]
            for place, name in enumerate(self.names)
        ]


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _last(values: Values) -> float | None:
    return next((value for value in reversed(values) if _known(value)), None)


def _outline(piece: Sequence[tuple[float, float, float]]) -> str:
    there = [f"{x} {high}" for x, _, high in piece]
    back = [f"{x} {low}" for x, low, _ in reversed(piece)]
    return "M" + " L".join([*there, *back]) + " Z"
