"""Every key of every kind of store is in the guide, as the spec has it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from midwatch.spec import key_texts
from midwatch.spec import stores as spec
from midwatch.spec.stores.base import Store
from midwatch.spec.values import format_duration

GUIDE = Path(__file__).parents[2] / "docs" / "recovery.md"
TYPES = {
    "Duration": "duration",
    "Path": "path",
    "Name": "name",
    "Command": "words",
    "bool": "true or false",
    "str": "text",
    "int": "whole number",
}


def rows(settings: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """A line of the table for each key, with those of a section below it."""
    texts = key_texts.of(settings)
    for name, info in settings.model_fields.items():
        written = str(settings.__annotations__[name])
        section = next(_sections(info.annotation), None)
        kind = "section" if section else next(text for word, text in TYPES.items() if word in written)
        yield f"| `{prefix}{name}` | {kind} | {default_of(info)} | {texts[name]} |"
        if section:
            yield from rows(section, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    if isinstance(get_origin(annotation), type(types.UnionType)):
        yield from (one for part in get_args(annotation) for one in _sections(part))


def default_of(info: Any) -> str:
    if info.is_required():
        return "required"
    if info.default is None:
        return ""
    if isinstance(info.default, bool):
        return str(info.default).lower()
    return format_duration(info.default) if isinstance(info.default, float) else str(info.default)


@pytest.mark.parametrize("kind", spec.KINDS)
def test_every_key_of_a_kind_is_in_the_guide_with_type_default_and_meaning(kind: str) -> None:
    settings = spec.KINDS[kind].model_fields[kind].annotation
    assert settings is not None
    assert set(settings.model_fields) <= set(key_texts.of(settings))
    table = "\n".join([f"### `{kind}`", "", settings.__doc__ or "", "", *TABLE, *rows(settings)])
    assert table in GUIDE.read_text(), table


TABLE = ["| key | type | default | what it says |", "|---|---|---|---|"]


def test_what_all_stores_have_is_in_the_guide() -> None:
    table = "\n".join([*TABLE, *rows(Store)])
    assert table in GUIDE.read_text(), table
