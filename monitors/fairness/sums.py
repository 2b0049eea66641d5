"""Rates that are sums by group: calibration at equal scores, a regression's errors, exposure in a ranking.

A mean of values between 0 and 1 is judged as a share of events is: a mean absolute error as its share of the promise's
error bound, which greater errors count as; exposure as it is, 1 at the top. That needs nothing of how the values are
distributed, and takes more events than a test that knew how little they vary.

Calibration within groups is that positives are as many as the scores say: in each bin of the score, the share of
positives less the mean score is compared, so that groups whose scores lie elsewhere within a bin are not called unlike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from midwatch import metrics
from midwatch.metrics import Metric
from midwatch.spec.fairness import BY_SCORE, CROSS, Fairness
from monitors.fairness import measures
from monitors.fairness.bounds import Bounds
from monitors.fairness.fetch import Asked, Cell, Version, Window
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Counts

Sum = Callable[[Metric], Mapping[Cell, Floats]]
"""Sums of a metric by cell, of one version and attribute."""

_SCALE = metrics.GROUP_SCORE_BINS // metrics.CALIBRATION_BINS
"""Score bins that are counted of each that calibration is judged in."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Sums of a group, by block: events, their values, what is expected of these, and all events, labelled or not.

    `within` are the bounds of what is expected of an event without a label.
    """

    group: str
    part: str
    events: Floats
    hits: Floats
    expected: Floats
    everything: Floats
    within: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Summed:
    """Counts of a rate that is a sum, and of the same shape the events without a label.

    `within` has, by stratum, the bounds of what is expected of an event without a label; `torn` the cells as counted.
    """

    counts: Counts
    missing: Floats
    within: tuple[tuple[float, float], ...]
    torn: Mapping[Cell, Floats]

    def bounds(self, blocks: slice) -> tuple[Bounds, ...]:
        """Least and greatest rate of each group by stratum, whatever the missing labels are, over some blocks."""
        events, hits, missing = (
            found[..., blocks].sum(axis=-1) for found in (self.counts.events, self.counts.hits, self.missing)
        )
        expected = np.zeros_like(hits) if self.counts.expected is None else self.counts.expected[..., blocks].sum(-1)
        found = []
        for stratum, (least, most) in enumerate(self.within):
            unknown, everything = missing[stratum], events[stratum] + missing[stratum]
            above = hits[stratum] - expected[stratum]
            with np.errstate(invalid="ignore", divide="ignore"):
                low, high = (above - most * unknown) / everything, (above + (1 - least) * unknown) / everything
            found.append(Bounds(low=low, high=high))
        return tuple(found)

    def labelled(self) -> dict[str, float]:
        """Share of the settled predictions with a label, by group."""
        first = self.counts.first
        events, missing = (found[..., first:].sum(axis=(0, 2)) for found in (self.counts.events, self.missing))
        return {
            group: float(got / (got + lost))
            for group, got, lost in zip(self.counts.groups, events, missing, strict=True)
            if got + lost > 0
        }

    def calibration_errors(self) -> dict[str, float]:
        """Expected calibration error of each group with an event, from the bins."""
        if self.counts.expected is None:
            return {}
        found = (self.counts.events, self.counts.hits, self.counts.expected)
        errors = measures.calibration_gaps(*(counts[..., self.counts.first :].sum(axis=-1).T for counts in found))
        return {
            group: float(error) for group, error in zip(self.counts.groups, errors, strict=True) if not np.isnan(error)
        }


def counted(
    promise: Fairness, attribute: str, version: Version, asked: Asked, window: Window, first: int = 0
) -> Summed:
    """What was summed of an attribute's groups for a promise; what evidence counts begins with the block `first`."""

    def sums(metric: Metric) -> Mapping[Cell, Floats]:
        own = asked.sums.get(metric.name, {}).get(version, {})
        return {cell: row for cell, row in own.items() if cell[0] == attribute}

    predicted = {cell: row for cell, row in asked.settled.get(version, {}).items() if cell[0] == attribute}
    rows = list(_ROWS[promise.measure](promise, sums, predicted, np.zeros(window.size)))
    names = [_name(row, is_stratified=attribute == promise.stratified) for row in rows]
    groups, strata = (tuple(sorted({name[place] for name in names})) for place in (0, 1))
    shape = (len(strata), len(groups), window.size)
    events, hits, expected, everything = (np.zeros(shape) for _ in range(4))
    within = dict.fromkeys(strata, (0.0, 0.0))
    for (group, stratum), row in zip(names, rows, strict=True):
        at = strata.index(stratum), groups.index(group)
        events[at] += row.events
        hits[at] += np.clip(row.hits, 0.0, row.events)
        expected[at] += row.expected
        everything[at] += row.everything
        within[stratum] = row.within
    return Summed(
        counts=Counts(
            groups=groups,
            events=events,
            hits=hits,
            strata=strata,
            unseen=frozenset(groups[place] for place in np.flatnonzero(everything[..., first:].sum(axis=(0, 2)))),
            first=first,
            expected=expected if promise.measure in BY_SCORE else None,
        ),
        missing=np.maximum(everything - events, 0.0),
        within=tuple(within[stratum] for stratum in strata),
        torn={(attribute, row.group, row.part, ""): row.everything for row in rows},
    )


