"""References of the watched models: equal files are read once, and what is kept is what open windows are counted on."""

from __future__ import annotations

import hashlib
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporters.drift.rows import Schema
from midwatch.spec import drift as spec
from midwatch.spec.model import Platform
from monitors.drift import reference, reference_file
from monitors.drift.reference import Reference

_FILE_NAME = re.compile(r"\w[\w.+-]{0,127}")
"""A version that may stand in a file's name: it comes with events, and must not lead to another folder."""

_log = logging.getLogger(__name__)


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


class OfVersions:
    """References of versions that have one of their own: the file is there when the version's windows begin."""

    def __init__(self, platform: Platform, base: Path) -> None:
        self._references = References()
        self._drifts = {model.name: model.drift for model in platform.models if model.drift}
        self._base = base

    def __call__(self, model: str, version: str) -> Watched | None:
        """What a version is judged by, None where it is what its model is; InvalidInputError for a file of others."""
        drift = self._drifts[model]
        if drift.version_references is None or not _FILE_NAME.fullmatch(version):
            return None
        pattern = self._base / drift.version_references
        path = pattern.with_name(pattern.name.replace(spec.VERSION, version))
        return self._references.watched(drift, path) if path.exists() else None


class Unwatched:
    """Models of a platform file that nothing is judged by yet: at first all, then those without a usable reference."""

    def __init__(self, platform: Platform, base: Path) -> None:
        self._references = References()
        self._drifts = {model.name: model.drift for model in platform.models if model.drift}
        self._base = base
        self._said: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._drifts)

    def usable(self) -> dict[str, Watched]:
        """Models whose reference can be used now, and is watched from here on; why another's cannot is said once."""
        found = {}
        for name, drift in self._drifts.items():
            try:
                found[name] = self._references.watched(drift, self._base / drift.reference)
            except Exception as error:  # whatever is wrong with one model's file, the others have to be judged
                self._say(name, error)
        for name in found:
            del self._drifts[name]
        return found

    def _say(self, name: str, error: Exception) -> None:
        said = str(error) or repr(error)
        if self._said.get(name) != said:
            self._said[name] = said
            _log.error("drift of model %s is not judged until its reference can be used: %s", name, said)


class Replaced:
    """Watched models whose file is another than when it was last looked at, as after a fit or a new ConfigMap."""

    def __init__(self, platform: Platform, base: Path) -> None:
        self._files = {
            model.name: (model.drift, base / model.drift.reference) for model in platform.models if model.drift
        }
        self._seen = {name: _stamp(path) for name, (_, path) in self._files.items()}

    def usable(self) -> dict[str, Watched]:
        """What models with another file can be judged by; of one that cannot be used is said why, once."""
        found, read = {}, References()  # what was read for the files of before is not kept
        for name, (drift, path) in self._files.items():
            stamp = _stamp(path)
            if stamp == self._seen[name]:
                continue
            self._seen[name] = stamp
            try:
                found[name] = read.watched(drift, path)
            except Exception as error:  # whatever is wrong with one model's file, the others have to be judged
                _log.error("drift of model %s is judged by its reference of before: %s", name, error or repr(error))
        return found


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file, however it is replaced; empty where it is not there."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return ()


def _digest(path: Path) -> str:
    """Of a file's contents; empty where it cannot be read, which whoever reads it then says."""
    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""
