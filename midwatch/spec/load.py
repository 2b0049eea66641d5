"""Reading platform files: every problem at once, each with file, line, path and what to do."""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from midwatch import platform_files, releases
from midwatch.errors import InvalidInputError, Problem
from midwatch.platform_files import base_folder as base_folder  # noqa: PLC0414 - known under this module too
from midwatch.spec import (
    alerting,
    canary,
    chaos,
    dr,
    explainer,
    fairness,
    kubernetes,
    loop,
    merging,
    partial,
    promotion,
    publishers,
    regions,
    system_rules,
    teams,
    values,
)
from midwatch.spec.base import TOPIC_PATTERN, Finding, Place
from midwatch.spec.document import Document, Team, ensure_mapping, read_file, text_of
from midwatch.spec.fairness import BY_ERROR
from midwatch.spec.model import Model, Platform
from midwatch.spec.partial import is_inside, real_place
from midwatch.spec.systems import SystemRules, place_of
from midwatch.spec.values import format_duration


def load_platform(path: Path) -> Platform:
    """Read a platform file, a folder of them merged by kind (lists are joined, maps united), or overlays over these.

    Raises InvalidInputError with every problem of form, of values, and of names that lead nowhere.
    """
    return load_with_places(path)[0]


def load_with_places(path: Path) -> tuple[Platform, Document]:
    """As `load_platform`, with the document that says where everything stands.

    Raises InvalidInputError with every problem of form, of values, and of names that lead nowhere.
    """
    reading = read(path)
    if reading.problems or reading.platform is None:
        raise InvalidInputError(reading.problems)
    return reading.platform, reading.document


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A platform file with its problems; `platform` is what is sound of it, None when that is too little.

    `removed` are texts of the file that the platform may be without.
    """

    document: Document
    platform: Platform | None
    problems: list[Problem]
    removed: frozenset[str] = frozenset()


def read(path: Path) -> Reading:
    """A platform file as far as it can be read; InvalidInputError only when there is no such file."""
    document = _read(path)
    _add_rule_files(document, base_folder(path))
    for section in ("prometheus", "alertmanager"):
        _read_base(document, base_folder(path), section)
    document.problems += teams.problems_of(document)
    try:
        platform = system_rules.expanded(Platform.model_validate(document.values))
    except ValidationError as error:
        return _partly(document, error.errors(include_url=False))
    findings = _findings(platform) if document.is_whole else ()
    problems = [*document.problems, *_as_problems(document, findings)]
    return Reading(document=document, platform=regions.placed(platform), problems=problems)


def _partly(document: Document, errors: list[ErrorDetails]) -> Reading:
    """Problems of form and of values, and in what is left without those, names that lead nowhere."""
    places = {problem.path for problem in document.problems}
    problems = [*document.problems, *(one for one in _translated(document, errors) if one.path not in places)]
    if not document.is_whole:
        # What is missing may be in the file that could not be read.
        problems = [one for one in problems if one.message != "missing" or "." in one.path]
        return Reading(document=document, platform=None, problems=problems)
    sound = partial.of(document.values)
    if sound is None:
        return Reading(document=document, platform=None, problems=problems)
    platform = system_rules.expanded(sound.platform)
    problems += _as_problems(document, sound.sound(_findings(platform)))
    return Reading(document=document, platform=platform, problems=problems, removed=sound.texts)


# Files --------------------------------------------------------------------------------------------------


def _read(path: Path) -> Document:
    """Everything that a path stands for, as one document: overlays are laid over the first, in their order."""
    folder = platform_files.base_folder(path)
    return functools.reduce(merging.lay_over, [_side_by_side(one, folder) for one in platform_files.layers(path)])


def _side_by_side(layer: Path, folder: Path) -> Document:
    """A file, or those of a folder merged, without what else is there."""
    files = platform_files.files_of(layer)
    merged, read, unread = Document(), dict[Path, Document](), dict[Path, InvalidInputError]()
    for file in files:
        try:
            read[file] = read_file(file, environment=os.environ)
        except InvalidInputError as error:
            unread[file] = error
    others = _other_files(read, folder) if layer.is_dir() else set()
    for file, document in read.items():
        if file.resolve() not in others:
            _take_team(document, file)
            merging.add(merged, document)
    for file, unreadable in unread.items():
        if file.resolve() not in others:
            merged.problems += unreadable.problems
            merged.is_whole = False
    merged.marks.setdefault((), (str(files[0]), 1))
    return merged


def _other_files(read: Mapping[Path, Document], folder: Path) -> set[Path]:
    """Files of a folder that are no part of the platform file: rule files that it names, objects for a cluster."""
    rule_files = {found.resolve() for document in read.values() for found in _rule_files(document.values, folder)}
    objects = {file.resolve() for file, document in read.items() if _is_object(document.values)}
    return rule_files | objects


def _is_object(values: dict[str, Any]) -> bool:
    return "kind" in values and not str(values.get("apiVersion", "midwatch/")).startswith("midwatch/")


def _rule_files(values: dict[str, Any], folder: Path) -> Iterator[Path]:
    patterns = values.get("rule_files")
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str):
            yield from _matching(folder, pattern)


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files that a pattern of rule files names."""
    return [Path(pattern)] if Path(pattern).is_absolute() else sorted(folder.glob(pattern))


