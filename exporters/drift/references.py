"""References of the watched models: equal files are read once, and what is kept is what open windows are counted on."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporters.drift.rows import Schema
from midwatch.spec import drift as spec
from monitors.drift import reference, reference_file
from monitors.drift.reference import Reference


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the windows of a model are counted by and compared with; `identity` says which cells a stream has."""

    drift: spec.Drift
    reference: Reference
    schema: Schema
    identity: str


class References:
    """By the contents of their files."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, bool], Reference] = {}
        self._schemas: dict[str, Schema] = {}

    def watched(self, drift: spec.Drift, path: Path) -> Watched:
        """What a model is judged by; InvalidInputError when its file is no reference of these features."""
        key = _digest(path), drift.looks_at_rows
        found = self._read.get(key) or reference_file.load(path).coarse(with_rows=drift.looks_at_rows)
        reference.ensure_schema(found, drift.features, path, whole=drift.looks_at_rows)
        self._read[key] = found
        identity = hashlib.sha256(repr((*key, sorted(drift.features))).encode()).hexdigest()
        if identity not in self._schemas:
            embedding = found.joint.embedding if drift.looks_at_rows else None
            self._schemas[identity] = Schema({name: found.features[name] for name in drift.features}, embedding)
        return Watched(drift=drift, reference=found, schema=self._schemas[identity], identity=identity)


def _digest(path: Path) -> str:
    """Of a file's contents; empty where it cannot be read, which whoever reads it then says."""
    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""
