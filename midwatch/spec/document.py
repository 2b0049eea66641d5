"""Reading YAML with the place of every value: file and line, so that whatever is wrong with one can be said there."""

from __future__ import annotations

import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.base import Place

MAX_BYTES = 8 * 2**20
MAX_NODES = 500_000
"""Nodes of a document, aliases followed: a few lines of nested aliases can stand for billions."""

MAX_DEPTH = 100
"""Collections in each other. A platform file has seven."""

ENVIRONMENT_TAG = "!env"
"""Tag of a scalar that names a variable whose value stands there."""

_GZIP = b"\x1f\x8b"
"""How a packed file begins."""

Mark = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Team:
    """Whose a file is, and the line that says so."""

    name: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an overlay writes over or into something that was there: where both stand.

    `before` are the files that said what was there, and `owner` is the owner of the entry that it belongs to, such as
    the model's.
    """

    place: Place
    mark: Mark
    before: frozenset[str]
    owner: str | None


@dataclass
class Document:
    """Values of one or more files, with the file and line of every place in them.

    It is not whole when one of the files could not be read. `teams` are the teams of those files that name one, and
    `changes` what overlays changed of the layers below them.
    """

    values: dict[str, Any] = field(default_factory=dict)
    marks: dict[Place, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    is_whole: bool = True
    teams: dict[str, Team] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def at(self, place: Place) -> Mark:
        """File and line of a place, or of the nearest one around it."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks.get(place, ("", 0))

    def has(self, place: Place, value: Any) -> bool:
        """Whether the files say a value at a place."""
        found: Any = self.values
        for part in place:
            try:
                found = found[part]
            except (LookupError, TypeError):
                return False
        return bool(found == value)

    def owner_of(self, place: Place) -> str | None:
        """The owner that the entry says which a place is in, such as a model's; None where none is said."""
        entry: Any = self.values
        for part in place[:2]:
            entry = entry[part]
        owner = entry.get("owner") if isinstance(entry, dict) else None
        return owner if isinstance(owner, str) else None

    def problem(self, place: Place, message: str, remedy: str = "") -> Problem:
        """Build a problem at a place."""
        file, line = self.at(place)
        return Problem(file=file, line=line, path=path_text(place), message=message, remedy=remedy)


def read_file(file: Path, *, environment: Mapping[str, str] | None = None) -> Document:
    """Read a file of one document; InvalidInputError when it is not one.

    With an environment, `!env NAME` stands for the value of a variable.
    """
    documents = [_built(file, node, environment) for node in compose(file, text_of(file))]
    if len(documents) != 1:
        message = "the file is empty" if not documents else f"the file has {len(documents)} documents"
        raise InvalidInputError.at(file, message, remedy="write one document per file")
    return documents[0]


