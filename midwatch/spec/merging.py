"""Several documents as one: those of a folder beside each other, an overlay over what it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from midwatch.errors import Problem
from midwatch.spec import shapes, stores
from midwatch.spec.base import Place
from midwatch.spec.channels import INTEGRATIONS, Channel
from midwatch.spec.document import Change, Document, Mark
from midwatch.spec.model import Servers
from midwatch.spec.shapes import Shapes
from midwatch.spec.slo import Sli
from midwatch.spec.stores.base import Store


def add(into: Document, other: Document) -> None:
    """Put a document beside others: lists are joined and maps united, those inside sections too.

    What is written in both and cannot be joined is a problem, unless it is one value that both say.
    """
    beside = _Beside(first=into, second=other)
    into.values = beside.sections(into.values, other.values, (), shapes.WHOLE)
    into.problems += [*other.problems, *beside.problems]
    into.is_whole = into.is_whole and other.is_whole
    into.teams |= other.teams
    for place, mark in other.marks.items():
        into.marks.setdefault(_moved(place, beside.shifts) if beside.shifts else place, mark)


@dataclass(kw_only=True)
class _Beside:
    """Two documents of equal rank; `shifts` are the lengths of the lists that those of the second are joined to."""

    first: Document
    second: Document
    shifts: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def sections(self, ours: dict[str, Any], theirs: dict[str, Any], place: Place, here: Shapes) -> dict[str, Any]:
        """Two sections as one."""
        joined = dict(ours)
        for key, value in theirs.items():
            known = key in ours
            joined[key] = self._joined(ours[key], value, (*place, key), shapes.below(here, key)) if known else value
        return joined

    def _joined(self, ours: Any, theirs: Any, place: Place, here: Shapes) -> Any:
        if isinstance(ours, list) and isinstance(theirs, list):
            self.shifts[place] = len(ours)
            return ours + theirs
        if isinstance(ours, dict) and isinstance(theirs, dict):
            if shapes.is_section(here):
                return self.sections(ours, theirs, place, here)
            self.problems += [self._twice((*place, name)) for name in theirs if name in ours]
            return theirs | ours
        if ours != theirs:
            self.problems.append(self._twice(place))
        return ours

    def _twice(self, place: Place) -> Problem:
        file, line = self.first.at(place)
        return self.second.problem(place, f"also written in {file}:{line}", "keep one")


def _moved(place: Place, shifts: dict[Place, int]) -> Place:
    """The place of a list's entry in the joined list."""
    for end in range(1, len(place)):
        index = place[end]
        if isinstance(index, int):
            shift = shifts.get(place[:end], 0)
            return (*place[:end], index + shift, *place[end + 1 :])
    return place


# Overlays ------------------------------------------------------------------------------------------------------------


def lay_over(base: Document, overlay: Document) -> Document:
    """The base as an overlay changes it: the later wins, key by key.

    Entries of one name in two lists are laid over each other, and others are added; a list of anything else replaces
    the one before it. What is of one kind only, as a channel is, is of the overlay's kind.
    """
    laid = _Over(base=base, overlay=overlay)
    values = laid.value(_Layers(below=base.values, above=overlay.values), shapes.WHOLE)
    return Document(
        values=values,
        marks=laid.marks | {(): base.at(())},
        problems=[*base.problems, *overlay.problems],
        is_whole=base.is_whole and overlay.is_whole,
        teams=base.teams | overlay.teams,
        changes=[*base.changes, *overlay.changes, *laid.changes],
    )


_Keys = Mapping[str, str | int]
"""Where an entry stands in a map or a list, by its name."""


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """A value and the one that is laid over it, with the place of each, and that of the outcome."""

    below: Any
    above: Any
    base_place: Place = ()
    overlay_place: Place = ()
    place: Place = ()

    def inside(self, below: str | int, above: str | int, place: Place) -> _Layers:
        """The entries under these keys."""
        return _Layers(
            below=self.below[below],
            above=self.above[above],
            base_place=(*self.base_place, below),
            overlay_place=(*self.overlay_place, above),
            place=place,
        )


