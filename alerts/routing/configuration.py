"""Reads any Alertmanager configuration: its routes, inhibitions and intervals, each with its place in the file.

What Alertmanager would not load is a problem here too; judging what it loads is `lint`'s job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from alerts.routing import matchers, time_intervals
from alerts.routing.matchers import Matcher, Matchers
from alerts.routing.time_intervals import Interval
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.base import Place
from midwatch.spec.document import Document, read_documents
from midwatch.spec.values import parse_duration

DEFAULTS = {"group_wait": 30.0, "group_interval": 300.0, "repeat_interval": 14400.0}
"""Seconds, of Alertmanager's dispatch.DefaultRouteOpts."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A node of the tree with everything it inherits; `group_by` is None for all labels. Times are in seconds."""

    place: Place
    matchers: Matchers
    receiver: str
    continues: bool = False
    group_by: tuple[str, ...] | None = ()
    group_wait: float
    group_interval: float
    repeat_interval: float
    mute: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()

    def walk(self) -> Iterator[Route]:
        """Yield it and everything below, depth first."""
        yield self
        for route in self.routes:
            yield from route.walk()

    @cached_property
    def _conditions(self) -> tuple[tuple[tuple[str, str], ...], Matchers]:
        """Equalities, which decide most, and the other matchers."""
        equal = tuple((one.name, one.value) for one in self.matchers if one.operator == "=")
        return equal, tuple(one for one in self.matchers if one.operator != "=")

    def match(self, labels: Mapping[str, str]) -> list[tuple[Route, ...]]:
        """Paths of routes that take an alert: the first child that matches, and those after it while it continues."""
        equal, others = self._conditions
        for name, value in equal:
            if labels.get(name, "") != value:
                return []
        if others and not matchers.all_match(others, labels):
            return []
        paths: list[tuple[Route, ...]] = []
        for route in self.routes:
            taken = route.match(labels)
            if taken:
                paths += [(self, *path) for path in taken]
                if not route.continues:
                    break
        return paths or [(self,)]


@dataclass(frozen=True, kw_only=True)
class Inhibition:
    """While an alert that the source matches fires, those that the target matches are silent."""

    place: Place
    source: Matchers
    target: Matchers
    equal: tuple[str, ...] = ()
    name: str = ""

    def inhibits(self, source: Mapping[str, str], target: Mapping[str, str]) -> bool:
        """Whether one firing alert silences another; an alert that both sides match silences none that both match."""
        if not (matchers.all_match(self.target, target) and matchers.all_match(self.source, source)):
            return False
        if any(source.get(label, "") != target.get(label, "") for label in self.equal):
            return False
        return not (matchers.all_match(self.source, target) and matchers.all_match(self.target, source))


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration; `document` has the values as they are written, and where."""

    document: Document
    route: Route
    inhibitions: tuple[Inhibition, ...] = ()
    intervals: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)

    @cached_property
    def receivers(self) -> dict[str, Mapping[str, Any]]:
        """Receivers as they are written, by name."""
        return {str(one.get("name", "")): one for one in self.document.values.get("receivers") or ()}

    @cached_property
    def _integrations(self) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(
                key.removesuffix("_configs") for key in sorted(settings) if key != "name" for _ in settings[key] or ()
            )
            for name, settings in self.receivers.items()
        }

    def integrations(self, receiver: str) -> tuple[str, ...]:
        """Kinds of a receiver's integrations, each as often as it is there."""
        return self._integrations.get(receiver, ())


def load(file: Path) -> Config:
    """Read a configuration file; InvalidInputError with everything that Alertmanager would refuse."""
    if not file.is_file():
        raise InvalidInputError.at(file, "there is no such file")
    documents = read_documents(file)
    if not documents:
        raise InvalidInputError.at(file, "the file is empty")
    return build(documents[0])


def parse(text: str, name: str) -> Config:
    """Read a configuration from a text that stands for a file of that name."""
    return build(read_documents(Path(name), text)[0])


def build(document: Document) -> Config:
    """Build a configuration from a document."""
    reader = _Reader(document)
    config = reader.config()
    if document.problems or reader.problems:
        raise InvalidInputError([*document.problems, *reader.problems])
    return config


def _group_by(given: Mapping[str, Any], parent: Route | None) -> tuple[str, ...] | None:
    labels = given.get("group_by")
    if not isinstance(labels, list):
        return parent.group_by if parent else ()
    return None if "..." in labels else tuple(map(str, labels))


