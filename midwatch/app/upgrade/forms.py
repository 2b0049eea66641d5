"""The kinds of files that a release has to read again: how each is written now, and whether one opens here.

Files are looked at where they lie, and nothing of them is changed: an exporter may be running.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exporters.events import journal, store
from midwatch import evidence
from midwatch.errors import InvalidInputError, MidwatchError
from monitors.canary import counts_file
from monitors.drift import reference_file


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file: how this release writes it, which paths are one, and the form of a path.

    `form_of` raises MidwatchError for a path that this release does not open. `lost` is what an earlier release that
    does not know the form cannot go on with.
    """

    name: str
    written: str
    is_one: Callable[[Path], bool]
    form_of: Callable[[Path], str]
    lost: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A path of a kind, and its form, or why it does not open."""

    kind: Kind
    path: Path
    form: str = ""
    problem: str = ""


def find(paths: list[Path]) -> Iterator[Found]:
    """Everything of a known kind at or below the paths; InvalidInputError for a path that is not there."""
    for path in paths:
        if not path.exists():
            raise InvalidInputError.at(path, "there is no such file or folder")
        for inner in sorted([path, *path.rglob("*")]):
            kind = next((kind for kind in KINDS if not inner.is_symlink() and kind.is_one(inner)), None)
            if kind is not None:
                yield _look(kind, inner)


def _look(kind: Kind, path: Path) -> Found:
    try:
        return Found(kind=kind, path=path, form=kind.form_of(path))
    except (MidwatchError, OSError) as error:
        return Found(kind=kind, path=path, problem=str(error).removeprefix(f"{path}: "))


# Kinds ---------------------------------------------------------------------------------------------------------------


def _is_state(path: Path) -> bool:
    return path.is_dir() and bool(journal.snapshots(path) or journal.segments(path))


def _is_reference(path: Path) -> bool:
    return path.suffix == ".npz" and path.is_file()


def _reference_form(path: Path) -> str:
    reference_file.load(path)
    return str(reference_file.VERSION)


def _is_evidence(path: Path) -> bool:
    """Whether a file is a log of evidence, or a log of lines that is damaged: nobody can tell whose that was."""
    if path.suffix != ".jsonl" or not path.is_file() or path.stat().st_size == 0:
        return False
    line = _first_line(path)
    return line is None or set(line) >= _RECORD


_RECORD = frozenset(evidence.Record.__annotations__)


def _first_line(path: Path) -> dict[str, object] | None:
    """The first line of a file: empty for JSON that is no object or longer than a record, None for what is no JSON."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    if len(line) == 1 << 20:
        return {}
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else {}


def _evidence_form(path: Path) -> str:
    line = _first_line(path)
    if line is None:
        raise MidwatchError("its first line is no JSON; restore it from a backup, or take it away if it is another log")
    return ",".join(sorted(line))


def _is_counts(path: Path) -> bool:
    if path.suffix != ".json" or not path.is_file() or path.stat().st_size > counts_file.MAX_BYTES:
        return False
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("format", "")).startswith(_COUNTS)


_COUNTS = counts_file.FORMAT.partition("/")[0]


def _counts_form(path: Path) -> str:
    counts_file.load(path)
    return counts_file.FORMAT


KINDS = (
    Kind(
        name="state of an exporter",
        written=store.MAGIC.decode().strip(),
        is_one=_is_state,
        form_of=store.form_of,
        lost="every counter, and what waits for its label: start it with an empty folder, or a backup of before",
    ),
    Kind(
        name="reference of drift",
        written=str(reference_file.VERSION),
        is_one=_is_reference,
        form_of=_reference_form,
        lost="the reference: fit it again with that release",
    ),
    Kind(
        name="log of evidence",
        written=",".join(sorted(_RECORD)),
        is_one=_is_evidence,
        form_of=_evidence_form,
        lost="its proof: move the log away, and keep it with this release",
    ),
    Kind(
        name="counts of a canary",
        written=counts_file.FORMAT,
        is_one=_is_counts,
        form_of=_counts_form,
        lost="its verdict: judge it with this release",
    ),
)
