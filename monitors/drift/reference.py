"""What a window is compared with: per feature a grid, the reference's counts on it, and how far calm windows stray.

One .npz file without pickles: arrays, and a JSON head with version, features and a checksum over the arrays.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from midwatch.errors import InvalidInputError
from midwatch.spec.model import Feature
from monitors.drift import chi2, ks, psi
from monitors.drift.counts import CategoryGrid, Counts, Grid, NumericGrid, numbers
from monitors.drift.result import Result

VERSION = 1


class Method(Protocol):
    """What a method's module offers: the least effect that counts, and a comparison of counts."""

    FLOOR: float

    def compare(self, reference: Counts, window: Counts) -> Result:
        """Compare a window with the reference; both hold at least one value."""
        ...


METHODS: dict[str, Method] = {"ks": ks, "psi": psi, "chi2": chi2}
FITS: dict[str, tuple[Feature, ...]] = {
    "ks": (Feature.NUMERIC,),
    "psi": (Feature.NUMERIC, Feature.CATEGORICAL),
    "chi2": (Feature.CATEGORICAL,),
}
"""Which kinds of feature a method can compare."""


@dataclass(frozen=True, kw_only=True)
class FeatureReference:
    """A feature of the reference. `calm` is the largest effect by method that a window of the reference itself has."""

    kind: Feature
    grid: Grid
    counts: Counts
    calm: Mapping[str, float]

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of raw values on this feature's grid."""
        return self.grid.count(numbers(values) if isinstance(self.grid, NumericGrid) else values)  # type: ignore[arg-type]

    def compare(self, method: str, window: Counts) -> Result:
        """Result of a method; the window must hold a value."""
        return METHODS[method].compare(self.counts, window)

    def floor(self, method: str) -> float:
        """Effect that a vote needs: the method's own floor, or what calm windows reach by chance and season."""
        return max(METHODS[method].FLOOR, self.calm.get(method, 0.0))


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Features of a reference by name; `window_rows` is the size of window it was calibrated for."""

    rows: int
    window_rows: int
    features: Mapping[str, FeatureReference]


def fit(columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, Feature], *, window_rows: int) -> Reference:
    """Reference of columns in time order.

    Calibration: the reference is cut into consecutive windows of `window_rows` rows, in time order because real
    streams are autocorrelated and shuffled windows would be too calm; each is compared with the whole.
    """
    rows = len(next(iter(columns.values())))
    features = {}
    for name, kind in sorted(kinds.items()):
        grid: Grid
        values: Any = columns[name]
        if kind is Feature.NUMERIC:
            values = numbers(values)
            grid = NumericGrid.fit(values)
        else:
            grid = CategoryGrid.fit(values)
        counts = grid.count(values)
        starts = range(0, rows - window_rows + 1, window_rows)
        windows = [grid.count(values[start : start + window_rows]) for start in starts]
        calm = {
            method: max(
                (METHODS[method].compare(counts, window).effect for window in windows if window.total), default=0.0
            )
            for method in METHODS
            if kind in FITS[method] and counts.total
        }
        features[name] = FeatureReference(kind=kind, grid=grid, counts=counts, calm=calm)
    return Reference(rows=rows, window_rows=window_rows, features=features)


def save(reference: Reference, path: Path) -> None:
    """Write a reference, atomically."""
    arrays: dict[str, Any] = {}
    head: dict[str, Any] = {"version": VERSION, "rows": reference.rows, "window_rows": reference.window_rows}
    head["features"] = {}
    for index, (name, feature) in enumerate(sorted(reference.features.items())):
        entry: dict[str, Any] = {
            "kind": feature.kind.value,
            "missing": feature.counts.missing,
            "calm": dict(feature.calm),
        }
        arrays[f"counts{index}"] = feature.counts.cells
        if isinstance(feature.grid, NumericGrid):
            arrays[f"edges{index}"] = feature.grid.edges
        else:
            entry["categories"] = list(feature.grid.categories)
        head["features"][name] = entry
    head["checksum"] = _checksum(head, arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, head=np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8), **arrays)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(buffer.getvalue())
    partial.replace(path)


def load(path: Path) -> Reference:
    """Read a reference; InvalidInputError when it is not one, of another version, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != "head"}
            head = json.loads(file["head"].tobytes())
    except OSError as error:
        raise InvalidInputError.at(
            path, error.strerror or str(error), remedy="midwatch drift fit writes one"
        ) from error
    except (ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidInputError.at(path, f"not a drift reference: {error}", remedy="fit it again") from error
    if head.get("version") != VERSION:
        message = f"a reference of version {head.get('version')}; this Midwatch reads {VERSION}"
        raise InvalidInputError.at(path, message, remedy="fit it again")
    if head.pop("checksum", None) != _checksum(head, arrays):
        raise InvalidInputError.at(path, "the checksum does not match: the file is damaged", remedy="fit it again")
    features = {}
    for index, (name, entry) in enumerate(sorted(head["features"].items())):
        kind = Feature(entry["kind"])
        grid: Grid = (
            NumericGrid(edges=arrays[f"edges{index}"])
            if kind is Feature.NUMERIC
            else CategoryGrid(categories=tuple(entry["categories"]))
        )
        counts = Counts(cells=arrays[f"counts{index}"], missing=entry["missing"])
        features[name] = FeatureReference(kind=kind, grid=grid, counts=counts, calm=entry["calm"])
    return Reference(rows=head["rows"], window_rows=head["window_rows"], features=features)


def ensure_schema(reference: Reference, kinds: Mapping[str, Feature], source: Path) -> None:
    """Raise InvalidInputError when features differ from the reference's, naming those that do."""
    fitted = {name: feature.kind for name, feature in reference.features.items()}
    wrong = [f"{name} ({kind.value})" for name, kind in sorted(kinds.items()) if fitted.get(name) is not kind]
    if wrong:
        remedy = f"it has {', '.join(f'{name} ({kind.value})' for name, kind in sorted(fitted.items()))}; fit it again"
        raise InvalidInputError.at(source, f"the reference lacks {', '.join(wrong)}", remedy=remedy)


def _checksum(head: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
