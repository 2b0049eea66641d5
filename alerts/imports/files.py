"""Translates a file of another tool into a rule file, whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from alerts import verbatim
from alerts.imports import openslo, prometheus, pyrra, sloth
from alerts.imports.reader import Log, Reader
from midwatch import yamlfile
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import alerting
from midwatch.spec import slo as slos
from midwatch.spec.rules import AlertRule, RecordRule
from midwatch.spec.slo import ServiceSlo

MODELS: dict[str, type[BaseModel]] = {"alerts": AlertRule, "records": RecordRule, "objectives": ServiceSlo}
"""Lists of a rule file, and what their entries are."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A rule file; `comments` are the lines above an entry of one of its lists.

    `dropped` is what was left out because that was wanted, `notes` what is called otherwise than it was.
    """

    document: dict[str, Any]
    comments: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    dropped: Sequence[Problem] = ()
    notes: Sequence[Problem] = ()

    def text(self) -> str:
        """The rule file, with the comments where they stood."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        key, index = "", 0
        for line in yamlfile.dump(self.document).splitlines():
            if line.startswith("- "):
                yield from self.comments.get((key, index), ())
                index += 1
            elif not line.startswith(" "):
                key, index = line.partition(":")[0], 0
            yield line


def translate(
    file: Path, owner: str, *, compatibility: str | None = None, runbook: str | None = None, lossy: bool = False
) -> Imported:
    """Every document as one rule file; InvalidInputError with everything that has no translation.

    With `lossy`, what can be left out is, and is listed.
    """
    documents = verbatim.read(file)
    if not documents:
        raise InvalidInputError.at(file, "the file is empty")
    unreadable = [problem for document in documents for problem in document.problems]
    log = Log(is_lossy=lossy, keeps_names=compatibility is not None, problems=unreadable)
    lists: dict[str, list[tuple[Reader, dict[str, Any]]]] = {key: [] for key in MODELS}
    defaults = prometheus.Defaults(owner=owner, runbook=runbook)
    for key, reader, entry in _entries([Reader(document, (), log) for document in documents], defaults):
        extra = {"compatibility": compatibility} if compatibility and key == "objectives" else {}
        lists[key].append((reader, entry | extra))
    if not log.problems:
        for key, entries in lists.items():
            for reader, entry in entries:
                _check(reader, key, entry)
    if not any(lists.values()) and not log.problems:
        log.problems.append(Problem(file=str(file), message="no objective and no rule in the file"))
    log.problems += _twice(file, [entry for _, entry in lists["objectives"]])
    if log.problems:
        raise InvalidInputError(log.problems)
    places = {(key, index): reader for key, entries in lists.items() for index, (reader, _) in enumerate(entries)}
    comments = _comments_of(file.read_text(encoding="utf-8-sig"), places)
    document = {key: [entry for _, entry in entries] for key, entries in lists.items() if entries}
    return Imported(
        document={"owner": owner, **document}, comments=comments, dropped=tuple(log.dropped), notes=tuple(log.notes)
    )


def _entries(readers: Sequence[Reader], defaults: prometheus.Defaults) -> Iterator[tuple[str, Reader, dict[str, Any]]]:
    """Every entry of a rule file that the documents make: its list, where it stands, and what it says."""
    others = {(str(reader.take("kind")), _name(reader)): reader for reader in readers}
    for reader in readers:
        version = str(reader.take("apiVersion") or reader.take("version") or "")
        if reader.take("groups") is not None or reader.take("kind") == "PrometheusRule":
            yield from prometheus.rules(reader, defaults)
            continue
        if version in ("prometheus/v1", "sloth.slok.dev/v1"):
            made = sloth.objectives(reader, defaults.owner)
        elif version in ("openslo/v1", "openslo/v1alpha"):
            made = [(reader, slo) for slo in openslo.objectives(reader, others, defaults.owner)]
        elif version.startswith("pyrra.dev/"):
            made = [(reader, slo) for slo in pyrra.objectives(reader, defaults.owner)]
        else:
            what = version or "a document without a version"
            tools = "Sloth, OpenSLO v1 or v1alpha, Pyrra, nor a rule file of Prometheus"
            reader.refuse((), f"{what} is neither {tools}")
            continue
        yield from (("objectives", where, entry) for where, entry in made)


def _name(reader: Reader) -> str:
    metadata = reader.take("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


def _check(reader: Reader, key: str, entry: dict[str, Any]) -> None:
    """Refuse what Midwatch would refuse of a translation, at the place of what was translated."""
    name = entry.get("name") or entry.get("alert") or entry.get("record")
    what = f"{key.removesuffix('s')} {name}"
    try:
        parsed = MODELS[key].model_validate(entry)
    except ValidationError as error:
        for one in (one for one in error.errors() if one["type"] != "literal_error"):
            where = ".".join(str(part) for part in one["loc"] if "[" not in str(part))
            reader.refuse((), f"cannot be translated: {what}: {where}: {one['msg'].removeprefix('Value error, ')}")
        return
    if isinstance(parsed, ServiceSlo):
        for place, message, remedy in slos.problems_of(parsed, 15.0):
            reader.refuse((), f"cannot be translated: {what}: {'.'.join(map(str, place))}: {message}; {remedy}")
        for place, message in _not_promql(parsed):
            reader.refuse((), f"cannot be translated: {what}: {'.'.join(place)}: {message}")


def _not_promql(slo: ServiceSlo) -> Iterator[tuple[tuple[str, ...], str]]:
    """Expressions that Prometheus cannot evaluate, such as those of MetricsQL."""
    for place, text in alerting.expressions_of(slo):
        if said := alerting.syntax_problem(text):
            yield tuple(map(str, place)), said


def _twice(file: Path, objectives: Sequence[dict[str, Any]]) -> Iterator[Problem]:
    for name, number in Counter((one["service"], one["name"]) for one in objectives).items():
        if number > 1:
            message = f"{number} objectives of {name[0]} are named {name[1]}"
            yield Problem(file=str(file), message=message, remedy="give each its own name")


def _comments_of(text: str, places: Mapping[tuple[str, int], Reader]) -> dict[tuple[str, int], list[str]]:
    """Every comment of a file, by the entry that it is above of or inside of; what is after the last is the last's."""
    spans = sorted((*_lines_of(reader), entry) for entry, reader in places.items())
    comments: dict[tuple[str, int], list[str]] = {}
    for line, comment in verbatim.comments(text):
        entry = next((entry for _, last, entry in spans if line <= last), spans[-1][2])
        comments.setdefault(entry, []).append(comment)
    return comments


def _lines_of(reader: Reader) -> tuple[int, int]:
    """First and last line that have something of a mapping."""
    depth = len(reader.place)
    lines = [mark[1] for place, mark in reader.document.marks.items() if place[:depth] == reader.place]
    return min(lines), max(lines)
