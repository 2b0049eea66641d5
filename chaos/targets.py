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
class Hit:
    """A target that an action of the experiment hits; `pool` as in `Prepared`."""

    name: str
    pool: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Faults ready to be injected, the targets they hit, and all that could have been hit instead.

    Targets are parts, whatever the fault is made of: a bad link to a server hits the server. `down` are candidates that
    are down already, and `parts` what else is hit with the targets, such as the model whose server it is. `pool` names
    targets that are replaced under new names, such as pods: all that were hit of a pool count, known or not.
    """

    faults: Sequence[Fault]
    hit: tuple[str, ...]
    candidates: tuple[str, ...]
    down: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    pool: str = ""

    @property
    def share(self) -> float:
        """Share of the candidates that is hit, 0 to 1."""
        return len(self.hit) / len(self.candidates)

    @property
    def hits(self) -> list[Hit]:
        """What is hit, as later actions of the experiment have to count it."""
        return [Hit(name=name, pool=self.pool) for name in self.hit]

    def is_counted(self, earlier: Hit) -> bool:
        """Whether what an earlier action hit is one of these candidates, or of those they have replaced."""
        return earlier.name in self.candidates or bool(self.pool and earlier.pool == self.pool)


def ensure_allowed(prepared: Prepared, limits: Preconditions, earlier: Iterable[Hit] = ()) -> None:
    """Raise TargetError when a protected target would be hit, or a larger share than may be.

    What `earlier` actions of the experiment have hit counts, and what is down already.
    """
    _ensure_unprotected({*prepared.hit, *prepared.parts}, limits.protected.parts)
    _ensure_bounded(prepared, limits, {one.name for one in earlier if prepared.is_counted(one)})


def _ensure_bounded(prepared: Prepared, limits: Preconditions, earlier: set[str]) -> None:
    if not prepared.hit:
        raise TargetError("nothing would be hit")
    lost = [*prepared.hit, *sorted({*prepared.down, *earlier} - set(prepared.hit))]
    if Decimal(len(lost)) > limits.max_share * len(prepared.candidates):
        before = lost[len(prepared.hit) :]
        already = f", of which {', '.join(before)} are hit by earlier actions or down already" if before else ""
        raise TargetError(
            f"{len(lost)} of {len(prepared.candidates)} targets would be hit ({', '.join(lost)}){already}; "
            f"at most {limits.max_share:.0%} may be: chaos.guard.max_share"
        )


def _ensure_unprotected(hit: Iterable[str], protected: Iterable[str]) -> None:
    forbidden = sorted(set(hit) & set(protected))
    if forbidden:
        raise TargetError(f"{', '.join(forbidden)} may not be hit: chaos.guard.protected")
