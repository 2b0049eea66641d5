"""What a window is compared with: per feature a grid, the reference's counts on it, and how far calm windows stray.

One .npz file without pickles: arrays, and a JSON head with version, features and a checksum over the arrays.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from midwatch import files
from midwatch.errors import InvalidInputError
from midwatch.spec.model import Feature
from monitors.drift import calibration, chi2, direction, joint, kinds, ks, psi
from monitors.drift.counts import COARSE, CategoryGrid, Counts, Grid, NumericGrid, numbers
from monitors.drift.embedding import Embedding
from monitors.drift.result import Result
from monitors.drift.source import Columns, Source

VERSION = 3

CALM_WINDOWS = 200
"""Windows of the reference that are looked at, evenly spread: more hardly move the largest of their effects."""


BY_CHANCE = 0.05
"""Probability that chance alone gives a reference without seasons a floor from its windows."""


class Method(Protocol):
    """What a method's module offers: the least effect that counts, and a comparison of counts."""

    FLOOR: float

    def compare(self, reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
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
    """A feature of the reference.

    `calm` is the largest effect by method, and by kind of drift, of the reference's own windows that differ from the
    whole by more than chance; `inflation` how many rows of the stream are worth one independent row.
    """

    kind: Feature
    grid: Grid
    counts: Counts
    calm: Mapping[str, float]
    inflation: float = 1.0

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of raw values on this feature's grid."""
        if isinstance(self.grid, CategoryGrid):
            return self.grid.count(values)
        numeric, wrong = numbers(values)
        counts = self.grid.count(numeric)
        return Counts(cells=counts.cells, missing=counts.missing - wrong, wrong_type=wrong)

    def compare(self, method: str, window: Counts) -> Result:
        """Result of a method; the window must hold a value."""
        return METHODS[method].compare(self.counts, window, self.inflation)

    def compare_kind(self, kind: str, window: Counts) -> Result:
        """Result of a kind of drift of its own."""
        return kinds.compare(kind, self.counts, window, self.inflation)

    def floor(self, method: str) -> float:
        """Effect that a vote needs: the method's own floor, or what the reference's own windows reach."""
        own = METHODS[method].FLOOR if method in METHODS else kinds.FLOOR
        return max(own, self.calm.get(method, 0.0))

    def direction(self, window: Counts) -> str:
        """Which way the window moved, in words."""
        if isinstance(self.grid, NumericGrid):
            return direction.of_numbers(self.counts, window)
        return direction.of_categories(self.grid.categories, self.counts, window)

    @cached_property
    def coarse(self) -> FeatureReference:
        """The same on at most COARSE edges, for windows that are kept open for long."""
        if not isinstance(self.grid, NumericGrid) or len(self.grid.edges) <= COARSE:
            return self
        ends = np.cumsum(self.counts.cells)
        ranks = np.linspace(1, self.counts.total, COARSE)
        chosen = np.unique(np.searchsorted(ends[1::2], ranks))  # the first edge with so many values up to it
        cells = np.append(np.stack([ends[2 * chosen], ends[2 * chosen + 1]], axis=1).ravel(), ends[-1])
        return replace(
            self,
            grid=NumericGrid(edges=self.grid.edges[chosen]),
            counts=replace(self.counts, cells=np.diff(cells, prepend=0)),
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Features of a reference by name; `window_rows` is the size of window it was calibrated for."""

    rows: int
    window_rows: int
    features: Mapping[str, FeatureReference]
    joint: joint.Joint


def count(reference: Reference, columns: Mapping[str, Any]) -> dict[str, Counts]:
    """Counts of a window's columns (as `fit` takes them) by feature, on as many threads as there are cores."""

    def one(name: str) -> Counts:
        return reference.features[name].grid.count(columns[name])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and Arrow let other threads run meanwhile
        return dict(zip(reference.features, pool.map(one, reference.features), strict=True))


def fit(columns: Mapping[str, Any], features: Mapping[str, Feature], *, window_rows: int) -> Reference:
    """Reference of columns in time order: float64 arrays of the numeric features, sequences of the others."""
    return fit_source(Columns({name: columns[name] for name in features}), features, window_rows=window_rows)


def fit_source(
    source: Source,
    features: Mapping[str, Feature],
    *,
    window_rows: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Reference:
    """Reference of a table in time order; `progress` is told each feature that is done.

    Calibration is in time order because real streams are autocorrelated and shuffled windows would be too calm.
    """
    fitted = {}
    for name, kind in sorted(features.items()):
        fitted[name] = _fit_feature(source, name, kind, window_rows)
        progress(name)
    worst = max(feature.inflation for feature in fitted.values())
    cells = {name: (fitted[name].grid, fitted[name].counts) for name in features}
    together = joint.fit(source, cells, inflation=worst, window_rows=window_rows)
    return Reference(rows=source.rows, window_rows=window_rows, features=fitted, joint=together)


def _fit_feature(source: Source, name: str, kind: Feature, window_rows: int) -> FeatureReference:
    grid = source.grid(name, kind)
    fitted = FeatureReference(kind=kind, grid=grid, counts=source.counts(name, grid), calm={})
    starts = psi.bin_starts(fitted.counts.cells)
    inflation = calibration.inflation(source.bins(name, grid, starts), len(starts), window_rows)
    fitted = replace(fitted, inflation=inflation)
    return replace(fitted, calm=_calm(fitted.coarse, source, name, window_rows))


def _calm(fitted: FeatureReference, source: Source, name: str, window_rows: int) -> dict[str, float]:
    """Largest effects of windows of the reference that differ from the whole by more than chance: its seasons."""
    last = source.rows - window_rows
    if last < 0 or not fitted.counts.total:
        return {}
    starts = np.unique(np.linspace(0, last, min(CALM_WINDOWS, last // window_rows + 1)).astype(int))
    windows = source.windows(name, fitted.grid, starts.tolist(), window_rows)
    looks: Mapping[str, Callable[[Counts], Result]] = {
        method: partial(fitted.compare, method) for method in METHODS if fitted.kind in FITS[method]
    } | {kind: partial(fitted.compare_kind, kind) for kind, (fits, _) in kinds.ODD.items() if fitted.kind in fits}
    level = BY_CHANCE / len(windows)
    calm = {}
    for look, compare in looks.items():
        results = [compare(window) for window in windows if window.total]
        calm[look] = max((result.effect for result in results if result.p_value < level), default=0.0)
    return calm


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
            "inflation": feature.inflation,
        }
        arrays[f"counts{index}"] = feature.counts.cells
        if isinstance(feature.grid, NumericGrid):
            arrays[f"edges{index}"] = feature.grid.edges
        else:
            entry["categories"] = list(feature.grid.categories)
        head["features"][name] = entry
    arrays["rows"] = reference.joint.rows
    head["joint"] = _joint_entry(reference.joint)
    head["checksum"] = _checksum(head, arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, head=np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8), **arrays)
    files.replace(path, buffer.getvalue())


def load(path: Path) -> Reference:
    """Read a reference; InvalidInputError when it is not one, of another version, or damaged."""
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("another kind of file")
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
        features[name] = FeatureReference(
            kind=kind, grid=grid, counts=counts, calm=entry["calm"], inflation=entry["inflation"]
        )
    together = joint.Joint(
        embedding=Embedding(
            numeric={name: (centre, scale) for name, (centre, scale) in head["joint"]["numeric"]},
            categorical=dict(head["joint"]["categorical"]),
        ),
        rows=arrays["rows"],
        inflation=head["joint"]["inflation"],
        calm=head["joint"]["calm"],
    )
    return Reference(rows=head["rows"], window_rows=head["window_rows"], features=features, joint=together)


def _joint_entry(together: joint.Joint) -> dict[str, Any]:
    """As lists, because the order of the features is that of the vectors' axes."""
    return {
        "numeric": [[name, list(pair)] for name, pair in together.embedding.numeric.items()],
        "categorical": [[name, list(known)] for name, known in together.embedding.categorical.items()],
        "inflation": together.inflation,
        "calm": dict(together.calm),
    }


def ensure_schema(reference: Reference, kinds: Mapping[str, Feature], source: Path, *, whole: bool = False) -> None:
    """Raise InvalidInputError when features differ from the reference's, naming those that do.

    They may be fewer, but not when `whole`: what was learnt of all features together says nothing of some.
    """
    fitted = {name: feature.kind for name, feature in reference.features.items()}
    unused = [name for name in sorted(fitted) if name not in kinds]
    if whole and unused:
        raise InvalidInputError.at(
            source,
            f"mmd, isolation_forest and classifier look at all its features, but not watched: {', '.join(unused)}",
            remedy="list them under drift.features, or fit a reference with --features",
        )
    wrong = [f"{name} ({kind.value})" for name, kind in sorted(kinds.items()) if fitted.get(name) is not kind]
    if wrong:
        remedy = f"it has {', '.join(f'{name} ({kind.value})' for name, kind in sorted(fitted.items()))}; fit it again"
        raise InvalidInputError.at(source, f"the reference lacks {', '.join(wrong)}", remedy=remedy)


def _checksum(head: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
