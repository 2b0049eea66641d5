"""What the text below a key says, as the description of its field: read from the source when a schema is asked for.

pydantic can do so when it makes a class (`use_attribute_docstrings`), but parses each class's source for it: a third of
the seconds that a command takes to start, for texts that only the schema and the guide show.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel


@cache
def fill(section: type[BaseModel]) -> None:
    """Give every field of a section, and of those inside it, that has no description the text below it."""
    for info in section.model_fields.values():
        for inner in _sections(info.annotation):
            fill(inner)
    texts: dict[str, str] = {}
    for one in reversed(section.__mro__):
        texts |= _texts(one.__module__).get(one.__qualname__, {}) if issubclass(one, BaseModel) else {}
    for name, info in section.model_fields.items():
        info.description = info.description or texts.get(name)
    if section.__pydantic_complete__:
        section.model_rebuild(force=True)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """The texts below the attributes of a module's classes, by class and attribute."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_below(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _below(section: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for key, text in pairwise(section.body):
        match key, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                yield name, inspect.cleandoc(said)
