"""What each release had, as data beside this module: keys of the platform file, metrics, and the forms of its files.

A release that takes a key or the name of a metric away says in its own file what replaces it. The file of the release
that is being made is written by MIDWATCH_REFRESH=1 pytest tests/midwatch/test_releases.py; those of earlier ones stay.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release: keys by the section of the platform file, labels by metric, and how each kind of file is written.

    Places of sections are written as in the guide: `models[].slos[]`, `owners.NAME`. What replaces a key or a metric is
    what people read; a metric is replaced by a metric.
    """

    name: str
    keys: dict[str, list[str]]
    metrics: dict[str, list[str]]
    forms: dict[str, str]
    replaced_keys: dict[str, str] = field(default_factory=dict)
    replaced_metrics: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The text of its file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


@cache
def names() -> tuple[str, ...]:
    """Releases that are recorded, the oldest first."""
    found = [path.name.removesuffix(".json") for path in files(__name__).iterdir() if path.name.endswith(".json")]
    return tuple(sorted(found, key=lambda name: [int(part) for part in name.split(".")]))


@cache
def read(name: str) -> Release:
    """A recorded release; KeyError when there is none of that name."""
    if name not in names():
        raise KeyError(name)
    return Release(**json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")))


def replaced_keys(since: str = "") -> dict[str, str]:
    """What to write instead of keys that releases after this one took away, or any."""
    return {key: now for name in _after(since) for key, now in read(name).replaced_keys.items()}


def replaced_metrics(since: str = "") -> dict[str, str]:
    """What metrics are called now that releases after this one gave other names, or any."""
    replaced: dict[str, str] = {}
    for name in _after(since):
        new = read(name).replaced_metrics
        replaced = {metric: new.get(now, now) for metric, now in replaced.items()} | new
    return replaced


def written(place: Sequence[str | int]) -> str:
    """A place in a platform file as it is written here.

    >>> written(("models", 0, "slos", 1, "sli"))
    'models[].slos[].sli'
    """
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _after(since: str) -> tuple[str, ...]:
    return names()[names().index(since) + 1 :] if since else names()
