"""Who may recover a store: a lease, held by at most one recoverer, whose term is larger than all before.

On one machine it is a file (`file_lease`), in a cluster it is a Lease object (`kubernetes_lease`).
"""

from __future__ import annotations

from typing import Protocol

from midwatch.errors import Exit, MidwatchError


class LeaseHeldError(MidwatchError):
    """Another process holds the lease."""

    exit = Exit.FAIL


class LeaseLostError(MidwatchError):
    """The lease is not held any more: nothing may be done to the store."""

    exit = Exit.FAIL


class Lease(Protocol):
    """What a recoverer needs of its lease."""

    def ensure_held(self) -> None:
        """LeaseLostError when it is not held any more; asked right before each step."""

    def next_term(self) -> int:
        """A term larger than all before, durable before it is used. MidwatchError when that cannot be made sure."""

    def is_wanted(self) -> bool:
        """Whether another recoverer has asked this one to step aside."""
