"""What stands where in a platform file: sections, maps of named things and lists, as its models say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from midwatch.spec.model import Platform

Shapes = tuple[Any, ...]
"""Types that a value may have: models, `dict[...]`, `list[...]` and plain ones; more than one for a union."""

WHOLE: Shapes = (Platform,)
"""The platform file itself."""


def below(shapes: Shapes, key: str | int) -> Shapes:
    """Shapes of what stands under a key, or in a list."""
    return tuple(one for shape in shapes for inner in _inner(shape, key) for one in _alternatives(inner))


def models(shapes: Shapes) -> list[type[BaseModel]]:
    """The models among shapes."""
    return [one for one in shapes if isinstance(one, type) and issubclass(one, BaseModel)]


def is_section(shapes: Shapes) -> bool:
    """Whether the keys under it are those of a model, and not names that people choose."""
    return bool(models(shapes)) and not any(_is_container(one) for one in shapes)


def _is_container(shape: Any) -> bool:
    origin: Any = get_origin(shape)
    return origin in (dict, list)


def _inner(shape: Any, key: str | int) -> Iterable[Any]:
    if _is_container(shape):
        return get_args(shape)[-1:]
    return [
        info.annotation
        for model in models((shape,))
        for name, info in model.model_fields.items()
        if key in (name, info.alias)
    ]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Members of a union, without what annotates them."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation
