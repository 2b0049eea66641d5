"""Which values may stand in a label: names of classes and groups. Free text never does, whoever sent it.

A class that the platform file declares stands as it is. Of the others stands what looks like the name of a class; all
the rest is the one value `text`, because a sentence, an address or a card number in a label would be published to
everybody who may read metrics, and kept as long as they are.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from midwatch.client.events import Value

TEXT = "text"
"""Label value that stands for everything that is no name of a class."""

MAX_BYTES = 64
MAX_SPACES = 2
MAX_DIGITS = 8
"""A longer number is more likely somebody's (phone, card) than a class; WordNet's n02123045 has eight digits."""

_NAME = re.compile(r"[\w \-\u2013+./:<>=%&#()\[\]*',|]+")
"""Letters and digits of any script, and what intervals and joined names are written with; no `@`, no line ends."""


def is_class_like(name: str) -> bool:
    """Whether a value looks like the name of a class or a group.

    >>> list(map(is_class_like, ("golden retriever", "[18, 25)", "jane@example.com", "Dear Ms Smith, your card")))
    [True, True, False, False]
    """
    return len(name) <= MAX_BYTES and _is_name(name)


@lru_cache(maxsize=20_000)
def _is_name(name: str) -> bool:
    return (
        len(name.encode("utf-8", "replace")) <= MAX_BYTES
        and name.count(" ") <= MAX_SPACES
        and _NAME.fullmatch(name) is not None
        and sum(map(str.isdigit, name)) <= MAX_DIGITS
    )


def class_name(value: Value) -> str:
    """Label value of a predicted or actual class.

    >>> class_name(True), class_name(3.0), class_name("late")
    ('true', '3', 'late')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
