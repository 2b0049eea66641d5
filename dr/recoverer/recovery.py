"""How a kind of store is checked and recovered, step by step. The kinds implement it; the recoverer carries it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from midwatch.errors import Exit, MidwatchError


class CannotRecoverError(MidwatchError):
    """There is nothing this store could safely be recovered from."""

    exit = Exit.FAIL


@dataclass(frozen=True, kw_only=True)
class Health:
    """What one check found; `why` says what is wrong. `doubt` is for people to look at: nothing is done about it."""

    good: bool
    why: str = ""
    doubt: str = ""


class Recovery(ABC):
    """How a kind of store is checked and recovered. Each step raises MidwatchError when it fails."""

    listener: Callable[[str], None] | None = None
    """Whoever wants to know how far a long step is."""

    def say(self, text: str) -> None:
        """Tell how far a long step is."""
        if self.listener:
            self.listener(text)

    @abstractmethod
    def check(self) -> Health:
        """Look at the store as it should be now."""

    @abstractmethod
    def plan(self) -> str:
        """What would be done now; CannotRecoverError when there is nothing safe to do."""

    @abstractmethod
    def fence(self, term: int) -> str:
        """Make sure that what failed cannot acknowledge any more; returns how."""

    @abstractmethod
    def recover(self) -> str:
        """Bring the store back; returns what it was brought back from."""

    @abstractmethod
    def reroute(self, term: int) -> str:
        """Send clients there; returns where."""

    @abstractmethod
    def rebuild(self) -> str | None:
        """Make the store redundant again; None while that is not possible yet."""

    @property
    def can_rebuild(self) -> bool:
        """Whether `rebuild` is this recovery's to do at all."""
        return True

    def offer(self) -> str:
        """How people make the store redundant again, where the recoverer is not to."""
        return "make it redundant again by hand"

    def rival(self) -> str | None:
        """Another server of the store that takes writes beside the primary; None when none is seen."""
        return None

    def fence_rival(self, term: int) -> str:  # noqa: ARG002 - a kind that sees rivals needs the term
        """Fence a rival again; returns how. CannotRecoverError when that is a person's to do."""
        raise CannotRecoverError("no rival is known")

    def requested(self) -> str | None:
        """A planned switchover somebody asked for, once; None without one."""
        return None

    def switch(self, request: str, term: int) -> str:  # noqa: ARG002 - a kind that can switch needs the term
        """Carry out a planned switchover up to where clients can be sent there."""
        raise CannotRecoverError(f"no switchover to {request} is known")
