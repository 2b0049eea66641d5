"""Text of others on a terminal: what would steer the terminal is shown as it is written in Python, `\\x1b` for one.

Versions, columns, labels and file names come from anybody. Everything a command writes passes here once: lines through
`guard`, tables and live views through the console of `midwatch.tables`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters of ISO 6429 but tab and newline, and what turns the direction of text (Unicode, annex 9)."""


def escaped(text: str) -> str:
    r"""Text whose control characters are visible.

    >>> escaped("v1\x1b[2J")
    'v1\\x1b[2J'
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Guarded:
    """A terminal's stream that escapes what is written to it; rich writes its own codes past it, by this attribute."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write the text, escaped."""
        return self.rich_proxied_file.write(escaped(text))

    def writelines(self, lines: list[str]) -> None:
        """Write them all, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def guard() -> Iterator[None]:
    """Escape what is written to standard output and standard error, each where it is a terminal."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Guarded(stream) if stream and stream.isatty() else stream for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def beneath(stream: TextIO) -> TextIO:
    """The stream that codes for the terminal are written to."""
    return getattr(stream, "rich_proxied_file", stream)
