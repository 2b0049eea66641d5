"""Whether the evidence of each drill is what its sealed record says: its files by their digests, and its verdict.

The log itself is checked by `midwatch.evidence`. A verdict is recomputed from the ledgers, since the judge is pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

import midwatch
from dr.drill import judged, verdict
from dr.drill.ledger import LedgerError
from midwatch.errors import Problem

Document = dict[str, Any]

RESULT = "result.json"
FIGURES = ("verdict", "rto_seconds", "rto_exceeds", "rpo_seconds", "rpo_is_bound", "writes")
"""What of a verdict has to come out again."""


class _Phase(msgspec.Struct, frozen=True):
    name: str
    at: float | None
    seconds: float | None


class _Check(msgspec.Struct, frozen=True):
    name: str
    holds: bool | None
    detail: str = ""


class _Objectives(msgspec.Struct, frozen=True):
    rto: float
    rpo: float


class _Bound(msgspec.Struct, frozen=True):
    met_in_a_row: int
    breach_probability_at_most: float
    confidence: float


class _Result(msgspec.Struct, frozen=True):
    """What every result of a drill has to be, as far as reports read it; earlier releases had less."""

    run: str
    drill: str
    store: str
    verdict: verdict.Verdict
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    rto_seconds: float | None = None
    rto_exceeds: bool = False
    rpo_seconds: float | None = None
    rpo_is_bound: bool = False
    rpo_at_most_seconds: float | None = None
    resolution_seconds: float | None = None
    reasons: list[str] = []
    notes: list[str] = []
    phases: list[_Phase] = []
    checks: list[_Check] = []
    writes: dict[str, int] = {}
    digests: dict[str, str] = {}
    versions: dict[str, str] = {}
    what: str = ""
    configuration: str = ""
    started_at: str = ""
    platform: str = ""
    owner: str = ""
    duration_seconds: float = 0.0
    objectives: _Objectives | None = None
    bound: _Bound | None = None


def is_result(document: Document) -> bool:
    """Whether a record's document is the result of a drill, in its form."""
    try:
        msgspec.convert(document, _Result)
    except msgspec.ValidationError:
        return False
    return True


def check(runs: Path, results: Iterable[Document], kept: Iterable[str]) -> Iterator[Problem]:
    """Problems of every drill's folder below `runs`, by the documents that are sealed in the log.

    `kept` are the names of files that a folder may hold.
    """
    known = {str(result["run"]): result for result in results}
    for run, result in known.items():
        yield from _check_run(runs / Path(run).name, result, tuple(kept))
    for folder in sorted(path for path in runs.glob("*") if path.is_dir()):
        if folder.name not in known:
            yield _problem(folder, "no record of the log tells of this drill: cut off or replaced")


def recomputed(folder: Path) -> verdict.Result | None:
    """The result by the ledgers in a folder, None for a drill whose evidence is not judged by ledgers.

    LedgerError when they cannot be read.
    """
    if not (folder / judged.FILE).exists():
        return None
    return judged.Judged.load(folder).judge(folder)


def _check_run(folder: Path, result: Document, kept: tuple[str, ...]) -> Iterator[Problem]:
    if not folder.is_dir():
        yield _problem(folder, "the drill's folder is missing")
        return
    digests = result.get("digests") or {}
    found = [*_check_files(folder, digests, kept)]
    yield from found
    yield from _check_result(folder / RESULT, result)
    if not found and judged.FILE in digests:
        yield from _check_verdict(folder, result)


def _check_files(folder: Path, digests: Document, kept: tuple[str, ...]) -> Iterator[Problem]:
    for name, wanted in sorted(digests.items()):
        file = folder / Path(name).name
        try:
            if hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
                yield _problem(file, "not what the drill left: its digest is another")
        except FileNotFoundError:
            yield _problem(file, "missing, and the drill left it")
        except OSError as error:
            yield _problem(file, error.strerror or "cannot be read")
    for name in kept:
        if name not in digests and (folder / name).exists():
            yield _problem(folder / name, "the drill did not leave it")


def _check_result(file: Path, result: Document) -> Iterator[Problem]:
    """The result beside the ledgers has to say what the log says."""
    try:
        document = json.loads(file.read_bytes())
        place = document.pop("evidence")
        where = place["seq"], place["hash"]
        is_same = document == _sealed(result) and where == (result["seq"], result["hash"])
    except FileNotFoundError:
        yield _problem(file, "missing, and the drill left it")
    except OSError as error:
        yield _problem(file, error.strerror or "cannot be read")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield _problem(file, "not the result of a drill")
    else:
        if not is_same:
            yield _problem(file, "not what the log says of this drill")


def _sealed(result: Document) -> Document:
    """The sealed document itself, without its place in the log."""
    return {name: value for name, value in result.items() if name not in ("at", "seq", "hash")}


def _check_verdict(folder: Path, result: Document) -> Iterator[Problem]:
    try:
        again = recomputed(folder)
    except LedgerError as error:
        yield _problem(folder, f"its verdict cannot be recomputed: {error}")
        return
    if again is None:
        return
    document = verdict.document(again)
    other = [name for name in FIGURES if document[name] != result.get(name)]
    if other:
        by = result.get("versions", {}).get("midwatch")
        note = f" (by Midwatch {by}; this is {midwatch.__version__})" if by != midwatch.__version__ else ""
        said = ", ".join(f"{name} {result.get(name)}, and the ledgers say {document[name]}" for name in other)
        yield _problem(folder, f"the log says {said}{note}")


def _problem(path: Path, message: str) -> Problem:
    return Problem(file=str(path), message=message)
