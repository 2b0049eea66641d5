"""Reading platform files: every problem at once, each with file, line, path and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import alerting, canary, chaos, dr
from midwatch.spec.base import Finding, Place
from midwatch.spec.model import Platform

MAX_BYTES = 8 * 2**20
MAX_NODES = 500_000
"""Nodes of a document, aliases followed: a few lines of nested aliases can stand for billions."""

Mark = tuple[str, int]


@dataclass
class Document:
    """Values of one or more files, with the file and line of every place in them."""

    values: dict[str, Any] = field(default_factory=dict)
    marks: dict[Place, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def at(self, place: Place) -> Mark:
        """File and line of a place, or of the nearest one around it."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks.get(place, ("", 0))

    def problem(self, place: Place, message: str, remedy: str = "") -> Problem:
        """Build a problem at a place."""
        file, line = self.at(place)
        return Problem(file=file, line=line, path=path_text(place), message=message, remedy=remedy)


def load_platform(path: Path) -> Platform:
    """Read a platform file, or a folder of them merged by kind (lists are joined, maps united).

    Raises InvalidInputError with every problem of form, of values, and of names that lead nowhere.
    """
    return load_with_places(path)[0]


def load_with_places(path: Path) -> tuple[Platform, Document]:
    """As `load_platform`, with the document that says where everything stands.

    Raises InvalidInputError with every problem of form, of values, and of names that lead nowhere.
    """
    document = _read(path)
    _add_rule_files(document, base_folder(path))
    if document.problems:
        raise InvalidInputError(document.problems)
    try:
        platform = Platform.model_validate(document.values)
    except ValidationError as error:
        raise InvalidInputError(_translated(document, error.errors(include_url=False))) from error
    problems = list(_cross_checked(document, platform))
    if problems:
        raise InvalidInputError(problems)
    return platform, document


def base_folder(path: Path) -> Path:
    """Folder that relative paths in a platform file start from."""
    return path if path.is_dir() else path.parent


# YAML with places --------------------------------------------------------------------------------------------------


def _read(path: Path) -> Document:
    if not path.exists():
        raise InvalidInputError.at(path, "there is no such file", remedy="midwatch init writes one to start from")
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
    if not files:
        raise InvalidInputError.at(path, "the folder has no .yaml file")
    merged = Document()
    for file in files:
        _merge(merged, read_file(file))
    merged.marks.setdefault((), (str(files[0]), 1))
    return merged


def read_file(file: Path) -> Document:
    """Read a file of one document; InvalidInputError when it is not one."""
    documents = read_documents(file, _text_of(file))
    if len(documents) != 1:
        message = "the file is empty" if not documents else f"the file has {len(documents)} documents"
        raise InvalidInputError.at(file, message, remedy="write one document per file")
    return documents[0]


def _text_of(file: Path) -> str:
    try:
        raw = file.read_bytes()
        if len(raw) > MAX_BYTES:
            raise InvalidInputError.at(file, f"the file has {len(raw)} bytes; at most {MAX_BYTES} are read")
        return raw.decode("utf-8")
    except OSError as error:
        raise InvalidInputError.at(file, error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInputError.at(file, "not UTF-8 text", line=line, remedy="save the file as UTF-8") from error


def read_documents(file: Path, text: str | None = None) -> list[Document]:
    """Read every document of a file, or of a text that stands for it; InvalidInputError when one is not a mapping."""
    text = _text_of(file) if text is None else text
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None]
    except yaml.YAMLError as error:
        raise InvalidInputError([_yaml_problem(file, error)]) from error
    except RecursionError as error:
        raise InvalidInputError.at(file, "nested too deeply") from error
    return [_built(file, node) for node in nodes]


def _built(file: Path, node: yaml.Node) -> Document:
    document = Document(marks={(): (str(file), 1)})
    if not isinstance(node, yaml.MappingNode):
        raise InvalidInputError.at(file, "not a mapping of keys to values", line=node.start_mark.line + 1)
    try:
        document.values = _Builder(str(file), document).build(node, ())
    except RecursionError as error:
        raise InvalidInputError.at(file, "nested too deeply") from error
    return document


