"""Reads a mapping of another tool key by key, so that a key that nobody asked for is noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from midwatch.errors import Problem
from midwatch.spec.base import Place
from midwatch.spec.document import Document


class Reader:
    """A mapping of a document. Every key that is taken is known; the rest `finish` calls untranslatable."""

    def __init__(self, document: Document, place: Place, problems: list[Problem]) -> None:
        self.document, self.place, self._problems = document, place, problems
        node: Any = document.values
        for part in place:
            node = node[part]
        self._values: dict[str, Any] = node if isinstance(node, dict) else {}
        self._taken: set[str] = set()
        if not isinstance(node, dict):
            self.refuse((), "is not a mapping")

    def refuse(self, where: Place, reason: str) -> None:
        """Say that something cannot be translated, and why."""
        self._problems.append(self.document.problem((*self.place, *where), reason))

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

    def inner(self, key: str) -> Reader | None:
        """Mapping of a key."""
        if self.take(key) is None:
            return None
        return Reader(self.document, (*self.place, key), self._problems)

    def items(self, key: str) -> Iterator[Reader]:
        """Mappings of a list."""
        items = self.take(key)
        if items is not None and not isinstance(items, list):
            self.refuse((key,), "is not a list")
            return
        for index in range(len(items or [])):
            yield Reader(self.document, (*self.place, key, index), self._problems)

    def untranslatable(self, key: str, reason: str) -> None:
        """Refuse a key if it is there and says anything."""
        if self.take(key) not in (None, "", [], {}):
            self.refuse((key,), f"cannot be translated: {reason}")

    def finish(self) -> None:
        """Refuse every key that was not taken."""
        for key in self._values:
            if key not in self._taken:
                self.refuse((key,), "cannot be translated: Midwatch does not know this key")


def name_of(text: str) -> str:
    """A name as Midwatch has them: a DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def percent(text: str, reader: Reader, where: Place) -> str:
    """An objective such as `99.9%` from a number of per cent, exactly."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        reader.refuse(where, f"{text!r} is not a number")
        return "50%"
    if not 0 < value < 100:
        reader.refuse(where, f"{value} is not between 0 and 100 (exclusive)")
        return "50%"
    return f"{value.normalize():f}%"