def _name(row: _Row, *, is_stratified: bool) -> tuple[str, str]:
    """Group and stratum: the last part of a stratified group, and the part that the measure has of its own."""
    name, _, stratum = row.group.rpartition(CROSS) if is_stratified and CROSS in row.group else (row.group, "", "")
    return name, CROSS.join(filter(None, (stratum, row.part)))


def _calibration(_: Fairness, sums: Sum, __: Mapping[Cell, Floats], nothing: Floats) -> Iterator[_Row]:
    everything, labelled, positives, scores = (
        sums(metric)
        for metric in (
            metrics.SETTLED_GROUP_SCORED,
            metrics.SETTLED_GROUP_SCORED_OUTCOMES,
            metrics.SETTLED_GROUP_POSITIVES,
            metrics.SETTLED_GROUP_SCORE_SUM,
        )
    )
    for cell, row in everything.items():
        place = (round(float(cell[2]) * metrics.GROUP_SCORE_BINS) - 1) // _SCALE
        least, most = (edge / metrics.CALIBRATION_BINS for edge in (place, place + 1))
        yield _Row(
            group=cell[1],
            part=f"scores up to {most:g}",
            events=labelled.get(cell, nothing),
            hits=positives.get(cell, nothing),
            expected=scores.get(cell, nothing),
            everything=row,
            within=(least, most),
        )


def _errors(
    promise: Fairness, sums: Sum, predicted: Mapping[Cell, Floats], nothing: Floats, *, mean: bool
) -> Iterator[_Row]:
    within, amounts = sums(metrics.SETTLED_GROUP_ERRORS), sums(metrics.SETTLED_GROUP_ABSOLUTE_ERROR)
    bound = promise.bound
    for (attribute, group, answer, _), everything in predicted.items():
        if answer != metrics.AMOUNT:  # the model was one of classes
            continue
        near, far = (within.get((attribute, group, bound, word), nothing) for word in ("yes", "no"))
        total = amounts.get((attribute, group, bound, ""), nothing)
        yield _Row(
            group=group,
            part="",
            events=near + far,
            hits=total / float(bound) if mean else near,
            expected=nothing,
            everything=everything,
        )


def _exposure(_: Fairness, sums: Sum, __: Mapping[Cell, Floats], nothing: Floats) -> Iterator[_Row]:
    exposure = sums(metrics.GROUP_EXPOSURE)
    for cell, ranked in sums(metrics.GROUP_RANKED).items():
        yield _Row(
            group=cell[1],
            part="",
            events=ranked,
            hits=exposure.get(cell, nothing),
            expected=nothing,
            everything=ranked,
        )


_ROWS: Mapping[str, Callable[[Fairness, Sum, Mapping[Cell, Floats], Floats], Iterator[_Row]]] = {
    "calibration_within_groups": _calibration,
    "within_bound_parity": partial(_errors, mean=False),
    "mean_absolute_error_parity": partial(_errors, mean=True),
    "exposure_parity": _exposure,
}
"""How each measure's sums are read."""

MEASURES = frozenset(_ROWS)
