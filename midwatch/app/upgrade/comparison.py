"""What another release says otherwise: keys of a platform file, and names of metrics in its texts and in others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from midwatch import releases
from midwatch.errors import Problem
from midwatch.releases import Release
from midwatch.spec.base import Place
from midwatch.spec.document import Document

TEXTS = frozenset({".yaml", ".yml", ".json", ".rules", ".md", ".py", ".tf", ".jsonnet", ".libsonnet", ".cue"})
"""Endings of files that may name metrics."""
MAX_BYTES = 16 * 2**20
"""Larger files are no rules and no dashboards."""

_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PARTS = ("_bucket", "_sum", "_count")


def unknown_keys(document: Document, release: Release) -> Iterator[Place]:
    """Places of keys of a platform file that a release does not have."""
    sections = [(_pattern(place), set(keys)) for place, keys in release.keys.items()]
    for place in _places(document.values):
        known = [keys for pattern, keys in sections if pattern.fullmatch(releases.written(place[:-1]))]
        if known and not any(place[-1] in keys for keys in known):
            yield place


def _pattern(place: str) -> re.Pattern[str]:
    return re.compile(re.escape(place).replace("NAME", r"[^\[\]]+?"))


def _places(values: Any, place: Place = ()) -> Iterator[Place]:
    """Places of every key of nested mappings and lists."""
    if isinstance(values, dict):
        for key, value in values.items():
            if isinstance(key, str):
                yield (*place, key)
                yield from _places(value, (*place, key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _places(value, (*place, index))


def replaced_in_document(document: Document, replaced: Mapping[str, str]) -> Iterator[Problem]:
    """Metrics that texts of a platform file and its rule files call by a name that they no longer have."""
    for place, text in _texts(document.values):
        for old, new in _named(text, replaced):
            yield document.problem(place, f"{old} is called {new} now", f"write {new}")


def _texts(values: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    if isinstance(values, str):
        yield place, values
    elif isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _texts(value, (*place, key))


def replaced_in_files(paths: list[Path], replaced: Mapping[str, str]) -> Iterator[Problem]:
    """The same in files, and in those below folders."""
    if not replaced:
        return
    for path in paths:
        for file in _texts_below(path):
            yield from _replaced_in_file(file, replaced)


def has_texts(path: Path) -> bool:
    """Whether a path is, or has below it, a file that may name metrics."""
    return any(True for _ in _texts_below(path))


def _texts_below(path: Path) -> Iterator[Path]:
    for file in sorted([path, *path.rglob("*")]):
        if file.suffix in TEXTS and file.is_file() and file.stat().st_size <= MAX_BYTES:
            yield file


def _replaced_in_file(file: Path, replaced: Mapping[str, str]) -> Iterator[Problem]:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        for old, new in _named(line, replaced):
            message = f"{old} is called {new} now"
            yield Problem(file=str(file), line=number, message=message, remedy=f"write {new}")


def _named(text: str, replaced: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Old and new name of each replaced metric in a text, once; a histogram's parts too."""
    for word in dict.fromkeys(_WORD.findall(text)):
        for part in ("", *_PARTS):
            old = word.removesuffix(part)
            if word.endswith(part) and old in replaced:
                yield word, replaced[old] + part
                break


def lost_metrics(here: Release, there: Release) -> list[str]:
    """Metrics that another release does not have, or has with other labels."""
    return sorted(name for name, labels in here.metrics.items() if there.metrics.get(name) != labels)