def _yaml_problem(file: Path, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or str(error).splitlines()[0]
    return Problem(file=str(file), line=mark.line + 1 if mark else 0, message=f"not YAML: {text}")


class _Builder:
    """Turns nodes into plain values, noting where each stands."""

    def __init__(self, file: str, document: Document) -> None:
        self._file, self._document, self._count = file, document, 0
        self._scalars = yaml.SafeLoader("")

    def build(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            raise InvalidInputError.at(self._file, f"over {MAX_NODES} values", remedy="write fewer aliases")
        self._document.marks[place] = (self._file, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._document.problems.append(self._document.problem(place, f"{node.value!r} cannot be read: {error}"))
            return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            inside = (*place, key)
            line = key_node.start_mark.line + 1
            if key in values:
                first = self._document.at(inside)[1]
                self._document.problems.append(
                    Problem(
                        file=self._file,
                        line=line,
                        path=path_text(inside),
                        message=f"written twice, first on line {first}",
                        remedy="keep one",
                    )
                )
                continue
            values[key] = self.build(value_node, inside)
            self._document.marks[inside] = (self._file, line)
        return values


def _merge(into: Document, other: Document) -> None:
    into.problems += other.problems
    shifts: dict[Place, int] = {}
    for key, value in other.values.items():
        present = into.values.get(key)
        if key not in into.values:
            into.values[key] = value
        elif isinstance(present, list) and isinstance(value, list):
            shifts[(key,)] = len(present)
            into.values[key] = present + value
        elif isinstance(present, dict) and isinstance(value, dict):
            for name in present.keys() & value.keys():
                into.problems.append(_twice(into, other, (key, name)))
            into.values[key] = present | value
        elif present != value:
            into.problems.append(_twice(into, other, (key,)))
    for place, mark in other.marks.items():
        shift = shifts.get(place[:1], 0)
        if len(place) > 1 and shift and isinstance(place[1], int):
            place = (place[0], place[1] + shift, *place[2:])  # noqa: PLW2901 - the place in the joined list
        into.marks.setdefault(place, mark)


def _add_rule_files(document: Document, folder: Path) -> None:
    """Put the rule files that `rule_files` names into `rules`, with their places."""
    patterns = document.values.get("rule_files")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return  # what is wrong with it is said with everything else
    rules = document.values.setdefault("rules", [])
    if not isinstance(rules, list):
        return
    for index, pattern in enumerate(patterns):
        found = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
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
            place = ("rules", len(rules))
            document.marks |= {(*place, *inner): mark for inner, mark in read.marks.items()}
            rules.append({"name": re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-"), **read.values})


def _twice(first: Document, second: Document, place: Place) -> Problem:
    file, line = first.at(place)
    return second.problem(place, f"also written in {file}:{line}", "keep one")


# What pydantic says, in plain words ----------------------------------------------------------------------------------


def _translated(document: Document, errors: list[ErrorDetails]) -> list[Problem]:
    found: dict[Place, Problem] = {}
    for error in errors:
        place = _real_place(document.values, error["loc"])
        if place not in found:
            found[place] = _plain(document, place, error)
    # A problem deeper inside says more than that the whole did not fit one of several shapes.
    return [problem for place, problem in found.items() if not any(_is_inside(other, place) for other in found)]


def _is_inside(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _real_place(values: Any, location: tuple[str | int, ...]) -> Place:
    """The location without the union branches and key markers that pydantic puts into it."""
    place: list[str | int] = []
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        is_key = isinstance(values, dict) and part in values
        is_index = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if is_key or is_index:
            values = values[part]
            place.append(part)
        elif isinstance(values, dict) and is_last and "[" not in str(part) and part not in values.values():
            place.append(part)  # a key that is missing; what is a value here is the tag of a union
    return tuple(place)


def _plain(document: Document, place: Place, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    value = error.get("input")
    if kind == "extra_forbidden":
        return document.problem(place, "unknown key", _suggestion(place))
    if kind == "missing":
        return document.problem(place, "missing", f"add {place[-1]}")
    if kind.startswith("union_tag"):
        return _plain_tag(document, place, context)
    if kind in ("enum", "literal_error"):
        wanted = str(context["expected"]).replace("'", "")
        close = difflib.get_close_matches(str(value), wanted.replace(" or ", ", ").split(", "), 1)
        return document.problem(
            place, f"{value!r} is not one of {wanted}", f"did you mean {close[0]}?" if close else ""
        )
    message = error["msg"][0].lower() + error["msg"][1:]
    if kind == "string_pattern_mismatch":
        message = f"{value!r} does not match {context['pattern']}"
    elif kind in _TYPES:
        message = f"{_shown(value)} is not {_TYPES[kind]}"
    elif kind == "value_error":
        message = str(context["error"])
    return document.problem(place, message)


def _plain_tag(document: Document, place: Place, context: dict[str, Any]) -> Problem:
    """A section of several shapes, whose key says which, without that key or with a wrong one."""
    key = context["discriminator"].strip("'")
    if "tag" not in context:
        return document.problem((*place, key), "missing", f"add {key}")
    tags = context["expected_tags"].replace("'", "")
    close = difflib.get_close_matches(context["tag"], tags.split(", "), 1)
    remedy = f"did you mean {close[0]}?" if close else f"one of {tags}"
    return document.problem((*place, key), f"there is no {key} {context['tag']!r}", remedy)


_TYPES = {
    "string_type": "text; put it in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _shown(value: Any) -> str:
    text = repr(value)
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


def path_text(place: Place) -> str:
    """A place as people write it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


# Names that lead somewhere -------------------------------------------------------------------------------------------


def _cross_checked(document: Document, platform: Platform) -> Iterator[Problem]:
    for check in _CHECKS:
        for place, message, remedy in check(platform):
            yield document.problem(place, message, remedy)


def _check_models(platform: Platform) -> Iterator[Finding]:
    for index, model in enumerate(platform.models):
        if model.latency_buckets != sorted(set(model.latency_buckets)):
            yield ("models", index, "latency_buckets"), "not in ascending order", "sort them, each once"
        if model.positive and model.task == "regression":
            yield ("models", index, "positive"), "a regression has no positive class", "remove it"
        if model.classes and model.task == "regression":
            yield ("models", index, "classes"), "a regression has no classes", "remove it"
        elif model.classes and model.positive and model.positive not in model.class_names:
            yield ("models", index, "positive"), f"{model.positive} is not among classes", "name it there"
        if model.drift and model.drift.quorum > len(model.drift.methods):
            message = f"{model.drift.quorum} votes of {len(model.drift.methods)} methods"
            yield ("models", index, "drift", "quorum"), message, f"ask for at most {len(model.drift.methods)}"


_CHECKS: tuple[Callable[[Platform], Iterator[Finding]], ...] = (
    *alerting.CHECKS,
    _check_models,
    canary.check,
    chaos.find_problems,
    dr.find_problems,
)
