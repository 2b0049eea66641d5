"""What counts say of one promise of one version, as the proposals read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from midwatch.spec.fairness import Fairness
from monitors.fairness.advice.scores import Scores
from monitors.fairness.bounds import Unlabelled
from monitors.fairness.measures import Cells
from monitors.fairness.projection import Floats
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Limit

LEAST_LABELLED = 0.95
"""Share of every group's predictions that needs a label before its classes are taken to be known."""


@dataclass(frozen=True, kw_only=True)
class Late:
    """Of the predictions that were settled as unlabelled: how many, and to how many a label came later."""

    unlabelled: float
    came: float


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How many predictions of a finding have a group and how many there are, by block of `block` seconds from `start`.

    `by_name` are those of the version that have each attribute, of `every`, counted as they come; empty where that was
    not asked for. `others` are shares of the predictions of the model's other versions that have no group.
    """

    finding: Finding
    grouped: Floats
    total: Floats
    start: float
    block: float
    by_name: Mapping[str, float] = field(default_factory=dict)
    every: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Counts of a promise: `labelled` by group and block, `missing` by group, `scores` by group, bin and block.

    `scores` is None where no histogram by group is kept. `findings` are what was judged of the promise: pooled, and
    within strata if it has some. `positive` is the model's positive class. `sent` is of the finding that most
    predictions have no group of.
    """

    findings: tuple[Finding, ...]
    positive: str
    groups: tuple[str, ...]
    labelled: Cells
    missing: Unlabelled
    late: Late
    scores: Scores | None
    sent: Sent

    @property
    def promise(self) -> Fairness:
        """What is promised."""
        return self.findings[0].promise

    @property
    def limit(self) -> Limit:
        """Its limit."""
        promise = self.promise
        return Limit(
            difference=None if promise.difference is None else float(promise.difference),
            ratio=None if promise.ratio is None else float(promise.ratio),
        )

    @property
    def alpha(self) -> float:
        """Chance that an interval misses."""
        return float(self.promise.false_alarm)

    @property
    def labelled_shares(self) -> Floats:
        """Share of each group's settled predictions that has a label."""
        labelled = self.labelled.labelled.sum(axis=-1)
        everything = labelled + self.missing.positive + self.missing.negative
        shares: Floats = np.where(everything > 0, labelled / np.maximum(everything, 1), 0.0)
        return shares

    def hardly_labelled(self) -> str | None:
        """The group with the fewest labels, where these are too few to know its classes; None where all are known."""
        shares = self.labelled_shares
        if shares.min(initial=1.0) >= LEAST_LABELLED:
            return None
        least = int(shares.argmin())
        return f"only {shares[least]:.0%} of {self.groups[least]} have a label"


def blocks(cells: Cells, kept: Callable[[Floats], Floats]) -> Cells:
    """The same cells with some of their blocks."""
    return Cells(
        true_positives=kept(cells.true_positives),
        false_positives=kept(cells.false_positives),
        false_negatives=kept(cells.false_negatives),
        true_negatives=kept(cells.true_negatives),
    )


def choosing(counts: Floats) -> Floats:
    """Every second block: what a proposal is chosen on."""
    return counts[..., 0::2]


def testing(counts: Floats) -> Floats:
    """The blocks between: what its effect is measured on."""
    return counts[..., 1::2]