@dataclass(frozen=True, kw_only=True)
class _Over:
    """Lays an overlay over a base; `marks` say where everything in the outcome was written, `changes` over what."""

    base: Document
    overlay: Document
    marks: dict[Place, Mark] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def value(self, layers: _Layers, here: Shapes) -> Any:
        """The outcome of two values."""
        below, above = layers.below, layers.above
        if isinstance(below, dict) and isinstance(above, dict):
            kept = _without_other_kind(below, above, here)
            return dict(self._entries(layers, (_keys(kept), _keys(above)), here))
        names = _names(below), _names(above)
        if names[0] and names[1]:
            return [value for _, value in self._entries(layers, (names[0], names[1]), here)]
        if below != above:
            self._note_change(layers.base_place, layers.overlay_place, layers.place)
        return self._taken(self.overlay, above, layers.overlay_place, layers.place)

    def _entries(self, layers: _Layers, keys: tuple[_Keys, _Keys], here: Shapes) -> Iterator[tuple[str, Any]]:
        """Entries of two maps or lists by name; `keys` are where each of the two has which name."""
        self.marks[layers.place] = self.overlay.at(layers.overlay_place)
        below, above = keys
        for index, name in enumerate({**below, **above}):
            place = (*layers.place, name if isinstance(layers.below, dict) else index)
            if name in below and name in above:
                inner = layers.inside(below[name], above[name], place)
                yield name, self.value(inner, shapes.below(here, place[-1]))
            elif name in below:
                key = below[name]
                yield name, self._taken(self.base, layers.below[key], (*layers.base_place, key), place)
            else:
                key = above[name]
                if len(layers.base_place) > 1:  # else it is an entry of its own
                    self._note_change(layers.base_place, (*layers.overlay_place, key), place)
                yield name, self._taken(self.overlay, layers.above[key], (*layers.overlay_place, key), place)

    def _note_change(self, base_place: Place, overlay_place: Place, place: Place) -> None:
        """Note what is changed by a file that is of a team: nobody else's is judged."""
        if self.overlay.at(overlay_place)[0] not in self.overlay.teams:
            return
        inside = {mark[0] for one, mark in self.base.marks.items() if one[: len(base_place)] == base_place}
        before = frozenset(inside or {self.base.at(base_place)[0]})
        owner = self.base.owner_of(base_place)
        self.changes.append(Change(place=place, mark=self.overlay.at(overlay_place), before=before, owner=owner))

    def _taken(self, document: Document, value: Any, written: Place, place: Place) -> Any:
        """A value that one document alone says."""
        self.marks[place] = document.at(written)
        entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in entries:
            self._taken(document, inner, (*written, key), (*place, key))
        return value


def _keys(value: dict[str, Any]) -> _Keys:
    return {key: key for key in value}


def _names(value: Any) -> _Keys | None:
    """Index of each entry of a list by its name; None where an entry has none, or two have one."""
    if not isinstance(value, list):
        return None
    names: _Keys = {one["name"]: index for index, one in enumerate(value) if isinstance(one, dict) and _is_named(one)}
    return names if len(names) == len(value) else None


def _is_named(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("name"), str)


_ONE_KIND: Sequence[tuple[type[BaseModel], frozenset[str]]] = (
    (Channel, frozenset(INTEGRATIONS)),
    (Sli, frozenset(Sli.model_fields)),
    (Store, frozenset(stores.KINDS)),
    (Servers, frozenset({"targets", "job"})),
)
"""Models of which exactly one of these keys is written."""


def _without_other_kind(below: dict[str, Any], above: dict[str, Any], here: Shapes) -> dict[str, Any]:
    """What stays of a map: when an overlay writes another kind of channel or the like, not the kind before it."""
    others = {
        key
        for model, kinds in _ONE_KIND
        if any(issubclass(one, model) for one in shapes.models(here)) and kinds & above.keys()
        for key in kinds - above.keys()
    }
    return {key: value for key, value in below.items() if key not in others}
