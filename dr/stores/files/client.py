"""A folder as the observer uses it: one file per write."""

from __future__ import annotations

import os
from pathlib import Path

from dr.drill.client import NotSentError, Row, UnknownError, checksum
from dr.stores.files.published import DRILL
from dr.stores.files.recovery import content_of


class FilesClient:
    """Implements `client.Client`: files in a folder `.midwatch-drill/RUN` of the store, durable before they count."""

    def __init__(self, *, run: str, folder: str) -> None:
        self._run, self._source = run, Path(folder)
        self._folder = self._source / DRILL / run

    def write(self, seq: int) -> str:
        """Write and fsync a file and its folder."""
        if not self._source.is_dir():
            raise NotSentError(f"{self._source} is not there")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{seq}.row").open("x") as file:
                file.write(checksum(self._run, seq))
                file.flush()
                os.fsync(file.fileno())
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnknownError(f"{self._folder}: {error.strerror}") from error
        return "files"

    def newest(self) -> tuple[int, str]:
        """By the names of the files; the content is that of every other file."""
        if not self._source.is_dir():
            raise NotSentError(f"{self._source} is not there")
        try:
            newest = max((int(path.stem) for path in self._folder.glob("*.row")), default=0)
            return newest, content_of(self._source)
        except OSError as error:  # it goes while it is read
            raise NotSentError(f"{self._source}: {error.strerror}") from error

    def rows(self) -> list[Row]:
        """Every file."""
        try:
            return [Row(int(path.stem), path.read_text(), 1) for path in sorted(self._folder.glob("*.row"))]
        except OSError as error:
            raise NotSentError(f"{self._folder}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open."""
