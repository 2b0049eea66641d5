"""A proposal: what may be done, whether it fits what was counted, and what it is expected to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitors.fairness.advice.effect import Effect


class Kind(StrEnum):
    """What a proposal changes."""

    ATTRIBUTE = "attribute"
    LABELS = "labels"
    DATA = "data"
    MIX = "mix"
    THRESHOLD = "threshold"
    GROUP_THRESHOLDS = "thresholds per group"
    REWEIGHING = "reweighing"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """`fits` says whether it is for this case, and `why` gives the reason, also of one that does not fit.

    `steps` are what to do, in order; none where nothing is proposed. `notes` are what to know before.
    """

    kind: Kind
    fits: bool
    why: str
    steps: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    notes: tuple[str, ...] = ()