def text_of(file: Path) -> str:
    """Text of a file, gunzipped where it is packed; InvalidInputError when it cannot be read, or is too large."""
    try:
        raw = _unpacked(file.read_bytes())
        if len(raw) > MAX_BYTES:
            raise InvalidInputError.at(file, f"the file has over {MAX_BYTES} bytes; no more are read")
        return raw.decode("utf-8")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInputError.at(file, f"cannot be unpacked: {error}") from error
    except OSError as error:
        raise InvalidInputError.at(file, error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInputError.at(file, "not UTF-8 text", line=line, remedy="save the file as UTF-8") from error


def _unpacked(raw: bytes) -> bytes:
    """Content of a file, gunzipped where it is packed; little more than `MAX_BYTES` of it."""
    if not raw.startswith(_GZIP):
        return raw
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
        return packed.read(MAX_BYTES + 1)


def read_documents(file: Path, text: str | None = None) -> list[Document]:
    """Read every document of a file, or of a text that stands for it; InvalidInputError when one is not a mapping."""
    text = text_of(file) if text is None else text
    return [_built(file, node) for node in compose(file, text)]


def compose(file: Path, text: str) -> list[yaml.Node]:
    """Nodes of every document of a text; InvalidInputError when it is not YAML, or nested deeper than `MAX_DEPTH`.

    The depth is looked at first, by the parser's events: libyaml composes by recursion in C, which no exception ends.
    """
    try:
        _ensure_shallow(file, text)
        return [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None]
    except yaml.YAMLError as error:
        raise InvalidInputError([_yaml_problem(file, error)]) from error


def ensure_mapping(file: Path, text: str) -> None:
    """Raise InvalidInputError unless a text is one mapping, or empty."""
    nodes = compose(file, text)
    if len(nodes) > 1:
        raise InvalidInputError.at(file, f"the file has {len(nodes)} documents", remedy="write one document per file")
    if not all(isinstance(node, yaml.MappingNode) for node in nodes):
        raise InvalidInputError.at(file, "not a mapping of keys to values")


def _ensure_shallow(file: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise InvalidInputError.at(file, f"nested deeper than {MAX_DEPTH} levels", line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _built(file: Path, node: yaml.Node, environment: Mapping[str, str] | None = None) -> Document:
    document = Document(marks={(): (str(file), 1)})
    if not isinstance(node, yaml.MappingNode):
        raise InvalidInputError.at(file, "not a mapping of keys to values", line=node.start_mark.line + 1)
    try:
        document.values = _Values(str(file), document, environment).build(node, ())
    except RecursionError as error:
        raise InvalidInputError.at(file, "nested too deeply") from error
    return document


def _yaml_problem(file: Path, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or str(error).splitlines()[0]
    return Problem(file=str(file), line=mark.line + 1 if mark else 0, message=f"not YAML: {text}")


class Builder(ABC):
    """Turns nodes into values, noting where each stands; what a scalar and a mapping become, a subclass says."""

    def __init__(self, file: str, document: Document) -> None:
        self._file, self._document, self._count = file, document, 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        """Value of a node; InvalidInputError for more than MAX_NODES of them."""
        self._count += 1
        if self._count > MAX_NODES:
            raise InvalidInputError.at(self._file, f"over {MAX_NODES} values", remedy="write fewer aliases")
        self._document.marks[place] = (self._file, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):
            raise TypeError(f"not a node of YAML: {node!r}")
        return self.scalar(node, place)

    @abstractmethod
    def scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        """Value of a scalar."""

    @abstractmethod
    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        """Values of a mapping."""

    def wrong(self, node: yaml.Node, place: Place, message: str, remedy: str = "") -> None:
        """Say what is wrong with a node."""
        line = node.start_mark.line + 1
        self._document.problems.append(
            Problem(file=self._file, line=line, path=path_text(place), message=message, remedy=remedy)
        )


class _Values(Builder):
    """Plain values, as YAML 1.1 has them."""

    def __init__(self, file: str, document: Document, environment: Mapping[str, str] | None) -> None:
        super().__init__(file, document)
        self._environment = environment
        self._scalars = yaml.SafeLoader("")

    def scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        """Value of a scalar, or of the variable that it names."""
        if self._environment is not None and node.tag == ENVIRONMENT_TAG:
            node = self._of_environment(node.value, node, place)
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._document.problems.append(self._document.problem(place, f"{node.value!r} cannot be read: {error}"))
            return None

    def _of_environment(self, variable: str, node: yaml.ScalarNode, place: Place) -> yaml.ScalarNode:
        """The scalar that a variable has, read as if it were written there; an unset one is a problem."""
        value = (self._environment or {}).get(variable)
        if value is None:
            message = f"the variable {variable!r} is not set"
            self._document.problems.append(self._document.problem(place, message, "set it, or write the value"))
            value = ""
        tag = self._scalars.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
        return yaml.ScalarNode(tag, value, node.start_mark, node.end_mark)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        """Values of a mapping; a key that is written twice is a problem."""
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            inside = (*place, key)
            if key in values:
                self.wrong(key_node, inside, f"written twice, first on line {self._document.at(inside)[1]}", "keep one")
                continue
            values[key] = self.build(value_node, inside)
            self._document.marks[inside] = (self._file, key_node.start_mark.line + 1)
        return values


def path_text(place: Place) -> str:
    """A place as people write it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")
