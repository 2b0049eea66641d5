"""Translates a file of another tool into a rule file, whole or not at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alerts.imports import openslo, pyrra, sloth
from alerts.imports.reader import Reader
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import slo as slos
from midwatch.spec.document import read_documents
from midwatch.spec.slo import ServiceSlo


def translate(file: Path, owner: str, *, compatibility: str | None = None) -> dict[str, Any]:
    """Objectives of every document as one rule file; InvalidInputError with everything that has no translation."""
    if not file.is_file():
        raise InvalidInputError.at(file, "there is no such file")
    documents = read_documents(file)
    if not documents:
        raise InvalidInputError.at(file, "the file is empty")
    problems: list[Problem] = [problem for document in documents for problem in document.problems]
    readers = [Reader(document, (), problems) for document in documents]
    others = {(str(reader.take("kind")), _name(reader)): reader for reader in readers}
    objectives: list[dict[str, Any]] = []
    for reader in readers:
        made = _objectives(reader, others)
        for objective in made if not problems else ():
            problems += _problems(reader, objective)
        objectives += made
    if not objectives and not problems:
        problems.append(Problem(file=str(file), message="no objective in the file"))
    for name, number in Counter((one["service"], one["name"]) for one in objectives).items():
        if number > 1:
            message = f"{number} objectives of {name[0]} are named {name[1]}"
            problems.append(Problem(file=str(file), message=message, remedy="give each its own name"))
    if problems:
        raise InvalidInputError(problems)
    extra = {"compatibility": compatibility} if compatibility else {}
    return {"owner": owner, "objectives": [one | extra for one in objectives]}


def _name(reader: Reader) -> str:
    metadata = reader.take("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


def _objectives(reader: Reader, others: openslo.Others) -> list[dict[str, Any]]:
    version = str(reader.take("apiVersion") or reader.take("version") or "")
    if version in ("prometheus/v1", "sloth.slok.dev/v1"):
        return sloth.objectives(reader)
    if version in ("openslo/v1", "openslo/v1alpha"):
        return openslo.objectives(reader, others)
    if version.startswith("pyrra.dev/"):
        return pyrra.objectives(reader)
    reader.refuse((), f"{version or 'a document without a version'} is neither Sloth, OpenSLO v1 or v1alpha, nor Pyrra")
    return []


def _problems(reader: Reader, objective: dict[str, Any]) -> list[Problem]:
    """What Midwatch would refuse of a translation, at the place of what was translated."""
    before: list[Problem] = []
    beside = Reader(reader.document, reader.place, before)
    try:
        parsed = ServiceSlo.model_validate(objective)
    except ValidationError as error:
        for one in error.errors():
            where = ".".join(str(part) for part in one["loc"])
            beside.refuse((), f"objective {objective.get('name')}: {where}: {one['msg']}")
        return before
    for place, message, remedy in slos.problems_of(parsed, 15.0):
        beside.refuse((), f"objective {parsed.name}: {'.'.join(map(str, place))}: {message}; {remedy}")
    return before
