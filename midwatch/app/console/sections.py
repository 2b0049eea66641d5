"""The live parts of a page: found in its text by marks, compared with what a reader has, sent as htmx takes them.

A state of a page is named by the digest of its parts: a browser that comes back, also to a console that was started
anew, says which state it has, and gets the parts that differ.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

KEPT_STATES = 16
"""States of a page that are remembered; who has an older one gets every part."""

Parts = Mapping[str, str]
"""Text of each live part by its id."""

_MARKED = re.compile(r"<!--live ([a-z0-9-]+)-->(.*?)<!--/live-->", re.DOTALL)


def parts_of(page: str) -> dict[str, str]:
    """Live parts of a page. No name can look like a mark: `<` is escaped wherever text of others stands.

    >>> parts_of('<p>x</p><!--live alerts--><section id="alerts">none</section><!--/live-->')
    {'alerts': '<section id="alerts">none</section>'}
    """
    return dict(_MARKED.findall(page))


def name_of(parts: Parts) -> str:
    """What names a state of a page."""
    digest = hashlib.sha256()
    for key in sorted(parts):
        digest.update(f"{key}\n{len(parts[key])}\n{parts[key]}".encode())
    return digest.hexdigest()[:20]


@dataclass
class History:
    """States of one page, the newest last."""

    states: OrderedDict[str, Parts] = field(default_factory=OrderedDict)

    def add(self, parts: Parts) -> str:
        """Remember a state; its name."""
        name = name_of(parts)
        self.states[name] = parts
        self.states.move_to_end(name)
        while len(self.states) > KEPT_STATES:
            self.states.popitem(last=False)
        return name

    @property
    def newest(self) -> str:
        """Name of the newest state."""
        return next(reversed(self.states), "")

    def changed_since(self, name: str) -> dict[str, str]:
        """Parts that are not as in the state of that name; all of them where it is not remembered."""
        before = self.states.get(name, {})
        now = self.states.get(self.newest, {})
        return {key: text for key, text in now.items() if before.get(key) != text}


def event_of(parts: Parts, name: str, *, retry_milliseconds: int = 2000) -> bytes:
    """A server-sent event with the parts, each for the element of its id (HTML, 9.2.6: `data` by line)."""
    text = "".join(
        f'<hx-partial hx-target="#{key}" hx-swap="outerMorph">{part}</hx-partial>' for key, part in parts.items()
    )
    lines = "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", text))
    return f"id: {name}\nretry: {retry_milliseconds}\n{lines}\n".encode()