def _take_team(document: Document, file: Path) -> None:
    """Note whose file it is: the key is of each file by itself, and not of the whole."""
    if isinstance(document.values.get("team"), str):
        name, line = document.values.pop("team"), document.at(("team",))[1]
        document.teams[str(file)] = Team(name=name, line=line)


def _add_rule_files(document: Document, folder: Path) -> None:
    """Put the rule files that `rule_files` names into `rules`, with their places."""
    patterns = document.values.get("rule_files")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return  # what is wrong with it is said with everything else
    rules = document.values.setdefault("rules", [])
    if not isinstance(rules, list):
        return
    for index, pattern in enumerate(patterns):
        found = _matching(folder, pattern)
        if not found:
            place: Place = ("rule_files", index)
            document.problems.append(document.problem(place, f"no file matches {pattern!r}", "remove it, or add one"))
        for file in found:
            try:
                read = read_file(file)
            except InvalidInputError as error:
                document.problems += error.problems
                continue
            document.problems += read.problems
            if team := document.teams.get(document.at(("rule_files", index))[0]):
                document.teams[str(file)] = team
            place = ("rules", len(rules))
            document.marks |= {(*place, *inner): mark for inner, mark in read.marks.items()}
            rules.append({"name": re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-"), **read.values})


def _read_base(document: Document, folder: Path, name: str) -> None:
    """Put the text of the existing configuration that the `base` of a section names in its place."""
    section = document.values.get(name)
    written = section.get("base") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(written, str):
        return
    file = Path(str(document.at((name, "base"))[0])) if "\n" in written else folder / written
    try:
        section["base"] = text = written if "\n" in written else text_of(file) + "\n"
        ensure_mapping(file, text)
    except InvalidInputError as error:
        document.problems += [document.problem((name, "base"), str(problem)) for problem in error.problems]
        section.pop("base")


# What pydantic says, in plain words ----------------------------------------------------------------------------------


def _translated(document: Document, errors: list[ErrorDetails]) -> list[Problem]:
    problems: dict[Place, Problem] = {}
    for error in errors:
        place = real_place(document.values, error["loc"])
        if place not in problems:
            problems[place] = _plain(document, place, error)
    # A problem deeper inside says more than that the whole did not fit one of several shapes.
    return [problem for place, problem in problems.items() if not any(is_inside(other, place) for other in problems)]


def _plain(document: Document, place: Place, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    value = error.get("input")
    if kind == "extra_forbidden":
        return document.problem(
            place, "unknown key", releases.replaced_keys().get(releases.written(place)) or _suggestion(place)
        )
    if kind == "missing":
        return document.problem(place, "missing", f"add {place[-1]}")
    if kind.startswith("union_tag"):
        return _plain_tag(document, place, context)
    if value is None or kind == "too_short" or (kind == "string_too_short" and not value):
        return document.problem(place, "no value" if value is None else "empty", _to_write(kind, context))
    if kind in ("enum", "literal_error"):
        wanted = str(context["expected"]).replace("'", "")
        close = difflib.get_close_matches(str(value), wanted.replace(" or ", ", ").split(", "), 1)
        message = f"{_shown(value)} is not one of {wanted}"
        return document.problem(place, message, f"did you mean {close[0]}?" if close else "")
    return document.problem(place, _message(error))


def _message(error: ErrorDetails) -> str:
    """What is wrong with a value, in words where we have them."""
    kind, context, value = error["type"], error.get("ctx", {}), _shown(error.get("input"))
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"{value} is not {_PATTERNS.get(context['pattern'], 'of the form ' + context['pattern'])}"
    if kind == "string_too_short":
        return f"{value} has fewer than {context['min_length']} characters; write more"
    if kind in _WANTED:
        return f"{value} is not {_WANTED[kind]}"
    if kind in _LIMITS:
        return f"{value} is not {_LIMITS[kind].format(**context)}"
    return error["msg"][0].lower() + error["msg"][1:]


def _to_write(kind: str, context: dict[str, Any]) -> str:
    """What to write where nothing stands."""
    if kind in ("enum", "literal_error"):
        return f"write one of {str(context['expected']).replace(chr(39), '')}"
    if kind == "too_short":
        return f"write at least {context['min_length']}"
    if kind == "value_error":
        return str(context["error"]).partition("; ")[2] or "write one"
    return f"write {_WANTED.get(kind, 'one').partition(';')[0]}"


def _plain_tag(document: Document, place: Place, context: dict[str, Any]) -> Problem:
    """A section of several shapes, whose key says which, without that key or with a wrong one."""
    key = context["discriminator"].strip("'")
    if "tag" not in context:
        return document.problem((*place, key), "missing", f"add {key}")
    tags = context["expected_tags"].replace("'", "")
    if context["tag"] == "None":
        return document.problem((*place, key), "no value", f"write one of {tags}")
    close = difflib.get_close_matches(context["tag"], tags.split(", "), 1)
    remedy = f"did you mean {close[0]}?" if close else f"one of {tags}"
    return document.problem((*place, key), f"there is no {key} {context['tag']!r}", remedy)


_WANTED = {
    "string_type": "text; put it in quotes",
    "string_too_short": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "on or off",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "path_type": "the path of a file",
}
_LIMITS = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "string_too_long": "of at most {max_length} characters",
    "too_long": "of at most {max_length}",
}
_PATTERNS = {
    "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$": "a name; write small letters, digits and -, such as fraud-model",
    "^[a-zA-Z_][a-zA-Z0-9_]*$": "a label's name; write letters, digits and _, such as pay_method",
    r"^https?://[^\s]*[^\s/]$": "an address; write it with http:// or https:// and without / at its end",
    r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})?$": 'a series; write a metric and its matchers, such as x_total{a="b"}',
    "^[a-zA-Z_:][a-zA-Z0-9_:]*$": "a metric's name; write letters, digits, _ and :, such as x:errors:rate5m",
    "^[A-Za-z][A-Za-z0-9_]*$": "an alert's name; write letters, digits and _, such as CheckoutSlow",
    r"^-?[1-9]\d?(:-?[1-9]\d?)?$": "a day of the month, or a range of them; write 1, -1 or 1:7",
    "^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$": "a label of Kubernetes, such as release",
    r"^/[^?#\s]*$": "a path; write one that begins with /, without ? and #, such as /metrics",
    r"^\d{4}(:\d{4})?$": "a year, or a range of them; write 2027 or 2027:2030",
    r"^[^:\s]+$": "a user's name; write it without : and spaces",
    r"^[1-9]\d* windows?$": "a number of windows, such as 3 windows",
    r"^[^{}$]*\{version\}([^\w{}$][^{}$]*)?$": "what servers call a version; write {version} in it, as v{version}",
    r"^\d+ per \d+(ms|s|m|h|d|w)$": "a rate, such as 1 per 90d",
    r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$": "a quantity of Kubernetes, such as 500m or 10Gi",
    r"^(/[A-Za-z0-9._-]+)+$": "a folder in a container; write it from / on, such as /run/secrets/pager",
    r"^https?://": "an address; write it with http:// or https://",
    r"^[1-9][0-9]*[mg]$": "an amount of memory as Java has it, such as 512m or 2g",
    r"^[a-z][a-z0-9+.-]*://\S+$": "the address of a store; write its scheme, as s3a://bucket/stream",
    TOPIC_PATTERN: "a topic of Kafka; write at most 249 letters, digits, ., _ and -, such as predictions",
    values.NAMESPACED_NAME_PATTERN: "a namespace and a name; write NAMESPACE/NAME, such as training/train",
    canary.FIELD_PATTERN: "a field of a Rollout, such as metadata.annotations['stable'] or spec.template.metadata.name",
}
"""What the patterns of texts stand for, in words."""


