"""A store as its clients see it, and what a row of a drill is. How each kind of store is written to, the kind knows.

A row says which run wrote it, its number, and a checksum of both, so that a row nobody wrote, a changed row and a row
that is there twice are told apart from one that is right (Jepsen's `set` checker is the model). Nothing in a store
forbids a number twice, on purpose: a store that applies a write twice must be able to show it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from midwatch.errors import MidwatchError


class RequestError(MidwatchError):
    """A request without a good answer."""


class NotSentError(RequestError):
    """The store never saw the request."""


class RefusedError(RequestError):
    """The store answered with an error and applied nothing; `code` is its own for the reason."""

    def __init__(self, message: str, code: str = "") -> None:
        self.code = code
        super().__init__(message)


class UnknownError(RequestError):
    """The request was sent and no answer came, or one that promises nothing: it may have been applied or not."""


@dataclass(frozen=True)
class Row:
    """Rows of one number and checksum as they were read, and how many."""

    seq: int
    checksum: str
    count: int


def checksum(run: str, seq: int) -> str:
    """What the row of a number has to carry.

    >>> checksum("r", 1)
    'cced20031397ace3'
    """
    return hashlib.blake2b(f"{run}:{seq}".encode(), digest_size=8).hexdigest()


class Client(Protocol):
    """Methods raise NotSentError, RefusedError or UnknownError; times are seconds."""

    def write(self, seq: int) -> str:
        """Write a row durably; returns which server acknowledged it."""

    def newest(self) -> tuple[int, str]:
        """The newest number of this run, read anew, and a digest of what else the store holds."""

    def rows(self) -> list[Row]:
        """Every row of this run, read anew."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Which client the observer makes: the kind of store, and what that kind's client takes."""

    kind: str
    arguments: dict[str, Any]
