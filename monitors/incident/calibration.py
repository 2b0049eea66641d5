"""How far stated probabilities came true: what was said of incidents whose cause somebody has confirmed since."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from monitors.incident import explanation
from monitors.incident.ranking import SHARE_OF_NONE

LEAST_INCIDENTS = 10
"""Confirmed incidents below which nothing is said of the probabilities; the first share of none is worth as many."""

EDGES = (0.0, 0.2, 0.5, 0.8, 1.0)
"""Of the bins of stated probability."""

SURE = 0.8
"""From here on a statement is acted on."""

LEAST_PROBABILITY = 1e-6
"""A logarithm needs more than 0; one confident error then costs 14."""

NONE = "none"
"""Kind and id of a cause that was not listed."""


class Confirmed(msgspec.Struct, frozen=True, kw_only=True, tag="incident-cause-confirmed"):
    """What a person said was the cause, and what had been said before: ids and kinds with their probabilities.

    `cause` is the id of a change or `none`, `kind` its kind. `stated` is the probability of that cause; `first` says
    whether it was ranked first, `first_stated` what the first was given.
    """

    alert: str
    scope: dict[str, str]
    fired_at: float
    cause: str
    kind: str
    what: str
    stated: float
    first: bool
    first_stated: float
    by: str = ""
    note: str = ""


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Statements of one range of probability: how many, what they said on average, how many were right, and 95%."""

    lower: float
    upper: float
    statements: int
    stated: float
    right: int
    at_least: float
    at_most: float


class ByKind(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents of one kind of cause: how many had it first, and the mean Brier and logarithmic scores of the cause."""

    kind: str
    incidents: int
    first: int
    brier: float
    log_score: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The table over confirmed incidents, and the share of none that they teach."""

    incidents: int
    bins: tuple[Bin, ...]
    kinds: tuple[ByKind, ...]
    share_of_none: float

    @property
    def is_known(self) -> bool:
        """Whether there are enough incidents to say anything."""
        return self.incidents >= LEAST_INCIDENTS

    @property
    def text(self) -> str:
        """One sentence for whoever reads a probability."""
        if not self.is_known:
            return f"uncalibrated: {self.incidents} of the {LEAST_INCIDENTS} incidents with a confirmed cause it takes"
        sure = self.bins[-1]
        if not sure.statements:
            return f"over {self.incidents} confirmed incidents nothing was stated at {SURE:.0%} or more"
        return (
            f"of {sure.statements} statements at {SURE:.0%} or more {sure.right} were right here "
            f"({sure.at_least:.0%} to {sure.at_most:.0%}), over {self.incidents} confirmed incidents"
        )


def calibrate(confirmed: Sequence[Confirmed]) -> Calibration:
    """The table of what was confirmed; of an incident that was confirmed again the last word counts."""
    last = {(one.alert, tuple(sorted(one.scope.items())), one.fired_at): one for one in confirmed}
    known = list(last.values())
    nones = sum(one.cause == NONE for one in known)
    return Calibration(
        incidents=len(known),
        bins=tuple(_bins(known)),
        kinds=tuple(_kinds(known)),
        share_of_none=(SHARE_OF_NONE * LEAST_INCIDENTS + nones) / (LEAST_INCIDENTS + len(known)),
    )


def _bins(known: Sequence[Confirmed]) -> Iterator[Bin]:
    for lower, upper in itertools.pairwise(EDGES):
        inside = [one for one in known if lower <= one.first_stated < upper or one.first_stated == upper == 1.0]
        right, count = sum(one.first for one in inside), len(inside)
        least, most = explanation.wilson(right, count, 1.0) if count else (0.0, 1.0)
        yield Bin(
            lower=lower,
            upper=upper,
            statements=count,
            stated=sum(one.first_stated for one in inside) / count if count else 0.0,
            right=right,
            at_least=least,
            at_most=most,
        )


def _kinds(known: Sequence[Confirmed]) -> Iterator[ByKind]:
    for kind in sorted({one.kind for one in known}):
        own = [one for one in known if one.kind == kind]
        yield ByKind(
            kind=kind,
            incidents=len(own),
            first=sum(one.first for one in own),
            brier=sum((1 - one.stated) ** 2 for one in own) / len(own),
            log_score=sum(-math.log(max(one.stated, LEAST_PROBABILITY)) for one in own) / len(own),
        )
