"""Reads any Alertmanager configuration: its routes, inhibitions and intervals, each with its place in the file.

What Alertmanager would not load is a problem here too; judging what it loads is `lint`'s job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from alerts import verbatim
from alerts.routing import amtool, matchers, requirements, shapes, time_intervals
from alerts.routing.matchers import Matcher, Matchers
from alerts.routing.time_intervals import Interval
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.alertmanager_fields import NEWEST, OLDEST, Version
from midwatch.spec.base import Place
from midwatch.spec.document import Document

DEFAULTS = {"group_wait": 30.0, "group_interval": 300.0, "repeat_interval": 14400.0}
"""Seconds, of Alertmanager's dispatch.DefaultRouteOpts."""

ALL_LABELS = "..."
"""In group_by: every label."""

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

UTF8_LABELS: Version = (0, 27)
"""First Alertmanager that reads label names in UTF-8, in quotes."""


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
        written = (_mapping(one) for one in _list(self.document.values.get("receivers")))
        return {str(one.get("name") or ""): one for one in written}

    @cached_property
    def _integrations(self) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(
                key.removesuffix("_configs")
                for key in sorted(settings)
                if key.endswith("_configs")
                for _ in _list(settings[key])
            )
            for name, settings in self.receivers.items()
        }

    def matchers(self) -> Iterator[Matcher]:
        """Every matcher of its routes and inhibitions."""
        for route in self.route.walk():
            yield from route.matchers
        for rule in self.inhibitions:
            yield from (*rule.source, *rule.target)

    def integrations(self, receiver: str) -> tuple[str, ...]:
        """Kinds of a receiver's integrations, each as often as it is there."""
        return self._integrations.get(receiver, ())


def load(file: Path, version: Version | None = None) -> Config:
    """Read a file for an Alertmanager of a version; InvalidInputError with everything that it would refuse.

    Of its own version the installed amtool has the last word, unless the file has fields that it cannot know. Without
    a version, that is the one meant.
    """
    version = version or amtool.installed() or OLDEST
    documents = verbatim.read(file)
    if not documents:
        raise InvalidInputError.at(file, "the file is empty")
    config, problems = _read(documents[0], version)
    if amtool.installed() == version and not _is_newer(config, version):
        verdict = amtool.verdict(file)
        if verdict is not None:
            problems = (problems or verdict) if verdict else []
    if problems:
        raise InvalidInputError(problems)
    return config


def parse(text: str, name: str, version: Version = NEWEST) -> Config:
    """Read a configuration from a text that stands for a file of that name."""
    config, problems = _read(verbatim.read(Path(name), text)[0], version)
    if problems:
        raise InvalidInputError(problems)
    return config


def running(text: str, version: Version) -> Config:
    """Read what an Alertmanager says that it runs: it has taken it, so nothing of it is a problem.

    InvalidInputError when the text is no YAML.
    """
    return _read(verbatim.read(Path("alertmanager.yml"), text)[0], version)[0]


def _read(document: Document, version: Version) -> tuple[Config, list[Problem]]:
    """A configuration and what is wrong with it, each place once."""
    reader = _Reader(document, version)
    config = reader.config()
    findings = [*shapes.problems(document.values, version), *requirements.problems(document.values, version)]
    problems = [*document.problems, *(document.problem(*one) for one in findings), *reader.problems]
    return config, list({(one.line, one.path): one for one in reversed(problems)}.values())


def _is_newer(config: Config, version: Version) -> bool:
    """Whether a file has anything that a version does not have yet, which `feature-too-new` says with what has it."""
    quoted = version < UTF8_LABELS and any(one.is_name_quoted for one in config.matchers())
    return quoted or any(shapes.newer(config.document.values, version))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    """Texts of a list, without what is of another shape; nothing is an empty text."""
    return [str(one or "") for one in _list(value) if one is None or isinstance(one, str)]


def _group_by(given: Mapping[str, Any], parent: Route | None) -> tuple[str, ...] | None:
    if not isinstance(given.get("group_by"), list):
        return parent.group_by if parent else ()
    labels = _texts(given["group_by"])
    return None if ALL_LABELS in labels else tuple(labels)


