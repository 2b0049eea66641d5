"""What the text below a key says of it, read from the source of its section when somebody asks."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent
from typing import cast


def of(section: type) -> dict[str, str]:
    """Text of each key that has one; a section that replaces a key of the one it extends replaces its text."""
    found: dict[str, str] = {}
    for part in reversed(section.__mro__):
        if part.__module__.startswith("midwatch."):
            found |= _own(part)
    return found


def _own(section: type) -> dict[str, str]:
    tree = ast.parse(dedent(inspect.getsource(section)))
    return dict(filter(None, (_text(*pair) for node in tree.body for pair in pairwise(cast(ast.ClassDef, node).body))))


def _text(key: ast.stmt, below: ast.stmt) -> tuple[str, str] | None:
    match key, below:
        case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
            return name, inspect.cleandoc(text)
    return None
