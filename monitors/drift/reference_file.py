"""A reference as a file: one .npz without pickles, of arrays and a JSON head.

The head has the version, the features, and a checksum over itself and the arrays.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from midwatch import files
from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import joint
from monitors.drift.calibration import Inflation, Inflations
from monitors.drift.counts import CategoryGrid, Counts, Grid, NumericGrid
from monitors.drift.embedding import Embedding
from monitors.drift.moments import CalmMeans
from monitors.drift.reference import FeatureReference, Reference
from monitors.drift.seasons import Cycle, Seasons

VERSION = 5


def save(reference: Reference, path: Path) -> None:
    """Write a reference, atomically."""
    arrays: dict[str, Any] = {}
    head: dict[str, Any] = {"version": VERSION, "rows": reference.rows, "window_rows": reference.window_rows}
    head["left_out"] = dict(reference.left_out)
    head["time"], head["window_seconds"] = reference.time, reference.window_seconds
    head["features"] = {}
    for index, (name, feature) in enumerate(sorted(reference.features.items())):
        entry: dict[str, Any] = {
            "kind": feature.kind.value,
            "missing": feature.counts.missing,
            "calm": dict(feature.calm),
            "unseen": feature.counts.unseen,
            "is_label": feature.is_label,
            "inflations": msgspec.to_builtins(feature.inflations),
        }
        arrays[f"counts{index}"] = feature.counts.cells
        entry["seasons"] = _season_entry(feature.seasons, arrays, index)
        if isinstance(feature.grid, NumericGrid):
            arrays[f"edges{index}"] = feature.grid.edges
        else:
            entry["categories"], entry["whole"] = list(feature.grid.categories), feature.grid.whole
        head["features"][name] = entry
    arrays["rows"] = reference.joint.rows
    arrays |= {f"means_{name}": calm.means for name, calm in reference.joint.means.items()}
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
            else CategoryGrid(categories=tuple(entry["categories"]), whole=entry["whole"])
        )
        counts = Counts(cells=arrays[f"counts{index}"], missing=entry["missing"], unseen=entry["unseen"])
        inflations = msgspec.convert(entry["inflations"], Inflations)
        features[name] = FeatureReference(
            kind=kind,
            grid=grid,
            counts=counts,
            calm=entry["calm"],
            inflations=inflations,
            seasons=_seasons(entry["seasons"], arrays, index),
            is_label=entry["is_label"],
        )
    together = joint.Joint(
        embedding=Embedding(
            numeric={name: (centre, scale) for name, (centre, scale) in head["joint"]["numeric"]},
            categorical=dict(head["joint"]["categorical"]),
        ),
        rows=arrays["rows"],
        inflation=msgspec.convert(head["joint"]["inflation"], Inflation),
        calm=head["joint"]["calm"],
        means={
            name: CalmMeans(means=arrays[f"means_{name}"], rows=rows) for name, rows in head["joint"]["means"].items()
        },
        window_rows=head["window_rows"],
    )
    return Reference(
        rows=head["rows"],
        window_rows=head["window_rows"],
        features=features,
        joint=together,
        left_out=head["left_out"],
        time=head["time"],
        window_seconds=head["window_seconds"],
    )


def _season_entry(found: Seasons | None, arrays: dict[str, Any], index: int) -> dict[str, Any] | None:
    if found is None:
        return None
    arrays[f"phases{index}"] = found.rows
    arrays[f"strayed{index}"] = np.array(list(found.strayed.values()))
    return {
        "methods": list(found.strayed),
        "inflations": msgspec.to_builtins(found.inflations),
        "calm": dict(found.calm),
        "freedom": found.freedom,
        "cycle": found.cycle.value,
    }


def _seasons(entry: dict[str, Any] | None, arrays: Mapping[str, Any], index: int) -> Seasons | None:
    if entry is None:
        return None
    return Seasons(
        rows=arrays[f"phases{index}"],
        inflations=msgspec.convert(entry["inflations"], Inflations),
        calm=entry["calm"],
        strayed=dict(zip(entry["methods"], arrays[f"strayed{index}"], strict=True)),
        freedom=entry["freedom"],
        cycle=Cycle(entry["cycle"]),
    )


def _joint_entry(together: joint.Joint) -> dict[str, Any]:
    """As lists, because the order of the features is that of the vectors' axes."""
    return {
        "numeric": [[name, list(pair)] for name, pair in together.embedding.numeric.items()],
        "categorical": [[name, list(known)] for name, known in together.embedding.categorical.items()],
        "inflation": msgspec.to_builtins(together.inflation),
        "calm": dict(together.calm),
        "means": {name: calm.rows for name, calm in together.means.items()},
    }


def _checksum(head: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
