"""Reads a mapping of another tool key by key, so that a key that nobody asked for is noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from alerts import verbatim
from midwatch.errors import Problem
from midwatch.spec.base import Place
from midwatch.spec.document import Document
from midwatch.spec.values import parse_duration

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

OURS = frozenset({"severity", "owner", "model", "slo", "alertname"})
"""Labels that routes and records go by. Another tool's of that name is kept as `exported_NAME`, as Prometheus does."""


@dataclass
class Log:
    """What was found on the way: `problems` have no translation, `dropped` are left out, `notes` are said otherwise.

    What may be left out is a problem unless `is_lossy`. With `keeps_names`, a name that would change is one too.
    """

    is_lossy: bool = False
    keeps_names: bool = False
    problems: list[Problem] = field(default_factory=list)
    dropped: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


class Reader:
    """A mapping of a document. Every key that is taken is known; the rest `finish` calls untranslatable."""

    def __init__(self, document: Document, place: Place, log: Log) -> None:
        self.document, self.place, self.log = document, place, log
        node: Any = document.values
        for part in place:
            node = node[part]
        self._values: dict[str, Any] = node if isinstance(node, dict) else {}
        self._taken: set[str] = set()
        if not isinstance(node, dict):
            self.refuse((), "is not a mapping")

    def refuse(self, where: Place, reason: str) -> None:
        """Say that something cannot be translated, and why."""
        _add(self.log.problems, self.document.problem((*self.place, *where), reason))

    def drop(self, where: Place, reason: str) -> None:
        """Leave something out if that is wanted, else refuse it."""
        known = self.log.dropped if self.log.is_lossy else self.log.problems
        _add(known, self.document.problem((*self.place, *where), f"cannot be translated: {reason}"))

    def note(self, where: Place, what: str) -> None:
        """Say what is written otherwise than it was."""
        _add(self.log.notes, self.document.problem((*self.place, *where), what))

    # Values --------------------------------------------------------------------------------------------------------

    def take(self, key: str) -> Any:
        """Value of a key, None without it."""
        self._taken.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Text of a key; without a default it has to be there."""
        value = self.take(key)
        if value is None:
            if default is None:
                self.refuse((), f"{key} is missing")
            return default or ""
        if isinstance(value, dict | list):
            self.refuse((key,), "is not a text")
            return ""
        return str(value)

    def flag(self, key: str) -> bool | None:
        """Truth value of a key, None without it."""
        value = self.take(key)
        truth = verbatim.truth(value)
        if value is not None and truth is None:
            self.refuse((key,), "is not true or false")
        return truth

    def number(self, key: str) -> Decimal | None:
        """Number of a key; what is none is refused."""
        text = self.text(key)
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite():
            return number
        if text:
            self.refuse((key,), f"cannot be translated: {text!r} is not a number")
        return None

    def duration(self, key: str, default: str | None = None) -> float | None:
        """Seconds of a duration; what is none is refused."""
        text = self.text(key, default)
        try:
            return parse_duration(text) if text else None
        except ValueError:
            self.refuse((key,), f"cannot be translated: {text!r} is not a duration, such as 5m or 1h")
            return None

    def texts(self, key: str) -> dict[str, str]:
        """Texts of a mapping, such as labels."""
        value = self.take(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse((key,), "is not a mapping")
            return {}
        for name, one in value.items():
            if isinstance(one, dict | list):
                self.refuse((key, name), "is not a text")
        return {name: str(one or "") for name, one in value.items() if not isinstance(one, dict | list)}

    def labels(self, key: str, ours: Mapping[str, str]) -> dict[str, str]:
        """Labels as they will be on alerts; `ours` are those that Midwatch sets itself."""
        kept: dict[str, str] = {}
        for name, value in self.texts(key).items():
            if name in OURS:
                if ours.get(name) != value:
                    self.note((key, name), f"the label {name} is Midwatch's own; kept as exported_{name}: {value}")
                    kept[f"exported_{name}"] = value
            elif LABEL.fullmatch(name):
                kept[name] = value
            else:
                self.drop((key, name), f"{name!r} is not a label name")
        return kept

    def annotations(self, key: str) -> dict[str, str]:
        """Annotations whose names Prometheus reads."""
        kept: dict[str, str] = {}
        for name, value in self.texts(key).items():
            if LABEL.fullmatch(name):
                kept[name] = value
            else:
                self.drop((key, name), f"{name!r} is not a name of an annotation")
        return kept

    def name(self, key: str) -> str:
        """Name of a key as a DNS label, and a note when that is not what was written."""
        text = self.text(key)
        name = name_of(text)
        if name != text and self.log.keeps_names:
            self.drop((key,), f"{text!r} would be named {name!r}, and so would its records")
        elif name != text:
            self.note((key,), f"{text!r} is named {name!r}: a name is a DNS label")
        return name

    def inner(self, key: str) -> Reader | None:
        """Mapping of a key."""
        if self.take(key) is None:
            return None
        return Reader(self.document, (*self.place, key), self.log)

    def items(self, key: str) -> Iterator[Reader]:
        """Mappings of a list."""
        items = self.take(key)
        if items is not None and not isinstance(items, list):
            self.refuse((key,), "is not a list")
            return
        for index, item in enumerate(items or []):
            if isinstance(item, dict):
                yield Reader(self.document, (*self.place, key, index), self.log)
            else:
                self.refuse((key, index), "is not a mapping")

    def untranslatable(self, key: str, reason: str) -> None:
        """Refuse a key, if it is there and says anything, or leave it out."""
        if self.take(key) not in (None, "", [], {}):
            self.drop((key,), reason)

    def unsaid(self, key: str) -> None:
        """Say that a text is not written anywhere: what it describes is no entry of a rule file."""
        if self.take(key):
            self.note((key,), "is not written: a rule file describes objectives and alerts")

    def finish(self) -> None:
        """Refuse every key that was not taken, or leave it out."""
        for key in self._values:
            if key not in self._taken:
                self.drop((key,), "Midwatch does not know this key")


def _add(known: list[Problem], one: Problem) -> None:
    """Add a problem once: an object that several refer to is read for each of them."""
    if one not in known:
        known.append(one)


def name_of(text: str) -> str:
    """A name as Midwatch has them: a DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def percent(value: Decimal | None, reader: Reader, where: Place) -> str:
    """An objective such as `99.9%` from a number of per cent, exactly; what was not a number is refused already."""
    if value is None:
        return "50%"
    if not 0 < value < 100:
        reader.refuse(where, f"{value.normalize():f} is not between 0 and 100 (exclusive)")
        return "50%"
    return f"{value.normalize():f}%"
