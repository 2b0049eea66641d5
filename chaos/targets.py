"""Which targets a fault hits, and of how many: the same answer for a plan and for the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from chaos.faults import Fault
from midwatch.errors import MidwatchError
from midwatch.spec.chaos import Preconditions


class TargetError(MidwatchError):
    """There is no such target, it is protected, or too large a share would be hit."""


class UnsupportedError(TargetError):
    """This fault cannot be made here."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Faults ready to be injected, the targets they hit, and all that could have been hit instead."""

    faults: Sequence[Fault]
    hit: tuple[str, ...]
    candidates: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the candidates that is hit, 0 to 1."""
        return len(self.hit) / len(self.candidates)


def ensure_allowed(prepared: Prepared, limits: Preconditions) -> None:
    """Raise TargetError when a protected target would be hit, or a larger share than may be."""
    _ensure_unprotected(prepared.hit, limits.protected.parts)
    _ensure_bounded(prepared, limits)


def _ensure_bounded(prepared: Prepared, limits: Preconditions) -> None:
    if not prepared.hit:
        raise TargetError("nothing would be hit")
    if Decimal(len(prepared.hit)) > limits.max_share * len(prepared.candidates):
        raise TargetError(
            f"{len(prepared.hit)} of {len(prepared.candidates)} targets would be hit ({', '.join(prepared.hit)}); "
            f"at most {limits.max_share:.0%} may be: chaos.guard.max_share"
        )


def _ensure_unprotected(hit: Iterable[str], protected: Iterable[str]) -> None:
    forbidden = sorted(set(hit) & set(protected))
    if forbidden:
        raise TargetError(f"{', '.join(forbidden)} may not be hit: chaos.guard.protected")
