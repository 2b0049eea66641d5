"""What can be said of a document although parts of it are wrong: the wrong values are taken out or stood in for.

A file with a misspelt key in one section and a name that leads nowhere in another shows both at once. A wrong value
is taken out; where one is required, a value that fits its type stands in. What names lead to is then looked up in the
rest. A finding that may only follow from what was taken out is left out, too: it is told when that is mended.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from midwatch.spec.base import Finding, Place
from midwatch.spec.model import Platform

_STAND_INS: tuple[Any, ...] = (
    "x",
    "x:1",
    "1h",
    "50%",
    1,
    True,
    ["x"],
    ["x:1"],
    {"x": "x"},
    {"x": {}},
    {},
    [{}],
    {"name": "x", "local_postgresql": {}},
)
"""Tried one after the other where a value is required: a name, an address, a duration, a share, a number, sections."""
_ROUNDS = 40
"""How often the document is looked at again; what then is still wrong is given up."""

_NAME = re.compile(r"there is no ([a-z ]+) '([^']*)'")
"""What `base.unknown` says."""
_SHARED = ("prometheus", "alertmanager")
"""Sections whose values those of other sections are compared with."""


@dataclass(frozen=True, kw_only=True)
class Partial:
    """The platform that is left, the places that were changed, and every text that stood there."""

    platform: Platform
    changed: frozenset[Place]
    texts: frozenset[str]

    def sound(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Findings that hold whatever stands where something was changed."""
        for place, message, remedy in findings:
            name = _NAME.match(message)
            may_follow = self._may_be_lost(name[1], name[2], remedy) if name else self._may_depend(place)
            if not may_follow and not self._is_changed(place):
                yield place, message, remedy

    def _is_changed(self, place: Place) -> bool:
        return any(place[: len(changed)] == changed for changed in self.changed)

    def _may_be_lost(self, what: str, name: str, remedy: str) -> bool:
        """Whether a name that leads nowhere may be one that was taken out."""
        section = what.replace(" ", "_") + "s"
        is_whole = not any(section in (*changed[-1:], *changed[-2:-1]) for changed in self.changed)
        return name in self.texts or not (is_whole or remedy.startswith("did you mean"))

    def _may_depend(self, place: Place) -> bool:
        """Whether something was changed in the same model, owner, store or section, or in one that all depend on."""
        is_alone = place[:1] == ("systems",) and place[2:3] in (("settings",), ("version",))  # each fits by itself
        return any(
            changed[0] in _SHARED or (_item(changed) == _item(place) and not is_alone) for changed in self.changed
        )


def _item(place: Place) -> Place:
    """The model, owner or the like that a place is in; the section where it has none."""
    info = Platform.model_fields.get(str(place[0])) if place else None
    return place[:2] if info is not None and get_origin(info.annotation) in (list, dict) else place[:1]


def of(values: dict[str, Any]) -> Partial | None:
    """The sound part of a document; None when too little of it is left."""
    try:
        return _Repair(values).run()
    except RecursionError:
        return None


class _Repair:
    """Changes a copy of a document until it is a platform."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = copy.deepcopy(values)
        self._tried: dict[Place, int] = {}
        self._changed: set[Place] = set()
        self._texts: set[str] = set()

    def run(self) -> Partial | None:
        for _ in range(_ROUNDS):
            try:
                platform = Platform.model_validate(self._values)
            except ValidationError as error:
                if not self._mend_all(error.errors(include_url=False)):
                    return None
            else:
                return Partial(platform=platform, changed=frozenset(self._changed), texts=frozenset(self._texts))
        return None

    def _mend_all(self, errors: list[ErrorDetails]) -> bool:
        """Change every place that is wrong, the innermost only; False when nothing else can be tried."""
        wrong: dict[Place, list[ErrorDetails]] = {}
        for error in errors:
            wrong.setdefault(_wrong_place(self._values, error), []).append(error)
        innermost = [place for place in wrong if not any(is_inside(other, place) for other in wrong)]
        return all(bool(place) and self._mend(place, wrong[place]) for place in innermost)

    def _mend(self, place: Place, errors: list[ErrorDetails]) -> bool:
        """Take out what stands at a place, or put the next value there that may fit; False when nothing is left."""
        parent = _at(self._values, place[:-1])
        key: Any = place[-1]
        is_there = isinstance(parent, dict) or (isinstance(parent, list) and isinstance(key, int) and key < len(parent))
        if not is_there:  # it went with the section around it, or something else stands in for that
            return True
        self._changed.add(place)
        if isinstance(parent, dict) and key in parent and place not in self._tried:
            self._texts |= {str(key), *_texts(parent.pop(key))}
            self._tried[place] = 0
            return True
        allowed = [value for error in errors for value in _allowed(error)]
        candidates = allowed or _STAND_INS[self._tried.setdefault(place, 0) :]
        if not candidates:  # nothing that we know fits here: the section around it goes
            return len(place) > 1 and self._mend(place[:-1], errors)
        self._texts.update(_texts(parent[key]) if isinstance(parent, list) else ())
        self._tried[place] += not allowed
        parent[key] = copy.deepcopy(candidates[0])
        return True


def _wrong_place(values: Any, error: ErrorDetails) -> Place:
    """Where a value has to change: of a section of several shapes, the key that says which."""
    place = real_place(values, error["loc"])
    if error["type"].startswith("union_tag"):
        return (*place, error["ctx"]["discriminator"].strip("'"))
    return place


def _allowed(error: ErrorDetails) -> list[str]:
    """The values that an error names as the only right ones."""
    context = error.get("ctx", {})
    return re.findall(r"'([^']*)'", str(context.get("expected_tags") or context.get("expected") or ""))


def _at(values: Any, place: Place) -> Any:
    """What stands at a place; None where nothing does."""
    for part in place:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return None
    return values


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


# Places in what pydantic says --------------------------------------------------------------------------------------


def is_inside(place: Place, outer: Place) -> bool:
    """Whether a place is below another one."""
    return len(place) > len(outer) and place[: len(outer)] == outer


def real_place(values: Any, location: tuple[str | int, ...]) -> Place:
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
