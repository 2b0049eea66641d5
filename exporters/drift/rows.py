"""Rows of predictions, packed until enough of one stream are there to be counted together, on a reference's cells.

Counting a feature costs about ten microseconds however few values there are, so rows of many streams that come mixed
are not counted as they come. The cells of all features of a stream lie one after the other in one array.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from midwatch.client.events import Prediction, Value
from midwatch.spec.drift import Feature
from monitors.drift import sample
from monitors.drift.counts import CategoryGrid, Counts, Integers, NumericGrid
from monitors.drift.embedding import Embedding
from monitors.drift.reference import FeatureReference
from monitors.drift.sample import Keys, Sample

Features = Mapping[str, Value | None]


class SavedRows(msgspec.Struct):
    """Packed rows as they are stored: how many, and the bytes of each array."""

    rows: int
    numbers: bytes
    places: bytes
    hashes: bytes
    wrong: list[int]


class PackedRows:
    """Values of numeric features and cells of the others, row by row; hashes of the ids where a sample is kept.

    `wrong` has, by numeric feature, how many values were of another type.
    """

    def __init__(self, numeric: int) -> None:
        self.rows = 0
        self.numbers = array("d")
        self.places = array("i")
        self.hashes = array("Q")
        self.wrong = [0] * numeric

    def saved(self) -> SavedRows:
        """Everything to keep."""
        return SavedRows(
            self.rows, self.numbers.tobytes(), self.places.tobytes(), self.hashes.tobytes(), list(self.wrong)
        )

    @classmethod
    def restored(cls, saved: SavedRows) -> PackedRows:
        """What was kept."""
        packed = cls(0)
        packed.rows, packed.wrong = saved.rows, list(saved.wrong)
        packed.numbers.frombytes(saved.numbers)
        packed.places.frombytes(saved.places)
        packed.hashes.frombytes(saved.hashes)
        return packed


@dataclass(frozen=True)
class Numbers:
    """A numeric column: NaN for what is missing or no number, and which rows have a value that is no number."""

    values: NDArray[np.float64]
    wrong: NDArray[np.bool_] | None = None

    def take(self, places: Integers) -> Numbers:
        """Some rows."""
        return Numbers(self.values[places], None if self.wrong is None else self.wrong[places])


class Tally:
    """Counts of all features: cells one after the other, and by feature the values that are missing or of a wrong type.

    `cells` are there from the first row that was counted.
    """

    def __init__(self, features: int) -> None:
        self.cells: Integers | None = None
        self.missing = [0] * features
        self.wrong = [0] * features

    def add(self, other: Tally) -> None:
        """Take another one's counts in."""
        if other.cells is not None:
            self.cells = other.cells.astype(np.int64) if self.cells is None else self.cells + other.cells
        self.missing = [ours + theirs for ours, theirs in zip(self.missing, other.missing, strict=True)]
        self.wrong = [ours + theirs for ours, theirs in zip(self.wrong, other.wrong, strict=True)]


class Schema:
    """Watched features of a model: how a row is packed, and which cells it is counted in. Its versions share it."""

    def __init__(self, features: Mapping[str, FeatureReference], embedding: Embedding | None = None) -> None:
        self.embedding = embedding
        grids = {name: feature.grid for name, feature in features.items()}
        self._numeric = {name: grid for name, grid in grids.items() if isinstance(grid, NumericGrid)}
        self._categorical = {name: grid for name, grid in grids.items() if isinstance(grid, CategoryGrid)}
        self._places = [(name, grid.place) for name, grid in self._categorical.items()]
        self._numbers = _getter(tuple(self._numeric))
        self._names = (*self._numeric, *self._categorical)
        sizes = [2 * len(grid.edges) + 1 for grid in self._numeric.values()]
        sizes += [len(grid.categories) + 1 for grid in self._categorical.values()]
        self._ends = np.cumsum([0, *sizes]).tolist()
        self._has_answers = not {"prediction", "score"}.isdisjoint(grids)

    @property
    def cells(self) -> int:
        """Cells of all features."""
        return int(self._ends[-1])

    def packed(self) -> PackedRows:
        """No row yet."""
        return PackedRows(len(self._numeric))

    def tally(self) -> Tally:
        """Nothing counted yet."""
        return Tally(len(self._names))

    def pack(self, events: Sequence[Prediction], packed: PackedRows) -> None:
        """Add the rows of predictions."""
        places, width = packed.places, len(self._numeric)
        for event in events:
            row = self._row(event)
            try:
                packed.numbers.extend(self._numbers(row))
            except (KeyError, TypeError):  # a value is missing, or none is a number
                del packed.numbers[packed.rows * width :]
                self._pack_one_by_one(row, packed)
            for name, place in self._places:
                places.append(place(row.get(name)))
            packed.rows += 1
        if self.embedding is not None:
            packed.hashes.extend(sample.hashes([event.id for event in events]))

    def pack_columns(self, columns: Mapping[str, Any], rows: int, keys: Keys, packed: PackedRows) -> None:
        """Add so many rows, of which each feature is a column: `Numbers` of a numeric one, categories of another.

        Categories are an Arrow array or a sequence. A feature without a column is missing in all rows. `keys`
        are the hashes of the rows' ids, where a sample is kept.
        """
        numbers = np.full((rows, len(self._numeric)), np.nan)
        for place, name in enumerate(self._numeric):
            if name in columns:
                column = columns[name]
                numbers[:, place] = column.values
                packed.wrong[place] += 0 if column.wrong is None else int(column.wrong.sum())
        places = np.full((rows, len(self._categorical)), -1, np.int32)
        for place, (name, grid) in enumerate(self._categorical.items()):
            if name in columns:
                places[:, place] = grid.places(columns[name])
        packed.numbers.frombytes(numbers.tobytes())
        packed.places.frombytes(places.tobytes())
        packed.rows += rows
        if self.embedding is not None:
            packed.hashes.frombytes(keys.tobytes())

    @property
    def kinds(self) -> dict[str, Feature]:
        """The watched features, numeric ones first."""
        numeric = dict.fromkeys(self._numeric, Feature.NUMERIC)
        return numeric | dict.fromkeys(self._categorical, Feature.CATEGORICAL)

    def _row(self, event: Prediction) -> Features:
        """The features; and the prediction and its score by those names, where no feature has them."""
        if not self._has_answers:
            return event.features
        return {"prediction": event.prediction, "score": event.score} | event.features

    def _pack_one_by_one(self, row: Features, packed: PackedRows) -> None:
        for place, name in enumerate(self._numeric):
            value = row.get(name)
            is_number = isinstance(value, float | int)
            packed.numbers.append(value if is_number else math.nan)  # type: ignore[arg-type]
            packed.wrong[place] += not is_number and value is not None

    def count(self, packed: PackedRows, tally: Tally, dtype: type[np.integer[Any]] = np.int64) -> None:
        """Count rows; cells that were not there yet are of this type."""
        if not packed.rows:
            return
        if tally.cells is None:
            tally.cells = np.zeros(self.cells, dtype)
        for place, counts in enumerate(self._counts(packed)):
            tally.cells[self._ends[place] : self._ends[place + 1]] += counts.cells.astype(tally.cells.dtype)
            wrong = packed.wrong[place] if place < len(packed.wrong) else 0
            tally.missing[place] += counts.missing - wrong
            tally.wrong[place] += wrong

    def _counts(self, packed: PackedRows) -> list[Counts]:
        numbers, places = self._tables(packed)
        found = [grid.count(numbers[:, place]) for place, grid in enumerate(self._numeric.values())]
        for place, grid in enumerate(self._categorical.values()):
            held = np.bincount(places[:, place] + 1, minlength=len(grid.categories) + 2)
            found.append(Counts(cells=held[1:], missing=int(held[0])))
        return found

    def _tables(self, packed: PackedRows) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        numbers = np.frombuffer(packed.numbers, np.float64) if packed.numbers else np.zeros(0)
        places = np.frombuffer(packed.places, np.int32) if packed.places else np.zeros(0, np.int32)
        return numbers.reshape(packed.rows, len(self._numeric)), places.reshape(packed.rows, len(self._categorical))

    def sampled(self, packed: PackedRows, held: Sample | None) -> Sample | None:
        """A sample with the rows taken in, where one is kept."""
        if self.embedding is None:
            return None
        held = held or Sample.empty(self.embedding.width)
        numbers, places = self._tables(packed)

        def columns(chosen: Sequence[int]) -> dict[str, Any]:
            found: dict[str, Any] = {name: numbers[chosen, place] for place, name in enumerate(self._numeric)}
            for place, (name, grid) in enumerate(self._categorical.items()):
                known = (*grid.categories, None, None)  # of another category, and missing: neither has an axis
                found[name] = [known[cell] for cell in places[chosen, place].tolist()]
            return found

        return held.taking(np.frombuffer(packed.hashes, np.uint64), self.embedding, columns)

    def by_feature(self, tally: Tally) -> dict[str, Counts]:
        """Counts of each feature."""
        cells = np.zeros(self.cells, np.int64) if tally.cells is None else tally.cells
        return {
            name: Counts(
                cells=cells[self._ends[place] : self._ends[place + 1]],
                missing=tally.missing[place],
                wrong_type=tally.wrong[place],
            )
            for place, name in enumerate(self._names)
        }

    def from_features(self, counts: Mapping[str, tuple[list[int], int, int]]) -> Tally | None:
        """The inverse, of cells, missing and wrong values by feature; None where the cells are not these."""
        sizes = {name: self._ends[place + 1] - self._ends[place] for place, name in enumerate(self._names)}
        if {name: len(cells) for name, (cells, _, _) in counts.items()} != sizes:
            return None
        tally = self.tally()
        tally.cells = np.concatenate([np.array(counts[name][0], np.int64) for name in self._names])
        tally.missing = [counts[name][1] for name in self._names]
        tally.wrong = [counts[name][2] for name in self._names]
        return tally


def _getter(names: tuple[str, ...]) -> Callable[[Features], tuple[Any, ...]]:
    """Values of a row by these names; KeyError where one is missing."""
    if len(names) < 2:
        return lambda row: tuple(row[name] for name in names)
    return itemgetter(*names)