class _Reader:
    """Reads a document and collects what is wrong with it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def _wrong(self, place: Place, message: str, remedy: str = "") -> None:
        self.problems.append(self._document.problem(place, message, remedy))

    def config(self) -> Config:
        """The whole, and then the names in it."""
        values = self._document.values
        root = values.get("route")
        config = Config(
            document=self._document,
            route=self._route(root if isinstance(root, dict) else {}, ("route",), None),
            inhibitions=tuple(
                self._inhibition(one, ("inhibit_rules", index))
                for index, one in enumerate(self._maps(values.get("inhibit_rules"), ("inhibit_rules",)))
            ),
            intervals=dict(self._intervals()),
        )
        self._check_root(config)
        self._check_receivers(config)
        self._check_names(config)
        return config

    def _maps(self, items: object, place: Place) -> list[dict[str, Any]]:
        """A list of mappings; what is not one is a problem and read as empty."""
        if items is None:
            return []
        if not isinstance(items, list):
            self._wrong(place, "not a list")
            return []
        for index, one in enumerate(items):
            if not isinstance(one, dict):
                self._wrong((*place, index), "not a mapping")
        return [one if isinstance(one, dict) else {} for one in items]

    def _route(self, given: dict[str, Any], place: Place, parent: Route | None) -> Route:
        own = Route(
            place=place,
            matchers=self._matchers(given, place, "match", "match_re", "matchers"),
            receiver=str(given.get("receiver") or (parent.receiver if parent else "")),
            continues=given.get("continue") is True,
            group_by=_group_by(given, parent),
            mute=tuple(given.get("mute_time_intervals") or ()),
            active=tuple(given.get("active_time_intervals") or ()),
            group_wait=self._time(given, place, "group_wait", parent),
            group_interval=self._time(given, place, "group_interval", parent),
            repeat_interval=self._time(given, place, "repeat_interval", parent),
        )
        children = self._maps(given.get("routes"), (*place, "routes"))
        below = tuple(self._route(one, (*place, "routes", index), own) for index, one in enumerate(children))
        return replace(own, routes=below)

    def _time(self, given: dict[str, Any], place: Place, name: str, parent: Route | None) -> float:
        """Seconds of a time that a route sets, else inherits."""
        inherited = float(getattr(parent, name)) if parent else DEFAULTS[name]
        if given.get(name) is None:
            return inherited
        try:
            return parse_duration(str(given[name]))
        except ValueError as error:
            self._wrong((*place, name), str(error))
            return inherited

    def _matchers(self, given: Mapping[str, Any], place: Place, equal: str, pattern: str, listed: str) -> Matchers:
        read = [Matcher(str(name), "=", str(value)) for name, value in (given.get(equal) or {}).items()]
        read += [Matcher(str(name), "=~", str(value)) for name, value in (given.get(pattern) or {}).items()]
        lines = given.get(listed) or []
        for index, line in enumerate([lines] if isinstance(lines, str) else lines):
            try:
                read += matchers.parse(str(line))
            except matchers.MatcherError as error:
                self._wrong((*place, listed, index), str(error))
        for matcher in read:
            try:
                matcher.ensure_valid()
            except matchers.MatcherError as error:
                self._wrong(place, str(error))
        return tuple(read)

    def _inhibition(self, given: dict[str, Any], place: Place) -> Inhibition:
        return Inhibition(
            place=place,
            source=self._matchers(given, place, "source_match", "source_match_re", "source_matchers"),
            target=self._matchers(given, place, "target_match", "target_match_re", "target_matchers"),
            equal=tuple(map(str, given.get("equal") or ())),
            name=str(given.get("name") or ""),
        )

    def _intervals(self) -> Iterator[tuple[str, tuple[Interval, ...]]]:
        seen: set[str] = set()
        for key in ("time_intervals", "mute_time_intervals"):
            for index, one in enumerate(self._maps(self._document.values.get(key), (key,))):
                name, place = str(one.get("name", "")), (key, index)
                if name in seen:
                    self._wrong(place, f"a second time interval {name!r}", "give each its own name")
                seen.add(name)
                yield name, tuple(self._alternatives(one.get("time_intervals") or (), place))

    def _alternatives(self, given: Sequence[Any], place: Place) -> Iterator[Interval]:
        for index, one in enumerate(given):
            try:
                yield time_intervals.parse(one)
            except time_intervals.IntervalError as error:
                self._wrong((*place, "time_intervals", index), str(error))

    def _check_root(self, config: Config) -> None:
        values, root = self._document.values, config.route
        if not isinstance(values.get("route"), dict):
            self._wrong((), "no route", "add route with the default receiver")
            return
        if not values["route"].get("receiver"):
            self._wrong(("route",), "the root route has no receiver", "name the default receiver")
        for what, there in (("matchers", root.matchers), ("intervals", root.mute or root.active)):
            if there:
                self._wrong(("route",), f"the root route may not have {what}", "put them on a route below it")
        if root.continues:
            self._wrong(("route", "continue"), "the root route may not continue", "remove it")

    def _check_receivers(self, config: Config) -> None:
        seen: set[str] = set()
        for index, one in enumerate(self._maps(self._document.values.get("receivers"), ("receivers",))):
            name = str(one.get("name", ""))
            if not name:
                self._wrong(("receivers", index), "a receiver without a name", "name it")
            if name in seen:
                self._wrong(("receivers", index, "name"), f"a second receiver {name!r}", "give each its own name")
            seen.add(name)
        for route in config.route.walk():
            if route.receiver and route.receiver not in seen:
                self._wrong((*route.place, "receiver"), f"there is no receiver {route.receiver!r}", "define it")

    def _check_names(self, config: Config) -> None:
        for route in config.route.walk():
            for key, names in (("mute_time_intervals", route.mute), ("active_time_intervals", route.active)):
                for index, name in enumerate(names):
                    if name not in config.intervals:
                        self._wrong((*route.place, key, index), f"there is no time interval {name!r}", "define it")