class _Reader:
    """Reads a document and collects what is wrong beyond its shape; a value of a wrong shape is read as none."""

    def __init__(self, document: Document, version: Version) -> None:
        self._document, self._version = document, version
        self.problems: list[Problem] = []

    def _wrong(self, place: Place, message: str, remedy: str = "") -> None:
        self.problems.append(self._document.problem(place, message, remedy))

    def config(self) -> Config:
        """The whole, and then the names in it."""
        values = self._document.values
        config = Config(
            document=self._document,
            route=self._route(_mapping(values.get("route")), ("route",), None),
            inhibitions=tuple(
                self._inhibition(_mapping(one), ("inhibit_rules", index))
                for index, one in enumerate(_list(values.get("inhibit_rules")))
            ),
            intervals=dict(self._intervals()),
        )
        self._check_root(config)
        self._check_receivers(config)
        self._check_names(config)
        return config

    def _route(self, given: Mapping[str, Any], place: Place, parent: Route | None) -> Route:
        self._check_groups(given, place)
        own = Route(
            place=place,
            matchers=self._matchers(given, place, "match", "match_re", "matchers"),
            receiver=str(given.get("receiver") or (parent.receiver if parent else "")),
            continues=verbatim.truth(given.get("continue")) is True,
            group_by=_group_by(given, parent),
            mute=tuple(_texts(given.get("mute_time_intervals"))),
            active=tuple(_texts(given.get("active_time_intervals"))),
            group_wait=self._time(given, place, "group_wait", parent),
            group_interval=self._time(given, place, "group_interval", parent),
            repeat_interval=self._time(given, place, "repeat_interval", parent),
        )
        children = _list(given.get("routes"))
        below = tuple(self._route(_mapping(one), (*place, "routes", index), own) for index, one in enumerate(children))
        return replace(own, routes=below)

    def _check_groups(self, given: Mapping[str, Any], place: Place) -> None:
        labels = _texts(given.get("group_by"))
        if ALL_LABELS in labels and set(labels) != {ALL_LABELS}:
            self._wrong((*place, "group_by"), "'...' is all labels, and stands alone", "remove it, or the others")
        for index, label in enumerate(labels):
            if label != ALL_LABELS:
                self._check_label(label, (*place, "group_by", index))
                if label in labels[:index]:
                    self._wrong((*place, "group_by", index), f"{label} a second time", "remove it")

    def _check_label(self, name: str, place: Place) -> None:
        is_name = bool(name) if self._version >= UTF8_LABELS else LABEL_NAME.fullmatch(name)
        if not is_name:
            self._wrong(place, f"{name!r} is not a label name", "correct it")

    def _time(self, given: Mapping[str, Any], place: Place, name: str, parent: Route | None) -> float:
        """Seconds of a time that a route sets, else inherits."""
        inherited = float(getattr(parent, name)) if parent else DEFAULTS[name]
        value = given.get(name)
        time = shapes.seconds(value) if isinstance(value, str) else None
        if time == 0 and name != "group_wait":
            self._wrong((*place, name), f"{name} may not be zero", "write a time")
        return inherited if time is None else time

    def _matchers(self, given: Mapping[str, Any], place: Place, equal: str, pattern: str, listed: str) -> Matchers:
        read: list[Matcher] = []
        for key, operator in ((equal, "="), (pattern, "=~")):
            for name, value in _mapping(given.get(key)).items():
                if not LABEL_NAME.fullmatch(name):
                    self._wrong((*place, key, name), f"{name!r} is not a label name", "correct it")
                read.append(Matcher(str(name), operator, "" if value is None else str(value)))
        for index, line in enumerate(_list(given.get(listed))):
            try:
                read += matchers.parse(str(line or ""))
            except matchers.MatcherError as error:
                self._wrong((*place, listed, index), str(error))
        return tuple(one for one in read if self._is_valid(one, place))

    def _is_valid(self, matcher: Matcher, place: Place) -> bool:
        try:
            matcher.ensure_valid()
        except matchers.MatcherError as error:
            self._wrong(place, str(error))
            return False
        return True

    def _inhibition(self, given: Mapping[str, Any], place: Place) -> Inhibition:
        for index, label in enumerate(_texts(given.get("equal"))):
            self._check_label(label, (*place, "equal", index))
        return Inhibition(
            place=place,
            source=self._matchers(given, place, "source_match", "source_match_re", "source_matchers"),
            target=self._matchers(given, place, "target_match", "target_match_re", "target_matchers"),
            equal=tuple(_texts(given.get("equal"))),
            name=str(given.get("name") or ""),
        )

    def _intervals(self) -> Iterator[tuple[str, tuple[Interval, ...]]]:
        seen: set[str] = set()
        for key in ("mute_time_intervals", "time_intervals"):
            for index, one in enumerate(_list(self._document.values.get(key))):
                name, place = str(_mapping(one).get("name") or ""), (key, index)
                if not name:
                    self._wrong(place, "a time interval without a name", "name it")
                if name in seen:
                    self._wrong(place, f"a second time interval {name!r}", "give each its own name")
                seen.add(name)
                yield name, tuple(self._alternatives(_mapping(one).get("time_intervals"), place))

    def _alternatives(self, given: object, place: Place) -> Iterator[Interval]:
        for index, one in enumerate(_list(given)):
            try:
                yield time_intervals.parse(_mapping(one))
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
        for index, one in enumerate(_list(self._document.values.get("receivers"))):
            name = str(_mapping(one).get("name") or "")
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
