"""Which series a receiver has had: all others get a zero first, or `increase` would miss what they began with.

Eight bytes a series, appended to a file: a driver that is started again knows what the one before has pushed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from exporters.events import private_files

_DIGEST = 8
_log = logging.getLogger(__name__)


class Begun:
    """Digests of the series that have begun, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    def expect(self, digests: Iterable[bytes]) -> None:
        """Take series for begun as long as this process runs: their zeros are on their way."""
        self._known.update(digests)

    def keep(self, digests: Sequence[bytes]) -> None:
        """Keep that series have begun; one that cannot be kept gets its zero again, which its receiver refuses."""
        self._known.update(digests)
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(digests))
        except OSError as error:
            _log.warning("%s: cannot be written: %s", self._path, error.strerror or error)


def _read(path: Path) -> set[bytes]:
    try:
        with private_files.reading(path) as file:
            held = file.read()
    except FileNotFoundError:
        private_files.creating(path).close()
        return set()
    whole = len(held) // _DIGEST * _DIGEST
    if whole < len(held):  # a driver was killed while it wrote: what comes next would be read shifted
        with path.open("r+b") as file:
            file.truncate(whole)
    return {held[start : start + _DIGEST] for start in range(0, whole, _DIGEST)}
