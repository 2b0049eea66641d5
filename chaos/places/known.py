"""The places there are, by the name that `--where` gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.places.place import Place
from midwatch import options
from midwatch.errors import MidwatchError

_OPENERS: dict[str, Callable[[Path, Path | None], Place]] = {
    LocalPlane.name: LocalPlane,
    Cluster.name: lambda state, platform_file: Cluster.opened(platform_file, state),
}


def open_place(where: str, state: Path, platform_file: Path | None) -> Place:
    """The place of that name; MidwatchError when there is none, or nothing runs there.

    A plane of this machine has its own platform file: another one is refused.
    """
    if where not in _OPENERS:
        raise MidwatchError(f"{where!r} is no place for experiments: {' or '.join(_OPENERS)}")
    return _OPENERS[where](state, platform_file)


def open_asked(where: str, state: Path, platform_file: Path | None) -> Place:
    """As `open_place`; in a cluster without a file that was given, the default one."""
    is_needed = platform_file is None and where == Cluster.name
    return open_place(where, state, options.default_file() if is_needed else platform_file)
