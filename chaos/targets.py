"""Which targets a fault hits, and of how many: the same answer for a plan and for the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from chaos.faults import Fault
from midwatch.errors import MidwatchError
from midwatch.spec import chaos as spec
from midwatch.spec.chaos import Kind


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


class Where(Protocol):
    """A place where faults can be made: the processes of this machine, or a cluster's namespace."""

    def prepare(self, kind: Kind, settings: dict[str, Any]) -> Prepared:
        """Choose targets for a fault; TargetError when it cannot be."""
        ...


def ensure_bounded(prepared: Prepared, guard: spec.Guard) -> None:
    """Raise TargetError when a larger share would be hit than may be."""
    if not prepared.hit:
        raise TargetError("nothing would be hit")
    if Decimal(len(prepared.hit)) > guard.max_share * len(prepared.candidates):
        raise TargetError(
            f"{len(prepared.hit)} of {len(prepared.candidates)} targets would be hit ({', '.join(prepared.hit)}); "
            f"at most {guard.max_share:.0%} may be: chaos.guard.max_share"
        )


def ensure_unprotected(hit: Iterable[str], protected: Iterable[str]) -> None:
    """Raise TargetError when a target is protected."""
    forbidden = sorted(set(hit) & set(protected))
    if forbidden:
        raise TargetError(f"{', '.join(forbidden)} may not be hit: chaos.guard.protected")