def _shown(value: Any) -> str:
    """A value as the file has it; what is long is cut."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _suggestion(place: Place) -> str:
    names = sorted(_keys_at(place[:-1]))
    close = difflib.get_close_matches(str(place[-1]), names, 1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}" if names else "remove it"


def _keys_at(place: Place) -> set[str]:
    """Keys that the models under a place know."""
    models: list[type[BaseModel]] = [Platform]
    for part in place:
        if isinstance(part, str):
            models = [inner for model in models for inner in _inner_models(model, part)] or models
    return {info.alias or name for model in models for name, info in model.model_fields.items()}


def _inner_models(model: type[BaseModel], key: str) -> Iterator[type[BaseModel]]:
    for name, info in model.model_fields.items():
        if key in (name, info.alias):
            yield from _models_in(info.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


# Names that lead somewhere -------------------------------------------------------------------------------------------


def _findings(platform: Platform) -> Iterator[Finding]:
    for check in _CHECKS:
        for place, message, remedy in check(platform):
            yield _as_written(platform, place, message, remedy)


def _as_written(platform: Platform, place: Place, message: str, remedy: str) -> Finding:
    """A finding where the platform file says it: what a system brought stands under `systems`."""
    if place[:1] != ("rules",) or len(place) < 2 or not isinstance(place[1], int):
        return place, message, remedy
    rules, inner = platform.rules[place[1]], place[2:]
    if isinstance(rules, SystemRules) and len(inner) > 1 and isinstance(inner[1], int):
        written, title = system_rules.place_of_part(platform, rules, str(inner[0]), inner[1])
        return written, f"{title}: {message}", remedy
    return (*place_of(rules, place[1]), *inner), message, remedy


def _as_problems(document: Document, findings: Iterable[Finding]) -> list[Problem]:
    return [document.problem(place, message, remedy) for place, message, remedy in findings]


def _check_models(platform: Platform) -> Iterator[Finding]:
    for index, model in enumerate(platform.models):
        if model.latency_buckets != sorted(set(model.latency_buckets)):
            yield ("models", index, "latency_buckets"), "not in ascending order", "sort them, each once"
        if model.positive and model.task != "classification":
            yield ("models", index, "positive"), f"a {model.task} has no positive class", "remove it"
        if model.classes and model.task != "classification":
            yield ("models", index, "classes"), f"a {model.task} has no classes", "remove it"
        elif model.classes and model.positive and model.positive not in model.class_names:
            yield ("models", index, "positive"), f"{model.positive} is not among classes", "name it there"
        yield from _check_label_maturity(platform, ("models", index, "label_maturity"), model)
        if model.drift and model.drift.quorum > len(model.drift.methods):
            message = f"{model.drift.quorum} votes of {len(model.drift.methods)} methods"
            yield ("models", index, "drift", "quorum"), message, f"ask for at most {len(model.drift.methods)}"
        for place, message, remedy in fairness.findings(
            model, platform.exporter.personal.hash, platform.exporter.personal.drop
        ):
            yield ("models", index, *place), message, remedy
        yield from _check_personal(platform, index, model)


def _check_personal(platform: Platform, index: int, model: Model) -> Iterator[Finding]:
    """Features of drift that the exporter hashes or drops: their values can be compared with none of a reference."""
    personal = platform.exporter.personal
    how = dict.fromkeys(personal.hash, "hashed") | dict.fromkeys(personal.drop, "dropped")
    for name in model.drift.features if model.drift else ():
        column, _, rest = name.partition(":")  # of times there are COLUMN:hour, COLUMN:age and COLUMN:age:OTHER
        field = next((one for one in (column, rest.partition(":")[2]) if one in how), None)
        if field is not None:
            message = f"{field} is {how[field]} by exporter.personal, so its drift cannot be judged"
            yield ("models", index, "drift", "features", name), message, "remove it from one of the two"


def _check_label_maturity(platform: Platform, place: Place, model: Model) -> Iterator[Finding]:
    retention = platform.exporter.label_retention
    if model.label_maturity is None:
        return
    is_compared = any(promise.measure in BY_ERROR for promise in model.fairness)
    if model.task == "regression" and not is_compared:
        remedy = "remove it from a regression without a promise of fairness of its errors"
        yield place, "amounts are neither right nor wrong", remedy
    elif model.label_maturity > retention:
        message = f"predictions are given up after {format_duration(retention)}, before they are that old"
        yield place, message, "make exporter.label_retention at least as long"


_CHECKS: tuple[Callable[[Platform], Iterator[Finding]], ...] = (
    *alerting.CHECKS,
    _check_models,
    canary.check,
    promotion.check,
    chaos.find_problems,
    dr.find_problems,
    explainer.find_problems,
    kubernetes.find_problems,
    loop.find_problems,
    publishers.find_problems,
    regions.find_problems,
    system_rules.find_problems,
)
